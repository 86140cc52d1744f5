//! Turns a query string into a time range and a selection, and says what is wrong with it.
//!
//! It reads no clock: relative times are relative to the `now` that the caller gives.

use axum::extract::Query;
use axum::http::Uri;

use crate::store::{Selection, TimeRange};

const SECOND_NS: u64 = 1_000_000_000;
/// Longest query string in bytes: a page's own links stay below one KiB.
const QUERY_BYTES_MAX: usize = 8 << 10;
/// Most parameters in one query string; a question names a dozen at most.
const PARAMETERS_MAX: usize = 64;
/// Longest range that one question may cover: a month of one service merges within seconds.
const RANGE_MAX_NS: u64 = 31 * 24 * 3600 * SECOND_NS;
/// Range of a question that names none.
const RANGE_DEFAULT: &str = "-15m";
/// Latest Unix time taken, in seconds: nanoseconds of later ones do not fit 64 bits.
const TIME_MAX_S: f64 = 1.8e10;
/// The service that stands for all services of all hosts.
pub(crate) const ALL_SERVICES: &str = "*";

const TIME_ALLOWED: &str = "Unix seconds such as `1767225600.5`, `now`, or a time before now such \
                            as `-90s`, `-15m`, `-6h` or `-7d`";

/// A parameter that cannot be answered: a sentence for whoever asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadParameter(pub(crate) String);

impl BadParameter {
    fn new(name: &str, value: &str, allowed: &str) -> Self {
        // A value is quoted in full only while it stays readable.
        let value: String = value.chars().take(120).collect();
        Self(format!("`{name}` is `{value}`, expected {allowed}"))
    }
}

/// The parameters of one request; each is taken once, and what remains at the end is refused.
#[derive(Debug)]
pub(crate) struct Parameters {
    left: Vec<(String, String)>,
    asked: Vec<String>,
    now_unix_ns: u64,
}

