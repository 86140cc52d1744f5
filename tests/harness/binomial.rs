//! Says whether a count agrees with a share that is known, or with another count.

/// How often a true share must lie inside its interval.
pub const CONFIDENCE: f64 = 0.999;

/// Distance between two shares, in standard errors, that 150 comparisons together reach by chance once in a thousand
/// times.
pub const DISTANCE_MAX: f64 = 4.5;

/// Whether `share` lies inside the exact (Clopper-Pearson) interval of `hits` among `trials` at [`CONFIDENCE`].
#[must_use]
pub fn agrees(hits: u64, trials: u64, share: f64) -> bool {
    let tail = (1.0 - CONFIDENCE) / 2.0;
    at_most(hits, trials, share) > tail && at_most(trials - hits, trials, 1.0 - share) > tail
}

/// Distance between two observed shares, in standard errors of their difference.
#[must_use]
pub fn distance(left: (u64, u64), right: (u64, u64)) -> f64 {
    let (left_hits, left_trials) = (left.0 as f64, left.1 as f64);
    let (right_hits, right_trials) = (right.0 as f64, right.1 as f64);
    let share = (left_hits + right_hits) / (left_trials + right_trials);
    let error = (share * (1.0 - share) * (1.0 / left_trials + 1.0 / right_trials)).sqrt();
    let difference = (left_hits / left_trials - right_hits / right_trials).abs();
    if difference > 0.0 { difference / error } else { 0.0 }
}

/// Probability of at most `hits` among `trials`.
fn at_most(hits: u64, trials: u64, share: f64) -> f64 {
    if share <= 0.0 || hits >= trials {
        return 1.0;
    }
    if share >= 1.0 {
        return 0.0;
    }
    // Logarithms, because the probability of no hit at all is too small for a number.
    let odds = (share / (1.0 - share)).ln();
    let mut term = trials as f64 * (1.0 - share).ln();
    let mut sum = term.exp();
    for hit in 0..hits {
        term += odds + ((trials - hit) as f64).ln() - ((hit + 1) as f64).ln();
        sum += term.exp();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_the_binomial_distribution() {
        assert!((at_most(1, 3, 0.5) - 0.5).abs() < 1e-12);
        assert!((at_most(0, 2, 0.25) - 0.5625).abs() < 1e-12);
        assert!((at_most(50_000, 100_000, 0.5) - 0.5).abs() < 0.002);
        assert_eq!((at_most(0, 5, 1.0), at_most(5, 5, 1.0), at_most(0, 5, 0.0)), (0.0, 1.0, 1.0));
    }

    #[test]
    fn the_interval_is_as_wide_as_it_should_be() {
        // The interval of 100 among 1000 reaches from 0.0714 to 0.1348.
        for (share, inside) in [(0.0713, false), (0.0715, true), (0.1347, true), (0.1349, false)] {
            assert_eq!(agrees(100, 1000, share), inside, "{share}");
        }
        assert!(agrees(1000, 1000, 1.0) && !agrees(999, 1000, 1.0));
    }

    #[test]
    fn equal_shares_are_near_and_different_ones_far() {
        assert_eq!(distance((0, 10), (0, 20)), 0.0);
        assert!(distance((400, 1000), (410, 1000)) < 1.0);
        assert!(distance((400, 1000), (500, 1000)) > DISTANCE_MAX - 0.1);
    }
}
