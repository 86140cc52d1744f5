//! Syscalls: latencies, errors and numbers of calls.

use flamewatch_collector::detect::{Direction, Policy, Subject, judge};

use crate::Run;
use crate::calls::{CALLS, CHANGES, Change, Spread, draw};
use crate::join::Join;
use crate::limits::clopper_pearson;
use crate::noise::Noise;
use crate::parallel;
use crate::random::Random;
use crate::report::{Limit, Section, Table, percent};
use crate::scene::Scene;
use crate::variant::Variant;

pub(super) fn run(run: &Run) -> Section {
    let mut section = Section::new("syscalls", "Syscalls");
    section.text.push(
        "Four syscalls with 3,000 to 12,000 calls a host, fast calls and slow ones; hosts differ in latency, in the part of slow \
         and of failed calls, and in the number of calls by 5 to 20 %. One of them changes; the default policy, at a false \
         discovery rate of 1 %. Found: anything about it is told as worse. Wrong: anything else is."
            .to_owned(),
    );
    let mut table = Table::new("", &["hosts", "change", "comparisons", "found", "wrong"]);
    let (mut equals, mut alarms) = (0, 0);
    for hosts in [3, 10] {
        let rounds = run.size(20, 120);
        let told = parallel::rounds(2 * rounds, |round| look(run, hosts, None, round));
        let wrong = told.iter().filter(|[_, wrong]| *wrong).count();
        table.rows.push(row(hosts, "none", &told));
        equals += told.len() as u64;
        alarms += wrong as u64;
        for (name, change) in CHANGES {
            let told = parallel::rounds(rounds, |round| look(run, hosts, Some(change), round));
            table.rows.push(row(hosts, name, &told));
            if hosts == 10 {
                let found = told.iter().filter(|[found, _]| *found).count() as f64;
                section.figure(
                    format!("found with 10 + 10 hosts: {name}"),
                    found / told.len() as f64,
                    [Limit::AtLeast(0.8), Limit::Free],
                );
            }
        }
    }
    let [_, bound] = clopper_pearson(alarms, equals, 0.05);
    section.figure(
        format!("comparisons of {equals} equals with a slower syscall"),
        alarms as f64 / equals as f64,
        [Limit::AtMost(0.01), Limit::AtMost(0.06)],
    );
    section.figure("its 95 % bound", bound, [Limit::Free; 2]);
    section.tables.push(table);
    section
}

fn row(hosts: usize, name: &str, told: &[[bool; 2]]) -> Vec<String> {
    let part =
        |of: usize| percent(told.iter().filter(|told| told[of]).count() as f64 / told.len() as f64);
    vec![
        format!("{hosts} + {hosts}"),
        name.to_owned(),
        told.len().to_string(),
        if name == "none" { "-".to_owned() } else { part(0) },
        part(1),
    ]
}

/// Whether what changed is told as worse, and whether anything else is.
fn look(run: &Run, hosts: usize, change: Option<Change>, round: usize) -> [bool; 2] {
    let base = &run.programs[round % run.programs.len()];
    let kind = change.map_or(0, |change| 1 + change as u64);
    let name = [run.seed, 47, hosts as u64, kind, round as u64];
    let mut random = Random::of(&name);
    let changed = random.below(CALLS.len());
    let spread = Spread {
        latency: random.pick(&[0.05, 0.15]),
        part: random.pick(&[0.05, 0.20]),
        calls: random.pick(&[0.05, 0.10]),
    };
    let whole = Variant::of(base);
    let join = Join::of([&whole, &whole]);
    let scene =
        Scene { noise: Noise::LIGHT, hosts: [hosts, hosts], ..Scene::new(base, [&whole, &whole]) };
    let mut diff = join.diff(&scene, &scene.draw(&name), 1);
    diff.syscalls = draw(scene.hosts, spread, change.map(|change| (changed, change)), &name);
    let mut told = [false; 2];
    for verdict in &judge(&diff, &Policy::default()).verdicts {
        let Subject::Syscall { name, .. } = &verdict.subject else { continue };
        if verdict.significant && verdict.direction == Direction::Worse {
            let is_it = change.is_some() && name == CALLS[changed].name;
            told[usize::from(!is_it)] = true;
        }
    }
    told
}