impl Parameters {
    /// Reads the query string of a request made at `now_unix_ns`.
    pub(crate) fn parse(uri: &Uri, now_unix_ns: u64) -> Result<Self, BadParameter> {
        let length = uri.query().map_or(0, str::len);
        if length > QUERY_BYTES_MAX {
            return Err(BadParameter(format!(
                "the query string has {length} bytes, expected at most {QUERY_BYTES_MAX}"
            )));
        }
        let Query(left) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| BadParameter(format!("failed to read the query string: {error}")))?;
        if left.len() > PARAMETERS_MAX {
            return Err(BadParameter(format!(
                "the query string has {} parameters, expected at most {PARAMETERS_MAX}",
                left.len()
            )));
        }
        let mut names: Vec<&str> = left.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(BadParameter(format!("`{}` is given twice, expected once", pair[0])));
        }
        Ok(Self { left, asked: Vec::new(), now_unix_ns })
    }

    /// Takes a parameter; an empty one counts as absent, as a page's empty form field means "any".
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        self.asked.push(name.to_owned());
        let index = self.left.iter().position(|(found, _)| found == name)?;
        Some(self.left.swap_remove(index).1).filter(|value| !value.is_empty())
    }

    /// Takes a number between two bounds.
    pub(crate) fn take_number(
        &mut self,
        name: &str,
        default: f64,
        bounds: std::ops::RangeInclusive<f64>,
    ) -> Result<f64, BadParameter> {
        let Some(value) = self.take(name) else { return Ok(default) };
        value.parse().ok().filter(|number| bounds.contains(number)).ok_or_else(|| {
            let allowed = format!("a number from {} to {}", bounds.start(), bounds.end());
            BadParameter::new(name, &value, &allowed)
        })
    }

    /// Takes `from` and `to`, by default the last 15 minutes.
    pub(crate) fn take_range(&mut self) -> Result<TimeRange, BadParameter> {
        let from = self.take("from");
        let to = self.take("to");
        self.range_of("", from, to)
    }

    /// Takes `service`, which must be there, and the labels.
    pub(crate) fn take_selection(&mut self) -> Result<Selection, BadParameter> {
        let service = self.take_service()?;
        let labels = self.take_labels("");
        Ok(Selection { service, labels })
    }

    /// Takes `service`, which must be there.
    pub(crate) fn take_service(&mut self) -> Result<String, BadParameter> {
        self.take("service").ok_or_else(|| {
            BadParameter(
                "`service` is missing, expected the name of a service as in /api/v1/services"
                    .to_owned(),
            )
        })
    }

    /// Takes the two sides of a comparison: parameters without a prefix hold for both, `baseline.…` and `candidate.…`
    /// for one.
    pub(crate) fn take_sides(&mut self) -> Result<[(Selection, TimeRange); 2], BadParameter> {
        let service = self.take_service()?;
        let (from, to) = (self.take("from"), self.take("to"));
        let shared = self.take_labels("");
        let mut side = |prefix: &str| {
            let own_from = self.take(&format!("{prefix}from")).or_else(|| from.clone());
            let own_to = self.take(&format!("{prefix}to")).or_else(|| to.clone());
            let range = self.range_of(prefix, own_from, own_to)?;
            let service = self.take(&format!("{prefix}service")).unwrap_or_else(|| service.clone());
            let mut labels = self.take_labels(prefix);
            let inherited =
                shared.iter().filter(|(key, _)| labels.iter().all(|(own, _)| own != key));
            let inherited: Vec<_> = inherited.cloned().collect();
            labels.extend(inherited);
            Ok((Selection { service, labels }, range))
        };
        Ok([side("baseline.")?, side("candidate.")?])
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(mut self) -> Result<(), BadParameter> {
        let Some((name, value)) = self.left.pop() else { return Ok(()) };
        self.asked.sort_unstable();
        let known = self.asked.join("`, `");
        let allowed = format!("no such parameter here: the known ones are `{known}`");
        Err(BadParameter::new(&name, &value, &allowed))
    }

    fn take_labels(&mut self, prefix: &str) -> Vec<(String, String)> {
        let mut labels = Vec::new();
        for key in ["version", "host", "unit"] {
            if let Some(value) = self.take(&format!("{prefix}{key}")) {
                labels.push((key.to_owned(), value));
            }
        }
        let start = format!("{prefix}label.");
        self.asked.push(format!("{start}KEY"));
        self.left.retain(|(name, value)| {
            let Some(key) = name.strip_prefix(&start) else { return true };
            if !value.is_empty() {
                labels.push((key.to_owned(), value.clone()));
            }
            false
        });
        labels
    }

    fn range_of(
        &self,
        prefix: &str,
        from: Option<String>,
        to: Option<String>,
    ) -> Result<TimeRange, BadParameter> {
        let to = to.unwrap_or_else(|| "now".to_owned());
        let end_unix_ns = parse_time(&format!("{prefix}to"), &to, self.now_unix_ns)?;
        let from = from.unwrap_or_else(|| RANGE_DEFAULT.to_owned());
        let name = format!("{prefix}from");
        let start_unix_ns = parse_time(&name, &from, self.now_unix_ns)?;
        if start_unix_ns >= end_unix_ns {
            return Err(BadParameter::new(&name, &from, &format!("a time before `to` (`{to}`)")));
        }
        if end_unix_ns - start_unix_ns > RANGE_MAX_NS {
            let allowed = format!("a time at most 31 days before `to` (`{to}`); ask in parts");
            return Err(BadParameter::new(&name, &from, &allowed));
        }
        Ok(TimeRange { start_unix_ns, end_unix_ns })
    }
}

/// Unix nanoseconds as Unix seconds, exact to a microsecond.
pub(crate) fn seconds(unix_ns: u64) -> f64 {
    unix_ns as f64 / SECOND_NS as f64
}

