//! Conditions on what is measured, as people write them: `syscall.fsync.p99_ms <= 20`, `service_cpu_ratio > 1.2 for 3 minutes`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::duration::parse_seconds;
use super::metric::Metric;

/// Longest condition in bytes; names of functions can be long.
const EXPRESSION_BYTES_MAX: usize = 2_000;

/// Shortest and longest time for which a trigger's condition may have to hold, in seconds.
const FOR_SECONDS: std::ops::RangeInclusive<u64> = 1..=86_400;

/// A metric, a comparison and a limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// What is measured.
    pub metric: Metric,
    /// On which side of the limit it must be.
    pub comparison: Comparison,
    /// The limit, in the metric's unit.
    pub limit: f64,
}

/// On which side of a limit something is. What is measured has no exact values, so `<` is the same as `<=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<=` or `<`.
    AtMost,
    /// `>=` or `>`.
    AtLeast,
}

/// A condition that sends a candidate back once it has held for a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    /// The condition.
    pub condition: Condition,
    /// For how long it must hold, in seconds.
    pub for_seconds: u64,
}

impl FromStr for Condition {
    type Err = String;

    /// Reads `METRIC COMPARISON NUMBER`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (condition, rest) = condition(text)?;
        if rest.trim().is_empty() {
            return Ok(condition);
        }
        Err(at(text, rest, "nothing more is allowed after the number", rest.trim()))
    }
}

impl FromStr for Trigger {
    type Err = String;

    /// Reads `METRIC COMPARISON NUMBER for DURATION`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (condition, rest) = condition(text)?;
        let words = rest.trim_start();
        let Some(duration) = words.strip_prefix("for ") else {
            let wanted = "a trigger ends with `for` and a time, such as `for 3 minutes`";
            return Err(at(text, words, wanted, words.trim()));
        };
        let for_seconds = spoken_seconds(duration.trim())
            .map_err(|reason| at(text, duration.trim_start(), &reason, duration.trim()))?;
        if !FOR_SECONDS.contains(&for_seconds) {
            return Err(at(text, duration, "the time is from 1 second to 1 day", duration.trim()));
        }
        Ok(Self { condition, for_seconds })
    }
}

/// Reads `3 minutes`, `1 minute`, `90 seconds`, `2 hours`, or `3m`.
fn spoken_seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let letter = match unit.trim() {
        "" => "",
        "second" | "seconds" => "s",
        "minute" | "minutes" => "m",
        "hour" | "hours" => "h",
        _ => {
            return Err(format!(
                "`{text}` is not a time such as `3 minutes`, `90 seconds` or `3m`"
            ));
        }
    };
    parse_seconds(&format!("{number}{letter}"))
}

/// Reads a condition; returns what follows it.
fn condition(text: &str) -> Result<(Condition, &str), String> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(format!("the condition has more than {EXPRESSION_BYTES_MAX} bytes"));
    }
    let start = text.trim_start();
    let (name, rest) = split_metric(start)
        .ok_or_else(|| at(text, start, "the quotation mark is never closed", start.trim()))?;
    let metric = name.parse::<Metric>().map_err(|reason| at(text, start, &reason, name))?;
    let rest = rest.trim_start();
    let (comparison, length) = match rest.as_bytes() {
        [b'<', b'=', ..] => (Comparison::AtMost, 2),
        [b'>', b'=', ..] => (Comparison::AtLeast, 2),
        [b'<', ..] => (Comparison::AtMost, 1),
        [b'>', ..] => (Comparison::AtLeast, 1),
        _ => {
            let found = rest.split_whitespace().next().unwrap_or("");
            return Err(at(text, rest, "a comparison is one of `<=`, `<`, `>=`, `>`", found));
        }
    };
    let rest = rest[length..].trim_start();
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (number, rest_after) = rest.split_at(end);
    let limit: f64 =
        number.parse().ok().filter(|limit: &f64| limit.is_finite() && *limit >= 0.0).ok_or_else(
            || {
                at(
                    text,
                    rest,
                    "the limit is a number, 0 or more, without a unit: the metric's name says it",
                    number,
                )
            },
        )?;
    if metric.is_ratio() && limit <= 0.0 {
        return Err(at(text, rest, "a ratio's limit is more than 0; 1 is no change", number));
    }
    Ok((Condition { metric, comparison, limit }, rest_after))
}

