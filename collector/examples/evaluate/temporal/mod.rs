//! The temporal mode: services over weeks without a release. How often it is wrong, and how soon it is right.

mod rules;
mod stream;

use std::collections::HashMap;

use flamewatch_collector::detect::temporal::{
    FINE_NS, Judge, Mask, Pace, Remeasured, TemporalFinding, TemporalOptions, Watched,
};
use flamewatch_collector::detect::{Direction, Subject};

use crate::Run;
use crate::base::Base;
use crate::limits::clopper_pearson;
use crate::parallel;
use crate::random::Random;
use crate::report::{Limit, Section, Table, percent, short};

use stream::{BEGIN_UNIX_NS, DAY, HOUR, Injection, Weather};

/// Days of a stream without a change, and the day from which it is judged.
const DAYS: usize = 30;
const JUDGED_FROM: usize = 15;

/// A stream with a change: the day and hour of the change, and the days after.
const CHANGE: usize = 23 * DAY + 9 * HOUR;
const CHANGED_DAYS: usize = 35;

/// Hours in a row that an alert must see little left of a change before it resolves.
const RESOLVE_HOURS: usize = 6;

/// What a stream without a change gave.
struct Quiet {
    cell: usize,
    windows: u64,
    /// Windows with a finding, and groups: a root that was not found in the day before.
    alarms: u64,
    groups: u64,
    worse: u64,
    rules: [u64; 4],
}

/// What a stream with a change gave.
struct Changed {
    cell: usize,
    /// Windows of ten minutes until it was found, and how.
    found: Option<(usize, TemporalFinding)>,
    is_root: bool,
    /// Hours after it was found, and how often an alert on it would have resolved in that time.
    watched_hours: usize,
    resolved: usize,
}

/// A kind of change.
struct Kind {
    share: f64,
    size: f64,
    ramp_days: usize,
    disturbances: f64,
}

/// Measures the temporal mode.
pub(crate) fn run(run: &Run) -> Section {
    let mut section = Section::new("temporal", "Over time, without a release");
    section.text.push(format!(
        "Streams of {DAYS} days in windows of ten minutes, 400,000 samples an hour unless said: 24 workloads with a day of \
         5 to 25 % amplitude and a weekend of its own, a wander of 3 % with the given correlation from hour to hour, \
         functions that wander by themselves, and disturbances of 35 to 200 % on a workload or a function that last one \
         to six hours. Judged every hour from day {JUDGED_FROM} on. A finding in either direction counts as false; a \
         group is a root that was not found in the 24 hours before."
    ));
    quiet(run, &mut section);
    changed(run, &mut section);
    section
}

fn weather(rho: f64, disturbances: f64, samples_an_hour: f64) -> Weather {
    Weather { samples_an_hour, diurnal: 0.25, weekend: 0.1, rho, wander: 0.03, disturbances }
}

fn quiet(run: &Run, section: &mut Section) {
    let mut cells: Vec<Weather> = Vec::new();
    for rho in run.size(vec![0.7], vec![0.0, 0.7, 0.9]) {
        for disturbances in run.size(vec![6.0], vec![0.0, 6.0, 30.0]) {
            cells.push(weather(rho, disturbances, 400_000.0));
        }
    }
    if run.full {
        cells.push(weather(0.7, 6.0, 40_000.0));
        cells.push(weather(0.7, 6.0, 8_000.0));
    }
    let programs = run.size(1, run.programs.len());
    let results = parallel::rounds(cells.len() * programs, |round| {
        let (cell, program) = (round / programs, round % programs);
        one_quiet(&run.programs[program], (cell, &cells[cell]), &[run.seed, 71, round as u64])
    });
    let mut table = Table::new(
        "Windows of an hour without a change in which each rule alarms, per 1,000; ours also in groups.",
        &[
            "correlation",
            "disturbances a month",
            "samples an hour",
            "windows",
            "ours",
            "ours, groups",
            "z, hour before",
            "season alone",
            "trail alone",
            "averages cross",
        ],
    );
    for (at, cell) in cells.iter().enumerate() {
        let own: Vec<&Quiet> = results.iter().filter(|quiet| quiet.cell == at).collect();
        let windows: u64 = own.iter().map(|quiet| quiet.windows).sum();
        let rate = |of: &dyn Fn(&Quiet) -> u64| {
            let sum: u64 = own.iter().map(|quiet| of(quiet)).sum();
            short(1_000.0 * sum as f64 / windows as f64)
        };
        let mut row = vec![
            short(cell.rho),
            short(cell.disturbances),
            short(cell.samples_an_hour),
            windows.to_string(),
            rate(&|quiet| quiet.alarms),
            rate(&|quiet| quiet.groups),
        ];
        row.extend((0..4).map(|rule| rate(&|quiet| quiet.rules[rule])));
        table.rows.push(row);
    }
    section.tables.push(table);
    section.text.push(format!("The rules: {}.", rules::NAMES.join("; ")));
    let sum = |of: fn(&Quiet) -> u64| results.iter().map(of).sum::<u64>();
    let (windows, groups) = (sum(|quiet| quiet.windows), sum(|quiet| quiet.groups));
    let [_, high] = clopper_pearson(groups, windows, 0.05);
    let per_thousand = |count: f64| 1_000.0 * count;
    let goal = Limit::AtMost(1.0);
    let bound = Limit::AtMost(run.size(6.0, 2.0));
    section.figure("clean service-windows", windows as f64, [Limit::Free, Limit::Free]);
    let rate = per_thousand(groups as f64 / windows as f64);
    section.figure("false groups per 1,000 clean service-windows", rate, [goal, bound]);
    section.figure(
        "the same, upper limit (95 %, one-sided, Clopper-Pearson)",
        per_thousand(high),
        [if run.full { goal } else { Limit::Free }, Limit::Free],
    );
    let worse = per_thousand(sum(|quiet| quiet.worse) as f64 / windows as f64);
    section.figure("of these for the worse, which alone can fire", worse, [goal, Limit::Free]);
}

