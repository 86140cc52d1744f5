//! False alarms of single comparisons of equals: are the p values what they say?

use flamewatch_collector::detect::{Direction, Group, Policy, judge};

use crate::Run;
use crate::competitors::{RIVALS, View};
use crate::found::bare_policy;
use crate::join::Join;
use crate::limits::clopper_pearson;
use crate::noise::Noise;
use crate::parallel;
use crate::random::Random;
use crate::report::{Limit, Section, Table, percent, short};
use crate::scene::Scene;
use crate::variant::Variant;

/// Levels at which p values are counted.
const LEVELS: [f64; 3] = [0.05, 1e-3, 1e-5];

/// How much hosts scatter, by name.
const NOISES: [(&str, Option<Noise>); 4] = [
    ("samples only", Some(Noise::NONE)),
    ("light", Some(Noise::LIGHT)),
    ("typical", Some(Noise::TYPICAL)),
    ("any", None),
];

/// What comparisons of equals gave.
#[derive(Debug, Default)]
struct Tally {
    tests: u64,
    below: [u64; 3],
    /// Tests of inclusive time alone, and how many of them were below each level.
    comparisons: u64,
    bare_alarms: u64,
    alarms: u64,
    groups: u64,
    /// Comparisons with an alarm, and alarms, of each rival.
    rivals: Vec<[u64; 2]>,
}

pub(super) fn run(run: &Run) -> Section {
    let mut section = Section::new("aa", "Equal sides: p values and alarms of single comparisons");
    section.text.push(
        "P(p < a)/a of every function's p value between equal sides, with a minimum effect of zero: 1 is exact, less is \
         cautious. Alarms are comparisons in which anything grew, at a false discovery rate of 1 %."
            .to_owned(),
    );
    let mut calibration = Table::new(
        "",
        &[
            "hosts",
            "noise",
            "tests",
            "a = .05",
            "a = .001",
            "a = 1e-5",
            "alarms, no minimum",
            "alarms, as shipped",
        ],
    );
    let mut rivals = Table::new(
        "Comparisons of equals with an alarm (and alarms in each), known methods:",
        &["hosts", "noise"],
    );
    rivals.head.extend(RIVALS.iter().filter(|rival| rival.compares_hosts).map(|rival| rival.name));
    let mut worst = [0.0_f64; 3];
    let mut whole = Tally::default();
    for hosts in [3, 10, 30] {
        if hosts == 30 && !run.full {
            continue;
        }
        for (number, (name, noise)) in NOISES.iter().enumerate() {
            let rounds = run.size(24, if hosts == 30 { 80 } else { 240 });
            let tally = measure(run, [hosts, number], *noise, rounds);
            let ratio =
                |level: usize| tally.below[level] as f64 / tally.tests as f64 / LEVELS[level];
            for (level, worst) in worst.iter_mut().enumerate() {
                *worst = worst.max(ratio(level));
            }
            let part = |hits: u64| percent(hits as f64 / tally.comparisons as f64);
            calibration.rows.push(vec![
                format!("{hosts} + {hosts}"),
                (*name).to_owned(),
                tally.tests.to_string(),
                short(ratio(0)),
                short(ratio(1)),
                short(ratio(2)),
                part(tally.bare_alarms),
                part(tally.alarms),
            ]);
            let mut row = vec![format!("{hosts} + {hosts}"), (*name).to_owned()];
            row.extend(tally.rivals.iter().map(|[hits, alarms]| {
                let each = *alarms as f64 / (*hits as f64).max(1.0);
                format!("{} ({})", part(*hits), short(each))
            }));
            rivals.rows.push(row);
            whole.add(tally);
        }
    }
    finish(&mut section, &whole, worst);
    section.tables.extend([calibration, rivals]);
    section
}

