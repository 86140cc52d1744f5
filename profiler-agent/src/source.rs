//! Where raw records come from: the kernel's rings, or a recording.
