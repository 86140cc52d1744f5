//! The smallest growth that is found, beside the smallest that any method could find.

use flamewatch_collector::detect::judge;

use crate::Run;
use crate::competitors::{RIVALS, View};
use crate::found::{bare_policy, grown, is_same};
use crate::join::Join;
use crate::limits::{crossing, detectable};
use crate::noise::Noise;
use crate::parallel;
use crate::plot::{Axis, Curve, Plot};
use crate::report::{Limit, Section, Table, percent, short};
use crate::scene::Scene;
use crate::variant::{Scope, Variant, nearest};

/// Growths that are tried, as multiples of the limit.
const MULTIPLES: [f64; 11] = [0.7, 0.9, 1.05, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.25, 4.5];

/// Methods that are measured: ours, and those that compare hosts.
const METHODS: usize = 5;

/// Part of the comparisons of equals with an alarm above which a method holds no error rate: its figure is in brackets.
const ALARMS_MAX: f64 = 0.05;

/// A frame under some noise on some hosts.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) program: usize,
    pub(super) scope: Scope,
    pub(super) noise: Noise,
    pub(super) hosts: usize,
    pub(super) samples: f64,
    pub(super) is_paired: bool,
}

/// What a cell gave.
pub(super) struct Measured {
    pub(super) share: f64,
    tau: f64,
    pub(super) limit: f64,
    /// Power at each multiple, of us and of each rival.
    power: Vec<[f64; METHODS]>,
    /// Part of the comparisons of equals in which each alarms on anything.
    alarms: [f64; METHODS],
}

impl Measured {
    /// The growth that a method finds with 80 %, over the limit; not a number when none that was tried.
    pub(super) fn ratio(&self, method: usize) -> f64 {
        let rows = MULTIPLES.iter().zip(&self.power);
        let points: Vec<(f64, f64)> = rows.map(|(at, row)| (*at, row[method])).collect();
        crossing(&points).unwrap_or(f64::NAN)
    }
}

pub(super) fn run(run: &Run) -> Section {
    let mut section = Section::new("mde", "The smallest growth that is found");
    section.text.push(
        "Growth that is found with a probability of 80 %, over the limit of Neyman and Pearson for one frame at level 1e-5 \
         whose variance is known: R. All functions are tested together at a false discovery rate of 1 %, with a minimum \
         effect of zero, two-sided. `tau` is the coefficient of variation of the frame's share between hosts. In brackets: \
         a method that alarms in more than 5 % of the comparisons of equals of the same cell."
            .to_owned(),
    );
    let head = [
        "hosts",
        "noise",
        "time",
        "share",
        "tau",
        "samples a host",
        "limit",
        "ours: growth",
        "ours: R",
    ];
    let mut table = Table::new("", &head);
    table.head.extend(RIVALS.iter().take(METHODS - 1).map(|rival| rival.name));
    let mut ratios: Vec<(usize, bool, f64)> = Vec::new();
    for cell in cells(run) {
        let measured = measure(run, &cell);
        let is_quiet = cell.noise == Noise::NONE;
        let own = measured.ratio(0);
        ratios.push((cell.hosts, is_quiet, own));
        let mut row = vec![
            format!("{0} + {0}", cell.hosts),
            noise_name(&cell.noise).to_owned(),
            if matches!(cell.scope, Scope::Own(_)) { "self" } else { "inclusive" }.to_owned(),
            percent(measured.share),
            percent(measured.tau),
            format!("{}", cell.samples),
            percent(measured.limit / measured.share),
            percent(own * measured.limit / measured.share),
            short(own),
        ];
        for method in 1..METHODS {
            let ratio = measured.ratio(method);
            let shown = reached(ratio);
            let is_sound = measured.alarms[method] <= ALARMS_MAX;
            row.push(if is_sound { shown } else { format!("({shown})") });
        }
        table.rows.push(row);
        if is_plotted(&cell, measured.share) {
            section.plots.push(plot(&cell, &measured, section.plots.len()));
        }
    }
    goals(&mut section, &ratios);
    section.tables.push(table);
    section
}

