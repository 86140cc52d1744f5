//! Flags of `gate`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::Summary;
use super::policy::{OnInconclusive, parse_seconds};
use crate::diff::Output;

/// Ask the collector whether a candidate may go on
///
/// Exit codes: 0 pass, 3 fail, 4 inconclusive, 1 error, 2 wrong usage, 130 interrupted.
#[derive(Debug, Clone, Args)]
pub struct GateArgs {
    /// HTTP address of the collector
    #[arg(
        long,
        env = "FLAMEWATCH_COLLECTOR",
        default_value = "http://127.0.0.1:7171",
        value_name = "URL"
    )]
    pub collector: String,
    /// The service
    #[arg(
        long,
        env = "FLAMEWATCH_SERVICE",
        required_unless_present = "check_policy",
        value_name = "NAME"
    )]
    pub service: Option<String>,
    /// Labels of the version known to be good
    #[arg(long, required_unless_present = "check_policy", value_name = "KEY=VALUE[,…]")]
    pub baseline: Vec<Labels>,
    /// Labels of the version in question
    #[arg(long, required_unless_present = "check_policy", value_name = "KEY=VALUE[,…]")]
    pub candidate: Vec<Labels>,
    /// Policy file (YAML)
    #[arg(long, env = "FLAMEWATCH_POLICY", value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Only check this policy file, and print it with every default
    #[arg(long, value_name = "FILE")]
    pub check_policy: Option<PathBuf>,
    /// What an answer that is still inconclusive at the end means: pass, fail or hold [default: as the policy says]
    #[arg(long, value_name = "WORD")]
    pub on_inconclusive: Option<OnInconclusive>,
    /// Ask again until the answer is conclusive, for at most this long
    #[arg(long, default_value = "0s", value_parser = parse_duration, value_name = "DURATION")]
    pub wait: Duration,
    /// How long ago the candidate may have begun; of an older one this last part is looked at, once
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    pub lookback: Option<Duration>,
    /// Length of one window of a unit
    #[arg(long, default_value = "60s", value_parser = parse_duration, value_name = "DURATION")]
    pub window: Duration,
    /// How the answer is printed
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
    /// What only the asker knows.
    #[command(flatten)]
    pub summary: Summary,
}

/// Labels as `key=value,key=value`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels(pub BTreeMap<String, String>);

impl FromStr for Labels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut labels = BTreeMap::new();
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .filter(|(key, _)| !key.trim().is_empty())
                .ok_or_else(|| format!("`{part}` is not `key=value`, such as `version=1.4.2`"))?;
            if labels.insert(key.trim().to_owned(), value.to_owned()).is_some() {
                return Err(format!("`{}` is given twice", key.trim()));
            }
        }
        Ok(Self(labels))
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(out, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

/// Reads a duration with a unit.
fn parse_duration(text: &str) -> Result<Duration, String> {
    parse_seconds(text).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_and_written_alike() {
        let labels: Labels = "version=1.2,host=a".parse().unwrap();
        assert_eq!(labels.to_string(), "host=a,version=1.2");
        assert!("version".parse::<Labels>().unwrap_err().contains("key=value"));
        assert!("a=1,a=2".parse::<Labels>().unwrap_err().contains("twice"));
    }
}
