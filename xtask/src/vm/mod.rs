//! `cargo xtask vm`: boots the kernels that we promise, and tries on each what the agent does.

mod kernels;
mod apt;
mod guest;
mod image;
mod machine;
mod report;

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use guest::Guest;
use kernels::Kernel;
use report::Report;

use crate::{
    test::tally::Tally,
    workspace::{is_root, target},
};

/// Machines that run at once: each has two processors and keeps about one busy.
const MACHINES_AT_ONCE: usize = 2;

/// The name of the kernel that this runs on, beside the series of the others.
const RUNNING: &str = "running";

/// Arguments of `cargo xtask vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Series as in tests/kernels.toml, such as 6.1, or `running` for the kernel of this host [default: all of them]
    kernel: Vec<String>,
    /// Also records the outcome in docs/kernels.md
    #[arg(long)]
    write: bool,
}

/// What one kernel gave: its report, or why there is none.
struct Ran {
    name: String,
    report: Result<Report>,
}

/// Runs the chosen kernels, prints the tables, and the tally as the last line.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut tally = Tally::default();
    let ran = run_kernels(&args.kernel)?;
    show(&ran);
    if args.write {
        ensure!(args.kernel.is_empty(), "failed to record some kernels only; leave the names out");
        report::write(&reports(&ran)).context("failed to record the outcome")?;
    }
    count(ran, &mut tally);
    tally.finish()
}

/// Runs all kernels and counts each as one test.
pub(crate) fn run_counted(tally: &mut Tally) {
    match run_kernels(&[]) {
        Ok(ran) => {
            show(&ran);
            count(ran, tally);
        }
        Err(error) => tally.check("the matrix of kernels", Err(error)),
    }
}

fn run_kernels(names: &[String]) -> Result<Vec<Ran>> {
    let chosen = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let listed = kernels::listed()?;
    if let Some(unknown) =
        names.iter().find(|name| *name != RUNNING && !listed.iter().any(|k| k.series == **name))
    {
        bail!("`{unknown}` is no series of `{}`", kernels::LIST);
    }
    let listed: Vec<Kernel> = listed.into_iter().filter(|kernel| chosen(&kernel.series)).collect();
    let guest = Guest::build()?;
    let mut ran = if listed.is_empty() { Vec::new() } else { boot_all(&listed, &guest)? };
    if chosen(RUNNING) {
        ensure!(is_root(), "failed to try the running kernel: that takes root");
        ran.push(Ran { name: RUNNING.to_owned(), report: guest.run_here().and_then(Report::read) });
    }
    Ok(ran)
}

/// Boots all kernels, a few at a time.
fn boot_all(kernels: &[Kernel], guest: &Guest) -> Result<Vec<Ran>> {
    machine::install()?;
    let folder = folder()?;
    let image = image::make(guest, &folder)?;
    let left: Mutex<Vec<&Kernel>> = Mutex::new(kernels.iter().rev().collect());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let boot_in_turn = || {
        let mut ran = Vec::new();
        while let Some(kernel) = next() {
            let started = Instant::now();
            let booted = kernels::fetch(kernel)
                .and_then(|file| machine::boot(&kernel.series, &file, &image, &folder))
                .and_then(Report::read);
            eprintln!("{}: {:.0} s", kernel.series, started.elapsed().as_secs_f64());
            ran.push((kernel.series.clone(), booted));
        }
        ran
    };
    let mut ran: Vec<(String, Result<Report>)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..MACHINES_AT_ONCE).map(|_| scope.spawn(boot_in_turn)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let mut in_order = Vec::new();
    for kernel in kernels {
        let at = ran.iter().position(|(name, _)| *name == kernel.series);
        let at =
            at.with_context(|| format!("failed to boot {}: its thread ended", kernel.series))?;
        let (name, report) = ran.swap_remove(at);
        in_order.push(Ran { name, report });
    }
    Ok(in_order)
}

/// The folder for everything that a run leaves behind: image, consoles, results.
fn folder() -> Result<PathBuf> {
    let folder = target().join("vm");
    fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create `{}`", folder.display()))?;
    Ok(folder)
}

fn reports(ran: &[Ran]) -> Vec<(&str, &Report)> {
    ran.iter().filter_map(|ran| Some((ran.name.as_str(), ran.report.as_ref().ok()?))).collect()
}

fn show(ran: &[Ran]) {
    eprintln!("{}", report::tables(&reports(ran)));
}

fn count(ran: Vec<Ran>, tally: &mut Tally) {
    for Ran { name, report } in ran {
        tally.check(&format!("kernel {name}"), report.and_then(|report| report.verdict()));
    }
}
