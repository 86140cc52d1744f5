//! Turns located addresses into frames with names.
