//! The logarithm of the ratio of two costs over replicates: in groups, by strata, or as pairs.

use super::Estimate;
use crate::detect::design::{Design, Stratum};

/// Logarithm of the cost of each row, and the variance that counting alone gives it.
pub(super) struct Costs {
    pub(super) log: Vec<f64>,
    pub(super) variance: Vec<f64>,
}

/// Two sides' mean logarithms, and their difference.
pub(super) struct Found {
    pub(super) means: [f64; 2],
    pub(super) difference: Estimate,
}

/// Difference of the mean logarithms, candidate minus baseline.
///
/// Groups: Student's t with one variance for all replicates, `s² = Σ (y_h - mean_side)² / (H - 2 strata)`, since under
/// the null hypothesis the replicates of both sides are of one kind; a stratum with `n0` and `n1` replicates weighs
/// `n0 n1/(n0 + n1)`, and the variance of the difference is `s²/Σ weights`. So two and two replicates have 2 degrees of
/// freedom, and three and thirty have 31. Pairs: `s² = Σ (d_h - mean)² / (H - 1)`, variance `s²/H`, H - 1 degrees.
///
/// `s²` is never taken below what counting alone gives (the mean of the rows' variances). Without replicates that is all
/// there is, with infinite degrees of freedom. `None` where a side has no row.
pub(super) fn log_ratio(costs: &Costs, design: &Design, is_replicated: bool) -> Option<Found> {
    let degrees = design.degrees();
    let parts = design.strata.iter().map(|stratum| Part::of(costs, stratum, design.is_paired));
    let parts: Vec<Part> = parts.collect::<Option<_>>()?;
    let weights: f64 = parts.iter().map(|part| part.weight).sum();
    let mean = |of: fn(&Part) -> f64| -> f64 {
        parts.iter().map(|part| part.weight * of(part)).sum::<f64>() / weights
    };
    let counting = mean(|part| part.counting);
    let variance = if is_replicated && degrees > 0.0 {
        let scatter: f64 = parts.iter().map(|part| part.scatter).sum();
        (scatter / degrees).max(counting)
    } else {
        counting
    };
    let means = [mean(|part| part.means[0]), mean(|part| part.means[1])];
    let difference = Estimate {
        value: means[1] - means[0],
        error: (variance / weights).sqrt(),
        degrees: if is_replicated && degrees > 0.0 { degrees } else { f64::INFINITY },
    };
    Some(Found { means, difference })
}

/// What one stratum says.
struct Part {
    means: [f64; 2],
    /// Squared distances from the means that they are measured from.
    scatter: f64,
    /// Inverse of the variance of the difference, in units of the variance of one observation.
    weight: f64,
    /// Variance of one observation by counting alone.
    counting: f64,
}

impl Part {
    fn of(costs: &Costs, stratum: &Stratum, is_paired: bool) -> Option<Self> {
        let Stratum { baseline, candidate } = stratum;
        if baseline.is_empty() || candidate.is_empty() {
            return None;
        }
        let mean_of = |values: &[f64], rows: &[usize]| {
            rows.iter().map(|row| values[*row]).sum::<f64>() / rows.len() as f64
        };
        let means = [baseline, candidate].map(|rows| mean_of(&costs.log, rows));
        let counting = [baseline, candidate].map(|rows| mean_of(&costs.variance, rows));
        let (n0, n1) = (baseline.len() as f64, candidate.len() as f64);
        if is_paired {
            let shift = means[1] - means[0];
            let distance = |(before, after): (&usize, &usize)| {
                (costs.log[*after] - costs.log[*before] - shift).powi(2)
            };
            let scatter = baseline.iter().zip(candidate).map(distance).sum();
            return Some(Self { means, scatter, weight: n0, counting: counting[0] + counting[1] });
        }
        let side = |rows: &[usize], mean: f64| -> f64 {
            rows.iter().map(|row| (costs.log[*row] - mean).powi(2)).sum()
        };
        Some(Self {
            means,
            scatter: side(baseline, means[0]) + side(candidate, means[1]),
            weight: n0 * n1 / (n0 + n1),
            // Weighted so that the sum over the sides is counting[0]/n0 + counting[1]/n1.
            counting: (counting[0] / n0 + counting[1] / n1) * n0 * n1 / (n0 + n1),
        })
    }
}
