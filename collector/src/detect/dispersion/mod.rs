//! Learns how noisy an item is from itself and from all others: empirical Bayes.

mod trend;

use super::count_test::{Noise, Sample};
use super::special::{digamma, f_quantile, trigamma, trigamma_inverse};

use trend::{RATE_MAX, Trend};

/// Degrees of freedom that the other items may lend to one that scatters far more than Poisson, or as many as it has itself,
/// whichever is more. With more, rare noisy items pass as quiet ones: simulated false alarms at p < 1e-5 were 2 to 58 times
/// too frequent with 3 replicates a side.
const LENT_MAX: f64 = 10.0;

/// Degrees of freedom that may be lent to an item for which the noise of counting is nearly all there is.
const LENT_STEPS: [f64; 5] = [20.0, 30.0, 40.0, 60.0, 80.0];

/// Fewest items from which a prior can be learned; with fewer each stands alone.
const ITEMS_MIN: usize = 5;

/// Tails of the dispersions that are looked at.
const TAILS: [f64; 2] = [0.01, 0.001];

/// How much more frequent than expected the tails may be, and how many items more.
const TAIL_EXCESS: f64 = 1.5;
const TAIL_ALLOWED: f64 = 2.0;

/// Fewest items whose tails say anything.
const TAIL_ITEMS_MIN: usize = 200;

/// The dispersion of one item, before anything is borrowed from others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scatter {
    /// Pearson's dispersion.
    pub(super) dispersion: f64,
    /// Degrees of freedom behind it.
    pub(super) degrees: f64,
    /// Expected count of a mean replicate.
    pub(super) mean_count: f64,
    /// Hits for each unit of exposure, both sides together.
    pub(super) rate: f64,
    /// Effective number of stacks: how many parts make it up that vary by themselves.
    pub(super) parts: f64,
    /// Dispersion that the uncertainty of the exposures alone makes.
    pub(super) least: f64,
}

impl Scatter {
    pub(super) fn of(sample: &Sample<'_>, parts: f64) -> Self {
        Self {
            dispersion: sample.pearson(),
            degrees: sample.degrees(),
            mean_count: sample.mean_count(),
            rate: sample.pooled_rate(),
            parts,
            least: sample.least_dispersion(),
        }
    }

    /// Whether anything of others can be learned from it.
    fn is_telling(&self) -> bool {
        self.degrees > 0.0 && self.dispersion > 0.0 && self.rate < RATE_MAX
    }
}

/// What all items together say of the noise of one.
#[derive(Debug, Clone)]
pub(super) struct Prior {
    trend: Trend,
    /// Degrees of freedom lent to an item that scatters far more than Poisson.
    lent: f64,
    /// Whether items that scatter little are lent more.
    is_generous: bool,
    /// Factor on the trend.
    scale: f64,
}

impl Prior {
    /// Learns the noise by Smyth (2004): dispersions scatter around a trend as a scaled F; the scatter says how much each
    /// may borrow from the trend.
    ///
    /// Of a dispersion T only the part T - 1 that hosts add is uncertain, so the relative uncertainty of T is `(T-1)/T`
    /// times that of hosts alone, and the degrees of freedom that describe it are `(T/(T-1))²` times as many. They are
    /// lent only where the tail of the dispersions bears it out.
    pub(super) fn learn(scatters: &[Scatter]) -> Self {
        let trend = Trend::of(scatters);
        let telling = ratios(scatters, &trend);
        let mut prior = Self { trend, lent: 0.0, is_generous: false, scale: 1.0 };
        if telling.len() < ITEMS_MIN {
            return prior;
        }
        prior.lent = lent(&telling);
        prior.is_generous = true;
        prior.scale = prior.scale_of(&telling);
        if !prior.has_light_tail(&telling) {
            prior.is_generous = false;
            prior.scale = prior.scale_of(&telling);
        }
        prior
    }

