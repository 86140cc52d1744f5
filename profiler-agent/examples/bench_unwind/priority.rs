//! Gives this program and all that it starts the highest priority, until it ends.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::process::setpriority_process;

/// The kernel shares the CPUs among sessions first, each with a priority of its own; not all kernels have it.
const OF_SESSION: &str = "/proc/self/autogroup";

/// Gives the session its old priority back: the programs of the same terminal share it.
pub(crate) struct Raised {
    before: Option<String>,
}

impl Drop for Raised {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // An error leaves a terminal of high priority, which does no harm.
            let _ = fs::write(OF_SESSION, before);
        }
    }
}

/// Raises the priority.
pub(crate) fn raise() -> Result<Raised> {
    setpriority_process(None, -20).context("failed to raise the priority")?;
    if !Path::new(OF_SESSION).exists() {
        return Ok(Raised { before: None });
    }
    // "/autogroup-123 nice 0"
    let text = fs::read_to_string(OF_SESSION).context("failed to read the session's priority")?;
    let before = text.split_whitespace().next_back().map(str::to_owned);
    fs::write(OF_SESSION, "-20").context("failed to raise the session's priority")?;
    Ok(Raised { before })
}
