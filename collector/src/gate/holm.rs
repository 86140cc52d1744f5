//! Several questions of which none may be answered wrongly.

/// Adjusted p values by Holm (1979): sorted rising, `p~_(i) = max_{k <= i} min(1, (m - k + 1) p_(k))`. Those at or below a
/// level are rejected with a family-wise error of at most that level, whatever the dependence.
pub(super) fn adjust(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|left, right| p_values[*left].total_cmp(&p_values[*right]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        let scaled = (p_values.len() - rank) as f64 * p_values[index];
        largest = largest.max(scaled).min(1.0);
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reference: R's `p.adjust(c(.01, .04, .03, .005), "holm")`, by hand from its definition.
    #[test]
    fn p_values_are_adjusted_as_r_does() {
        let adjusted = adjust(&[0.01, 0.04, 0.03, 0.005]);
        for (found, truth) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - truth).abs() < 1e-12, "{adjusted:?}");
        }
        assert!(adjust(&[]).is_empty());
        assert_eq!(adjust(&[0.9, 0.8]), [1.0, 1.0]);
    }
}