/// Splits where the name of the metric ends: at a space or a comparison outside of quotation marks.
fn split_metric(text: &str) -> Option<(&str, &str)> {
    let mut is_quoted = false;
    for (index, letter) in text.char_indices() {
        match letter {
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '<' | '>' | '=' | '!' => return Some(text.split_at(index)),
            _ if letter.is_whitespace() => return Some(text.split_at(index)),
            _ => {}
        }
    }
    (!is_quoted).then_some((text, ""))
}

/// A refusal with the place in the condition, counted in characters from 1.
fn at(text: &str, rest: &str, reason: &str, found: &str) -> String {
    let place = text.len().saturating_sub(rest.len());
    let column = text.get(..place).map_or(1, |before| before.chars().count() + 1);
    let found = if found.is_empty() { "nothing".to_owned() } else { format!("`{found}`") };
    format!("character {column} of `{}`: found {found}; {reason}", text.trim())
}

impl fmt::Display for Condition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.comparison {
            Comparison::AtMost => "<=",
            Comparison::AtLeast => ">=",
        };
        write!(out, "{} {sign} {}", self.metric, self.limit)
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} for {}s", self.condition, self.for_seconds)
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for Trigger {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Trigger {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn conditions_are_read_and_written_alike() {
        for text in [
            "service_cpu_ratio <= 1.05",
            "syscall.fsync.p99_ms <= 20",
            "error_rate_pct <= 0.5",
            "function.render_page.self_pct <= 30",
            "function.\"a.b::operator<(x y)\".total_ratio >= 0.5",
        ] {
            let condition: Condition = text.parse().unwrap();
            assert_eq!(condition.to_string(), text);
        }
        let trigger: Trigger = "service_cpu_ratio>1.2 for 3 minutes".parse().unwrap();
        assert_eq!((trigger.for_seconds, trigger.condition.limit), (180, 1.2));
        assert_eq!(trigger.to_string(), "service_cpu_ratio >= 1.2 for 180s");
        assert_eq!(trigger.to_string().parse::<Trigger>().unwrap(), trigger);
    }

    #[test]
    fn a_refusal_names_the_place_what_is_allowed_and_the_nearest_name() {
        for (text, parts) in [
            ("servce_cpu_ratio <= 1", &["character 1 ", "service_cpu_ratio"][..]),
            ("syscall.fsync.p98_ms <= 1", &["character 1 ", "p99_ms", "p95_ms"]),
            ("service_cpu_ratio == 1", &["character 19 ", "`<=`"]),
            ("service_cpu_ratio <= 5%", &["character 22 ", "without a unit"]),
            ("service_cpu_ratio <= -1", &["character 22 ", "0 or more"]),
            ("service_cpu_ratio <= 0", &["more than 0"]),
            ("service_cpu_ratio <= 1 always", &["nothing more"]),
            ("function.\"open <= 3", &["never closed"]),
            ("", &["character 1 ", "nothing"]),
        ] {
            let refusal = text.parse::<Condition>().unwrap_err();
            for part in parts {
                assert!(refusal.contains(part), "{text}: {refusal}");
            }
        }
        for (text, part) in [
            ("service_cpu_ratio > 1.2", "for 3 minutes"),
            ("service_cpu_ratio > 1.2 for ages", "not a"),
            ("service_cpu_ratio > 1.2 for 0 minutes", "1 second"),
        ] {
            let refusal = text.parse::<Trigger>().unwrap_err();
            assert!(refusal.contains(part), "{text}: {refusal}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}", tail in "[<>=\" a-z._0-9]{0,40}") {
            let _refused = text.parse::<Condition>();
            let _refused = format!("service_cpu_ratio {tail}").parse::<Trigger>();
            let _refused = tail.parse::<Trigger>();
        }
    }
}
