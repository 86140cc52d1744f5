//! What a process has used so far.

use std::fs;

use anyhow::{Context, Result};

/// CPU time of a process and its threads in seconds, user and system.
///
/// # Errors
///
/// When there is no such process.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read `{path}`"))?;
    // The name may hold anything, so counting begins after it: utime and stime are fields 14 and 15.
    let (_, fields) = text.rsplit_once(')').with_context(|| format!("`{path}` is cut"))?;
    let ticks = |field: usize| fields.split_whitespace().nth(field - 3)?.parse::<u64>().ok();
    let (user, system) = ticks(14).zip(ticks(15)).with_context(|| format!("`{path}` is cut"))?;
    Ok((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64)
}
