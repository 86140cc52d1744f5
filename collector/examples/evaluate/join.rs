//! Puts what two versions counted beside each other, as the collector would.

use std::collections::BTreeMap;

use flamewatch_collector::diff::{
    FunctionKey, ProfileDiff, Replicate, Replication, StackCount, StackTable, Work,
};
use profiler_common::profile::Quality;

use crate::scene::{Drawn, Scene};
use crate::variant::{Scope, Variant};

/// Samples per CPU second.
const FREQUENCY: u64 = 99;

/// Requests of a mean host in a window.
const REQUESTS: f64 = 1e4;

/// The stacks of two versions, each once, and where those of each version are among them.
#[derive(Debug)]
pub(crate) struct Join {
    /// In the order of the differences that this makes.
    pub(crate) functions: Vec<FunctionKey>,
    /// Root first.
    pub(crate) stacks: Vec<Vec<u32>>,
    places: [Vec<u32>; 2],
    /// Cost by stack of each version.
    pub(crate) shares: [Vec<f64>; 2],
    /// Number of each function of the versions in `functions`.
    renumbered: Vec<u32>,
}

impl Join {
    /// Joins two versions whose functions have the same numbers, as far as both have them.
    pub(crate) fn of(variants: [&Variant; 2]) -> Self {
        let longest = if variants[1].functions.len() > variants[0].functions.len() { 1 } else { 0 };
        let mut keys = variants[longest].functions.clone();
        keys.push(FunctionKey { module: "program".to_owned(), function: "[unnamed]".to_owned() });
        let mut functions = keys.clone();
        functions.sort();
        functions.dedup();
        let number = |key: &FunctionKey| functions.binary_search(key).unwrap_or_default() as u32;
        let renumbered: Vec<u32> = keys.iter().map(number).collect();
        let mut known: BTreeMap<Vec<u32>, u32> = BTreeMap::new();
        let mut stacks: Vec<Vec<u32>> = Vec::new();
        let mut places = [Vec::new(), Vec::new()];
        for (side, variant) in variants.into_iter().enumerate() {
            for stack in &variant.stacks {
                let path: Vec<u32> =
                    stack.functions.iter().map(|f| renumbered[*f as usize]).collect();
                let next = stacks.len() as u32;
                let place = *known.entry(path.clone()).or_insert(next);
                if place == next {
                    stacks.push(path);
                }
                places[side].push(place);
            }
        }
        stacks.push(vec![renumbered[keys.len() - 1]]);
        let mut shares = [vec![0.0; stacks.len()], vec![0.0; stacks.len()]];
        for (side, variant) in variants.into_iter().enumerate() {
            for (stack, place) in variant.stacks.iter().zip(&places[side]) {
                shares[side][*place as usize] += stack.share;
            }
        }
        Self { functions, stacks, places, shares, renumbered }
    }

    /// A set of stacks of the versions, in the numbers of this join.
    pub(crate) fn scope(&self, scope: &Scope) -> Scope {
        let number = |function: &u32| self.renumbered[*function as usize];
        match scope {
            Scope::Own(function) => Scope::Own(number(function)),
            Scope::Total(function) => Scope::Total(number(function)),
            Scope::Edge(caller, called) => Scope::Edge(number(caller), number(called)),
            Scope::Path(path) => Scope::Path(path.iter().map(number).collect()),
        }
    }

    /// True cost of a set of stacks, in the numbers of this join: before and after.
    pub(crate) fn truth(&self, scope: &Scope) -> [f64; 2] {
        let cost = |side: usize| {
            let stacks = self.stacks.iter().zip(&self.shares[side]);
            stacks.filter(|(stack, _)| scope.holds(stack)).map(|(_, share)| share).sum()
        };
        [cost(0), cost(1)]
    }