fn finish(section: &mut Section, whole: &Tally, worst: [f64; 3]) {
    let [_, bound] = clopper_pearson(whole.alarms, whole.comparisons, 0.05);
    let rate = whole.alarms as f64 / whole.comparisons as f64;
    let at_most = |goal, bound| [Limit::AtMost(goal), Limit::AtMost(bound)];
    let ratio = |level: usize| whole.below[level] as f64 / whole.tests as f64 / LEVELS[level];
    section.figure("P(p < .05)/.05, all cells", ratio(0), at_most(1.1, 1.3));
    section.figure("P(p < .001)/.001, all cells", ratio(1), at_most(1.5, 3.0));
    section.figure("P(p < 1e-5)/1e-5, all cells", ratio(2), at_most(3.0, 30.0));
    section.figure("the same at .05, worst cell", worst[0], [Limit::AtMost(1.3), Limit::Free]);
    section.figure("the same at .001, worst cell", worst[1], [Limit::AtMost(3.0), Limit::Free]);
    section.figure("the same at 1e-5, worst cell", worst[2], [Limit::Free; 2]);
    section.figure(
        format!("comparisons of {} equals with a regression, as shipped", whole.comparisons),
        rate,
        at_most(0.01, 0.03),
    );
    section.figure("its 95 % bound", bound, [Limit::Free; 2]);
    section.figure(
        "false groups in one comparison",
        whole.groups as f64 / whole.comparisons as f64,
        [Limit::Free; 2],
    );
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.tests += other.tests;
        for (own, others) in self.below.iter_mut().zip(other.below) {
            *own += others;
        }
        self.comparisons += other.comparisons;
        self.bare_alarms += other.bare_alarms;
        self.alarms += other.alarms;
        self.groups += other.groups;
        self.rivals.resize(self.rivals.len().max(other.rivals.len()), [0; 2]);
        for (own, others) in self.rivals.iter_mut().zip(other.rivals) {
            own[0] += others[0];
            own[1] += others[1];
        }
    }
}

fn measure(run: &Run, [hosts, cell]: [usize; 2], noise: Option<Noise>, rounds: usize) -> Tally {
    let programs: Vec<(Variant, Join)> = run
        .programs
        .iter()
        .map(|base| {
            let whole = Variant::of(base);
            let join = Join::of([&whole, &whole]);
            (whole, join)
        })
        .collect();
    let tallies = parallel::rounds(rounds, |round| {
        let number = round % programs.len();
        let (whole, join) = &programs[number];
        let name = [run.seed, 11, hosts as u64, cell as u64, round as u64];
        let mut random = Random::of(&name);
        let scene = Scene {
            noise: noise.unwrap_or_else(|| Noise::any(&mut random)),
            hosts: [hosts, hosts],
            samples: random.pick(&[2_000.0, 20_000.0, 100_000.0]),
            ..Scene::new(&run.programs[number], [whole, whole])
        };
        compare(&scene, join, &name)
    });
    tallies.into_iter().fold(Tally::default(), |mut sum, tally| {
        sum.add(tally);
        sum
    })
}

fn compare(scene: &Scene<'_>, join: &Join, name: &[u64]) -> Tally {
    let drawn = scene.draw(name);
    let diff = join.diff(scene, &drawn, 1);
    let bare = judge(&diff, &bare_policy());
    let shipped = judge(&diff, &Policy::default());
    let mut tally = Tally { comparisons: 1, ..Tally::default() };
    for verdict in &bare.verdicts {
        tally.tests += 1;
        for (count, level) in tally.below.iter_mut().zip(LEVELS) {
            *count += u64::from(verdict.p < level);
        }
    }
    let is_growth = |verdict: &flamewatch_collector::detect::Verdict| {
        verdict.significant && verdict.direction == Direction::Worse
    };
    tally.bare_alarms = u64::from(bare.verdicts.iter().any(is_growth));
    tally.groups = shipped.groups.iter().filter(|group| group.is_regression()).count() as u64;
    tally.alarms = u64::from(shipped.groups.iter().any(Group::is_regression));
    let view = View::of(join, scene, &drawn, 1);
    for rival in RIVALS.iter().filter(|rival| rival.compares_hosts) {
        let alarms = (rival.alarms)(&view).len() as u64;
        tally.rivals.push([u64::from(alarms > 0), alarms]);
    }
    tally
}
