//! How much must be known of two versions before a difference between them is told. Pure.

use std::collections::BTreeSet;

use crate::detect::Subject;
use crate::store::UnitWindow;

/// Fewest windows of a version. Fewer show a start, a deployment or one burst of work, not how it runs.
const WINDOWS_MIN: usize = 3;

/// Fewest samples of a version for an alert on a function: at the detector's smallest effect, half a percent of the CPU,
/// there are three of them.
const SAMPLES_MIN: u64 = 500;

/// Fewest windows and samples of a version that only a build id tells apart.
const BUILD_WINDOWS_MIN: usize = 8;
const BUILD_SAMPLES_MIN: u64 = 5_000;

/// Part of the windows in which such a version must have run. What runs now and then, as a compiler does, does other
/// work each time, and a rebuilt tool is no release.
const BUILD_STEADY_SHARE: f64 = 0.8;

/// Digits of a build id as agents shorten it.
const BUILD_ID_DIGITS: usize = 12;

/// What is known of a version in the windows that are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Support {
    windows: usize,
    samples: u64,
    /// Part of the windows from the first to the last in which it ran.
    steady_share: f64,
    is_build: bool,
}

impl Support {
    pub(super) fn of(version: &str, windows: &[UnitWindow], window_ns: u64) -> Self {
        let starts: BTreeSet<u64> = windows.iter().map(|window| window.start_unix_ns).collect();
        let span = match (starts.first(), starts.last()) {
            (Some(first), Some(last)) => (last - first) / window_ns + 1,
            _ => 1,
        };
        Self {
            windows: starts.len(),
            samples: windows.iter().map(|window| window.profile.total()).sum(),
            steady_share: starts.len() as f64 / span as f64,
            is_build: is_build_id(version),
        }
    }

    /// Whether an alert on the cost of the service may rest on this.
    pub(super) fn is_enough_for_service(&self) -> bool {
        self.is_enough(true)
    }

    /// Whether an alert on the subject may rest on this.
    pub(super) fn is_enough_for(&self, subject: &Subject) -> bool {
        // What waits in syscalls has few samples; its calls are counted, not sampled.
        self.is_enough(matches!(subject, Subject::Function { .. }))
    }

    fn is_enough(&self, is_sampled: bool) -> bool {
        let (windows, samples) = if self.is_build {
            (BUILD_WINDOWS_MIN, BUILD_SAMPLES_MIN)
        } else {
            (WINDOWS_MIN, SAMPLES_MIN)
        };
        let is_sampled = self.is_build || is_sampled;
        self.windows >= windows
            && (self.samples >= samples || !is_sampled)
            && (self.steady_share >= BUILD_STEADY_SHARE || !self.is_build)
    }
}

/// Whether a version can be compared at all: agents say `unknown` where nothing names one.
pub(super) fn is_named(version: &str) -> bool {
    !version.is_empty() && version != "unknown"
}

/// Whether a version looks like the build id that agents take where nothing names a version.
fn is_build_id(version: &str) -> bool {
    version.len() == BUILD_ID_DIGITS
        && version.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use profiler_common::profile::{Frame, Profile};

    use super::*;
    use crate::detect::{FunctionKind, SyscallMetric};

    const BUILD: &str = "0123456789ab";

    fn support(version: &str, starts: impl Iterator<Item = u64>, samples: u64) -> Support {
        let windows: Vec<UnitWindow> = starts
            .map(|start| {
                let mut profile = Profile::default();
                profile.add([&Frame::marker("f")], samples);
                UnitWindow {
                    host: "h".to_owned(),
                    unit: "u".to_owned(),
                    version: version.to_owned(),
                    start_unix_ns: start * 10,
                    cpu_ns: 0,
                    profile: profile.into(),
                    ..UnitWindow::default()
                }
            })
            .collect();
        Support::of(version, &windows, 10)
    }

    fn function() -> Subject {
        Subject::Function {
            module: String::new(),
            function: "f".to_owned(),
            kind: FunctionKind::SelfTime,
        }
    }

    #[test]
    fn two_windows_are_no_support_however_many_samples_they_hold() {
        assert!(!support("1", 0..2, 1_000_000).is_enough_for(&function()));
        assert!(support("1", 0..3, 200).is_enough_for(&function()));
    }

    #[test]
    fn a_function_needs_samples_and_a_syscall_does_not() {
        let idle = support("1", 0..5, 1);
        let syscall = Subject::Syscall { name: "fsync".to_owned(), metric: SyscallMetric::P99 };
        assert!(!idle.is_enough_for(&function()));
        assert!(idle.is_enough_for(&syscall));
    }

    #[test]
    fn a_build_id_needs_more_than_a_version() {
        assert!(!support(BUILD, 0..5, 10_000).is_enough_for(&function()));
        assert!(!support(BUILD, 0..10, 400).is_enough_for(&function()));
        assert!(support(BUILD, 0..10, 500).is_enough_for(&function()));
    }

    #[test]
    fn a_rebuilt_tool_that_runs_now_and_then_is_no_release() {
        let tool = |version| support(version, (0..30).step_by(2), 10_000);
        assert!(!tool(BUILD).is_enough_for(&function()));
        assert!(tool("1.2.3").is_enough_for(&function()));
    }
}