    /// Degrees of freedom lent to an item of which the trend expects this dispersion.
    fn lent_at(&self, trend: f64) -> f64 {
        if !self.is_generous {
            return self.lent;
        }
        let known = self.lent * (trend / (trend - 1.0).max(f64::MIN_POSITIVE)).powi(2);
        LENT_STEPS.into_iter().take_while(|step| 2.0 * *step <= known).last().unwrap_or(self.lent)
    }

    /// Scale by the mean of ln(φ/trend), less its bias by chance: `ln(d/2) - ψ(d/2)` for an item's own degrees of
    /// freedom, and the reverse for those that it is lent.
    fn scale_of(&self, telling: &[Telling]) -> f64 {
        if self.lent <= 0.0 {
            return 1.0;
        }
        let mut known = Vec::new();
        let bias = |degrees: f64| digamma(degrees / 2.0) - (degrees / 2.0).ln();
        let sum: f64 = telling
            .iter()
            .map(|one| {
                let lent = self.lent_at(one.trend);
                one.log_ratio + memo(&mut known, [lent, 0.0], || bias(lent))
            })
            .sum();
        (sum / telling.len() as f64).exp()
    }

    /// Whether dispersions far above the trend are no more frequent than F with the degrees that are lent has them: rare
    /// noisy items among many quiet ones hardly move the moments, but it is they that raise false alarms.
    fn has_light_tail(&self, telling: &[Telling]) -> bool {
        let count = telling.len() as f64;
        let is_light = |tail: f64| {
            let mut known = Vec::new();
            let mut is_above = |one: &&Telling| {
                let key = [one.degrees, self.lent_at(one.trend)];
                let limit = memo(&mut known, key, || f_quantile(tail, key[0], key[1]));
                one.ratio > limit * self.scale
            };
            let above = telling.iter().filter(|one| is_above(one)).count();
            above as f64 <= TAIL_EXCESS.mul_add(tail * count, TAIL_ALLOWED)
        };
        telling.len() >= TAIL_ITEMS_MIN && TAILS.into_iter().all(is_light)
    }

    /// Dispersion of an item of middling size; 1 where there are none.
    pub(super) fn typical(&self) -> f64 {
        self.trend.typical()
    }

    /// The noise of an item: `φ~ = max(1, (d0 s0 trend + d φ)/(d0 + d))` with `d0 + d` degrees of freedom.
    pub(super) fn noise(&self, scatter: &Scatter) -> Noise {
        let trend = self.trend.at(scatter);
        let lent = self.lent_at(trend);
        let degrees = lent + scatter.degrees;
        let moderated = (lent * self.scale * trend + scatter.degrees * scatter.dispersion)
            / degrees.max(f64::MIN_POSITIVE);
        Noise { dispersion: moderated.max(1.0), degrees }
    }
}

/// The dispersion of an item over what the trend expects.
#[derive(Debug, Clone, Copy)]
struct Telling {
    degrees: f64,
    trend: f64,
    ratio: f64,
    /// ln of the ratio, without its bias by chance.
    log_ratio: f64,
}

/// Values by key, most of them asked for again and again; there are a few dozen keys at most.
fn memo(known: &mut Vec<([f64; 2], f64)>, key: [f64; 2], make: impl FnOnce() -> f64) -> f64 {
    if let Some((_, value)) = known.iter().find(|(at, _)| *at == key) {
        return *value;
    }
    let value = make();
    known.push((key, value));
    value
}

/// How the dispersions of telling items lie about the trend.
fn ratios(scatters: &[Scatter], trend: &Trend) -> Vec<Telling> {
    let mut known = Vec::new();
    scatters
        .iter()
        .filter(|scatter| scatter.is_telling())
        .map(|scatter| {
            let Scatter { dispersion, degrees, .. } = *scatter;
            let expected = trend.at(scatter);
            let bias = || (degrees / 2.0).ln() - digamma(degrees / 2.0);
            let log_ratio = (dispersion / expected).ln() + memo(&mut known, [degrees, 0.0], bias);
            Telling { degrees, trend: expected, ratio: dispersion / expected, log_ratio }
        })
        .collect()
}

