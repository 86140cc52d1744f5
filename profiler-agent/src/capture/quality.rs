//! How far the stacks of a capture can be trusted: of each binary the share that is whole, and why the others are not.

use std::collections::BTreeMap;
use std::io::{self, Write};

use profiler_common::abi::sample::WalkEnd;
use profiler_common::profile::Quality;
use serde::Serialize;

use super::form::Captured;
use super::summary::{align_right, table};
use crate::process::Identity;

/// The stacks of one binary.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct BinaryQuality {
    /// File name of the executable; the service where that is unknown.
    binary: String,
    /// Samples that have a user stack.
    stacks: u64,
    /// Share of them that reached the root.
    whole_share: Option<f64>,
    /// Samples by how the walk over their user stack ended.
    samples: BTreeMap<String, u64>,
    #[serde(skip)]
    walks: Quality,
}

/// Gathers the stacks of a capture by binary, by falling number.
pub(super) fn binaries(captured: &Captured) -> Vec<BinaryQuality> {
    let mut binaries: BTreeMap<&str, Quality> = BTreeMap::new();
    for service in &captured.window.services {
        binaries.entry(binary(&service.identity)).or_default().merge(&service.walks);
    }
    let rows = binaries.into_iter().filter(|(_, walks)| !walks.is_empty());
    let mut rows: Vec<BinaryQuality> = rows
        .map(|(binary, walks)| BinaryQuality {
            binary: binary.to_owned(),
            stacks: walks.stacks(),
            whole_share: walks.whole_share(),
            samples: walks.ends().map(|(end, samples)| (end.to_owned(), samples)).collect(),
            walks,
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.stacks));
    rows
}

fn binary(identity: &Identity) -> &str {
    let label = identity.labels.iter().find(|(key, _)| key == Identity::EXECUTABLE);
    label.map_or(&identity.service, |(_, executable)| executable)
}

/// Writes the table of binaries, and a sentence on each reason in it.
pub(super) fn write(rows: &[BinaryQuality], out: &mut dyn Write) -> io::Result<()> {
    let mut all = Quality::default();
    rows.iter().for_each(|row| all.merge(&row.walks));
    let reasons = all.reasons();
    let titles = reasons.iter().map(|(end, _)| end.to_uppercase());
    let head = ["BINARY", "STACKS", "WHOLE"].map(str::to_owned).into_iter().chain(titles);
    let mut table = table(head);
    let shown = rows.iter().filter(|row| row.stacks > 0);
    for (name, walks) in shown.map(|row| (row.binary.as_str(), &row.walks)).chain([("all", &all)]) {
        let share = |samples: u64| match samples {
            0 => String::new(),
            samples => percent(samples as f64 / walks.stacks() as f64),
        };
        let whole = walks.whole_share().map_or_else(String::new, percent);
        let row = [name.to_owned(), walks.stacks().to_string(), whole].into_iter();
        table.add_row(row.chain(reasons.iter().map(|(end, _)| share(samples_of(walks, end)))));
    }
    align_right(&mut table, 1..3 + reasons.len());
    writeln!(out, "{table}")?;
    let without = WalkEnd::NoUserStack.name();
    let ends = reasons.into_iter().chain(Some((without, samples_of(&all, without))));
    for (end, samples) in ends.filter(|(_, samples)| *samples > 0) {
        let sentence = Quality::sentence(end).unwrap_or_default();
        writeln!(out, "  {end}: {samples} samples. {sentence}")?;
    }
    Ok(())
}

fn samples_of(walks: &Quality, end: &str) -> u64 {
    walks.ends().find(|(known, _)| *known == end).map_or(0, |(_, samples)| samples)
}

/// A share with two digits, cut and not rounded: what is not all is never shown as 100 %.
fn percent(share: f64) -> String {
    format!("{:.2} %", (share * 10_000.0).floor() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::super::form::tests::captured;
    use super::*;

    fn with_walks(ends: &[(WalkEnd, u64)]) -> Captured {
        let mut captured = captured();
        let service = &mut captured.window.services[0];
        service.identity.labels = vec![("executable".to_owned(), "shop-bin".to_owned())];
        service.walks = Quality::default();
        for (end, samples) in ends {
            service.walks.add(end.name(), *samples);
        }
        captured
    }

    fn text(captured: &Captured) -> String {
        let mut text = Vec::new();
        write(&binaries(captured), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn each_binary_has_its_share_of_whole_stacks_and_the_reasons_for_the_rest() {
        let mut captured = with_walks(&[(WalkEnd::Root, 99_996), (WalkEnd::Unmapped, 4)]);
        let mut other = captured.window.services[0].clone();
        other.identity.labels.clear();
        other.walks = Quality::default();
        other.walks.add(WalkEnd::Truncated.name(), 1);
        other.walks.add(WalkEnd::Root.name(), 3);
        captured.window.services.push(other);
        let text = text(&captured);
        let words = |start: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.trim_start().starts_with(start)).unwrap();
            line.split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(words("BINARY"), ["BINARY", "STACKS", "WHOLE", "UNMAPPED", "TOO", "DEEP"]);
        assert_eq!(words("shop-bin"), ["shop-bin", "100000", "99.99", "%", "0.00", "%"]);
        assert_eq!(words("shop "), ["shop", "4", "75.00", "%", "25.00", "%"]);
        assert_eq!(words("all")[..4], ["all", "100004", "99.99", "%"]);
        assert!(text.contains(WalkEnd::Unmapped.sentence().trim()), "{text}");
        assert!(!text.contains(WalkEnd::Stuck.name()), "{text}");
    }

    #[test]
    fn threads_of_the_kernel_have_no_row_and_are_counted_below() {
        let text = text(&with_walks(&[(WalkEnd::NoUserStack, 12)]));
        assert!(!text.contains("shop-bin"), "{text}");
        assert!(text.contains("no user stack: 12 samples"), "{text}");
    }

    #[test]
    fn processes_of_one_binary_are_one_row_whatever_their_service() {
        let mut captured = with_walks(&[(WalkEnd::Root, 3)]);
        let mut other = captured.window.services[0].clone();
        other.identity.service = "other".to_owned();
        captured.window.services.push(other);
        let rows = binaries(&captured);
        assert_eq!((rows.len(), rows[0].stacks, rows[0].whole_share), (1, 6, Some(1.0)));
    }
}
