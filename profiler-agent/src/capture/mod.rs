//! One capture on demand, written as a file.