/// Worst and middle ratio of each group of cells, with its goal.
fn goals(section: &mut Section, ratios: &[(usize, bool, f64)]) {
    for hosts in [3, 10, 30] {
        for is_quiet in [true, false] {
            let mut of: Vec<f64> = ratios
                .iter()
                .filter(|(h, quiet, _)| *h == hosts && *quiet == is_quiet)
                .map(|(_, _, ratio)| if ratio.is_nan() { f64::INFINITY } else { *ratio })
                .collect();
            if of.is_empty() {
                continue;
            }
            of.sort_unstable_by(f64::total_cmp);
            let (goal, name) = match (hosts, is_quiet) {
                (3, true) => (1.5, "R_s"),
                (_, true) => (1.25, "R_s"),
                (3, false) => (2.0, "R_o"),
                (_, false) => (1.3, "R_o"),
            };
            let kind = if is_quiet { "no host variance" } else { "hosts that differ" };
            section.figure(
                format!("{name}, {hosts} + {hosts} hosts, {kind}: median of {} frames", of.len()),
                f64::midpoint(of[(of.len() - 1) / 2], of[of.len() / 2]),
                [Limit::AtMost(goal), Limit::AtMost(goal * 2.0)],
            );
            section.figure(
                format!("{name}, {hosts} + {hosts} hosts, {kind}: worst frame"),
                of[of.len() - 1],
                [Limit::AtMost(goal), Limit::Free],
            );
        }
    }
}

fn reached(ratio: f64) -> String {
    if ratio.is_nan() { format!("> {}", MULTIPLES[MULTIPLES.len() - 1]) } else { short(ratio) }
}

fn noise_name(noise: &Noise) -> &'static str {
    if *noise == Noise::NONE {
        "none"
    } else if *noise == Noise::LIGHT {
        "light"
    } else {
        "typical"
    }
}

fn cells(run: &Run) -> Vec<Cell> {
    let mut cells = Vec::new();
    let shares: &[f64] = run.size(&[0.01, 0.05][..], &[0.001, 0.01, 0.05, 0.2][..]);
    for hosts in [3, 10, 30] {
        for noise in [Noise::NONE, Noise::LIGHT, Noise::TYPICAL] {
            if !run.full && (hosts == 30 || noise == Noise::LIGHT) {
                continue;
            }
            for (number, share) in shares.iter().enumerate() {
                for (family, of) in
                    [Scope::Own as fn(u32) -> Scope, Scope::Total].iter().enumerate()
                {
                    // Each cell on another program: all of them on all would take hours.
                    let program = (number + family + hosts) % run.programs.len();
                    let scope = nearest(&run.programs[program], *of, *share);
                    let (samples, is_paired) = (20_000.0, false);
                    cells.push(Cell { program, scope, noise, hosts, samples, is_paired });
                }
            }
        }
    }
    cells
}

/// Tries all growths.
pub(super) fn measure(run: &Run, cell: &Cell) -> Measured {
    let base = &run.programs[cell.program];
    let before = Variant::of(base);
    let share = before.share(&cell.scope);
    let inside: Vec<bool> =
        base.stacks.iter().map(|stack| cell.scope.holds(&stack.functions)).collect();
    let scene = Scene {
        noise: cell.noise,
        hosts: [cell.hosts, cell.hosts],
        samples: cell.samples,
        is_paired: cell.is_paired,
        ..Scene::new(base, [&before, &before])
    };
    // What a host keeps is no noise between it and itself.
    let own = Noise { mix: 0.0, function: 0.0, ..cell.noise };
    let varying = Scene { noise: if cell.is_paired { own } else { cell.noise }, ..scene };
    let tau = varying.variation(&[run.seed, 17], &inside, 600);
    let hosts = cell.hosts as f64;
    let limit = detectable(share, tau, cell.samples * hosts, hosts);
    let mut power = Vec::new();
    let rounds = run.size(40.0, 100.0);
    let equal = [run.seed, 16, share.to_bits(), cell.hosts as u64, tau.to_bits()];
    let alarms = alarms(&scene, rounds as usize, &equal);
    for (number, multiple) in MULTIPLES.iter().enumerate() {
        let name = [run.seed, 18, share.to_bits(), cell.hosts as u64, tau.to_bits(), number as u64];
        let row = found_by(run, &scene, cell, [multiple * limit / share, rounds], &name);
        power.push(row);
        // What is found by all is found by all with more.
        if row[0] >= 0.99 && row[2] >= 0.99 {
            power.resize(MULTIPLES.len(), row.map(|power| if power > 0.95 { 1.0 } else { power }));
            break;
        }
    }
    Measured { share, tau, limit, power, alarms }
}