fn one_quiet(base: &Base, (cell, weather): (usize, &Weather), seed: &[u64]) -> Quiet {
    let mut random = Random::of(seed);
    let timeline = stream::draw(base, weather, DAYS, &[], &mut random);
    let options = TemporalOptions::default();
    let judge = Judge::new(&timeline, &Mask::default(), &options);
    let mut last: HashMap<Watched, usize> = HashMap::new();
    let mut quiet = Quiet { cell, windows: 0, alarms: 0, groups: 0, worse: 0, rules: [0; 4] };
    for window in (JUDGED_FROM * DAY + HOUR..=DAYS * DAY).step_by(HOUR) {
        let judged = judge.at(BEGIN_UNIX_NS + window as u64 * FINE_NS);
        quiet.windows += 1;
        quiet.alarms += u64::from(!judged.findings.is_empty());
        for finding in judged.findings {
            let before = last.insert(finding.watched.clone(), window);
            if before.is_none_or(|before| window - before > DAY) {
                quiet.groups += 1;
                quiet.worse += u64::from(finding.direction == Direction::Worse);
            }
        }
    }
    let alarms = rules::alarms(&timeline, JUDGED_FROM * 24);
    quiet.rules = alarms.map(|hours| hours.iter().filter(|alarm| **alarm).count() as u64);
    quiet
}

fn changed(run: &Run, section: &mut Section) {
    let step = |share, size, disturbances| Kind { share, size, ramp_days: 0, disturbances };
    let mut kinds = vec![step(0.01, 0.5, 0.0), step(0.05, 0.5, 6.0)];
    if run.full {
        kinds = Vec::new();
        for disturbances in [0.0, 6.0] {
            for (share, size) in
                [(0.003, 0.5), (0.003, 1.0), (0.01, 0.2), (0.01, 0.5), (0.05, 0.2), (0.05, 0.5)]
            {
                kinds.push(step(share, size, disturbances));
            }
        }
    }
    for share in run.size(vec![0.05], vec![0.01, 0.05]) {
        kinds.push(Kind { share, size: 0.5, ramp_days: 12, disturbances: 0.0 });
    }
    let rounds = run.size(1, 6);
    let results = parallel::rounds(kinds.len() * rounds, |round| {
        let (cell, at) = (round / rounds, round % rounds);
        let base = &run.programs[at % run.programs.len()];
        one_changed(base, (cell, &kinds[cell]), &[run.seed, 72, round as u64])
    });
    section.tables.push(table_of(&kinds, &results));
    let found = |is_slow: bool| {
        let of: Vec<&Changed> = results
            .iter()
            .filter(|changed| (kinds[changed.cell].ramp_days > 0) == is_slow)
            .filter(|changed| kinds[changed.cell].size >= 0.5 && kinds[changed.cell].share >= 0.01)
            .collect();
        of.iter().filter(|changed| changed.found.is_some()).count() as f64 / of.len().max(1) as f64
    };
    let limits = [Limit::AtLeast(0.9), Limit::AtLeast(0.6)];
    section.figure(
        "steps of +50 % in a function of 1 % or more that are found",
        found(false),
        limits,
    );
    section.figure("slow growth to +50 % that is found", found(true), limits);
    let resolved: usize = results.iter().map(|changed| changed.resolved).sum();
    let hours: usize = results.iter().map(|changed| changed.watched_hours).sum();
    let none = [Limit::AtMost(0.0), Limit::AtMost(0.0)];
    section.figure("lasting changes that resolve by themselves", resolved as f64, none);
    section.figure("hours over which that was watched", hours as f64, [Limit::Free, Limit::Free]);
}

