//! A stream of deploys of all kinds, few of them with a regression: how many of the alerts are true?

use flamewatch_collector::detect::{Group, Judgement, Policy, judge};

use crate::Run;
use crate::change::{GROWTHS, Growth, Size};
use crate::competitors::{RIVALS, View};
use crate::found::group_scope;
use crate::join::Join;
use crate::limits::clopper_pearson;
use crate::looks::has_grown;
use crate::noise::Noise;
use crate::parallel;
use crate::random::Random;
use crate::report::{Limit, Section, Table, percent};
use crate::rewrite::REWRITES;
use crate::scene::{Burst, Scene};
use crate::variant::{Scope, Variant, scopes};

/// False discovery rate at which an alert fires.
const FIRING_Q: f64 = 0.001;

/// Growth that is worth an alert, as a share of the service's CPU.
const FIRING_MIN: f64 = 0.0005;

/// Windows of the two looks that must agree.
const LOOKS: [usize; 2] = [8, 12];

/// What a deploy brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// Nothing.
    Equal,
    /// Nothing; the new hosts get more of one kind of request for a while.
    Transient,
    /// Work moves.
    Shift,
    /// Something gets cheaper.
    Improvement,
    /// Something gets slower.
    Regression,
}

/// Each kind with its name and its part of the stream, in percent.
const EVENTS: [(Event, &str, usize); 5] = [
    (Event::Equal, "no change", 50),
    (Event::Transient, "transient", 10),
    (Event::Shift, "cost shift", 15),
    (Event::Improvement, "improvement", 10),
    (Event::Regression, "regression", 15),
];

/// What came of one deploy: by method, the alerts, and how many of them are true.
struct Outcome {
    event: usize,
    alerts: Vec<[u64; 2]>,
}

pub(super) fn run(run: &Run) -> Section {
    let mut section = Section::new("stream", "A stream of deploys");
    section.text.push(
        "Deploys of which 15 % get slower somewhere, by 0.1 to 5 % of all CPU; the rest change nothing, move work, get cheaper, \
         or meet a burst of load on the new hosts. An alert fires at a false discovery rate of 0.1 %, growth of at least 0.05 % \
         of all CPU, at two looks. Ours are counted one by one; all alarms of a rival on one deploy count as one, true if any is."
            .to_owned(),
    );
    let deploys = run.size(100, 1500);
    let outcomes = parallel::rounds(deploys, |round| deploy(run, round));
    let mut table = Table::new(
        "",
        &["method", "alerts", "true", "precision", "95 % interval", "regressions found"],
    );
    for (_, name, _) in &EVENTS[..4] {
        table.head.push(name);
    }
    let names = std::iter::once("Flamewatch").chain(RIVALS.iter().map(|rival| rival.name));
    for (method, name) in names.enumerate() {
        let sum =
            |of: usize| outcomes.iter().map(|outcome| outcome.alerts[method][of]).sum::<u64>();
        let [alerts, hits] = [sum(0), sum(1)];
        let [low, high] = clopper_pearson(hits, alerts, 0.025);
        let precision = hits as f64 / alerts as f64;
        let regressions = outcomes.iter().filter(|outcome| outcome.event == 4);
        let found = regressions.clone().filter(|outcome| outcome.alerts[method][1] > 0).count();
        let recall = found as f64 / regressions.count() as f64;
        let mut row = vec![
            name.to_owned(),
            alerts.to_string(),
            hits.to_string(),
            percent(precision),
            format!("{} to {}", percent(low), percent(high)),
            percent(recall),
        ];
        for event in 0..4 {
            let of_event = outcomes.iter().filter(|outcome| outcome.event == event);
            row.push(of_event.filter(|outcome| outcome.alerts[method][0] > 0).count().to_string());
        }
        table.rows.push(row);
        if method == 0 {
            section.figure(
                format!("precision of {alerts} alerts on {deploys} deploys"),
                precision,
                [Limit::AtLeast(0.9), Limit::AtLeast(0.7)],
            );
            section.figure("regressions found", recall, [Limit::Free, Limit::AtLeast(0.1)]);
        }
    }
    table.caption =
        "The last columns: deploys without a regression that raised an alert.".to_owned();
    section.tables.push(table);
    section
}