/// Part of the rounds in which each method finds the growth.
pub(super) fn found_by(
    run: &Run,
    scene: &Scene<'_>,
    cell: &Cell,
    [growth, rounds]: [f64; 2],
    name: &[u64],
) -> [f64; METHODS] {
    let before = Variant::of(&run.programs[cell.program]);
    let after = before.scaled(&cell.scope, 1.0 + growth);
    let join = Join::of([&before, &after]);
    let scope = join.scope(&cell.scope);
    let scene = Scene { variants: [&before, &after], ..*scene };
    let is_it = |told: &Scope| *told == scope || is_same(&join, told, &scope);
    parts(rounds as usize, |round| {
        let told = told(&scene, &join, &[name, &[round as u64]].concat());
        told.map(|told| told.iter().any(is_it))
    })
}

/// Part of the comparisons of equals in which each method says that anything grew.
fn alarms(scene: &Scene<'_>, rounds: usize, name: &[u64]) -> [f64; METHODS] {
    let join = Join::of(scene.variants);
    parts(rounds, |round| {
        let told = told(scene, &join, &[name, &[round as u64]].concat());
        told.map(|told| !told.is_empty())
    })
}

fn parts(rounds: usize, hits: impl Fn(usize) -> [bool; METHODS] + Sync) -> [f64; METHODS] {
    let mut parts = [0.0; METHODS];
    for hit in parallel::rounds(rounds, hits) {
        for (part, hit) in parts.iter_mut().zip(hit) {
            *part += f64::from(u8::from(hit)) / rounds as f64;
        }
    }
    parts
}

/// What each method says has grown.
fn told(scene: &Scene<'_>, join: &Join, name: &[u64]) -> [Vec<Scope>; METHODS] {
    let drawn = scene.draw(name);
    let judgement = judge(&join.diff(scene, &drawn, 1), &bare_policy());
    let view = View::of(join, scene, &drawn, 1);
    let mut told: [Vec<Scope>; METHODS] = Default::default();
    told[0] = grown(join, &judgement);
    for (told, rival) in told[1..].iter_mut().zip(RIVALS) {
        *told = (rival.alarms)(&view).into_iter().map(|alarm| alarm.scope).collect();
    }
    told
}

fn is_plotted(cell: &Cell, share: f64) -> bool {
    matches!(cell.scope, Scope::Own(_)) && (0.007..0.014).contains(&share)
}

fn plot(cell: &Cell, measured: &Measured, number: usize) -> Plot {
    let names = std::iter::once("Flamewatch").chain(RIVALS.iter().map(|rival| rival.name));
    let curves = names
        .take(METHODS)
        .enumerate()
        .filter(|(method, _)| measured.alarms[*method] <= ALARMS_MAX)
        .map(|(method, name)| Curve {
            name: name.to_owned(),
            points: MULTIPLES
                .iter()
                .zip(&measured.power)
                .map(|(at, row)| (*at, row[method]))
                .collect(),
            has_line: true,
        })
        .collect();
    Plot {
        file: format!("power-{number}"),
        title: format!(
            "Power: {0} + {0} hosts, noise {1}, self time of {2}",
            cell.hosts,
            noise_name(&cell.noise),
            percent(measured.share)
        ),
        x: Axis { label: "growth over the limit", low: 0.5, high: 4.5, is_logarithmic: false },
        y: Axis { label: "found", low: 0.0, high: 1.0, is_logarithmic: false },
        curves,
        levels: vec![0.8],
        marks: vec![1.0],
    }
}
