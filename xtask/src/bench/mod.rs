//! Measures what the product costs.

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Time that syscall tracing adds to each call
    Syscalls,
}

/// Runs one measurement.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match args.what {
        What::Syscalls => Ok(()),
    }
}
