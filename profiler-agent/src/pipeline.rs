//! All stages in order: the one file that sees them all.
