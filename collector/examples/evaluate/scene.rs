//! Hosts of two versions under load: draws what the agent would have counted.

use crate::base::Base;
use crate::noise::{Noise, Weather};
use crate::random::Random;
use crate::variant::Variant;

/// Two versions, and where they run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'s> {
    pub(crate) base: &'s Base,
    /// Baseline and candidate.
    pub(crate) variants: [&'s Variant; 2],
    pub(crate) noise: Noise,
    /// Hosts a side.
    pub(crate) hosts: [usize; 2],
    /// Samples of a host in a window, in the mean.
    pub(crate) samples: f64,
    pub(crate) windows: usize,
    /// Whether both sides are the same hosts, one after the other.
    pub(crate) is_paired: bool,
    /// Part of the candidate's hosts on which the change shows: its kind of machine.
    pub(crate) affected: f64,
    /// Load that only the candidate gets.
    pub(crate) burst: Option<Burst>,
    /// Whether anything counts requests.
    pub(crate) has_work: bool,
}

/// More of one kind of request for a while.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Burst {
    kind: u32,
    factor: f64,
    start: usize,
    end: usize,
}

impl Burst {
    /// One to four of so many windows with up to twice as much of a kind of request.
    pub(crate) fn draw(base: &Base, windows: usize, random: &mut Random) -> Self {
        let stack = &base.stacks[random.below(base.stacks.len())];
        let start = random.below(windows);
        let factor = 1.2 + 0.8 * random.uniform();
        Self { kind: stack.kind, factor, start, end: start + 1 + random.below(4) }
    }

    fn factor(&self, kind: u32, window: usize) -> f64 {
        let is_inside = kind == self.kind && (self.start..self.end).contains(&window);
        if is_inside { self.factor } else { 1.0 }
    }
}

/// Samples by side, host, window and stack of the side's variant.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) sides: [Vec<Host>; 2],
}

/// What one host counted.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) windows: Vec<Vec<u32>>,
    /// Samples of each window that hang under a function without a name.
    pub(crate) unnamed: Vec<u32>,
    /// Load beside that of a mean host: its requests follow it.
    pub(crate) load: f64,
}

/// What a host is like, as long as it runs.
struct Traits {
    kinds: Vec<f64>,
    functions: Vec<f64>,
    load: f64,
    missing: f64,
}

impl<'s> Scene<'s> {
    /// Two versions of a program on hosts that differ only by their samples.
    pub(crate) const fn new(base: &'s Base, variants: [&'s Variant; 2]) -> Self {
        let noise = Noise::NONE;
        Self {
            base,
            variants,
            noise,
            hosts: [10, 10],
            samples: 20_000.0,
            windows: 1,
            is_paired: false,
            affected: 1.0,
            burst: None,
            has_work: false,
        }
    }

    /// Draws all samples; equal names give equal samples.
    pub(crate) fn draw(&self, name: &[u64]) -> Drawn {
        let weather = Weather::draw(&self.noise, name, self.windows);
        // Before and after are different windows.
        let after = self
            .is_paired
            .then(|| Weather::draw(&self.noise, &[name, &[1]].concat(), self.windows));
        let side = |side: usize| -> Vec<Host> {
            let weather = if side == 1 { after.as_ref().unwrap_or(&weather) } else { &weather };
            (0..self.hosts[side]).map(|host| self.host(name, [side, host], weather)).collect()
        };
        Drawn { sides: [side(0), side(1)] }
    }

    fn host(&self, name: &[u64], [side, host]: [usize; 2], weather: &Weather) -> Host {
        let owner = if self.is_paired { 0 } else { side as u64 };
        let traits = self.traits(&[name, &[2, owner, host as u64]].concat());
        let is_affected = (host as f64) < self.affected * self.hosts[side] as f64;
        let variant = self.variants[if is_affected { side } else { 0 }];
        let mut random = Random::of(&[name, &[3, side as u64, host as u64]].concat());
        let rates: Vec<f64> = variant
            .stacks
            .iter()
            .map(|stack| {
                let origin = &self.base.stacks[stack.origin as usize];
                let leaf = origin.functions.last().map_or(1.0, |f| traits.functions[*f as usize]);
                self.samples * traits.load * stack.share * traits.kinds[origin.kind as usize] * leaf
            })
            .collect();
        let mut counted = Host { windows: Vec::new(), unnamed: Vec::new(), load: traits.load };
        let mut jitter = vec![1.0; self.base.functions.len()];
        for window in 0..self.windows {
            for factor in &mut jitter {
                *factor = random.factor(self.noise.jitter);
            }
            let mut unnamed = 0;
            let counts = variant.stacks.iter().zip(&rates).map(|(stack, rate)| {
                let origin = &self.base.stacks[stack.origin as usize];
                let leaf = origin.functions.last().map_or(1.0, |f| jitter[*f as usize]);
                let burst = self.burst.filter(|_| side == 1);
                let burst = burst.map_or(1.0, |burst| burst.factor(origin.kind, window));
                let mean = rate * leaf * burst * weather.factor(origin.kind, window);
                let count = random.runs(mean, self.noise.burst) as u32;
                if traits.missing > 0.0 && random.uniform() < traits.missing {
                    unnamed += count;
                    return 0;
                }
                count
            });
            counted.windows.push(counts.collect());
            counted.unnamed.push(unnamed);
        }
        counted
    }

    fn traits(&self, name: &[u64]) -> Traits {
        let mut random = Random::of(name);
        let noise = &self.noise;
        let mut kinds: Vec<f64> = (0..self.base.kinds).map(|_| random.factor(noise.mix)).collect();
        if random.uniform() < noise.heavy {
            kinds[random.below(self.base.kinds)] *= 3.0;
        }
        let functions =
            (0..self.base.functions.len()).map(|_| random.factor(noise.function)).collect();
        let load = (noise.uptime * random.normal()).exp() * (1.0 - noise.lost * random.uniform());
        let missing = noise.missing * random.uniform() * random.uniform();
        Traits { kinds, functions, load, missing }
    }

    /// Coefficient of variation between hosts of the share of some stacks of the baseline, without the noise of
    /// sampling: what the oracle of the limits knows. Over `hosts` hosts.
    pub(crate) fn variation(&self, name: &[u64], inside: &[bool], hosts: usize) -> f64 {
        let shares: Vec<f64> = (0..hosts as u64)
            .map(|host| {
                let traits = self.traits(&[name, &[4, host]].concat());
                let mut random = Random::of(&[name, &[5, host]].concat());
                let jitter: Vec<f64> = (0..self.base.functions.len())
                    .map(|_| random.factor(self.noise.jitter / (self.windows as f64).sqrt()))
                    .collect();
                let (mut part, mut whole) = (0.0, 0.0);
                for (stack, is_inside) in self.base.stacks.iter().zip(inside) {
                    let leaf = stack
                        .functions
                        .last()
                        .map_or(1.0, |f| traits.functions[*f as usize] * jitter[*f as usize]);
                    let rate = stack.share * traits.kinds[stack.kind as usize] * leaf;
                    whole += rate;
                    part += if *is_inside { rate } else { 0.0 };
                }
                part / whole
            })
            .collect();
        let mean = shares.iter().sum::<f64>() / hosts as f64;
        let square: f64 = shares.iter().map(|share| (share - mean).powi(2)).sum();
        (square / (hosts as f64 - 1.0)).sqrt() / mean.max(f64::MIN_POSITIVE)
    }
}
