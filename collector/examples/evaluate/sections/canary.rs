//! Canaries from their first window to their last: false failures, and how soon real ones are seen.

use crate::Run;
use crate::change::{Growth, Size};
use crate::competitors::RIVALS;
use crate::join::Join;
use crate::limits::clopper_pearson;
use crate::looks::{LOOKS, Story, watch};
use crate::noise::Noise;
use crate::parallel;
use crate::plot::{Axis, Curve, Plot};
use crate::random::Random;
use crate::report::{Limit, Section, Table, percent, short};
use crate::scene::Scene;
use crate::variant::Variant;

/// Growths of the canaries that should fail, in shares of all CPU.
const GROWTHS: [f64; 4] = [0.01, 0.02, 0.05, 0.1];

pub(super) fn run(run: &Run) -> Section {
    let mut section = Section::new("canary", "Canaries over all looks");
    section.text.push(format!(
        "A canary of up to {} windows of five minutes, looked at after {LOOKS:?} of them on the counts so far, 1 % spent over \
         all looks. Every one on other hosts (3 to 30 a side, or 18 beside 3), other loads, and another mixture of what makes \
         equal hosts differ. The gate decides with its \
         default policy: it fails a group that grew by 0.5 % of all CPU and a service that costs 3 % more; a rival fails it when anything it alarms on \
         did, Kayenta when less than 95 % of its metrics pass.",
        LOOKS[LOOKS.len() - 1]
    ));
    let rounds = run.size(90, 1200);
    let equals = parallel::rounds(rounds, |round| story(run, round, None));
    equal_table(&mut section, &equals);
    let mut answers = Table::new(
        "The gate's first answer to each, and the median windows until then:",
        &["growth, of all CPU", "pass", "fail", "inconclusive"],
    );
    answers.rows.push(answer_row("none, any hosts", &equals));
    for has_work in [false, true] {
        let rounds = run.size(24, 150);
        let typical = parallel::rounds(rounds, |round| story(run, round, Some((0.0, has_work))));
        let name = if has_work { "none, requests counted" } else { "none" };
        answers.rows.push(answer_row(name, &typical));
    }
    grow(run, &mut section, &equals, &mut answers);
    section.tables.push(answers);
    section
}

/// Canaries that get slower: what fails them, and what the gate answers.
fn grow(run: &Run, section: &mut Section, equals: &[Story], answers: &mut Table) {
    let mut table = Table::new(
        "Canaries in which the own code of one function with 1 to 15 % of the CPU grows, 10 hosts a side, typical noise, \
         requests counted: part that fails (median windows until then). A rival with false failures above 1 % is in brackets.",
        &["growth, of all CPU", "Flamewatch"],
    );
    table.head.extend(RIVALS.iter().map(|rival| rival.name));
    let mut right = [0, 0];
    for growth in GROWTHS {
        let rounds = run.size(24, 150);
        let stories = parallel::rounds(rounds, |round| story(run, round, Some((growth, true))));
        let mut row = vec![percent(growth), failures(&stories, |story| story.failed_at)];
        for number in 0..RIVALS.len() {
            let cell = failures(&stories, |story| story.rivals[number]);
            let is_sound = rate(equals, |story| story.rivals[number].is_some()) <= 0.01;
            row.push(if is_sound { cell } else { format!("({cell})") });
        }
        table.rows.push(row);
        answers.rows.push(answer_row(&percent(growth), &stories));
        right[1] += stories.iter().map(|story| story.groups[0]).sum::<u64>();
        right[0] += stories.iter().map(|story| story.groups[1]).sum::<u64>();
        if growth >= 0.05 {
            let all = percent(growth);
            let passed = rate(&stories, |story| story.answer.is_some_and(|(is_pass, _)| is_pass));
            let none = [Limit::AtMost(0.0), Limit::AtMost(0.02)];
            section.figure(format!("canaries with +{all} of all CPU that pass"), passed, none);
            let by_second = rate(&stories, |story| story.failed_at.is_some_and(|look| look <= 1));
            section.figure(
                format!("canaries with +{all} of all CPU that fail by the second look"),
                by_second,
                [Limit::AtLeast(0.8), Limit::AtLeast(0.5)],
            );
        }
    }
    section.figure(
        "groups that fail a canary and truly grew",
        right[0] as f64 / right[1] as f64,
        [Limit::AtLeast(0.95), Limit::AtLeast(0.9)],
    );
    section.tables.push(table);
}

fn answer_row(name: &str, stories: &[Story]) -> Vec<String> {
    let of = |wanted: bool| {
        failures(stories, |story| {
            story.answer.filter(|(is_pass, _)| *is_pass == wanted).map(|(_, look)| look)
        })
    };
    let open = rate(stories, |story| story.answer.is_none());
    vec![name.to_owned(), of(true), of(false), percent(open)]
}

