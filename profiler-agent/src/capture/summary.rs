//! What is printed after a capture: samples, losses, the busiest functions, and the table of syscalls.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::path::Path;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use profiler_common::profile::{Frame, FrameKind, LatencyHistogram};
use serde::Serialize;

use super::form::Captured;
use super::quality::{self, BinaryQuality};
use crate::symbolize::TRUNCATED_PREFIX;

/// Busiest functions that are named.
const FUNCTIONS_SHOWN: usize = 5;

/// The outcome of a capture in numbers.
#[derive(Debug, Serialize)]
pub struct Summary {
    file: String,
    samples: u64,
    samples_taken: u64,
    samples_lost: BTreeMap<String, u64>,
    samples_truncated: u64,
    seconds: f64,
    frequency_hz: u32,
    functions: Vec<BusyFunction>,
    quality: Vec<BinaryQuality>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    syscalls: Vec<SyscallRow>,
}

/// A function by the samples in which it ran itself.
#[derive(Debug, PartialEq, Serialize)]
struct BusyFunction {
    function: String,
    module: String,
    self_samples: u64,
    total_samples: u64,
}

/// One syscall of one service.
#[derive(Debug, Serialize)]
struct SyscallRow {
    service: String,
    name: String,
    waiting: bool,
    calls: u64,
    errors: u64,
    sum_ns: u64,
    p50_ns: u64,
    p95_ns: u64,
    p99_ns: u64,
    max_ns: u64,
}

impl Summary {
    /// Sums a capture up.
    #[must_use]
    pub fn of(captured: &Captured, file: &Path) -> Self {
        let is_truncated = |frames: &[&Frame]| {
            frames
                .iter()
                .any(|f| f.kind == FrameKind::Marker && f.function.starts_with(TRUNCATED_PREFIX))
        };
        let truncated = captured.stacks().filter(|(_, frames, _)| is_truncated(frames));
        Self {
            file: file.display().to_string(),
            samples: captured.samples(),
            samples_taken: captured.taken,
            samples_lost: captured.lost.iter().filter(|(_, lost)| *lost > 0).cloned().collect(),
            samples_truncated: truncated.map(|(_, _, count)| count).sum(),
            seconds: captured.seconds(),
            frequency_hz: captured.frequency_hz,
            functions: busiest(captured),
            quality: quality::binaries(captured),
            syscalls: syscalls(captured),
        }
    }

    /// Writes JSON for programs.
    ///
    /// # Errors
    ///
    /// When `out` fails.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }

    /// Writes the numbers and the busiest functions for people.
    ///
    /// # Errors
    ///
    /// When `out` fails.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let lost: u64 = self.samples_lost.values().sum();
        writeln!(
            out,
            "{}: {} samples in {:.1} s at {} Hz, {} lost, {} truncated",
            self.file, self.samples, self.seconds, self.frequency_hz, lost, self.samples_truncated
        )?;
        for (reason, samples) in &self.samples_lost {
            writeln!(out, "  lost {reason}: {samples}")?;
        }
        if self.samples == 0 {
            writeln!(
                out,
                "  nothing of what was chosen ran on a CPU; --syscalls shows what it waits for"
            )?;
            return Ok(());
        }
        let mut table = table(["SELF", "TOTAL", "FUNCTION", "MODULE"]);
        for row in &self.functions {
            let share =
                |samples: u64| format!("{:.1} %", 100.0 * samples as f64 / self.samples as f64);
            table.add_row([
                share(row.self_samples),
                share(row.total_samples),
                row.function.clone(),
                row.module.clone(),
            ]);
        }
        align_right(&mut table, 0..2);
        writeln!(out, "{table}")
    }

    /// Writes of each binary how many of its stacks are whole, and why the others are not.
    ///
    /// # Errors
    ///
    /// When `out` fails.
    pub fn write_quality(&self, out: &mut dyn Write) -> io::Result<()> {
        quality::write(&self.quality, out)
    }

    /// Writes the table of syscalls, the most expensive first.
    ///
    /// # Errors
    ///
    /// When `out` fails.
    pub fn write_syscalls(&self, out: &mut dyn Write) -> io::Result<()> {
        let head =
            ["SERVICE", "SYSCALL", "TOTAL", "CALLS", "ERRORS", "P50", "P95", "P99", "MAX", ""];
        let mut table = table(head);
        for row in &self.syscalls {
            table.add_row([
                row.service.clone(),
                row.name.clone(),
                duration(row.sum_ns),
                row.calls.to_string(),
                row.errors.to_string(),
                duration(row.p50_ns),
                duration(row.p95_ns),
                duration(row.p99_ns),
                duration(row.max_ns),
                if row.waiting { "waits by design".to_owned() } else { String::new() },
            ]);
        }
        align_right(&mut table, 2..9);
        writeln!(out, "{table}")
    }
}

