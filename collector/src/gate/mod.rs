//! Answers whether a candidate may go on.
