//! The life of an alert, and who is told.
