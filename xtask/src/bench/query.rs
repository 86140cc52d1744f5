//! How long a collector takes to answer, over hours and days of 10 and of 100 hosts.
//!
//! The stores are filled by `flamewatch-load fill`, whose first lines say what is in them, and kept in the target folder
//! for the next run. Every question has its own end of range, so that no cache has its answer.

#[path = "../../../collector/examples/evaluate/plot.rs"]
mod plot;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use self::plot::{Axis, Curve, Plot};
use super::ingest::{self, Programs};
use super::process::Collector;
use crate::{up::http, workspace};

/// Hosts of the two stores.
const HOSTS: [u32; 2] = [10, 100];

/// Lengths of the ranges whose growth is shown, in days.
const GROWTH_DAYS: [u64; 5] = [1, 2, 3, 5, 7];

const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;

/// Ends of ranges lie within this time before the end of the store, which the filler knows too.
const JITTER_S: u64 = HOUR_S;

/// A question that takes longer is not answered well.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The largest answer, a difference with its tree.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

const DOCUMENT: &str = "docs/store.md";
const IMAGES: &str = "docs/images";
const BEGIN: &str = "<!-- made by `cargo xtask bench query --write`: begin -->\n";
const END: &str = "<!-- end -->\n";

/// Arguments of `cargo xtask bench query`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Questions of each kind
    #[arg(long, default_value_t = 40)]
    questions: u32,
    /// Fills the stores anew
    #[arg(long)]
    fresh: bool,
    /// Writes table and plot into `docs/`
    #[arg(long)]
    write: bool,
}

/// Fills the stores where they are not there yet, and measures.
#[expect(clippy::print_stdout, reason = "the table is what this command is for")]
pub(crate) fn run(args: &Args) -> Result<()> {
    let programs = ingest::programs()?;
    let folder = workspace::target().join("bench");
    fs::create_dir_all(&folder).context("failed to create the folder of measurements")?;
    let mut measured = Vec::new();
    for hosts in HOSTS {
        let days = GROWTH_DAYS[GROWTH_DAYS.len() - 1];
        let store = folder.join(format!("query-{hosts}-{days}.db"));
        if args.fresh {
            remove(&store)?;
        }
        let filled = fill(&programs, &store, (hosts, days))?;
        let log = folder.join("query.log");
        let collector = Collector::start(&programs.collector, &store, &log)?;
        let past = Past { http: collector.http, filled: &filled };
        measured.push(past.measure(hosts, args.questions)?);
        collector.process.stop()?;
    }
    let table = table(&measured);
    println!("{table}");
    if args.write {
        write(&table, &measured)?;
    }
    Ok(())
}

fn fill(programs: &Programs, store: &Path, (hosts, days): (u32, u64)) -> Result<Value> {
    eprintln!("fill `{}`: seconds when it is there, minutes when not", store.display());
    let store = store.to_string_lossy();
    let hosts = hosts.to_string();
    let days = days.to_string();
    let filled = programs.load(&["fill", "--store", &store, "--hosts", &hosts, "--days", &days])?;
    eprintln!(
        "  {} batches, {} samples, {:.0} MB, {:.0} s",
        filled["batches"],
        filled["samples"],
        filled["bytes_on_disk"].as_f64().unwrap_or(0.0) / 1e6,
        filled["seconds"].as_f64().unwrap_or(0.0)
    );
    Ok(filled)
}

