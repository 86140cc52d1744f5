//! Questions that need more than one row: merges, tops, series.
