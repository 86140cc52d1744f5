//! A number with its uncertainty, and what can be said of it against a limit.

use serde::{Deserialize, Serialize};

use crate::detect::special::{t_quantile, t_upper_tail};

/// Power at which a detectable effect is told: an effect of that size is found in four of five cases.
const POWER_TAIL: f64 = 0.2;

/// A number, its standard error, and the degrees of freedom of that error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The number, in whatever unit.
    pub value: f64,
    /// Its standard error in the same unit; positive.
    pub error: f64,
    /// Degrees of freedom of `error`; infinite (`null` in JSON) for sampling noise alone.
    #[serde(default = "infinite", deserialize_with = "or_infinite")]
    pub degrees: f64,
}

impl Estimate {
    /// P of this value or a larger one if the true one is at most `limit`: P(T > (value - limit)/error), Student's t.
    #[must_use]
    pub fn p_above(&self, limit: f64) -> f64 {
        t_upper_tail((self.value - limit) / self.error, self.degrees)
    }

    /// P of this value or a smaller one if the true one is at least `limit`: P(T > (limit - value)/error).
    #[must_use]
    pub fn p_below(&self, limit: f64) -> f64 {
        t_upper_tail((limit - self.value) / self.error, self.degrees)
    }

    /// Ends of the interval that leaves out `tail` on each side: value ± `t_{1-tail}` error.
    #[must_use]
    pub fn interval(&self, tail: f64) -> [f64; 2] {
        let reach = t_quantile(tail, self.degrees) * self.error;
        [self.value - reach, self.value + reach]
    }

    /// Distance from a limit at which a test at level `tail` finds it with 80 % power: `(t_{1-tail} + t_{0.8}) error`.
    #[must_use]
    pub fn detectable(&self, tail: f64) -> f64 {
        let reach = t_quantile(tail, self.degrees) + t_quantile(POWER_TAIL, self.degrees);
        reach * self.error
    }
}

const fn infinite() -> f64 {
    f64::INFINITY
}

/// JSON has no infinity; it is written as `null`.
fn or_infinite<'de, D: serde::Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::INFINITY))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reference: `scipy.stats.t.sf(2.5, 4)`, `t.isf(0.025, 4)`, `t.isf(0.2, 4)`; see `tests/reference/service.py`.
    #[test]
    fn tails_intervals_and_power_agree_with_scipy() {
        let estimate = Estimate { value: 0.30, error: 0.1, degrees: 4.0 };
        assert!((estimate.p_above(0.05) - 0.033_383_272_408_0).abs() < 1e-9);
        assert!((estimate.p_below(0.55) - 0.033_383_272_408_0).abs() < 1e-9);
        let [low, high] = estimate.interval(0.025);
        assert!((low - (0.30 - 0.277_644_510_519_779)).abs() < 1e-9, "{low}");
        assert!((high - (0.30 + 0.277_644_510_519_779)).abs() < 1e-9, "{high}");
        let reach = 0.1 * (2.776_445_105_197_79 + 0.940_964_577_236_4);
        assert!((estimate.detectable(0.025) - reach).abs() < 1e-8);
    }
}
