//! Turns addresses into (executable, offset) pairs.
