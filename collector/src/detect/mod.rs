//! Decides which differences are regressions.