fn busiest(captured: &Captured) -> Vec<BusyFunction> {
    let mut counts: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    for (_, frames, count) in captured.stacks() {
        let mut functions = frames.iter().filter(|frame| frame.kind != FrameKind::Marker);
        let unique: HashSet<(&str, &str)> = functions
            .clone()
            .map(|frame| (frame.function.as_str(), frame.module.as_str()))
            .collect();
        for function in unique {
            counts.entry(function).or_default().1 += count;
        }
        if let Some(leaf) = functions.next_back() {
            counts.entry((&leaf.function, &leaf.module)).or_default().0 += count;
        }
    }
    let mut functions: Vec<BusyFunction> = counts
        .into_iter()
        .map(|((function, module), (self_samples, total_samples))| BusyFunction {
            function: function.to_owned(),
            module: module.to_owned(),
            self_samples,
            total_samples,
        })
        .collect();
    functions.sort_by_key(|row| std::cmp::Reverse((row.self_samples, row.total_samples)));
    functions.truncate(FUNCTIONS_SHOWN);
    functions
}

fn syscalls(captured: &Captured) -> Vec<SyscallRow> {
    let mut rows: Vec<SyscallRow> = Vec::new();
    for service in &captured.window.services {
        for syscall in &service.syscalls {
            let histogram: &LatencyHistogram = &syscall.histogram;
            let [p50_ns, p95_ns, p99_ns] = histogram.quantiles_ns([0.5, 0.95, 0.99]);
            rows.push(SyscallRow {
                service: service.identity.service.clone(),
                name: syscall.name.clone(),
                waiting: syscall.waiting,
                calls: histogram.calls(),
                errors: syscall.errors.iter().map(|(_, calls)| calls).sum(),
                sum_ns: histogram.sum_ns,
                p50_ns,
                p95_ns,
                p99_ns,
                max_ns: histogram.max_ns,
            });
        }
    }
    // What waits by design would hide the work.
    rows.sort_by_key(|row| (row.waiting, std::cmp::Reverse(row.sum_ns)));
    rows
}

pub(super) fn table(head: impl IntoIterator<Item = impl Into<comfy_table::Cell>>) -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_header(head.into_iter().map(Into::into).collect::<Vec<comfy_table::Cell>>());
    table
}

pub(super) fn align_right(table: &mut Table, columns: std::ops::Range<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// A duration with three digits: 950 ns, 12.3 µs, 4.56 s.
fn duration(ns: u64) -> String {
    let value = ns as f64;
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (value / 1e3, "µs"),
        1_000_000..1_000_000_000 => (value / 1e6, "ms"),
        _ => (value / 1e9, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::super::form::tests::captured;
    use super::*;

    #[test]
    fn a_recursive_function_counts_once_for_a_stack() {
        let mut captured = captured();
        let f = Frame::marker("f");
        let f = Frame { kind: FrameKind::Native, ..f };
        captured.window.services[0].profile.add([&f, &f, &f], 10);
        assert_eq!(
            busiest(&captured)[0],
            BusyFunction {
                function: "f".to_owned(),
                module: String::new(),
                self_samples: 10,
                total_samples: 10
            }
        );
    }

    #[test]
    fn the_text_names_losses_and_functions() {
        let mut text = Vec::new();
        Summary::of(&captured(), Path::new("a.svg")).write_text(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for part in [
            "a.svg: 5 samples in 2.0 s at 100 Hz, 1 lost",
            "lost ring_full: 1",
            "60.0 %",
            "vfs_fsync",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn durations_have_three_digits() {
        let texts: Vec<String> =
            [7, 1_500, 12_340, 999_000_000, 61_000_000_000].map(duration).into();
        assert_eq!(texts, ["7 ns", "1.50 µs", "12.3 µs", "999 ms", "61.0 s"]);
    }
}