    /// The difference of the first windows, cumulated.
    pub(crate) fn diff(&self, scene: &Scene<'_>, drawn: &Drawn, windows: usize) -> ProfileDiff {
        let hosts = drawn.sides[0].len() + drawn.sides[1].len();
        let mut counts = vec![0_u64; self.stacks.len() * hosts];
        let mut replicates = [Vec::new(), Vec::new()];
        let mut row = 0;
        for (side, of_side) in drawn.sides.iter().enumerate() {
            for number in 0..of_side.len() {
                let mut samples = 0;
                for window in 0..windows {
                    let of_window = self.host_window(scene, drawn, [side, number], window);
                    for (place, count) in of_window.into_iter().enumerate() {
                        counts[place * hosts + row] += count;
                        samples += count;
                    }
                }
                // A kind of machine on which a change shows is known, and both sides have it.
                let is_kind = (number as f64) < scene.affected * of_side.len() as f64;
                let stratum = u32::from(scene.affected < 1.0 && is_kind);
                let owner = if scene.is_paired { 0 } else { side };
                let name = format!("host-{owner}-{number}");
                let requests = REQUESTS * of_side[number].load * windows as f64;
                let work = scene.has_work.then_some(Work { requests, is_proxy: false });
                let plain = replicate(name, samples, windows);
                replicates[side].push(Replicate { stratum, work, ..plain });
                row += 1;
            }
        }
        let stacks = self.stacks.iter().zip(counts.chunks(hosts));
        let table = stacks
            .map(|(stack, row)| {
                let seen = (0..).zip(row).filter(|(_, samples)| **samples > 0);
                let counts =
                    seen.map(|(replicate, samples)| StackCount { replicate, samples: *samples });
                (stack.clone(), counts.collect::<Vec<_>>())
            })
            .filter(|(_, counts)| !counts.is_empty())
            .collect();
        let [baseline, candidate] = replicates;
        ProfileDiff {
            replication: if scene.is_paired { Replication::Pairs } else { Replication::Units },
            baseline,
            candidate,
            baseline_quality: Quality::default(),
            candidate_quality: Quality::default(),
            functions: self.functions.clone(),
            stacks: StackTable::new(table),
            syscalls: Vec::new(),
            facts: Default::default(),
        }
    }

    /// What a host counted in one window, by stack.
    pub(crate) fn host_window(
        &self,
        scene: &Scene<'_>,
        drawn: &Drawn,
        [side, host]: [usize; 2],
        window: usize,
    ) -> Vec<u64> {
        let mut column = vec![0; self.stacks.len()];
        let counted = &drawn.sides[side][host];
        for (place, count) in self.places(scene, [side, host]).iter().zip(&counted.windows[window])
        {
            column[*place as usize] += u64::from(*count);
        }
        column[self.stacks.len() - 1] += u64::from(counted.unnamed[window]);
        column
    }

    fn places(&self, scene: &Scene<'_>, [side, host]: [usize; 2]) -> &[u32] {
        let is_affected = (host as f64) < scene.affected * scene.hosts[side] as f64;
        &self.places[if is_affected { side } else { 0 }]
    }
}

fn replicate(name: String, samples: u64, windows: usize) -> Replicate {
    Replicate {
        name,
        samples,
        cpu_ns: samples * (1_000_000_000 / FREQUENCY),
        windows: windows as u64,
        seconds: 300.0 * windows as f64,
        work: None,
        stratum: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::programs;
    use crate::noise::Noise;

    #[test]
    fn every_sample_stands_in_the_difference_once() {
        let base = &programs(true)[0];
        let whole = Variant::of(base);
        let join = Join::of([&whole, &whole]);
        let noise = Noise { missing: 0.5, burst: 2.0, ..Noise::TYPICAL };
        let scene = Scene { noise, hosts: [2, 3], windows: 3, ..Scene::new(base, [&whole; 2]) };
        let drawn = scene.draw(&[1]);
        let diff = join.diff(&scene, &drawn, 2);
        let counted: u64 = (0..diff.stacks.len()).flat_map(|at| diff.pooled(at)).sum();
        assert_eq!(counted, diff.baseline_samples() + diff.candidate_samples());
        let first_two = drawn.sides.iter().flatten().map(|host| {
            let named: u64 = host.windows[..2].iter().flatten().map(|n| u64::from(*n)).sum();
            named + host.unnamed[..2].iter().map(|n| u64::from(*n)).sum::<u64>()
        });
        assert_eq!(counted, first_two.sum::<u64>());
        assert!(diff.functions.is_sorted());
    }

    #[test]
    fn equal_names_give_equal_differences() {
        let base = &programs(true)[0];
        let whole = Variant::of(base);
        let join = Join::of([&whole, &whole]);
        let scene = Scene { noise: Noise::TYPICAL, ..Scene::new(base, [&whole; 2]) };
        let diff = |name: u64| join.diff(&scene, &scene.draw(&[name]), 1).stacks;
        assert_eq!(diff(1), diff(1));
        assert_ne!(diff(1), diff(2));
    }
}
