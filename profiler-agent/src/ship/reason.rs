//! Every reason for which the agent gives up samples after the kernel handed them over: name and sentence.
//!
//! The kernel's own reasons stand in `profiler_common::abi::outcome`.

/// The window held more unique stacks or processes than fit.
pub const WINDOW_FULL: &str = crate::drain::LOST_WINDOW_FULL;
/// The record from the kernel could not be read.
pub const UNDECODABLE: &str = crate::drain::LOST_UNDECODABLE;
/// A stack alone was larger than a batch may be.
pub const BATCH_TOO_LARGE: &str = "batch_too_large";
/// The spool reached its limit; the oldest batch went.
pub const SPOOL_FULL: &str = "spool_full";
/// The disk was full, and memory for batches as well.
pub const DISK_FULL: &str = "disk_full";
/// The disk took no batch for another reason, and memory for batches was full.
pub const DISK_FAILED: &str = "disk_failed";
/// The batch's file was damaged or could not be read.
pub const SPOOL_DAMAGED: &str = "spool_damaged";
/// The batch's file was gone when the agent started.
pub const SPOOL_MISSING: &str = "spool_missing";
/// The collector refused the batch for good.
pub const REJECTED: &str = "rejected";
/// The agent was killed before the window was in the spool.
pub const AGENT_KILLED: &str = "agent_killed";

/// All of them, so that each has a metric from the start.
pub const ALL: &[&str] = &[
    WINDOW_FULL,
    UNDECODABLE,
    BATCH_TOO_LARGE,
    SPOOL_FULL,
    DISK_FULL,
    DISK_FAILED,
    SPOOL_DAMAGED,
    SPOOL_MISSING,
    REJECTED,
    AGENT_KILLED,
];
