//! Counts the functions of one window of a service, all its units together.

use crate::detect::temporal::{FINE_NS, Total, WindowCounts};
use crate::diff::ProfileDiff;

/// Counts by function of a window of ten minutes, given as both sides of a difference (one is usually empty).
///
/// Names are those of the difference, so that a finding here and one of a release speak of the same function.
#[must_use]
pub fn counts_of(start_unix_ns: u64, diff: &ProfileDiff) -> WindowCounts {
    let mut own = vec![0u64; diff.functions.len()];
    let mut anywhere = vec![0u64; diff.functions.len()];
    let mut seen = vec![usize::MAX; diff.functions.len()];
    for stack in 0..diff.stacks.len() {
        let samples: u64 = diff.stacks.counts(stack).iter().map(|count| count.samples).sum();
        let functions = diff.stacks.functions(stack);
        for function in functions {
            let at = *function as usize;
            // A recursive function counts once.
            if std::mem::replace(&mut seen[at], stack) != stack {
                anywhere[at] += samples;
            }
        }
        if let Some(top) = functions.last() {
            own[*top as usize] += samples;
        }
    }
    let replicates = || diff.baseline.iter().chain(&diff.candidate);
    let total = Total {
        samples: replicates().map(|replicate| replicate.samples).sum(),
        cpu_ns: replicates().map(|replicate| replicate.cpu_ns).fold(0, u64::saturating_add),
        unit_seconds: replicates().map(|replicate| replicate.seconds as u64).sum(),
    };
    let functions = diff
        .functions
        .iter()
        .zip(own.into_iter().zip(anywhere))
        .filter(|(_, (_, anywhere))| *anywhere > 0)
        .map(|(key, (own, anywhere))| (key.clone(), own, anywhere))
        .collect();
    WindowCounts { start_unix_ns: start_unix_ns / FINE_NS * FINE_NS, total, functions }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::{FunctionKey, Grouping};
    use crate::store::UnitWindow;
    use profiler_common::profile::{Frame, FrameKind, Profile};

    #[test]
    fn a_recursive_function_counts_once_and_the_top_is_its_own() {
        let mut profile = Profile::default();
        for (stack, count) in [("f", 1), ("f;g;f", 3), ("f;g", 5)] {
            let frame = |name| Frame { kind: FrameKind::Native, ..Frame::marker(name) };
            profile.add(&stack.split(';').map(frame).collect::<Vec<Frame>>(), count);
        }
        let window = UnitWindow {
            host: "host".to_owned(),
            unit: "unit".to_owned(),
            start_unix_ns: FINE_NS,
            cpu_ns: 90,
            profile: profile.into(),
            ..UnitWindow::default()
        };
        let grouping = Grouping { window_ns: FINE_NS, ..Grouping::default() };
        let counts = counts_of(FINE_NS + 5, &ProfileDiff::new(&[], &[window], &grouping));
        assert_eq!(counts.start_unix_ns, FINE_NS);
        assert_eq!(counts.total, Total { samples: 9, cpu_ns: 90, unit_seconds: 600 });
        let key = |name: &str| FunctionKey { module: String::new(), function: name.to_owned() };
        assert_eq!(counts.functions, [(key("f"), 4, 9), (key("g"), 5, 8)]);
    }
}
