//! All that a store says about one service, as text that is equal when the answers are.

use std::fmt::Write as _;

use flamewatch_collector::store::{
    Selection, Store, TimeRange, UnitSyscall, UnitWindow, WindowProfile,
};
use profiler_common::profile::Quality;

/// All of time.
pub(crate) const ALWAYS: TimeRange = TimeRange { start_unix_ns: 0, end_unix_ns: u64::MAX };

/// A selection of a service by (key, value) labels.
pub(crate) fn select(service: &str, labels: &[(&str, &str)]) -> Selection {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Selection { service: service.to_owned(), labels: labels.collect() }
}

/// Every answer about a selection in a range, the windows at two lengths.
pub(crate) fn answers(store: &dyn Store, selection: &Selection, range: TimeRange) -> String {
    let mut text = String::new();
    for window_ns in [60_000_000_000, 7_000_000_000] {
        for window in store.unit_windows(selection, range, window_ns).unwrap() {
            writeln!(text, "window {}", window_text(&window)).unwrap();
        }
        for point in store.series(selection, range, window_ns).unwrap() {
            writeln!(text, "{point:?}").unwrap();
        }
    }
    writeln!(text, "merged {}", merged(store, selection, range)).unwrap();
    for life in store.unit_lives(selection, range).unwrap() {
        writeln!(text, "{life:?}").unwrap();
    }
    for of in store.quality(selection, range).unwrap() {
        writeln!(text, "{of:?}").unwrap();
    }
    let catalog = store.catalog(range).unwrap();
    for entry in catalog.iter().filter(|entry| entry.service == selection.service) {
        let mut entry = entry.clone();
        entry.versions.sort_by(|one, other| one.version.cmp(&other.version));
        writeln!(text, "{entry:?}").unwrap();
    }
    let versions = store.versions(range.end_unix_ns).unwrap();
    let mut spans = versions.get(&selection.service).cloned().unwrap_or_default();
    spans.sort_by(|one, other| one.version.cmp(&other.version));
    writeln!(text, "{spans:?}").unwrap();
    text
}

/// What [`Store::merge`] answers.
pub(crate) fn merged(store: &dyn Store, selection: &Selection, range: TimeRange) -> String {
    let merged = store.merge(selection, range).unwrap();
    let mut text = stacks(&merged.profile);
    write!(text, "cpu {} {}", merged.cpu_ns, quality(&merged.quality)).unwrap();
    text.push_str(&syscalls(&merged.syscalls));
    text
}

/// Samples by stack, as `main;f0 12`, by name.
pub(crate) fn stacks(profile: &WindowProfile) -> String {
    let merged = WindowProfile::merge([profile]);
    let mut lines: Vec<String> = merged
        .named_stacks()
        .map(|(frames, samples)| {
            let names: Vec<String> = frames
                .iter()
                .map(|frame| format!("{:?}/{}/{}", frame.kind, frame.module, frame.function))
                .collect();
            format!("{} {samples}", names.join(";"))
        })
        .collect();
    lines.sort_unstable();
    lines.join(", ") + "; "
}

/// A window, the first of them that is kept included.
fn window_text(window: &UnitWindow) -> String {
    let UnitWindow {
        host,
        unit,
        version,
        machine,
        since_unix_ns,
        start_unix_ns,
        cpu_ns,
        profile,
        quality: walks,
        lost,
        syscalls: calls,
    } = window;
    format!(
        "{start_unix_ns} {host} {unit} {version} [{machine}] since {since_unix_ns} cpu {cpu_ns} \
         {}{} {lost:?} {}",
        stacks(profile),
        quality(walks),
        syscalls(calls)
    )
}

fn quality(quality: &Quality) -> String {
    format!("{:?}", quality.ends().collect::<Vec<_>>())
}

fn syscalls(syscalls: &[UnitSyscall]) -> String {
    let mut lines: Vec<String> = syscalls.iter().map(|syscall| format!("{syscall:?}")).collect();
    lines.sort_unstable();
    lines.join(", ")
}
