//! Tails and derivatives of the gamma function that the tests need.

use statrs::function::beta::{beta_reg, ln_beta};
use statrs::function::erf::erfc;
use statrs::function::gamma::{digamma as statrs_digamma, ln_gamma};

/// Smallest probability that is told apart from 0.
pub(super) const P_MIN: f64 = 1e-300;

/// From here on Student's t is taken as normal; the tails differ by less than 1 part in 1,000 up to t = 5.
const NORMAL_DEGREES_MIN: f64 = 1e6;

/// P(T > t) of Student's t with `degrees` of freedom, by the incomplete beta function: I_{ν/(ν+t²)}(ν/2, 1/2) / 2.
pub(super) fn t_upper_tail(t: f64, degrees: f64) -> f64 {
    if t.is_nan() || degrees <= 0.0 {
        return 1.0;
    }
    if t < 0.0 {
        return 1.0 - t_upper_tail(-t, degrees);
    }
    if t.is_infinite() {
        return P_MIN;
    }
    if degrees > NORMAL_DEGREES_MIN {
        return (erfc(t / std::f64::consts::SQRT_2) / 2.0).clamp(P_MIN, 1.0);
    }
    (beta_reg(degrees / 2.0, 0.5, degrees / t.mul_add(t, degrees)) / 2.0).clamp(P_MIN, 1.0)
}

/// t with P(T > t) = `tail`, for 0 < `tail` < 0.5, by bisection to 1e-9.
pub(super) fn t_quantile(tail: f64, degrees: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    // With one degree of freedom the quantile of 1e-6 is 318,310, so 2^40 is never reached by a sensible tail.
    while t_upper_tail(high, degrees) > tail && high < 1e12 {
        high *= 2.0;
    }
    while high - low > 1e-9 * (1.0 + high) {
        let middle = f64::midpoint(low, high);
        if t_upper_tail(middle, degrees) > tail { low = middle } else { high = middle }
    }
    high
}

/// x with P(F > x) = `tail` for F with `above` and `below` degrees of freedom, by bisection of the incomplete beta function
/// I_{b/(b+a x)}(b/2, a/2) to 1e-6.
pub(super) fn f_quantile(tail: f64, above: f64, below: f64) -> f64 {
    let upper = |x: f64| beta_reg(below / 2.0, above / 2.0, below / above.mul_add(x, below));
    let (mut low, mut high) = (0.0, 1.0);
    while upper(high) > tail && high < 1e12 {
        high *= 2.0;
    }
    while high - low > 1e-6 * (1.0 + high) {
        let middle = f64::midpoint(low, high);
        if upper(middle) > tail { low = middle } else { high = middle }
    }
    high
}

/// `P(X > x) + P(X = x)/2` for X beta-binomial: `trials` draws with mean `share` and correlation `rho`, by the sum of its
/// terms. With `rho` 0 it is binomial. Meant for few trials; the sum has `trials - x` terms.
pub(super) fn beta_binomial_upper_mid(x: f64, trials: f64, share: f64, rho: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let choose = |k: f64| ln_gamma(trials + 1.0) - ln_gamma(k + 1.0) - ln_gamma(trials - k + 1.0);
    let term = |k: f64| {
        if rho <= 0.0 {
            return (choose(k) + k * share.ln() + (trials - k) * (-share).ln_1p()).exp();
        }
        // Parameters of the beta distribution: their sum is 1/ρ - 1.
        let size = 1.0 / rho - 1.0;
        let (a, b) = (share * size, (1.0 - share) * size);
        (choose(k) + ln_beta(k + a, trials - k + b) - ln_beta(a, b)).exp()
    };
    let above: f64 = (x as u64 + 1..=trials as u64).map(|k| term(k as f64)).sum();
    (above + term(x) / 2.0).clamp(P_MIN, 1.0)
}

/// ψ(x), the derivative of ln Γ, x > 0.
pub(super) fn digamma(x: f64) -> f64 {
    statrs_digamma(x)
}

/// ψ'(x), x > 0: the recurrence ψ'(x) = ψ'(x+1) + 1/x² up to 6, then the asymptotic series.
pub(super) fn trigamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 6.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    sum + 1.0 / x
        + y / 2.0
        + y / x * (1.0 / 6.0 - y * (1.0 / 30.0 - y * (1.0 / 42.0 - y * (1.0 / 30.0))))
}

/// x with ψ'(x) = `y`, y > 0, by Newton's method on 1/ψ', which is nearly straight (Smyth 2004, appendix).
pub(super) fn trigamma_inverse(y: f64) -> f64 {
    if y > 1e7 {
        return 1.0 / y.sqrt();
    }
    if y < 1e-6 {
        return 1.0 / y;
    }
    let mut x = 0.5 + 1.0 / y;
    for _ in 0..50 {
        let value = trigamma(x);
        let slope = (trigamma(x + 1e-4 * x) - trigamma(x - 1e-4 * x)) / (2e-4 * x);
        let step = value * (1.0 - value / y) / slope;
        x += step;
        if (step / x).abs() < 1e-8 {
            break;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, truth: f64) {
        assert!((found / truth - 1.0).abs() < 1e-6, "{found} for {truth}");
    }

    /// Reference: scipy 1.10 `stats.t.sf`, `stats.t.isf`, `stats.betabinom`, `special.polygamma(1, …)`, by
    /// `tests/reference/count_test.py`.
    #[test]
    fn the_functions_agree_with_scipy() {
        close(t_upper_tail(2.0, 5.0), 0.050_969_739_414_929_18);
        close(t_upper_tail(12.0, 10.0), 1.460_704_412_384_992e-7);
        close(t_quantile(0.025, 2.0), 4.302_652_729_749_464);
        close(t_quantile(0.025, 30.0), 2.042_272_456_301_238);
        close(t_quantile(0.025, f64::INFINITY), 1.959_963_984_540_054);
        close(t_upper_tail(5.1, 28.0), 1.054_966_544_793_324_7e-5);
        close(beta_binomial_upper_mid(9.0, 10.0, 0.5, 0.0), 0.005_859_375);
        close(beta_binomial_upper_mid(9.0, 10.0, 0.5, 0.1), 0.033_340_454_101_562_306);
        close(beta_binomial_upper_mid(30.0, 40.0, 0.4, 0.05), 0.004_989_701_260_900_484);
        close(f_quantile(0.001, 4.0, 20.0), 7.096_034_067_322_516);
        close(trigamma(0.5), 4.934_802_200_544_68);
        close(trigamma(7.3), 0.146_795_768_131_427_03);
    }

    #[test]
    fn the_inverse_undoes_trigamma() {
        for x in [0.01, 0.3, 1.0, 4.5, 80.0] {
            assert!((trigamma_inverse(trigamma(x)) / x - 1.0).abs() < 1e-5, "{x}");
        }
    }
}