fn parse_time(name: &str, value: &str, now_unix_ns: u64) -> Result<u64, BadParameter> {
    let bad = || BadParameter::new(name, value, TIME_ALLOWED);
    if value == "now" {
        return Ok(now_unix_ns);
    }
    if let Some(ago) = value.strip_prefix('-') {
        let unit = ago.chars().last().ok_or_else(bad)?;
        let unit_s = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            _ => return Err(bad()),
        };
        let count: u64 = ago[..ago.len() - 1].parse().ok().ok_or_else(bad)?;
        let ago_ns = count.checked_mul(unit_s * SECOND_NS).ok_or_else(bad)?;
        return Ok(now_unix_ns.saturating_sub(ago_ns));
    }
    let seconds: f64 = value.parse().ok().ok_or_else(bad)?;
    if !(0.0..=TIME_MAX_S).contains(&seconds) {
        return Err(bad());
    }
    // Whole seconds and the rest apart: 53 bits hold no nanoseconds of this century.
    Ok(seconds.trunc() as u64 * SECOND_NS + (seconds.fract() * 1e9) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_800_000_000 * SECOND_NS;

    fn parameters(query: &str) -> Parameters {
        let uri: Uri = format!("/x?{query}").parse().unwrap();
        Parameters::parse(&uri, NOW).unwrap()
    }

    fn refusal_of_range(query: &str) -> String {
        parameters(query).take_range().unwrap_err().0
    }

    #[test]
    fn a_question_without_times_covers_the_last_quarter_of_an_hour() {
        let range = parameters("").take_range().unwrap();
        assert_eq!(range, TimeRange { start_unix_ns: NOW - 900 * SECOND_NS, end_unix_ns: NOW });
    }

    #[test]
    fn times_are_absolute_or_relative() {
        let range = parameters("from=1799999000.5&to=-10s").take_range().unwrap();
        assert_eq!(range.start_unix_ns, 1_799_999_000 * SECOND_NS + SECOND_NS / 2);
        assert_eq!(range.end_unix_ns, NOW - 10 * SECOND_NS);
    }

    #[test]
    fn a_refusal_names_parameter_value_and_what_is_allowed() {
        for bad in ["yesterday", "-5x", "-m", "-99999999999999999999d", "NaN", "1e300", "-ü"] {
            let refusal = refusal_of_range(&format!("from={bad}"));
            assert!(
                refusal.starts_with(&format!("`from` is `{bad}`, expected Unix sec")),
                "{refusal}"
            );
        }
        assert!(refusal_of_range("from=-1m&to=-2m").contains("a time before `to`"));
        assert!(refusal_of_range("from=-32d").contains("at most 31 days"));
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_the_known_ones() {
        let mut parameters = parameters("service=web&form=-1h");
        parameters.take_selection().unwrap();
        parameters.take_range().unwrap();
        let refusal = parameters.finish().unwrap_err().0;
        assert!(refusal.starts_with("`form` is `-1h`, expected no such parameter"), "{refusal}");
        assert!(refusal.contains("`from`"), "{refusal}");
    }

    #[test]
    fn a_parameter_given_twice_is_refused() {
        let uri: Uri = "/x?service=a&service=b".parse().unwrap();
        assert_eq!(
            Parameters::parse(&uri, NOW).unwrap_err().0,
            "`service` is given twice, expected once"
        );
    }

    #[test]
    fn a_side_overrides_what_both_share() {
        let mut parameters = parameters(
            "service=web&host=a&version=1&candidate.version=2&baseline.from=-1h&label.zone=z",
        );
        let [(baseline, baseline_range), (candidate, candidate_range)] =
            parameters.take_sides().unwrap();
        parameters.finish().unwrap();
        let label = |selection: &Selection, key: &str| {
            selection.labels.iter().find(|(found, _)| found == key).map(|(_, value)| value.clone())
        };
        assert_eq!(label(&baseline, "version").as_deref(), Some("1"));
        assert_eq!(label(&candidate, "version").as_deref(), Some("2"));
        assert_eq!(label(&candidate, "host").as_deref(), Some("a"));
        assert_eq!(label(&candidate, "zone").as_deref(), Some("z"));
        assert_eq!(NOW - baseline_range.start_unix_ns, 3600 * SECOND_NS);
        assert_eq!(NOW - candidate_range.start_unix_ns, 900 * SECOND_NS);
    }

    proptest! {
        #[test]
        fn no_time_panics(value in ".{0,24}") {
            let _ = parse_time("from", &value, NOW);
        }
    }
}