/// Degrees of freedom of the prior, by matching the variance of ln(φ/trend): what is beyond chance, within bounds.
fn lent(telling: &[Telling]) -> f64 {
    let mut known = Vec::new();
    let count = telling.len() as f64;
    let mean = telling.iter().map(|one| one.log_ratio).sum::<f64>() / count;
    let scatter: f64 = telling.iter().map(|one| (one.log_ratio - mean).powi(2)).sum();
    let chance: f64 = telling
        .iter()
        .map(|one| memo(&mut known, [one.degrees, 0.0], || trigamma(one.degrees / 2.0)))
        .sum();
    let excess = scatter / (count - 1.0) - chance / count;
    let own = telling.iter().map(|one| one.degrees).sum::<f64>() / count;
    let most = LENT_MAX.max(own);
    if excess > 0.0 { (2.0 * trigamma_inverse(excess)).min(most) } else { most }
}

#[cfg(test)]
mod tests {
    use super::super::count_test::Exposures;
    use super::super::design::{Design, Stratum};
    use super::*;

    fn noises(items: &[[f64; 4]]) -> Vec<Noise> {
        let stratum = Stratum { baseline: vec![0, 1], candidate: vec![2, 3] };
        let design = Design { strata: vec![stratum], is_paired: false };
        let exposures = Exposures::new(design, vec![1e4; 4]);
        let scatters: Vec<Scatter> =
            items.iter().map(|counts| Scatter::of(&Sample::new(counts, &exposures), 1.0)).collect();
        let prior = Prior::learn(&scatters);
        scatters.iter().map(|scatter| prior.noise(scatter)).collect()
    }

    #[test]
    fn quiet_items_borrow_noise_from_their_neighbours() {
        let mut items = vec![[80.0, 120.0, 130.0, 70.0]; 40];
        items.push([100.0, 100.0, 100.0, 100.0]);
        let noise = noises(&items);
        assert!(noise[40].dispersion > 2.0, "{:?}", noise[40]);
        assert!(noise[40].degrees > 2.0);
    }

    #[test]
    fn a_root_without_noise_does_not_spoil_what_others_lend() {
        let mut items: Vec<[f64; 4]> =
            (0..40).map(|k| [80.0 + f64::from(k), 120.0, 130.0, 70.0]).collect();
        let before = noises(&items)[0].degrees;
        items.push([1e4, 1e4, 1e4, 1e4 + 1e-3]);
        assert_eq!(noises(&items)[0].degrees, before);
    }

    #[test]
    fn an_item_alone_stands_on_its_own_replicates() {
        let noise = noises(&[[100.0, 100.0, 100.0, 100.0]]);
        assert_eq!((noise[0].dispersion, noise[0].degrees), (1.0, 2.0));
    }

    #[test]
    fn what_items_lend_each_other_is_what_limma_finds() {
        // limma 3.54 squeezeVar, by tests/reference/moderation.R; of one mean count, so the trend is flat.
        let dispersions = [1.2, 9.5, 1.1, 14.0, 1.3, 2.2, 30.0, 1.05, 6.0, 1.4, 18.0, 1.15];
        let scatter = |dispersion| Scatter {
            dispersion,
            degrees: 4.0,
            mean_count: 100.0,
            rate: 0.01,
            parts: 1.0,
            least: 1.0,
        };
        let scatters = dispersions.map(scatter);
        let prior = Prior::learn(&scatters);
        assert!((prior.lent / 2.928_483_598_078_21 - 1.0).abs() < 1e-6, "{}", prior.lent);
        let found = prior.noise(&scatters[6]).dispersion;
        assert!((found / 18.624_526_090_234_21 - 1.0).abs() < 1e-6, "{found}");
        let found = prior.noise(&scatters[7]).dispersion;
        assert!((found / 1.910_912_157_147_89 - 1.0).abs() < 1e-6, "{found}");
    }
}
