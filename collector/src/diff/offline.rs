//! The `diff` command: compares profile files without a server.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use flate2::read::MultiGzDecoder;
use profiler_common::profile::{Frame, FrameKind, Profile, parse_folded};
use serde::Serialize;

use super::args::Output;
use super::pprof::parse_pprof;
use super::table::verdict_table;
use super::{DiffArgs, Grouping, Paint, ProfileDiff};
use crate::detect::{Verdict, judge};
use crate::gate::checks::{self, Check, Consequence};
use crate::gate::decide::{Evidence, decide};
use crate::gate::looks::Look;
use crate::gate::restarts::Restarts;
use crate::gate::{GateAnswer, GatePolicy, Head, Seen, answer_table, markdown};
use crate::show::now_unix_ns;
use crate::store::UnitWindow;

/// Largest file, after decompression, in bytes. A pprof of a busy fleet hour has tens of megabytes.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// Most samples in a file: 2^48 are a year of 24,000 CPUs at 370 Hz, and sums of many files stay exact.
pub(super) const COUNT_MAX: u64 = 1 << 48;

/// What `--output json` prints.
#[derive(Serialize)]
struct Report<'r> {
    #[serde(flatten)]
    answer: &'r GateAnswer,
    verdicts: &'r [Verdict],
}

/// Compares the files, prints to `out`, and returns the exit code.
///
/// # Errors
///
/// When a file cannot be read or is no profile, or when `out` fails.
pub fn command(args: &DiffArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let policy = match &args.policy {
        Some(path) => GatePolicy::read(path)?,
        None => GatePolicy::default(),
    };
    let (baseline, candidate) = (read_side(&args.baseline)?, read_side(&args.candidate)?);
    let diff = ProfileDiff::new(&baseline, &candidate, &Grouping::default());
    let judgement = judge(&diff, &policy.detect);
    let checks = checks_of(args, &diff);
    let evidence = Evidence {
        look: Look::only(0, 0),
        diff: &diff,
        judgement: &judgement,
        restarts: [Restarts::default(); 2],
        checks: &checks,
    };
    let decision = decide(&evidence, &policy);
    let verdicts = judgement.verdicts.clone();
    let answer = GateAnswer::of(Seen { diff, judgement, checks }, decision, &policy);
    match args.output {
        Output::Json => {
            let report = Report { answer: &answer, verdicts: &verdicts };
            serde_json::to_writer_pretty(&mut *out, &report)?;
            writeln!(out)?;
        }
        Output::Markdown => {
            let names = |paths: &[PathBuf]| {
                paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
            };
            let head = Head {
                service: &args.service,
                sides: [names(&args.baseline), names(&args.candidate)],
                now_unix_ns: now_unix_ns(),
                summary: &args.summary,
            };
            markdown(&answer, &head, out)?;
        }
        Output::Table => {
            writeln!(out, "{}", verdict_table(&verdicts, args.top))?;
            answer_table(&answer, Paint::of_stdout(), out)?;
        }
    }
    Ok(answer.exit_code)
}

/// What must be known before the comparison is believed.
fn checks_of(args: &DiffArgs, diff: &ProfileDiff) -> Vec<Check> {
    let mut checks = checks::of_counts(diff);
    if args.baseline.len() < 2 || args.candidate.len() < 2 {
        let sentence = "a side with one file has no replicates: how much runs differ by themselves cannot be known, so the \
                        intervals hold sampling noise alone and nothing is called a regression; give several files a side";
        checks.push(Check::new(Consequence::Told, sentence));
    }
    checks
}

/// One unit for each file.
fn read_side(paths: &[PathBuf]) -> anyhow::Result<Vec<UnitWindow>> {
    paths
        .iter()
        .enumerate()
        .map(|(index, path)| {
            let profile = read_profile(path)
                .with_context(|| format!("failed to read profile `{}`", path.display()))?;
            Ok(UnitWindow {
                host: index.to_string(),
                unit: path.display().to_string(),
                version: String::new(),
                start_unix_ns: 0,
                cpu_ns: 0,
                profile: profile.into(),
                // The files do not say anything else, such as how their stacks ended.
                ..UnitWindow::default()
            })
        })
        .collect()
}

fn read_profile(path: &Path) -> anyhow::Result<Profile> {
    let mut bytes = Vec::new();
    read_bounded(File::open(path)?, &mut bytes)?;
    parse_profile(&path.to_string_lossy(), bytes)
}