fn remove(store: &Path) -> Result<()> {
    let shown = store.display();
    let files = ["", "-wal", "-shm", ".lock"].map(|end| PathBuf::from(format!("{shown}{end}")));
    for file in files.into_iter().chain([store.with_extension("progress")]) {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error)
                    .with_context(|| format!("failed to remove `{}`", file.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A filled store behind a collector.
struct Past<'f> {
    http: std::net::SocketAddr,
    filled: &'f Value,
}

/// Answers of one kind.
#[derive(Debug)]
struct Times {
    p50_ms: f64,
    p95_ms: f64,
    answer_kb: f64,
}

struct Measured {
    hosts: u32,
    /// What was asked, what was aimed at, and what came.
    rows: Vec<(&'static str, Option<f64>, Times)>,
    /// By days.
    growth: Vec<(u64, Times)>,
}

impl Past<'_> {
    fn measure(&self, hosts: u32, questions: u32) -> Result<Measured> {
        let flame = |seconds| move |service: &str, to: u64| flamegraph(service, to - seconds, to);
        let services = |_service: &str, to: u64| format!("services?from={}&to={to}", to - 900);
        let rows = vec![
            ("one minute: the floor", None, self.ask(questions, flame(MINUTE_S))?),
            ("1 hour", Some(50.0), self.ask(questions, flame(HOUR_S))?),
            ("24 hours", Some(150.0), self.ask(questions, flame(DAY_S))?),
            ("7 days", Some(300.0), self.ask(questions, flame(7 * DAY_S))?),
            ("difference of two days", Some(400.0), self.ask(questions, difference)?),
            ("first page of services", Some(50.0), self.ask(questions, services)?),
        ];
        let growth = GROWTH_DAYS.map(|days| Ok((days, self.ask(questions, flame(days * DAY_S))?)));
        Ok(Measured { hosts, rows, growth: growth.into_iter().collect::<Result<_>>()? })
    }

    /// Asks about one service after the other, each time with another end.
    fn ask(&self, questions: u32, question: impl Fn(&str, u64) -> String) -> Result<Times> {
        let services = self.filled["services"].as_array().context("the fill names no services")?;
        let end = self.filled["end_unix_ns"].as_u64().context("the fill has no end")?;
        let mut took = Vec::new();
        let mut bytes = 0;
        for number in 0..questions.max(1) {
            let service = services[number as usize % services.len()].as_str().unwrap_or_default();
            // Steps that share no factor with the span: all ends differ.
            let to = end / 1_000_000_000 - u64::from(number) * 1_361 % JITTER_S;
            let path = format!("/api/v1/{}", question(service, to));
            let begun = Instant::now();
            let answer = http::get_within(self.http, &path, (ANSWER_MAX, ANSWER_BYTES_MAX))?;
            took.push(begun.elapsed().as_secs_f64() * 1e3);
            ensure!(answer.len() > 100, "`{path}` was answered with `{answer}`");
            bytes += answer.len();
        }
        took.sort_unstable_by(f64::total_cmp);
        let quantile = |share: f64| took[((took.len() - 1) as f64 * share).round() as usize];
        let answer_kb = bytes as f64 / f64::from(questions.max(1)) / 1e3;
        Ok(Times { p50_ms: quantile(0.5), p95_ms: quantile(0.95), answer_kb })
    }
}

fn flamegraph(service: &str, from: u64, to: u64) -> String {
    format!("flamegraph?service={service}&from={from}&to={to}")
}

fn difference(service: &str, to: u64) -> String {
    let (before, from) = (to - 2 * DAY_S, to - DAY_S);
    format!(
        "diff?service={service}&baseline.from={before}&baseline.to={from}&candidate.from={from}&candidate.to={to}"
    )
}

/// The figures, as they stand in the document.
fn table(measured: &[Measured]) -> String {
    let mut text = String::from("| question | aim, p95 |");
    for one in measured {
        let _ = write!(text, " {} hosts: p50 | p95 | answer |", one.hosts);
    }
    text += "\n|---|---|";
    text += &"---|---|---|".repeat(measured.len());
    text += "\n";
    let Some(first) = measured.first() else { return text };
    for (row, (name, aim, _)) in first.rows.iter().enumerate() {
        let aim = aim.map_or_else(String::new, |ms| format!("{ms} ms"));
        let _ = write!(text, "| {name} | {aim} |");
        for one in measured {
            let Times { p50_ms, p95_ms, answer_kb } = &one.rows[row].2;
            let _ = write!(text, " {p50_ms:.1} ms | {p95_ms:.1} ms | {answer_kb:.0} kB |");
        }
        text += "\n";
    }
    text
}

fn plot(measured: &[Measured]) -> Plot {
    let curves: Vec<Curve> = measured
        .iter()
        .map(|one| Curve {
            name: format!("{} hosts, p95", one.hosts),
            points: one.growth.iter().map(|(days, times)| (*days as f64, times.p95_ms)).collect(),
            has_line: true,
        })
        .collect();
    let all = curves.iter().flat_map(|curve| &curve.points).map(|point| point.1);
    let high = all.fold(10.0, f64::max) * 1.2;
    Plot {
        file: "store-query".to_owned(),
        title: "Merged flame graph of one service".to_owned(),
        x: Axis { label: "days", low: 0.0, high: 7.5, is_logarithmic: false },
        y: Axis { label: "ms", low: 0.0, high, is_logarithmic: false },
        curves,
        levels: Vec::new(),
        marks: Vec::new(),
    }
}

fn write(table: &str, measured: &[Measured]) -> Result<()> {
    let plot = plot(measured);
    let image = workspace::root().join(IMAGES).join(format!("{}.svg", plot.file));
    fs::write(&image, plot.svg()).context("failed to write the plot")?;
    let path = workspace::root().join(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read `{DOCUMENT}`"))?;
    let (before, rest) = text.split_once(BEGIN).context("the document has no place for it")?;
    let (_, after) = rest.split_once(END).context("the place in the document has no end")?;
    fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}"))
        .with_context(|| format!("failed to write `{DOCUMENT}`"))
}
