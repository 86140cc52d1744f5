//! Does the 95 % interval hold the truth, and is the estimate right in the mean?

use flamewatch_collector::detect::{Direction, judge};

use crate::Run;
use crate::found::{bare_policy, verdict_scope};
use crate::join::Join;
use crate::noise::Noise;
use crate::parallel;
use crate::plot::{Axis, Curve, Plot};
use crate::random::Random;
use crate::report::{Limit, Section, Table, percent, short};
use crate::scene::Scene;
use crate::variant::{Scope, Variant, scopes};

/// Bands of the share before, by their upper ends.
const BANDS: [(&str, f64); 5] = [
    ("< 0.1 %", 0.001),
    ("0.1 to 1 %", 0.01),
    ("1 to 5 %", 0.05),
    ("5 to 20 %", 0.2),
    ("20 to 60 %", 0.6),
];

/// What was counted in a band.
#[derive(Debug, Clone, Copy, Default)]
struct Band {
    intervals: u64,
    covered: u64,
    /// Sum of the relative errors of the growth of those that grew.
    bias: f64,
    grown: u64,
    /// Sum of the errors in standard errors.
    pull: f64,
}

/// Bands of self and of inclusive time.
type Bands = [[Band; BANDS.len()]; 2];

/// What was told at a false discovery rate of 1 %.
#[derive(Debug, Clone, Copy, Default)]
struct Discoveries {
    comparisons: u64,
    told: u64,
    /// Those of them that did not change that way.
    wrong: u64,
    /// Sum over comparisons of the wrong part of what each told: its mean is the rate that is controlled (Benjamini and
    /// Hochberg 1995). One comparison that tells much wrongly counts once in it.
    wrong_parts: f64,
}

pub(super) fn run(run: &Run) -> Section {
    let mut section = Section::new("coverage", "Intervals: coverage and bias");
    section.text.push(
        "Every function's 95 % interval of its growth, in comparisons in which one random function costs half as much \
         again: how many hold the truth. The error is the mean distance from the truth in standard errors, the bias that of \
         what grew."
            .to_owned(),
    );
    let mut table = Table::new(
        "",
        &["hosts", "noise", "time", "share", "intervals", "coverage", "error, s.e.", "bias"],
    );
    let mut all: Bands = Default::default();
    let mut told = Discoveries::default();
    for hosts in [3, 10, 30] {
        for (noise_name, noise) in [("light", Noise::LIGHT), ("typical", Noise::TYPICAL)] {
            if hosts == 30 && !run.full {
                continue;
            }
            let (bands, discoveries) = measure(run, hosts, noise);
            told.add(&discoveries);
            for (time, (of_time, sum)) in bands.iter().zip(&mut all).enumerate() {
                for (number, (band, sum)) in of_time.iter().zip(sum).enumerate() {
                    table.rows.push(row(hosts, noise_name, time, number, band));
                    sum.add(band);
                }
            }
        }
    }
    goals(&mut section, &all);
    section.figure(
        format!("false discovery rate at 1 %: mean of {} comparisons", told.comparisons),
        told.wrong_parts / told.comparisons as f64,
        [Limit::AtMost(0.01), Limit::AtMost(0.03)],
    );
    section.figure(
        format!("wrong ones among the {} discoveries of all", told.told),
        told.wrong as f64 / told.told as f64,
        [Limit::Free, Limit::AtMost(0.05)],
    );
    section.tables.push(table);
    section
}

/// Coverage of each band with its goal, and its picture.
fn goals(section: &mut Section, all: &Bands) {
    let mut curves = Vec::new();
    for (time, of_time) in all.iter().enumerate() {
        let name = if time == 0 { "self" } else { "inclusive" };
        let points = of_time.iter().enumerate().filter(|(_, band)| band.intervals > 0);
        let points = points.map(|(at, band)| (BANDS[at].1, band.coverage())).collect();
        curves.push(Curve { name: name.to_owned(), points, has_line: true });
        for (number, band) in of_time.iter().enumerate().filter(|(_, band)| band.intervals >= 200) {
            let what = format!("coverage, {name}, share {}", BANDS[number].0);
            section.figure(
                format!("{what} (at least)"),
                band.coverage(),
                [Limit::AtLeast(0.93), Limit::AtLeast(0.88)],
            );
            if band.coverage() > 0.97 {
                section.figure(
                    format!("{what} (at most)"),
                    band.coverage(),
                    [Limit::AtMost(0.97), Limit::Free],
                );
            }
        }
    }
    section.plots.push(Plot {
        file: "coverage".to_owned(),
        title: "Coverage of the 95 % interval by the function's share".to_owned(),
        x: Axis {
            label: "share of CPU, upper end of the band",
            low: 0.0005,
            high: 1.0,
            is_logarithmic: true,
        },
        y: Axis {
            label: "intervals that hold the truth",
            low: 0.85,
            high: 1.0,
            is_logarithmic: false,
        },
        curves,
        levels: vec![0.93, 0.95, 0.97],
        marks: Vec::new(),
    });
}

