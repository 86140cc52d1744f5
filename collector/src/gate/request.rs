//! What a gate is asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::policy::GatePolicy;

/// Longest range of a gate: seven days.
pub(super) const RANGE_SECONDS_MAX: f64 = 7.0 * 86_400.0;

/// The detector's unit window when it is not told.
const WINDOW_SECONDS: u64 = 60;

/// Longest unit window: a day.
const WINDOW_SECONDS_MAX: u64 = 86_400;

/// What a gate is asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateRequest {
    /// The service.
    pub service: String,
    /// Labels of the version known to be good, such as `version`.
    pub baseline: BTreeMap<String, String>,
    /// Labels of the version in question.
    pub candidate: BTreeMap<String, String>,
    /// Start of the range, Unix seconds: what was before it is not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<f64>,
    /// End of the range, Unix seconds; now when absent. With `from` the data is complete, and there is one look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<f64>,
    /// How long ago the candidate may have begun; of an older one this last part is looked at, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookback_seconds: Option<f64>,
    /// Length of one unit window in seconds; 60 when absent, and at most a look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u64>,
    /// What counts as a regression, and how much must be excluded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<GatePolicy>,
}

/// The times of a request, checked; Unix nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// What was before is not looked at.
    pub(super) from_unix_ns: u64,
    /// The time at which the question is asked, or the end of the range.
    pub(super) now_unix_ns: u64,
    /// A candidate that began before this is looked at once, from here on.
    pub(super) oldest_unix_ns: u64,
    /// Whether the range is complete, so that nothing is looked at twice.
    pub(super) is_complete: bool,
    /// Length of a unit window in nanoseconds.
    pub(super) window_ns: u64,
}

impl GateRequest {
    /// Reads the times; a sentence where they make no sense.
    pub(super) fn times(&self, now_unix_ns: u64, look_seconds: u64) -> Result<Times, String> {
        let now = now_unix_ns as f64 / 1e9;
        let end = self.to.unwrap_or(now);
        let lookback = self.lookback_seconds.unwrap_or(RANGE_SECONDS_MAX);
        let start = self.from.unwrap_or(end - lookback);
        let is_sane = start.is_finite() && end.is_finite() && start < end && end > 0.0;
        if !is_sane || end - start > RANGE_SECONDS_MAX {
            return Err(format!(
                "the range from {start} to {end} is empty or longer than {RANGE_SECONDS_MAX} s"
            ));
        }
        let ns = |seconds: f64| (seconds.max(0.0) * 1e9) as u64;
        // A look shorter than a window would hold none.
        let window = self.window_seconds.unwrap_or(WINDOW_SECONDS).clamp(1, WINDOW_SECONDS_MAX);
        Ok(Times {
            from_unix_ns: self.from.map_or(0, ns),
            now_unix_ns: self.to.map_or(now_unix_ns, |to| ns(to).min(now_unix_ns)),
            oldest_unix_ns: self.lookback_seconds.map_or(0, |_| ns(start)),
            is_complete: self.from.is_some() && self.to.is_some(),
            window_ns: window.min(look_seconds.max(1)) * 1_000_000_000,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_makes_no_sense_is_refused() {
        let request = |from, to| GateRequest { from, to, ..GateRequest::default() };
        for (from, to) in [
            (Some(20.0), Some(10.0)),
            (Some(f64::NAN), None),
            (Some(0.0), Some(f64::INFINITY)),
            (Some(0.0), None),
        ] {
            let times = request(from, to).times(9_000_000 * 1_000_000_000, 300);
            assert!(times.unwrap_err().contains("empty or longer"), "{from:?} {to:?}");
        }
        let times = request(Some(10.0), Some(20.0)).times(30_000_000_000, 5).unwrap();
        assert!(times.is_complete);
        assert_eq!((times.now_unix_ns, times.window_ns), (20_000_000_000, 5_000_000_000));
    }
}
