//! A service over weeks, in windows of ten minutes: load, seasons, wander, disturbances, and what is injected.

use std::collections::HashMap;

use flamewatch_collector::detect::temporal::{FINE_NS, HOUR_NS, Timeline, Total, WindowCounts};
use flamewatch_collector::diff::{StackCount, StackTable};

use crate::base::Base;
use crate::random::Random;

/// Windows of an hour.
pub(super) const HOUR: usize = (HOUR_NS / FINE_NS) as usize;

/// Windows of a day.
pub(super) const DAY: usize = 24 * HOUR;

/// Monday, 5 January 2026, 00:00 UTC.
pub(super) const BEGIN_UNIX_NS: u64 = 20_458 * 86_400 * 1_000_000_000;

/// Workloads whose share moves together.
const WORKLOADS: usize = 24;

/// Stacks with a smaller share are left out: they only cost time.
const SHARE_MIN: f64 = 1e-4;

/// Samples a second of CPU.
const RATE: u64 = 100;

/// What a service goes through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    pub(super) samples_an_hour: f64,
    /// Largest amplitude of a workload's day, as a logarithm; the smallest is a fifth of it.
    pub(super) diurnal: f64,
    /// Standard deviation of what a weekend does to a workload.
    pub(super) weekend: f64,
    /// Correlation of a workload's wander from one hour to the next.
    pub(super) rho: f64,
    /// Standard deviation of the wander.
    pub(super) wander: f64,
    /// Disturbances in 30 days; each lasts one to six hours.
    pub(super) disturbances: f64,
}

/// A change that stays.
#[derive(Debug, Clone, Copy)]
pub(super) struct Injection {
    /// Index of the function among those of the program.
    pub(super) function: u32,
    /// Whether all that it calls grows too.
    pub(super) is_path: bool,
    /// Logarithm of the factor.
    pub(super) size: f64,
    /// Window at which it begins.
    pub(super) begin: usize,
    /// Windows over which it grows in a straight line; 0 for a step.
    pub(super) ramp: usize,
}

/// What moves a stack: its workload, its function on top, and all on its path.
struct Plan<'b> {
    base: &'b Base,
    stacks: Vec<(usize, f64)>,
    amplitudes: Vec<f64>,
    phases: Vec<f64>,
    weekends: Vec<f64>,
    disturbances: Vec<Disturbance>,
}

/// Something that goes away.
struct Disturbance {
    begin: usize,
    end: usize,
    size: f64,
    of: Source,
}

enum Source {
    Workload(usize),
    Function(u32),
}

/// Draws `days` of a service. Timeline positions are windows from [`BEGIN_UNIX_NS`] on.
pub(super) fn draw(
    base: &Base,
    weather: &Weather,
    days: usize,
    injections: &[Injection],
    random: &mut Random,
) -> Timeline {
    let plan = Plan::draw(base, weather, days, random);
    let mut timeline = Timeline::with_room(days * DAY, days * 24);
    let mut wander = vec![0.0f64; WORKLOADS];
    for step in &mut wander {
        *step = weather.wander * random.normal();
    }
    let mut own_wander = vec![0.0f64; base.functions.len()];
    for window in 0..days * DAY {
        if window % HOUR == 0 {
            let kept = weather.rho;
            let fresh = (1.0 - kept * kept).sqrt() * weather.wander;
            for step in &mut wander {
                *step = kept.mul_add(*step, fresh * random.normal());
            }
            for step in &mut own_wander {
                *step = kept.mul_add(*step, fresh / 2.0 * random.normal());
            }
        }
        let counts = plan.window(window, weather, (&wander, &own_wander, injections), random);
        timeline.record(&counts);
    }
    timeline.learn_structure(&base.functions, &structure(base));
    timeline
}

impl<'b> Plan<'b> {
    fn draw(base: &'b Base, weather: &Weather, days: usize, random: &mut Random) -> Self {
        let stacks: Vec<(usize, f64)> = base
            .stacks
            .iter()
            .enumerate()
            .filter(|(_, stack)| stack.share >= SHARE_MIN)
            .map(|(at, stack)| (at, stack.share))
            .collect();
        let amplitudes =
            (0..WORKLOADS).map(|_| weather.diurnal * (0.2 + 0.8 * random.uniform())).collect();
        let phases = (0..WORKLOADS).map(|_| 24.0 * random.uniform()).collect();
        let weekends = (0..WORKLOADS).map(|_| weather.weekend * random.normal()).collect();
        let small = small_functions(base);
        let number = random.poisson(weather.disturbances * days as f64 / 30.0);
        let disturbances = (0..number)
            .map(|_| {
                let begin = random.below(days * 24) * HOUR;
                let of = if random.uniform() < 0.5 {
                    Source::Workload(random.below(WORKLOADS))
                } else {
                    Source::Function(random.pick(&small))
                };
                let size = 0.8f64.mul_add(random.uniform(), 0.3);
                Disturbance { begin, end: begin + HOUR * (1 + random.below(6)), size, of }
            })
            .collect();
        Self { base, stacks, amplitudes, phases, weekends, disturbances }
    }

