//! The project's own verbs. `cargo xtask help` lists them.

mod workspace;
mod up;
mod test;
mod fuzz;
mod ci;
mod ebpf;
mod vm;
mod bench;
mod soak;
mod evaluate;
mod live;
mod docs;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own verbs: everything a developer or CI runs here.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Builds the collector and the agent, starts both on this host, prints the address of the page.
    Up(up::Args),
    /// Installs what the tests need and runs all of them.
    Test(test::Args),
    /// Runs the scenarios of `tests/` against this kernel: all, or those whose name contains a word.
    E2e(test::scenarios::Args),
    /// Gives the agent's parsers bytes that lie, in search of a panic or endless work.
    Fuzz(fuzz::Args),
    /// Runs exactly what CI runs, in the same order.
    Ci(ci::Args),
    /// Builds the kernel side into `profiler-ebpf/prebuilt/`, or checks that it is what the sources give.
    Ebpf(ebpf::Args),
    /// Boots the kernels that we promise and tries the agent on each.
    Vm(vm::Args),
    /// Measures what tracing costs.
    Bench(bench::Args),
    /// Runs agent, collector and load together, and fails when memory, descriptors or map entries grow.
    Soak(soak::Args),
    /// Measures the detector against ground truth, beside the known methods.
    Evaluate(evaluate::Args),
    /// Writes `docs/config.md` from the programs' own help, or checks that it is up to date.
    Docs(docs::Args),
    /// Checks the house rules that the compiler and clippy cannot.
    Tidy,
}

fn main() -> ExitCode {
    let result = match Xtask::parse().verb {
        Verb::Up(args) => up::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::E2e(args) => test::scenarios::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Ci(args) => ci::run(&args),
        Verb::Ebpf(args) => ebpf::run(&args),
        Verb::Vm(args) => vm::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Soak(args) => soak::run(&args),
        Verb::Evaluate(args) => evaluate::run(&args),
        Verb::Docs(args) => docs::run(&args),
        Verb::Tidy => tidy::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The tally is the last line of a test run: CI reads it there.
        Err(error) if error.is::<test::tally::Failed>() => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
