//! Measures what the product costs on this host.

mod alerts;
mod detect;
mod ingest;
mod memory;
pub(crate) mod process;
mod programs;
mod query;
mod syscalls;
mod unwind;

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
    /// Time of a sample by the depth of its stack, and CPU time of the agent, beside profile-bee
    Unwind(unwind::Args),
    /// Share of whole stacks of real programs under load, by the reason of the rest
    Programs(programs::Args),
    /// Time and memory of one comparison of 10,000 functions on 60 replicates
    Detect,
    /// Time and memory of an evaluation of 500 services, against the length of a window
    Alerts,
    /// Rows a second that a collector bears, time to acknowledge, and bytes on the wire and on disk
    Ingest(ingest::Args),
    /// Time to answer questions about hours and days of 10 and of 100 hosts
    Query(query::Args),
    /// Memory and CPU time of the agent beside 300 processes of 40 programs, and beside a compiler
    Memory(memory::Args),
}

/// Runs one measurement.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.what {
        What::Syscalls => syscalls::run(),
        What::Unwind(args) => unwind::run(args),
        What::Programs(args) => programs::run(args),
        What::Detect => detect::run(),
        What::Alerts => alerts::run(),
        What::Ingest(args) => ingest::run(args),
        What::Query(args) => query::run(args),
        What::Memory(args) => memory::run(args),
    }
}