/// What was found of each kind of change, and when.
fn table_of(kinds: &[Kind], results: &[Changed]) -> Table {
    let mut table = Table::new(
        "Changes that stay: how many were found within 11 days, and after how many hours (median).",
        &[
            "share",
            "change",
            "form",
            "disturbances a month",
            "found",
            "as root",
            "hours",
            "in one window",
        ],
    );
    for (at, kind) in kinds.iter().enumerate() {
        let own: Vec<&Changed> = results.iter().filter(|changed| changed.cell == at).collect();
        let mut hours: Vec<f64> = own
            .iter()
            .filter_map(|changed| Some(changed.found.as_ref()?.0 as f64 / HOUR as f64))
            .collect();
        hours.sort_unstable_by(f64::total_cmp);
        let fast = own.iter().filter(|changed| {
            changed.found.as_ref().is_some_and(|(_, finding)| finding.pace == Pace::Fast)
        });
        table.rows.push(vec![
            percent(kind.share),
            format!("+{}", percent(kind.size)),
            if kind.ramp_days == 0 {
                "step".to_owned()
            } else {
                format!("over {} days", kind.ramp_days)
            },
            short(kind.disturbances),
            format!("{} of {}", hours.len(), own.len()),
            own.iter().filter(|changed| changed.is_root).count().to_string(),
            hours
                .get(hours.len() / 2)
                .map_or_else(|| "not found".to_owned(), |hours| short(*hours)),
            fast.count().to_string(),
        ]);
    }
    table
}

fn one_changed(base: &Base, (cell, kind): (usize, &Kind), seed: &[u64]) -> Changed {
    let mut random = Random::of(seed);
    let function = function_of(base, kind.share);
    let injection = Injection {
        function,
        is_path: false,
        size: kind.size.ln_1p(),
        begin: CHANGE,
        ramp: kind.ramp_days * DAY,
    };
    let weather = weather(0.7, kind.disturbances, 400_000.0);
    let timeline = stream::draw(base, &weather, CHANGED_DAYS, &[injection], &mut random);
    let options = TemporalOptions::default();
    let judge = Judge::new(&timeline, &Mask::default(), &options);
    let name = &base.functions[function as usize].function;
    let is_it = |watched: &Watched| matches!(watched, Watched::Of(Subject::Function { function, .. }) if function == name);
    let mut changed = Changed { cell, found: None, is_root: false, watched_hours: 0, resolved: 0 };
    let mut window = CHANGE + 1;
    while window <= CHANGED_DAYS * DAY {
        let judged = judge.at(BEGIN_UNIX_NS + window as u64 * FINE_NS);
        let hit = judged.findings.into_iter().find(|finding| {
            finding.direction == Direction::Worse
                && (is_it(&finding.watched) || finding.also_visible_in.iter().any(is_it))
        });
        if let Some(finding) = hit {
            changed.is_root = is_it(&finding.watched);
            changed.found = Some((window - CHANGE, finding));
            break;
        }
        // Each window at first, then each hour.
        window += if window < CHANGE + 2 * HOUR { 1 } else { HOUR - window % HOUR };
    }
    if let Some((windows, finding)) = &changed.found {
        let from = CHANGE + windows;
        let (hours, resolved) = follow(&judge, finding, from);
        changed.watched_hours = hours;
        changed.resolved = usize::from(resolved);
    }
    changed
}

/// Hours for which a finding was followed, and whether an alert on it would have resolved.
fn follow(judge: &Judge<'_>, finding: &TemporalFinding, from: usize) -> (usize, bool) {
    let (mut hours, mut streak) = (0, 0);
    for window in (from.next_multiple_of(HOUR)..=CHANGED_DAYS * DAY).step_by(HOUR) {
        hours += 1;
        let end = BEGIN_UNIX_NS + window as u64 * FINE_NS;
        match judge.remeasure(&finding.watched, &finding.baseline, end) {
            Remeasured::Change { interval, .. } if interval[1] < finding.delta_rel / 2.0 => {
                streak += 1
            }
            Remeasured::Change { .. } => streak = 0,
            Remeasured::NoData => {}
        }
        if streak >= RESOLVE_HOURS {
            return (hours, true);
        }
    }
    (hours, false)
}

/// The function whose own share is nearest to a share.
fn function_of(base: &Base, share: f64) -> u32 {
    let mut own = vec![0.0f64; base.functions.len()];
    for stack in &base.stacks {
        if let Some(top) = stack.functions.last() {
            own[*top as usize] += stack.share;
        }
    }
    let distance = |own: f64| (own.max(1e-12) / share).ln().abs();
    let nearest =
        (0u32..).zip(own).min_by(|left, right| distance(left.1).total_cmp(&distance(right.1)));
    nearest.map_or(0, |(function, _)| function)
}
