//! Puts two sides beside each other, function by function.