/// Reads the content of a file, pprof by its name or when it is no text, else folded; either may be compressed with gzip.
///
/// # Errors
///
/// When it is no profile, or larger than a profile may be.
pub fn parse_profile(name: &str, mut bytes: Vec<u8>) -> anyhow::Result<Profile> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        read_bounded(MultiGzDecoder::new(&bytes[..]), &mut plain)
            .context("failed to decompress")?;
        bytes = plain;
    }
    if name.ends_with(".pb") || name.ends_with(".pb.gz") || name.ends_with(".pprof") {
        return Ok(parse_pprof(&bytes)?);
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => folded_profile(text),
        // No text, so it can only be pprof under another name.
        Err(_not_text) => Ok(parse_pprof(&bytes)?),
    }
}

fn read_bounded(from: impl Read, bytes: &mut Vec<u8>) -> anyhow::Result<()> {
    from.take(FILE_BYTES_MAX + 1).read_to_end(bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        bail!("it has more than {FILE_BYTES_MAX} bytes");
    }
    Ok(())
}

/// Folded text carries no modules; `_[k]` marks the kernel and square brackets a marker.
fn folded_profile(text: &str) -> anyhow::Result<Profile> {
    let mut profile = Profile::default();
    let mut total = 0_u64;
    for (names, count) in parse_folded(text)? {
        total = total.saturating_add(count);
        if total > COUNT_MAX {
            bail!("it counts more than {COUNT_MAX} samples");
        }
        let frames: Vec<Frame> = names.into_iter().map(folded_frame).collect();
        profile.add(&frames, count);
    }
    if profile.is_empty() {
        bail!("it holds no stacks");
    }
    Ok(profile)
}

fn folded_frame(name: &str) -> Frame {
    let (function, kind, module) = if let Some(function) = name.strip_suffix("_[k]") {
        (function, FrameKind::Kernel, "[kernel]")
    } else if let Some(function) = name.strip_suffix("_[i]") {
        (function, FrameKind::Inlined, "")
    } else if let Some(function) = name.strip_suffix("_[j]") {
        (function, FrameKind::Jit, "")
    } else if name.starts_with('[') && name.ends_with(']') {
        (name, FrameKind::Marker, "")
    } else {
        (name, FrameKind::Native, "")
    };
    Frame { kind, module: module.to_owned(), ..Frame::marker(function) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(sides: [&[&str]; 2]) -> (u8, String) {
        let folder = tempfile::tempdir().unwrap();
        let write = |side: &str, texts: &[&str]| -> Vec<PathBuf> {
            texts
                .iter()
                .enumerate()
                .map(|(index, text)| {
                    let path = folder.path().join(format!("{side}{index}.folded"));
                    std::fs::write(&path, text).unwrap();
                    path
                })
                .collect()
        };
        let args = DiffArgs {
            baseline: write("a", sides[0]),
            candidate: write("b", sides[1]),
            policy: None,
            top: 10,
            output: Output::Table,
            service: String::new(),
            summary: crate::gate::Summary::default(),
        };
        let mut out = Vec::new();
        let code = command(&args, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    const OLD: [&str; 3] = [
        "main;parse 5000\nmain;hash 3000\nmain;send 6000\nmain;log 4000",
        "main;parse 5050\nmain;hash 2950\nmain;send 6020\nmain;log 4010",
        "main;parse 4980\nmain;hash 3020\nmain;send 5960\nmain;log 3985",
    ];
    const NEW: [&str; 3] = [
        "main;parse 5010\nmain;hash 4500\nmain;send 6030\nmain;log 4020",
        "main;parse 4960\nmain;hash 4480\nmain;send 5990\nmain;log 3975",
        "main;parse 5020\nmain;hash 4530\nmain;send 6010\nmain;log 4000",
    ];

    #[test]
    fn replicates_that_got_slower_exit_3_and_name_the_function() {
        let (code, text) = run([&OLD, &NEW]);
        assert_eq!(code, 3, "{text}");
        let regressions: Vec<&str> =
            text.lines().filter(|line| line.contains("REGRESSION")).collect();
        let is_hash = regressions.iter().all(|line| line.contains("hash"));
        // One line among all that was tested, one by its cause.
        assert!(regressions.len() == 2 && is_hash, "{text}");
    }

    #[test]
    fn equal_replicates_exit_0() {
        let (code, text) = run([&OLD, &OLD]);
        assert_eq!(code, 0, "{text}");
    }

    #[test]
    fn one_file_a_side_is_inconclusive_and_says_why() {
        let (code, text) = run([&OLD[..1], &NEW[..1]]);
        assert_eq!(code, 4, "{text}");
        assert!(text.contains("no replicates"), "{text}");
    }

    #[test]
    fn counts_whose_sum_would_overflow_are_an_error() {
        let most = u64::MAX;
        let error = folded_profile(&format!("main;a {most}\nmain;b {most}")).unwrap_err();
        assert!(error.to_string().contains("counts more than"), "{error}");
    }
}
