//! Two cells that stand for what the best known system says of itself.

use crate::Run;
use crate::noise::Noise;
use crate::report::{Limit, Section, Table, percent, short};
use crate::scene::Scene;
use crate::variant::{Scope, Variant, nearest};

use super::detectable::{Cell, found_by, measure};

pub(super) fn run(run: &Run) -> Section {
    let mut section = Section::new("cells", "Beside FBDetect's configured thresholds");
    section.text.push(
        "FBDetect's thresholds are configurations, not measured; it runs on fleets that nobody else has. Its smallest setting \
         for 16 servers is 0.5 % of all CPU. The same number of samples, before and after on the same 16 hosts, functions and \
         windows with a scatter of 2 %:"
            .to_owned(),
    );
    let mut table =
        Table::new("", &["time", "share", "found with 80 %, of all CPU", "over the limit"]);
    let noise = Noise { function: 0.02, jitter: 0.02, ..Noise::NONE };
    let mut worst = 0.0_f64;
    for (number, share) in [0.01, 0.05].into_iter().enumerate() {
        for (time, of) in [("self", Scope::Own as fn(u32) -> Scope), ("inclusive", Scope::Total)] {
            let program = number % run.programs.len();
            let scope = nearest(&run.programs[program], of, share);
            let cell =
                Cell { program, scope, noise, hosts: 16, samples: 87_500.0, is_paired: true };
            let measured = measure(run, &cell);
            let found = measured.ratio(0) * measured.limit;
            worst = if found.is_nan() { f64::NAN } else { worst.max(found) };
            table.rows.push(vec![
                time.to_owned(),
                percent(measured.share),
                percent(found),
                short(measured.ratio(0)),
            ]);
        }
    }
    section.figure(
        "16 hosts, 1.4 million samples a side: growth found with 80 %, % of all CPU, worst frame",
        100.0 * worst,
        [Limit::AtMost(0.25), Limit::AtMost(0.35)],
    );
    section.tables.push(table);
    smallest(run, &mut section);
    section
}

/// 0.005 % of all CPU in a function with 0.1 %, from 120 million samples a side without host variance.
fn smallest(run: &Run, section: &mut Section) {
    const HOSTS: usize = 30;
    const SAMPLES: f64 = 1.2e8;
    let base = &run.programs[0];
    let scope = nearest(base, Scope::Own, 0.001);
    let whole = Variant::of(base);
    let share = whole.share(&scope);
    let samples = SAMPLES / HOSTS as f64;
    let cell =
        Cell { program: 0, scope, noise: Noise::NONE, hosts: HOSTS, samples, is_paired: false };
    let scene = Scene { hosts: [HOSTS, HOSTS], samples, ..Scene::new(base, [&whole, &whole]) };
    let rounds = run.size(20.0, 60.0);
    let power = found_by(run, &scene, &cell, [5e-5 / share, rounds], &[run.seed, 43]);
    section.figure(
        format!(
            "power for +0.005 % of all CPU in a function with {}, 120 million samples a side",
            percent(share)
        ),
        power[0],
        [Limit::AtLeast(0.9), Limit::AtLeast(0.8)],
    );
}
