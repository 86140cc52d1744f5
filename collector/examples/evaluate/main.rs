//! Measures the detector against ground truth: seeded services whose truth is known, and the known methods on the same
//! windows. `cargo xtask evaluate` runs it.

mod random;
mod base;
mod variant;
mod noise;
mod change;
mod rewrite;
mod scene;
mod join;
mod found;
mod calls;
mod looks;
mod limits;
mod parallel;
mod competitors;
mod temporal;
mod sections;
mod plot;
mod report;
mod document;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use base::Base;
use report::Section;

/// Measures the detector against ground truth
#[derive(Debug, Parser)]
struct Args {
    /// Measures everything to the precision of the report; without it, enough to notice that something got worse
    #[arg(long)]
    full: bool,
    /// Number from which all that is random comes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Sections to run, by name; all when none is given
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Uses the profiles on which parameters are chosen, and not those of the report
    #[arg(long)]
    tuning: bool,
    /// Threads; the result does not depend on it
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Writes the report and its plots into this folder
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
}

/// What every section is given.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) full: bool,
    pub(crate) seed: u64,
    pub(crate) programs: Vec<Base>,
}

impl Run {
    /// The first in a short run, the second in a full one.
    pub(crate) fn size<T>(&self, short: T, full: T) -> T {
        if self.full { full } else { short }
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the chosen sections and says whether all bounds hold.
fn run(args: &Args) -> anyhow::Result<bool> {
    parallel::set_threads(args.threads);
    let run = Run { full: args.full, seed: args.seed, programs: base::programs(args.tuning) };
    let mut out = std::io::stdout().lock();
    let mut done: Vec<Section> = Vec::new();
    for (name, section) in sections::ALL {
        if !args.only.is_empty() && !args.only.iter().any(|only| only == name) {
            continue;
        }
        let start = std::time::Instant::now();
        let section = section(&run);
        writeln!(out, "{}", section.markdown())?;
        eprintln!("{name}: {:.1} s", start.elapsed().as_secs_f64());
        done.push(section);
    }
    anyhow::ensure!(!done.is_empty(), "there is no such section; there are {}", sections::names());
    if let Some(folder) = &args.write {
        document::write(folder, &run, &done)?;
    }
    let mut holds = true;
    for figure in done.iter().flat_map(|section| &section.figures) {
        if !figure.bound.holds(figure.value) {
            holds = false;
            eprintln!("out of bounds: {} is {}", figure.what, report::short(figure.value));
        }
    }
    Ok(holds)
}
