//! Writes the values of verdicts in a unit that people can read.

use crate::detect::{Subject, SyscallMetric, Verdict};

/// Relative change from which it is told as a multiple.
const TIMES_FROM: f64 = 10.0;

/// A value in the unit of its subject.
pub(crate) fn show(verdict: &Verdict, value: f64) -> String {
    show_value(&verdict.subject, value)
}

/// A value in the unit of a subject.
pub(crate) fn show_value(subject: &Subject, value: f64) -> String {
    match subject {
        Subject::Syscall {
            metric: SyscallMetric::P50 | SyscallMetric::P95 | SyscallMetric::P99,
            ..
        } => show_ns(value),
        Subject::Syscall { metric: SyscallMetric::CallRate, .. } => format!("{value:.2} /CPU-s"),
        Subject::Syscall { metric: SyscallMetric::CallsPerRequest, .. } => {
            format!("{value:.3} /request")
        }
        Subject::Function { .. } | Subject::Syscall { .. } => format!("{:.2} %", value * 100.0),
    }
}

/// Nanoseconds in the largest unit of which there is at least one.
pub(crate) fn show_ns(ns: f64) -> String {
    match ns.abs() {
        size if size >= 1e9 => format!("{:.2} s", ns / 1e9),
        size if size >= 1e6 => format!("{:.2} ms", ns / 1e6),
        size if size >= 1e3 => format!("{:.1} us", ns / 1e3),
        _ => format!("{ns:.0} ns"),
    }
}

/// A relative change with its sign; a new thing has none.
pub(crate) fn show_change(verdict: &Verdict) -> String {
    verdict.delta_rel.map_or_else(|| "new".to_owned(), show_relative)
}

/// A relative change with its sign; a large one as how many times.
pub(crate) fn show_relative(change: f64) -> String {
    if change < TIMES_FROM {
        format!("{:+.1} %", change * 100.0)
    } else {
        format!("{:.0} times", change + 1.0)
    }
}

/// The value before, or that there was none.
pub(crate) fn show_baseline(verdict: &Verdict) -> String {
    verdict.baseline_value.map_or_else(|| "absent".to_owned(), |value| show(verdict, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_a_percentage_until_it_is_many_times() {
        assert_eq!([-0.5, 0.113, 718.6].map(show_relative), ["-50.0 %", "+11.3 %", "720 times"]);
    }

    #[test]
    fn times_are_shown_in_a_readable_unit() {
        assert_eq!(
            [12.0, 1_500.0, 2_340_000.0, -1.5e9].map(show_ns),
            ["12 ns", "1.5 us", "2.34 ms", "-1.50 s"]
        );
    }
}
