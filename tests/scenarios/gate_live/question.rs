//! Asks the gate about a time that is over, and reads what a table needs.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use harness::collector::Collector;
use harness::http;

use crate::fleet::{Arm, FUNCTION, Range, WINDOW_SECONDS};

/// Whom is asked, and how.
pub(crate) struct Question<'q> {
    pub(crate) collector: &'q Collector,
    pub(crate) service: &'q str,
    pub(crate) alpha: f64,
}

/// What the gate said.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// `pass`, `fail` or `inconclusive`.
    pub(crate) verdict: String,
    /// CPU time of a request, the candidate's over the baseline's.
    pub(crate) ratio: f64,
    /// Growth of the service's cost that would have been found.
    pub(crate) detectable: Option<f64>,
    /// Growth of a function, as a share of the service's CPU, that would have been found.
    pub(crate) detectable_function: Option<f64>,
    /// Whether a group begins with the function that costs more, and says so.
    pub(crate) is_named: bool,
    /// The other groups, by what they begin with.
    pub(crate) others: Vec<String>,
}

impl Question<'_> {
    /// Asks whether `candidate` is worse than `baseline`.
    pub(crate) fn ask(&self, baseline: Arm, candidate: Arm, range: Range) -> Result<Answer> {
        let question = json!({
            "service": self.service,
            "baseline": {"version": baseline.version()},
            "candidate": {"version": candidate.version()},
            "from": range[0],
            "to": range[1],
            "window_seconds": WINDOW_SECONDS,
            "policy": {"warm_up": "0s", "alpha": self.alpha, "request_syscall": "write"},
        });
        let url = format!("{}/api/v1/gate", self.collector.place().url());
        let answer = http::post_json(&url, &question)?;
        Answer::read(&answer).with_context(|| format!("an answer without it: {answer}"))
    }
}

impl Answer {
    fn read(answer: &Value) -> Result<Self> {
        let verdict = answer["verdict"].as_str().context("no verdict")?;
        if !["pass", "fail", "inconclusive"].contains(&verdict) {
            bail!("the verdict is `{verdict}`: {}", answer["reasons"]);
        }
        let costs = answer["costs"].as_array().context("no costs")?;
        let cpu = costs.iter().find(|cost| cost["metric"] == "cpu").context("no cost of CPU")?;
        if cpu["basis"] != "request" {
            bail!("CPU time is not told for each request");
        }
        let mut is_named = false;
        let mut others = Vec::new();
        for group in answer["groups"].as_array().context("no groups")? {
            if group["root"]["function"] == FUNCTION && group["direction"] == "worse" {
                is_named = true;
            } else {
                others.push(told(group)?);
            }
        }
        Ok(Self {
            verdict: verdict.to_owned(),
            ratio: cpu["ratio"].as_f64().context("no ratio")?,
            detectable: answer["detectable"]["service_cpu"].as_f64(),
            detectable_function: answer["detectable"]["function_share"].as_f64(),
            is_named,
            others,
        })
    }
}

fn told(group: &Value) -> Result<String> {
    let root = &group["root"];
    let subject = root["function"].as_str().or_else(|| root["syscall"].as_str());
    let direction = group["direction"].as_str().context("no direction")?;
    Ok(format!("{} {direction}", subject.context("a group about nothing")?))
}