fn deploy(run: &Run, round: usize) -> Outcome {
    let base = &run.programs[round % run.programs.len()];
    let name = [run.seed, 41, round as u64];
    let mut random = Random::of(&name);
    let whole = Variant::of(base);
    let mut draw = random.below(100);
    let event = EVENTS.iter().position(|(_, _, part)| {
        let is_it = draw < *part;
        draw = draw.saturating_sub(*part);
        is_it
    });
    let event = event.unwrap_or(0);
    let mut affected = 1.0;
    let changed = match EVENTS[event].0 {
        Event::Equal | Event::Transient => whole.clone(),
        Event::Shift => shift(run, round, &whole, &mut random),
        Event::Improvement => {
            let all = scopes(base, Scope::Total, [0.02, 0.25]);
            whole.scaled(&all[random.below(all.len())], 0.3 + 0.5 * random.uniform())
        }
        Event::Regression => {
            let (_, growth) = random.pick(&GROWTHS);
            let growth = if growth == Growth::OneKindOfNode { Growth::Own } else { growth };
            let cost = Size::Absolute(random.pick(&[0.001, 0.003, 0.01, 0.02, 0.05]));
            let changed = growth.of(base, cost, [0.002, 0.15], &mut random);
            affected = changed.as_ref().map_or(1.0, |changed| changed.affected);
            changed.map_or_else(|| whole.clone(), |changed| changed.variant)
        }
    };
    let mut scene = Scene {
        noise: Noise { transients: 0.02, ..Noise::TYPICAL },
        hosts: random.pick(&[[5, 5], [10, 10], [18, 4]]),
        samples: random.pick(&[1_000.0, 5_000.0]),
        windows: LOOKS[1],
        affected,
        ..Scene::new(base, [&whole, &changed])
    };
    if EVENTS[event].0 == Event::Transient {
        scene.burst = Some(Burst::draw(base, LOOKS[1], &mut random));
    }
    judge_deploy(&scene, event, &name)
}

fn shift(run: &Run, round: usize, whole: &Variant, random: &mut Random) -> Variant {
    let base = &run.programs[round % run.programs.len()];
    let all = scopes(base, Scope::Own, [0.005, 0.15]);
    let changed = (0..20).find_map(|_| {
        let (_, rewrite) = random.pick(&REWRITES);
        rewrite.of(whole, all[random.below(all.len())].function(), random)
    });
    changed.unwrap_or_else(|| whole.clone())
}

fn judge_deploy(scene: &Scene<'_>, event: usize, name: &[u64]) -> Outcome {
    let join = Join::of(scene.variants);
    let drawn = scene.draw(name);
    let is_regression = EVENTS[event].0 == Event::Regression;
    let look = |windows| judge(&join.diff(scene, &drawn, windows), &Policy::default());
    let [before, last]: [Judgement; 2] = LOOKS.map(look);
    let fires = |group: &&Group| {
        group.is_regression()
            && group.root.q <= FIRING_Q
            && group.root.delta_abs >= FIRING_MIN
            && before
                .groups
                .iter()
                .any(|other| other.is_regression() && other.root.subject == group.root.subject)
    };
    let fired: Vec<&Group> = last.groups.iter().filter(fires).collect();
    let is_true = |group: &&&Group| {
        is_regression && group_scope(&join, group).is_some_and(|scope| has_grown(&join, &scope))
    };
    let mut alerts = vec![[fired.len() as u64, fired.iter().filter(is_true).count() as u64]];
    let view = View::of(&join, scene, &drawn, LOOKS[1]);
    for rival in RIVALS {
        let alarms = (rival.alarms)(&view);
        let mut fired = alarms.iter().filter(|alarm| alarm.delta >= FIRING_MIN).peekable();
        let has_fired = fired.peek().is_some();
        let is_true = is_regression && fired.any(|alarm| has_grown(&join, &alarm.scope));
        alerts.push([u64::from(has_fired), u64::from(is_true)]);
    }
    Outcome { event, alerts }
}
