//! When one part of a service gets cheaper, the shares of all others rise. Nothing of that is a regression.

use flamewatch_collector::detect::{Direction, Group, Policy, judge};

use crate::Run;
use crate::competitors::{RIVALS, View};
use crate::join::Join;
use crate::noise::Noise;
use crate::parallel;
use crate::report::{Limit, Section, Table, percent, short};
use crate::scene::Scene;
use crate::variant::{Scope, Variant, nearest};

/// Share of what gets cheaper.
const SHARE: f64 = 0.23;

pub(super) fn run(run: &Run) -> Section {
    let mut section = Section::new("composition", "A part of the service gets cheaper");
    section.text.push(
        "A function that takes about 23 % of the CPU with all it calls gets cheaper; 10 + 10 hosts, 50,000 samples each, light \
         noise. Nothing gets slower: comparisons with a regression (functions told as slower, in each)."
            .to_owned(),
    );
    let mut table = Table::new("", &["cheaper by", "comparisons", "Flamewatch"]);
    let hosts = RIVALS.iter().filter(|rival| rival.compares_hosts);
    table.head.extend(hosts.map(|rival| rival.name));
    for part in [0.05, 0.2, 0.4, 0.7] {
        let rounds = run.size(12, 60);
        let counts = parallel::rounds(rounds, |round| compare(run, part, round));
        let mut row = vec![percent(part), rounds.to_string()];
        for method in 0..counts[0].len() {
            let hit = counts.iter().filter(|count| count[method] > 0).count();
            let sum: usize = counts.iter().map(|count| count[method]).sum();
            let each = short(sum as f64 / rounds as f64);
            row.push(format!("{} ({each})", percent(hit as f64 / rounds as f64)));
        }
        table.rows.push(row);
        if part == 0.7 {
            let false_alarms: usize = counts.iter().map(|count| count[0]).sum();
            section.figure(
                format!(
                    "false regressions in {rounds} comparisons with a 70 % improvement of 23 %"
                ),
                false_alarms as f64,
                [Limit::AtMost(0.0), Limit::AtMost(0.0)],
            );
        }
    }
    section.tables.push(table);
    section
}

/// Functions told as slower: by us, by each rival.
fn compare(run: &Run, part: f64, round: usize) -> Vec<usize> {
    let base = &run.programs[round % run.programs.len()];
    let before = Variant::of(base);
    let after = before.scaled(&nearest(base, Scope::Total, SHARE), 1.0 - part);
    let join = Join::of([&before, &after]);
    let scene =
        Scene { noise: Noise::LIGHT, samples: 50_000.0, ..Scene::new(base, [&before, &after]) };
    let drawn = scene.draw(&[run.seed, 37, part.to_bits(), round as u64]);
    let judgement = judge(&join.diff(&scene, &drawn, 1), &Policy::default());
    let groups = judgement.groups.iter().filter(|group| Group::is_regression(group)).count();
    let verdicts = judgement.verdicts.iter();
    let flagged =
        verdicts.filter(|told| told.significant && told.direction == Direction::Worse).count();
    let view = View::of(&join, &scene, &drawn, 1);
    let rivals = RIVALS.iter().filter(|rival| rival.compares_hosts);
    std::iter::once(flagged.max(groups))
        .chain(rivals.map(|rival| (rival.alarms)(&view).len()))
        .collect()
}
