//! Gives memory that was freed back to the kernel.

/// Gives back what the allocator keeps of memory that was freed: after much was taken for a short time, it keeps most.
/// Takes some milliseconds.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function may be called by any thread at any time; it changes nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