fn rate(stories: &[Story], is_hit: impl Fn(&Story) -> bool) -> f64 {
    stories.iter().filter(|story| is_hit(story)).count() as f64 / stories.len() as f64
}

/// Part that fails, with the median number of windows until then.
fn failures(stories: &[Story], failed_at: impl Fn(&Story) -> Option<usize>) -> String {
    let mut looks: Vec<usize> = stories.iter().filter_map(failed_at).collect();
    looks.sort_unstable();
    let part = percent(looks.len() as f64 / stories.len() as f64);
    match looks.get(looks.len() / 2) {
        Some(look) => format!("{part}, {}", LOOKS[*look]),
        None => part,
    }
}

fn equal_table(section: &mut Section, equals: &[Story]) {
    let mut table = Table::new(
        format!("{} canaries of equal versions:", equals.len()),
        &[
            "method",
            "false failures",
            "95 % interval",
            "functions wrongly flagged at the last look, of all",
        ],
    );
    let series: u64 = equals.iter().map(|story| story.series[0]).sum();
    let mut bars = Vec::new();
    let mut add = |name: &str, hits: u64, flagged: u64| {
        let [low, high] = clopper_pearson(hits, equals.len() as u64, 0.025);
        let part = hits as f64 / equals.len() as f64;
        table.rows.push(vec![
            name.to_owned(),
            format!("{hits}: {}", percent(part)),
            format!("{} to {}", percent(low), percent(high)),
            format!("{flagged}: {}", short(flagged as f64 / series as f64)),
        ]);
        let at = bars.len() as f64;
        bars.push(Curve { name: name.to_owned(), points: vec![(at, part)], has_line: false });
    };
    let own = equals.iter().filter(|story| story.failed_at.is_some()).count() as u64;
    let flagged: u64 = equals.iter().map(|story| story.series[1]).sum();
    add("Flamewatch", own, flagged);
    for (number, rival) in RIVALS.iter().enumerate() {
        let hits = equals.iter().filter(|story| story.rivals[number].is_some()).count() as u64;
        add(rival.name, hits, equals.iter().map(|story| story.rival_alarms[number]).sum());
    }
    let [_, bound] = clopper_pearson(own, equals.len() as u64, 0.05);
    section.figure(
        format!("false failures of {} canaries of equals, all looks", equals.len()),
        own as f64 / equals.len() as f64,
        [Limit::AtMost(0.01), Limit::AtMost(0.034)],
    );
    section.figure("its 95 % bound", bound, [Limit::AtMost(0.01), Limit::Free]);
    let [_, bound] = clopper_pearson(flagged, series, 0.05);
    section.figure(
        format!("functions wrongly flagged, 95 % bound, of {series}"),
        bound,
        [Limit::AtMost(1e-4), Limit::AtMost(1e-3)],
    );
    section.tables.push(table);
    let highest = bars.len() as f64;
    section.plots.push(Plot {
        file: "canary-equal".to_owned(),
        title: "Canaries of equal versions that fail, over all looks".to_owned(),
        x: Axis {
            label: "method, as in the list",
            low: -1.0,
            high: highest,
            is_logarithmic: false,
        },
        y: Axis { label: "part that fails", low: 0.0, high: 1.0, is_logarithmic: false },
        curves: bars,
        levels: vec![0.01],
        marks: Vec::new(),
    });
}

/// One canary: of equals on hosts of any kind, or with a growth on typical ones.
fn story(run: &Run, round: usize, growth: Option<(f64, bool)>) -> Story {
    let base = &run.programs[round % run.programs.len()];
    let (number, has_work) = growth.unwrap_or_default();
    let kind = u64::from(growth.is_some()) + u64::from(has_work);
    let name = [run.seed, 31, kind, number.to_bits(), round as u64];
    let mut random = Random::of(&name);
    let whole = Variant::of(base);
    let mut scene = Scene::new(base, [&whole, &whole]);
    scene.windows = LOOKS[LOOKS.len() - 1];
    let Some((growth, has_work)) = growth else {
        scene.noise = Noise::any(&mut random);
        scene.samples = random.pick(&[500.0, 2_000.0, 10_000.0]);
        scene.hosts = random.pick(&[[3, 3], [5, 5], [10, 10], [18, 3], [30, 30]]);
        let join = Join::of([&whole, &whole]);
        return watch(&scene, &join, &scene.draw(&name));
    };
    scene.noise = Noise::TYPICAL;
    scene.samples = 2_000.0;
    scene.has_work = has_work;
    let size = Size::Absolute(growth);
    let changed = Growth::Own.of(base, size, [0.01, 0.15], &mut random);
    let changed = changed.map_or_else(|| whole.clone(), |changed| changed.variant);
    let join = Join::of([&whole, &changed]);
    let scene = Scene { variants: [&whole, &changed], ..scene };
    watch(&scene, &join, &scene.draw(&name))
}
