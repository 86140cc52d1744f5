//! Is work that only moved told as moved, and is work that grew never taken for it?

use flamewatch_collector::detect::{Cause, Direction, Group, Judgement, Policy, ShiftKind, judge};

use crate::Run;
use crate::change::{GROWTHS, Growth, Size};
use crate::join::Join;
use crate::noise::Noise;
use crate::parallel;
use crate::random::Random;
use crate::report::{Limit, Section, Table, percent};
use crate::rewrite::{REWRITES, Rewrite};
use crate::scene::Scene;
use crate::variant::{Scope, Variant, scopes};

/// Self shares of what moves.
const SHARES: [f64; 2] = [0.01, 0.15];

/// Growth of the regressions that must not be lost.
const GROWTH: f64 = 0.6;

/// What became of events of one kind.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    events: u64,
    /// With a regression that is none.
    regressions: u64,
    /// With nothing but shifts for the worse.
    shifts: u64,
    /// Of these, with the kind that it is.
    named: u64,
}

pub(super) fn run(run: &Run) -> Section {
    let mut section = Section::new("shift", "Cost shifts");
    section.text.push(
        "10 + 10 hosts with 20,000 to 200,000 samples each, light noise. Work of a function with 1 to 15 % of the CPU moves, \
         nothing grows. Caught: told as a shift and nothing as a regression, of all in which anything grew by what is told. \
         Below: regressions of +60 % that were taken for shifts."
            .to_owned(),
    );
    let mut table = Table::new(
        "",
        &["change", "events", "caught", "kind right", "false regression", "nothing told"],
    );
    let mut caught = Vec::new();
    for (name, rewrite) in REWRITES {
        let tally = measure(run, rewrite);
        let part = |hits: u64, of: u64| percent(hits as f64 / of as f64);
        let told = tally.shifts + tally.regressions;
        table.rows.push(vec![
            name.to_owned(),
            tally.events.to_string(),
            part(tally.shifts, told),
            part(tally.named, tally.shifts),
            part(tally.regressions, tally.events),
            part(tally.events - told, tally.events),
        ]);
        caught.push((rewrite, tally.shifts as f64 / told as f64, tally));
    }
    let mut lost_table = Table::new("", &["regression", "found", "taken for a shift"]);
    let (mut found, mut lost) = (0, 0);
    for (name, growth) in GROWTHS {
        let tally = lose(run, growth);
        let told = tally.shifts + tally.regressions;
        found += told;
        lost += tally.shifts;
        lost_table.rows.push(vec![
            name.to_owned(),
            told.to_string(),
            percent(tally.shifts as f64 / told as f64),
        ]);
    }
    for (rewrite, rate, tally) in caught {
        let goals = match rewrite {
            Rewrite::Rename => [Limit::AtLeast(0.95), Limit::AtLeast(0.8)],
            Rewrite::Move | Rewrite::Outline => [Limit::AtLeast(0.85), Limit::AtLeast(0.6)],
            _ => [Limit::AtLeast(0.85), Limit::Free],
        };
        if rewrite == Rewrite::Lines {
            let rate = tally.regressions as f64 / tally.events as f64;
            section.figure(
                "lines only: events with a regression",
                rate,
                [Limit::AtMost(0.01), Limit::AtMost(0.05)],
            );
        } else if !rate.is_nan() {
            section.figure(format!("{rewrite:?}: caught").to_lowercase(), rate, goals);
        }
    }
    let lost = lost as f64 / f64::from(found as u32);
    section.figure(
        "real regressions taken for a shift",
        lost,
        [Limit::AtMost(0.02), Limit::AtMost(0.06)],
    );
    section.tables.extend([table, lost_table]);
    section
}

fn measure(run: &Run, rewrite: Rewrite) -> Tally {
    let candidates: Vec<Vec<Scope>> =
        run.programs.iter().map(|base| scopes(base, Scope::Own, SHARES)).collect();
    let tallies = parallel::rounds(run.size(24, 120), |round| {
        let number = round % run.programs.len();
        let base = &run.programs[number];
        let name = [run.seed, 23, rewrite as u64, round as u64];
        let mut random = Random::of(&name);
        let whole = Variant::of(base);
        let changed = (0..20).find_map(|_| {
            let scope = &candidates[number][random.below(candidates[number].len())];
            rewrite.of(&whole, scope.function(), &mut random)
        });
        let Some(changed) = changed else { return Tally::default() };
        let judgement = look(run, number, [&whole, &changed], (1.0, &name));
        count(&judgement, rewrite)
    });
    sum(&tallies)
}

fn lose(run: &Run, growth: Growth) -> Tally {
    let tallies = parallel::rounds(run.size(18, 120), |round| {
        let number = round % run.programs.len();
        let name = [run.seed, 29, growth as u64, round as u64];
        let mut random = Random::of(&name);
        let base = &run.programs[number];
        let Some(changed) = growth.of(base, Size::Relative(GROWTH), SHARES, &mut random) else {
            return Tally::default();
        };
        let whole = Variant::of(base);
        let judgement = look(run, number, [&whole, &changed.variant], (changed.affected, &name));
        count(&judgement, Rewrite::Lines)
    });
    sum(&tallies)
}

fn look(
    run: &Run,
    program: usize,
    variants: [&Variant; 2],
    (affected, name): (f64, &[u64]),
) -> Judgement {
    let mut random = Random::of(&[name, &[1]].concat());
    let join = Join::of(variants);
    let scene = Scene {
        noise: Noise::LIGHT,
        samples: random.pick(&[20_000.0, 200_000.0]),
        affected,
        ..Scene::new(&run.programs[program], variants)
    };
    judge(&join.diff(&scene, &scene.draw(name), 1), &Policy::default())
}

fn count(judgement: &Judgement, rewrite: Rewrite) -> Tally {
    let has_regression = judgement.groups.iter().any(Group::is_regression);
    let kinds: Vec<ShiftKind> = judgement
        .groups
        .iter()
        .filter(|group| group.direction == Direction::Worse)
        .filter_map(|group| match &group.cause {
            Cause::CostShift(shift) => Some(shift.kind),
            Cause::Change => None,
        })
        .collect();
    let is_shift = !has_regression && !kinds.is_empty();
    let is_named = is_shift && kinds.iter().any(|kind| is_kind(*kind, rewrite));
    Tally {
        events: 1,
        regressions: u64::from(has_regression),
        shifts: u64::from(is_shift),
        named: u64::from(is_named),
    }
}

/// Whether a kind is the right word. Outlining is moving to a helper; what is split or merged by halves can look renamed.
fn is_kind(kind: ShiftKind, rewrite: Rewrite) -> bool {
    match rewrite {
        Rewrite::Rename => kind == ShiftKind::Rename,
        Rewrite::Inline => kind == ShiftKind::Inline,
        Rewrite::Outline => matches!(kind, ShiftKind::Move | ShiftKind::Inline),
        Rewrite::Move => kind == ShiftKind::Move,
        Rewrite::Split => kind == ShiftKind::Split,
        Rewrite::Merge => kind == ShiftKind::Merge,
        Rewrite::Lines => false,
    }
}

fn sum(tallies: &[Tally]) -> Tally {
    tallies.iter().fold(Tally::default(), |sum, tally| Tally {
        events: sum.events + tally.events,
        regressions: sum.regressions + tally.regressions,
        shifts: sum.shifts + tally.shifts,
        named: sum.named + tally.named,
    })
}
