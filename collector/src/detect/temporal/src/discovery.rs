//! Controls the rate of false discoveries.

/// Adjusted p values of Benjamini and Hochberg (1995), in the order given: q of an item is the smallest false discovery
/// rate at which it is rejected, `min over ranks k >= its rank of p_(k) * n / k`.
pub(super) fn adjust(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|left, right| p_values[*left].total_cmp(&p_values[*right]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut smallest = 1.0f64;
    for (rank, index) in order.into_iter().enumerate().rev() {
        smallest = smallest.min(p_values[index] * p_values.len() as f64 / (rank + 1) as f64);
        adjusted[index] = smallest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjusted_values_are_those_of_the_published_procedure() {
        // statsmodels multipletests(…, "fdr_bh"), by tests/reference/count_test.py.
        let found = adjust(&[0.01, 0.04, 0.03, 0.005, 0.8, 0.04]);
        for (found, truth) in found.iter().zip([0.03, 0.048, 0.048, 0.03, 0.8, 0.048]) {
            assert!((found - truth).abs() < 1e-12, "{found} for {truth}");
        }
    }

    #[test]
    fn nothing_tested_is_nothing_found() {
        assert!(adjust(&[]).is_empty());
    }
}
