//! Is one change one group, and is its root the function that changed?

use flamewatch_collector::detect::{Group, Policy, judge};

use crate::Run;
use crate::change::{GROWTHS, Growth, Size};
use crate::found::{group_scope, overlap};
use crate::join::Join;
use crate::noise::Noise;
use crate::parallel;
use crate::random::Random;
use crate::report::{Limit, Section, Table, percent, short};
use crate::scene::Scene;
use crate::variant::{Scope, Variant};

/// From which overlap on no sample tells two sets of stacks apart.
const EQUIVALENT: f64 = 0.9;

/// Shares of what changes.
const SHARES: [f64; 2] = [0.005, 0.15];

/// What one kind of change gave.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    events: u64,
    found: u64,
    groups: u64,
    first: [u64; 2],
    third: [u64; 2],
    /// Sum of the overlaps of the first root with what changed.
    overlap: f64,
}

pub(super) fn run(run: &Run) -> Section {
    let mut section = Section::new("root", "Root cause: groups and their roots");
    section.text.push(
        "10 + 10 hosts with 20,000 to 200,000 samples each, light noise; something with 0.5 to 15 % of the CPU grows. Top-1: \
         the root of the first group is the function that changed; up to sample-equivalence: the stacks of the two overlap \
         by 90 %. Top-3: one of the first three groups, or of the first three functions of the first chain."
            .to_owned(),
    );
    let mut table = Table::new(
        "",
        &[
            "change",
            "growth",
            "events",
            "found",
            "groups",
            "top-1",
            "top-1 equivalent",
            "top-3",
            "top-3 equivalent",
            "overlap",
        ],
    );
    let mut own = Tally::default();
    let mut path = Tally::default();
    let mut all = Tally::default();
    for (name, growth) in GROWTHS {
        for size in [0.3, 1.0] {
            let tally = measure(run, growth, size);
            table.rows.push(row(name, size, &tally));
            all.add(&tally);
            match growth {
                Growth::Own => own.add(&tally),
                Growth::Path => path.add(&tally),
                _ => {}
            }
        }
    }
    let rate = |tally: &Tally, hits: u64| hits as f64 / tally.found as f64;
    let at_least = |goal, bound| [Limit::AtLeast(goal), Limit::AtLeast(bound)];
    section.figure(
        "groups per event",
        rate(&all, all.groups),
        [Limit::AtMost(1.1), Limit::AtMost(1.5)],
    );
    section.figure("top-1, self, exact", rate(&own, own.first[0]), at_least(0.95, 0.85));
    section.figure("top-3, self, exact", rate(&own, own.third[0]), at_least(0.98, 0.85));
    section.figure(
        "top-1, path, up to equivalence",
        rate(&path, path.first[1]),
        at_least(0.85, 0.7),
    );
    section.figure(
        "top-3, path, up to equivalence",
        rate(&path, path.third[1]),
        at_least(0.92, 0.7),
    );
    section.tables.push(table);
    section
}

fn row(name: &str, size: f64, tally: &Tally) -> Vec<String> {
    let part = |hits: u64| percent(hits as f64 / tally.found as f64);
    vec![
        name.to_owned(),
        percent(size),
        tally.events.to_string(),
        tally.found.to_string(),
        short(tally.groups as f64 / tally.found as f64),
        part(tally.first[0]),
        part(tally.first[1]),
        part(tally.third[0]),
        part(tally.third[1]),
        short(tally.overlap / tally.found as f64),
    ]
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.found += other.found;
        self.groups += other.groups;
        self.overlap += other.overlap;
        for at in 0..2 {
            self.first[at] += other.first[at];
            self.third[at] += other.third[at];
        }
    }
}

fn measure(run: &Run, growth: Growth, size: f64) -> Tally {
    let rounds = run.size(30, 120);
    let tallies = parallel::rounds(rounds, |round| {
        let base = &run.programs[round % run.programs.len()];
        let name = [run.seed, 19, growth as u64, size.to_bits(), round as u64];
        let mut random = Random::of(&name);
        let Some(changed) = growth.of(base, Size::Relative(size), SHARES, &mut random) else {
            return Tally::default();
        };
        let whole = Variant::of(base);
        let join = Join::of([&whole, &changed.variant]);
        let scene = Scene {
            noise: Noise::LIGHT,
            samples: random.pick(&[20_000.0, 200_000.0]),
            affected: changed.affected,
            ..Scene::new(base, [&whole, &changed.variant])
        };
        let judgement = judge(&join.diff(&scene, &scene.draw(&name), 1), &Policy::default());
        let groups: Vec<&Group> =
            judgement.groups.iter().filter(|group| group.is_regression()).collect();
        compare(&join, &groups, &join.scope(&changed.scope))
    });
    let mut sum = Tally::default();
    for tally in &tallies {
        sum.add(tally);
    }
    sum
}

fn compare(join: &Join, groups: &[&Group], truth: &Scope) -> Tally {
    let mut tally = Tally { events: 1, ..Tally::default() };
    let scopes: Vec<Option<Scope>> =
        groups.iter().take(3).map(|group| group_scope(join, group)).collect();
    let [Some(first), ..] = &scopes[..] else { return tally };
    tally.found = 1;
    tally.groups = groups.len() as u64;
    let is_exact = |scope: &Scope| scope.function() == truth.function();
    let is_equivalent =
        |scope: &Scope| is_exact(scope) || overlap(join, scope, truth) >= EQUIVALENT;
    let told = &join.functions[truth.function() as usize].function;
    let is_in_chain = groups[0].chain.iter().take(3).any(|name| name == told);
    tally.first = [u64::from(is_exact(first)), u64::from(is_equivalent(first))];
    tally.third = [
        u64::from(is_in_chain || scopes.iter().flatten().any(is_exact)),
        u64::from(is_in_chain || scopes.iter().flatten().any(is_equivalent)),
    ];
    tally.overlap = overlap(join, first, truth);
    tally
}
