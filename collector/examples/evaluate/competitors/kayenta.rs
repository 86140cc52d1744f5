//! Kayenta's judge (Netflix and Google 2018), metric by metric: the 98 % interval of the Hodges-Lehmann shift by
//! Mann-Whitney over the points of the two series must lie beyond a quarter of its estimate.
//!
//! A point is a window, all hosts of an arm together, as its metric stores deliver them; a metric is a function. A
//! canary fails when fewer than [`PASS_SCORE`] of the metrics pass, which is for the caller to count: an alarm is a metric
//! classified "high".

use statrs::distribution::{ContinuousCDF as _, Normal};

use super::{Alarm, View};

/// Confidence of the interval, and the part of the shift by which it must clear zero: the defaults of its judge.
const CONFIDENCE: f64 = 0.98;
const TOLERANCE: f64 = 0.25;

/// Windows below which it has too little to compare.
const WINDOWS_MIN: usize = 4;

pub(super) fn alarms(view: &View) -> Vec<Alarm> {
    if view.windows.iter().any(|windows| windows.len() < WINDOWS_MIN) {
        return Vec::new();
    }
    let is_high = |item: &&super::view::Item| {
        let [before, after] = view.window_shares(item);
        let [low, estimate] = shift(&before, &after);
        estimate > 0.0 && low > TOLERANCE * estimate
    };
    let alarm =
        |item: &super::view::Item| Alarm { scope: item.scope.clone(), delta: view.delta(item) };
    view.items.iter().filter(is_high).map(alarm).collect()
}

/// Lower end of the interval of the shift, and its estimate: the median of all differences.
fn shift(before: &[f64], after: &[f64]) -> [f64; 2] {
    let mut differences: Vec<f64> =
        before.iter().flat_map(|x| after.iter().map(move |y| y - x)).collect();
    differences.sort_unstable_by(f64::total_cmp);
    let (m, n) = (before.len() as f64, after.len() as f64);
    let z = Normal::standard().inverse_cdf(0.5 + CONFIDENCE / 2.0);
    let rank = m * n / 2.0 - z * (m * n * (m + n + 1.0) / 12.0).sqrt();
    let low = if rank < 1.0 { f64::NEG_INFINITY } else { differences[rank as usize - 1] };
    [low, differences[differences.len() / 2]]
}
