//! Whether a series rises: the slope of Theil and Sen, and the test of Mann and Kendall.

use crate::detect::special::t_upper_tail;

/// Longest series for which the distribution of Kendall's S is counted out.
const EXACT_MAX: usize = 30;

/// Slope in units of value for each unit of time: the median of the slopes between all pairs (Theil 1950, Sen 1968).
/// A few outliers do not move it. Not a number with fewer than two points; times must differ.
pub(super) fn theil_sen(points: &[(f64, f64)]) -> f64 {
    let mut slopes: Vec<f64> = points
        .iter()
        .enumerate()
        .flat_map(|(index, (x0, y0))| {
            points[index + 1..].iter().map(move |(x1, y1)| (y1 - y0) / (x1 - x0))
        })
        .collect();
    median(&mut slopes)
}

/// Median; the mean of the two in the middle where there are two. Not a number without values.
pub(super) fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}

/// Two-sided probability of a trend as clear as that of `values`, in order of time, if they were exchangeable (Mann
/// 1945, Kendall 1975). Exact without ties up to 30 values; else S over its standard deviation, corrected for ties, is
/// taken as normal, as `scipy.stats.kendalltau` does.
pub(super) fn mann_kendall(values: &[f64]) -> f64 {
    let n = values.len();
    let (mut score, mut ties) = (0i64, 0usize);
    for (index, left) in values.iter().enumerate() {
        for right in &values[index + 1..] {
            match right.total_cmp(left) {
                std::cmp::Ordering::Greater => score += 1,
                std::cmp::Ordering::Less => score -= 1,
                std::cmp::Ordering::Equal => ties += 1,
            }
        }
    }
    if n < 2 {
        return 1.0;
    }
    if ties == 0 && n <= EXACT_MAX {
        return exact(n, score.unsigned_abs() as usize);
    }
    let size = n as f64;
    let tied: f64 = tie_groups(values).map(|t| t * (t - 1.0) * 2.0f64.mul_add(t, 5.0)).sum();
    let variance = (size * (size - 1.0) * 2.0f64.mul_add(size, 5.0) - tied) / 18.0;
    if variance <= 0.0 {
        return 1.0;
    }
    let z = score.unsigned_abs() as f64 / variance.sqrt();
    (2.0 * t_upper_tail(z, f64::INFINITY)).min(1.0)
}

/// Sizes of the groups of equal values.
fn tie_groups(values: &[f64]) -> impl Iterator<Item = f64> {
    let mut rising = values.to_vec();
    rising.sort_unstable_by(f64::total_cmp);
    let groups: Vec<f64> =
        rising.chunk_by(|left, right| left == right).map(|group| group.len() as f64).collect();
    groups.into_iter()
}

/// P(|S| >= score): permutations of n are counted by their inversions, one element at a time.
fn exact(n: usize, score: usize) -> f64 {
    let pairs = n * (n - 1) / 2;
    let mut chances = vec![0.0; pairs + 1];
    chances[0] = 1.0;
    for element in 2..=n {
        let mut next = vec![0.0; pairs + 1];
        for (inversions, chance) in chances.iter().enumerate() {
            for more in 0..element.min(pairs + 1 - inversions) {
                next[inversions + more] += chance / element as f64;
            }
        }
        chances = next;
    }
    // S = pairs - 2 · inversions.
    let fewest = (pairs - score.min(pairs)) / 2;
    let tail: f64 = chances[..=fewest].iter().sum();
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RISING: [f64; 15] =
        [0.3, 1.1, 0.7, 2.4, 1.9, 3.6, 2.2, 4.1, 5.0, 3.9, 6.2, 5.8, 7.7, 6.9, 30.0];
    const TIED: [f64; 12] = [1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 2.0, 5.0, 6.0, 6.0, 8.0, 7.0];
    const MIXED: [f64; 8] = [2.0, 1.0, 4.0, 3.0, 2.5, 0.5, 3.5, 1.5];

    fn points(values: &[f64]) -> Vec<(f64, f64)> {
        values.iter().enumerate().map(|(at, value)| (at as f64, *value)).collect()
    }

    fn close(found: f64, truth: f64) {
        assert!((found - truth).abs() <= 1e-9 * truth.abs().max(1e-3), "{found} for {truth}");
    }

    /// From `tests/reference/trend.py` (scipy 1.17 `theilslopes`, `kendalltau`).
    #[test]
    fn slopes_and_trends_agree_with_scipy() {
        close(theil_sen(&points(&RISING)), 0.588_888_888_888_889);
        close(theil_sen(&points(&MIXED)), -0.098_214_285_714_285_71);
        close(mann_kendall(&RISING), 4.073_460_588_010_852_7e-7);
        close(mann_kendall(&MIXED), 0.904_861_111_111_111_1);
        close(mann_kendall(&TIED), 2.911_926_743_721_898e-4);
        close(mann_kendall(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), 0.002_777_777_777_777_778);
    }

    proptest! {
        #[test]
        fn a_trend_turned_round_is_as_clear(values in proptest::collection::vec(-9.0f64..9.0, 2..25)) {
            let turned: Vec<f64> = values.iter().rev().copied().collect();
            prop_assert!((mann_kendall(&values) - mann_kendall(&turned)).abs() < 1e-12);
            prop_assert!((0.0..=1.0).contains(&mann_kendall(&values)));
        }
    }
}
