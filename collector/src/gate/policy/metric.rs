//! What a condition may be about.

use std::fmt;
use std::str::FromStr;

/// Names without a part of their own.
const PLAIN: [(&str, Metric); 5] = [
    ("service_cpu_ratio", Metric::ServiceCpuRatio),
    ("service_cpu_ms_per_request", Metric::ServiceCpuMsPerRequest),
    ("service_cpu_cores", Metric::ServiceCpuCores),
    ("syscall_time_ratio", Metric::SyscallTimeRatio),
    ("error_rate_pct", Metric::ErrorRatePct),
];

/// What can be asked of a syscall.
const OF_SYSCALL: [(&str, SyscallPart); 7] = [
    ("p50_ms", SyscallPart::Ms(0.5)),
    ("p95_ms", SyscallPart::Ms(0.95)),
    ("p99_ms", SyscallPart::Ms(0.99)),
    ("p50_ratio", SyscallPart::Ratio(0.5)),
    ("p95_ratio", SyscallPart::Ratio(0.95)),
    ("p99_ratio", SyscallPart::Ratio(0.99)),
    ("error_rate_pct", SyscallPart::ErrorRatePct),
];

/// What can be asked of a function.
const OF_FUNCTION: [(&str, FunctionPart); 4] = [
    ("self_pct", FunctionPart::SelfPct),
    ("total_pct", FunctionPart::TotalPct),
    ("self_ratio", FunctionPart::SelfRatio),
    ("total_ratio", FunctionPart::TotalRatio),
];

/// Distance from which on a name is no longer the nearest good one: a third of its letters may differ.
const NEAREST_SIMILARITY_MIN: f64 = 0.66;

/// What is measured of the candidate, or of the candidate over the baseline for ratios.
#[derive(Debug, Clone, PartialEq)]
pub enum Metric {
    /// CPU cost of the service, candidate over baseline.
    ServiceCpuRatio,
    /// CPU time for each request in milliseconds.
    ServiceCpuMsPerRequest,
    /// CPU time of a unit for each second.
    ServiceCpuCores,
    /// Time in system calls that do work, candidate over baseline.
    SyscallTimeRatio,
    /// Percentage of all system calls that failed.
    ErrorRatePct,
    /// One system call.
    Syscall(String, SyscallPart),
    /// One function.
    Function(String, FunctionPart),
}

/// What is measured of a system call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SyscallPart {
    /// A quantile of its latency, in milliseconds.
    Ms(f64),
    /// The same, candidate over baseline.
    Ratio(f64),
    /// Percentage of its calls that failed.
    ErrorRatePct,
}

/// What is measured of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionPart {
    /// Its own code, as a percentage of the service's CPU.
    SelfPct,
    /// It and all that it calls, as a percentage of the service's CPU.
    TotalPct,
    /// Share of its own code, candidate over baseline.
    SelfRatio,
    /// Share of it and all that it calls, candidate over baseline.
    TotalRatio,
}

impl Metric {
    /// Whether it is the candidate over the baseline.
    #[must_use]
    pub const fn is_ratio(&self) -> bool {
        match self {
            Self::ServiceCpuRatio | Self::SyscallTimeRatio => true,
            Self::Syscall(_, part) => matches!(part, SyscallPart::Ratio(_)),
            Self::Function(_, part) => {
                matches!(part, FunctionPart::SelfRatio | FunctionPart::TotalRatio)
            }
            Self::ServiceCpuMsPerRequest | Self::ServiceCpuCores | Self::ErrorRatePct => false,
        }
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("syscall.") {
            let (name, part) = split(rest, text, &OF_SYSCALL)?;
            return Ok(Self::Syscall(name, part));
        }
        if let Some(rest) = text.strip_prefix("function.") {
            let (name, part) = split(rest, text, &OF_FUNCTION)?;
            return Ok(Self::Function(name, part));
        }
        if let Some((_, metric)) = PLAIN.iter().find(|(name, _)| *name == text) {
            return Ok(metric.clone());
        }
        let names: Vec<&str> = PLAIN.iter().map(|(name, _)| *name).collect();
        Err(format!(
            "a metric is one of `{}`, `syscall.NAME.{}` or `function.NAME.{}`{}",
            names.join("`, `"),
            OF_SYSCALL.map(|(name, _)| name).join("|"),
            OF_FUNCTION.map(|(name, _)| name).join("|"),
            nearest(text, &names)
        ))
    }
}

/// Splits `NAME.PART`; the name may hold dots, and stand in quotation marks.
fn split<P: Copy>(rest: &str, whole: &str, parts: &[(&str, P)]) -> Result<(String, P), String> {
    let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
    let (name, wanted) = rest.rsplit_once('.').unwrap_or((rest, ""));
    let name = name.trim_matches('"');
    let part = parts.iter().find(|(known, _)| *known == wanted).map(|(_, part)| *part);
    match part {
        Some(part) if !name.is_empty() => Ok((name.to_owned(), part)),
        _ => {
            let group = whole.split('.').next().unwrap_or("");
            Err(format!(
                "what follows `{group}.NAME.` is one of `{}`{}",
                names.join("`, `"),
                nearest(wanted, &names)
            ))
        }
    }
}

/// `; did you mean …?` for a good name that is near.
fn nearest(text: &str, names: &[&str]) -> String {
    let similarity = |name: &&&str| strsim::normalized_levenshtein(text, name);
    names
        .iter()
        .max_by(|left, right| similarity(left).total_cmp(&similarity(right)))
        .filter(|name| similarity(name) >= NEAREST_SIMILARITY_MIN)
        .map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

impl fmt::Display for Metric {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |name: &str| {
            let is_plain =
                name.chars().all(|letter| letter.is_alphanumeric() || "_.:".contains(letter));
            if is_plain { name.to_owned() } else { format!("\"{name}\"") }
        };
        match self {
            Self::Syscall(name, part) => {
                let known = OF_SYSCALL.iter().find(|(_, known)| known == part);
                write!(out, "syscall.{}.{}", quoted(name), known.map_or("", |(name, _)| name))
            }
            Self::Function(name, part) => {
                let known = OF_FUNCTION.iter().find(|(_, known)| known == part);
                write!(out, "function.{}.{}", quoted(name), known.map_or("", |(name, _)| name))
            }
            plain => {
                let known = PLAIN.iter().find(|(_, known)| known == plain);
                out.write_str(known.map_or("", |(name, _)| name))
            }
        }
    }
}
