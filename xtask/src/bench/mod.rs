//! Measures what the product costs on this host.

mod syscalls;

use anyhow::Result;

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Time that syscall tracing adds to each call, against two empty raw tracepoints and bpftrace
    Syscalls,
}

/// Runs one measurement.
pub(crate) fn run(args: &Args) -> Result<()> {
    match args.what {
        What::Syscalls => syscalls::run(),
    }
}
