//! The conditions of a question: what it is about, and which part of its time each roll-up answers.

use super::row::literal;
use super::tables::NS_PER_HOUR;
use super::write::day_of;
use crate::store::{Selection, TimeRange};

pub(super) const NS_PER_MINUTE: u64 = 60_000_000_000;

/// Longest window, as validation allows: a window ends at most so long after the range that holds its start.
const WINDOW_NS_MAX: u64 = NS_PER_HOUR;

/// Labels that have a column of their own.
const COLUMNS: [&str; 3] = ["version", "host", "unit"];

/// Matches nothing.
pub(super) const NOTHING: &str = "0 = 1";

/// The condition of a selection.
pub(super) fn matching(selection: &Selection) -> String {
    let mut conditions = vec![format!("service = {}", literal(&selection.service))];
    for (key, value) in &selection.labels {
        let (key_text, value_text) = (literal(key), literal(value));
        conditions.push(if key == "service" {
            format!("service = {value_text}")
        } else if COLUMNS.contains(&key.as_str()) {
            format!("{key} = {value_text}")
        } else {
            format!(
                "has(label_keys, {key_text}) AND \
                 label_values[indexOf(label_keys, {key_text})] = {value_text}"
            )
        });
    }
    conditions.join(" AND ")
}

/// Whether roll-ups without units can answer for a selection.
pub(super) fn is_of_versions(selection: &Selection) -> bool {
    selection.labels.iter().all(|(key, _)| key == "service" || key == "version")
}

/// The condition of windows that start in one of the ranges; `column` has their start.
pub(super) fn within(column: &str, ranges: &[TimeRange]) -> String {
    let conditions: Vec<String> = ranges
        .iter()
        .map(|TimeRange { start_unix_ns: start, end_unix_ns: end }| {
            // The day is that of a window's end; it tells the server which partitions it need not open.
            let days = [day_of(*start), day_of(end.saturating_add(WINDOW_NS_MAX))];
            format!(
                "({column} >= {start} AND {column} < {end} AND day >= {} AND day <= {})",
                days[0], days[1]
            )
        })
        .collect();
    if conditions.is_empty() {
        NOTHING.to_owned()
    } else {
        format!("({})", conditions.join(" OR "))
    }
}

/// Splits a range into what consists of whole `unit_ns`, and what is left at both ends.
pub(super) fn split(range: TimeRange, unit_ns: u64) -> (Option<TimeRange>, Vec<TimeRange>) {
    let TimeRange { start_unix_ns, end_unix_ns } = range;
    let first = start_unix_ns.div_ceil(unit_ns).saturating_mul(unit_ns);
    let last = end_unix_ns / unit_ns * unit_ns;
    if first >= last {
        return (None, if start_unix_ns < end_unix_ns { vec![range] } else { Vec::new() });
    }
    let ends = [(start_unix_ns, first), (last, end_unix_ns)];
    let rest = ends
        .into_iter()
        .filter(|(start, end)| start < end)
        .map(|(start_unix_ns, end_unix_ns)| TimeRange { start_unix_ns, end_unix_ns })
        .collect();
    (Some(TimeRange { start_unix_ns: first, end_unix_ns: last }), rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_are_text_and_never_sql() {
        let labels = vec![("zone".to_owned(), "' OR 1 = 1 --".to_owned())];
        let condition = matching(&Selection { service: "it's".to_owned(), labels });
        assert_eq!(
            condition,
            r"service = 'it\'s' AND has(label_keys, 'zone') AND label_values[indexOf(label_keys, 'zone')] = '\' OR 1 = 1 --'"
        );
    }

    proptest! {
        #[test]
        fn every_time_of_a_range_is_in_one_part(
            start in 0u64..50, length in 0u64..50, at in 0u64..120, unit in 1u64..9,
        ) {
            let range = TimeRange { start_unix_ns: start, end_unix_ns: start + length };
            let (whole, rest) = split(range, unit);
            let holds = |part: &TimeRange| (part.start_unix_ns..part.end_unix_ns).contains(&at);
            let parts = whole.iter().chain(&rest).filter(|part| holds(part)).count();
            prop_assert_eq!(parts, usize::from(holds(&range)));
            if let Some(whole) = whole {
                prop_assert_eq!((whole.start_unix_ns % unit, whole.end_unix_ns % unit), (0, 0));
            }
        }
    }
}
