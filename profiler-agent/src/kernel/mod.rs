//! Loads the kernel program and holds on to what it attached.
