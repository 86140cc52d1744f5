//! Runs work that waits for a disk.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, spawn_blocking};

/// Runs it on a thread of its own; on a runtime of one thread right here, so that in a simulation nothing depends on
/// which thread is faster.
///
/// # Errors
///
/// When the work panicked on its thread.
pub(super) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => Ok(work()),
        _ => spawn_blocking(work).await,
    }
}