    fn window(
        &self,
        window: usize,
        weather: &Weather,
        (wander, own_wander, injections): (&[f64], &[f64], &[Injection]),
        random: &mut Random,
    ) -> WindowCounts {
        let hour = window as f64 / HOUR as f64;
        let is_weekend = window / DAY % 7 >= 5;
        let workloads: Vec<f64> = (0..WORKLOADS)
            .map(|one| {
                let angle = std::f64::consts::TAU * (hour - self.phases[one]) / 24.0;
                let day = self.amplitudes[one] * angle.sin();
                wander[one] + day + if is_weekend { self.weekends[one] } else { 0.0 }
            })
            .collect();
        let present: Vec<&Disturbance> =
            self.disturbances.iter().filter(|one| (one.begin..one.end).contains(&window)).collect();
        let load = 0.4 * (std::f64::consts::TAU * (hour - 15.0) / 24.0).cos()
            - if is_weekend { 0.3 } else { 0.0 }
            + 0.05 * random.normal();
        let samples = weather.samples_an_hour / HOUR as f64 * load.exp();
        let mut own: HashMap<u32, (u64, u64)> = HashMap::new();
        let mut total = 0;
        let mut seen = Vec::new();
        for (stack, share) in &self.stacks {
            let stack = &self.base.stacks[*stack];
            let top = stack.functions[stack.functions.len() - 1];
            let workload = stack.kind as usize % WORKLOADS;
            let mut log = workloads[workload] + own_wander[top as usize];
            for one in &present {
                let hit = match one.of {
                    Source::Workload(other) => other == workload,
                    Source::Function(function) => stack.functions.contains(&function),
                };
                log += if hit { one.size } else { 0.0 };
            }
            for one in injections.iter().filter(|one| window >= one.begin) {
                let hit = if one.is_path {
                    stack.functions.contains(&one.function)
                } else {
                    top == one.function
                };
                let grown = (window - one.begin) as f64 / one.ramp.max(1) as f64;
                let part = if one.ramp == 0 { 1.0 } else { grown.min(1.0) };
                log += if hit { one.size * part } else { 0.0 };
            }
            let count = random.poisson(samples * share * log.exp());
            if count == 0 {
                continue;
            }
            total += count;
            seen.clear();
            for function in &stack.functions {
                if !seen.contains(function) {
                    seen.push(*function);
                    own.entry(*function).or_default().1 += count;
                }
            }
            own.entry(top).or_default().0 += count;
        }
        let mut functions: Vec<_> = own
            .into_iter()
            .map(|(function, (own, anywhere))| {
                (self.base.functions[function as usize].clone(), own, anywhere)
            })
            .collect();
        functions.sort_unstable();
        let cpu_ns = total * 1_000_000_000 / RATE;
        let total = Total { samples: total, cpu_ns, unit_seconds: 600 * 10 };
        let start_unix_ns = BEGIN_UNIX_NS + window as u64 * FINE_NS;
        WindowCounts { start_unix_ns, total, functions }
    }
}

/// Functions with a thousandth to three tenths of the samples: the growth of larger ones is more load, not another mix.
fn small_functions(base: &Base) -> Vec<u32> {
    let mut shares = vec![0.0; base.functions.len()];
    for stack in &base.stacks {
        let mut path = stack.functions.clone();
        path.sort_unstable();
        path.dedup();
        for function in path {
            shares[function as usize] += stack.share;
        }
    }
    (0u32..)
        .zip(shares)
        .filter(|(_, share)| (0.001..0.3).contains(share))
        .map(|(at, _)| at)
        .collect()
}

/// The stacks of a program, as far as they tell which functions lie under which.
fn structure(base: &Base) -> StackTable {
    let mut merged: HashMap<Vec<u32>, u64> = HashMap::new();
    for stack in &base.stacks {
        *merged.entry(stack.functions.clone()).or_default() += (stack.share * 1e6).round() as u64;
    }
    let stacks = merged
        .into_iter()
        .map(|(functions, samples)| (functions, vec![StackCount { replicate: 0, samples }]))
        .collect();
    StackTable::new(stacks)
}
