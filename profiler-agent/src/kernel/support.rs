//! What this host supports.

use std::fs;

/// Capabilities without which nothing works, as far as this process lacks them.
pub(super) fn missing_capabilities() -> Vec<&'static str> {
    Vec::new()
}

/// Most frames that the kernel gives for a stack.
pub(super) fn stack_frames_max() -> u32 {
    fs::read_to_string("/proc/sys/kernel/perf_event_max_stack")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(127)
}