fn row(hosts: usize, noise: &str, time: usize, number: usize, band: &Band) -> Vec<String> {
    vec![
        format!("{hosts} + {hosts}"),
        noise.to_owned(),
        ["self", "inclusive"][time].to_owned(),
        BANDS[number].0.to_owned(),
        band.intervals.to_string(),
        percent(band.coverage()),
        short(band.pull / band.intervals as f64),
        if band.grown > 0 { percent(band.bias / band.grown as f64) } else { "-".to_owned() },
    ]
}

impl Discoveries {
    fn add(&mut self, other: &Self) {
        self.comparisons += other.comparisons;
        self.told += other.told;
        self.wrong += other.wrong;
        self.wrong_parts += other.wrong_parts;
    }
}

impl Band {
    fn add(&mut self, other: &Self) {
        self.intervals += other.intervals;
        self.covered += other.covered;
        self.bias += other.bias;
        self.grown += other.grown;
        self.pull += other.pull;
    }

    fn coverage(&self) -> f64 {
        self.covered as f64 / self.intervals as f64
    }
}

fn measure(run: &Run, hosts: usize, noise: Noise) -> (Bands, Discoveries) {
    let candidates: Vec<Vec<Scope>> =
        run.programs.iter().map(|base| scopes(base, Scope::Own, [0.003, 0.1])).collect();
    let rounds = run.size(30, 200);
    let bands = parallel::rounds(rounds, |round| {
        let number = round % run.programs.len();
        let base = &run.programs[number];
        let name = [run.seed, 13, hosts as u64, (noise.mix * 1e3) as u64, round as u64];
        let mut random = Random::of(&name);
        let target = &candidates[number][random.below(candidates[number].len())];
        let before = Variant::of(base);
        let after = before.scaled(target, 1.5);
        let join = Join::of([&before, &after]);
        let scene = Scene {
            noise,
            hosts: [hosts, hosts],
            samples: random.pick(&[5_000.0, 20_000.0, 100_000.0]),
            ..Scene::new(base, [&before, &after])
        };
        count(&scene, &join, &name)
    });
    let mut sum: Bands = Default::default();
    let mut told = Discoveries::default();
    for (of_round, discoveries) in &bands {
        told.add(discoveries);
        for (sum, band) in sum.iter_mut().flatten().zip(of_round.iter().flatten()) {
            sum.add(band);
        }
    }
    (sum, told)
}

fn count(scene: &Scene<'_>, join: &Join, name: &[u64]) -> (Bands, Discoveries) {
    let diff = join.diff(scene, &scene.draw(name), 1);
    let mut bands: Bands = Default::default();
    let mut told = Discoveries { comparisons: 1, ..Discoveries::default() };
    for verdict in &judge(&diff, &bare_policy()).verdicts {
        let Some(scope) = verdict_scope(join, verdict) else { continue };
        let [before, after] = join.truth(&scope);
        if verdict.significant {
            let grew = if verdict.direction == Direction::Worse { 1.0 } else { -1.0 };
            told.told += 1;
            told.wrong += u64::from(grew * (after - before) <= 1e-9);
        }
        let Some(number) = BANDS.iter().position(|(_, end)| before < *end) else { continue };
        if before <= 0.0 || verdict.standard_error <= 0.0 {
            continue;
        }
        let band = &mut bands[usize::from(matches!(scope, Scope::Total(_)))][number];
        let truth = after - before;
        band.intervals += 1;
        band.covered += u64::from(verdict.ci_low <= truth && truth <= verdict.ci_high);
        band.pull += (verdict.delta_abs - truth) / verdict.standard_error;
        if truth > 0.1 * before {
            band.grown += 1;
            band.bias += (verdict.delta_abs - truth) / truth;
        }
    }
    told.wrong_parts = told.wrong as f64 / told.told.max(1) as f64;
    (bands, told)
}
