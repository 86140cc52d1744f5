//! What no method can beat, and how sure a count is: closed forms.

use statrs::distribution::{Beta, ContinuousCDF as _, Normal};

/// Level of one frame in the limits: 1,000 frames at a false discovery rate of 1 %.
pub(crate) const LEVEL: f64 = 1e-5;

/// Power at which an effect counts as detectable.
pub(crate) const POWER: f64 = 0.8;

/// Standard normal quantile.
pub(crate) fn normal_quantile(probability: f64) -> f64 {
    Normal::standard().inverse_cdf(probability)
}

/// Smallest growth of a share `p` that any test of level [`LEVEL`] finds with [`POWER`], from `samples` samples a side
/// on `hosts` hosts a side whose shares scatter with the coefficient of variation `tau`:
/// `(z_a + z_b) sqrt(2 p(1-p)/N + 2 p² τ²/H)` (Neyman and Pearson 1933). With `tau` 0 the limit of sampling.
pub(crate) fn detectable(p: f64, tau: f64, samples: f64, hosts: f64) -> f64 {
    let z = normal_quantile(1.0 - LEVEL) + normal_quantile(POWER);
    z * (2.0 * p * (1.0 - p) / samples + 2.0 * (p * tau).powi(2) / hosts).sqrt()
}

/// Interval of a probability of which `hits` of `trials` were seen, each tail `tail` (Clopper and Pearson 1934).
pub(crate) fn clopper_pearson(hits: u64, trials: u64, tail: f64) -> [f64; 2] {
    let (hits, misses) = (hits as f64, trials.saturating_sub(hits) as f64);
    let quantile = |a: f64, b: f64, p: f64| Beta::new(a, b).map_or(f64::NAN, |b| b.inverse_cdf(p));
    let low = if hits > 0.0 { quantile(hits, misses + 1.0, tail) } else { 0.0 };
    let high = if misses > 0.0 { quantile(hits + 1.0, misses, 1.0 - tail) } else { 1.0 };
    [low, high]
}

/// Where a rising curve of (effect, power) crosses [`POWER`], by linear interpolation after the power was made rising
/// by pooling neighbours (Ayer and others 1955); `None` when it stays below.
pub(crate) fn crossing(points: &[(f64, f64)]) -> Option<f64> {
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for (_, power) in points {
        blocks.push((*power, 1));
        while let [.., (left, m), (right, n)] = blocks[..] {
            if left <= right {
                break;
            }
            let pooled = (left * m as f64 + right * n as f64) / (m + n) as f64;
            blocks.truncate(blocks.len() - 2);
            blocks.push((pooled, m + n));
        }
    }
    let rising = blocks.iter().flat_map(|(power, count)| std::iter::repeat_n(*power, *count));
    let mut before = (0.0, 0.0);
    for ((effect, _), power) in points.iter().zip(rising) {
        if power >= POWER {
            let rise = power - before.1;
            let part = if rise > 0.0 { (POWER - before.1) / rise } else { 1.0 };
            return Some(before.0 + part * (effect - before.0));
        }
        before = (*effect, power);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_and_quantiles_are_those_of_scipy() {
        // tests/reference/evaluate.py
        let [low, high] = clopper_pearson(3, 100, 0.025);
        assert!((low - 0.006_229_971_5).abs() < 1e-8, "{low}");
        assert!((high - 0.085_176_053_0).abs() < 1e-8, "{high}");
        let z = normal_quantile(1.0 - LEVEL) + normal_quantile(POWER);
        assert!((z - 5.106_512_03).abs() < 1e-6, "{z}");
    }

    #[test]
    fn nothing_seen_still_has_an_upper_end() {
        let [low, high] = clopper_pearson(0, 1_000, 0.05);
        assert!(low == 0.0 && (high - 0.002_991_3).abs() < 1e-6, "{high}");
    }

    #[test]
    fn a_curve_crosses_between_the_points_around_the_power() {
        let found = crossing(&[(1.0, 0.2), (2.0, 0.6), (3.0, 1.0)]);
        assert!(found.is_some_and(|at| (at - 2.5).abs() < 1e-9), "{found:?}");
        assert_eq!(crossing(&[(1.0, 0.2), (2.0, 0.7)]), None);
        // One lucky point does not count: it is put together with its neighbour.
        assert_eq!(crossing(&[(1.0, 0.9), (2.0, 0.1)]), None);
    }
}
