//! What this host supports: each missing thing with what is lost and how to mend it.
//!
//! The probe tries what can be tried without leaving a trace, and reads the rest. It never fails: what it cannot find
//! out counts as missing.

mod permissions;
mod features;

use serde::Serialize;

pub(super) use features::stack_frames_max;
pub(super) use permissions::missing_capabilities;
pub use permissions::sees_all_processes;

/// How far a thing works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It works.
    Ok,
    /// The agent works without it, but gives less.
    Degraded,
    /// The agent cannot do its work without it.
    Missing,
}

/// One thing the agent needs or uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What it is.
    pub name: &'static str,
    /// How far it works.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What is lost without it; empty when nothing is.
    pub lost: &'static str,
    /// How to mend it; empty when nothing is lost.
    pub remedy: &'static str,
}

impl Item {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Ok, detail: detail.into(), lost: "", remedy: "" }
    }

    fn degraded(
        name: &'static str,
        detail: impl Into<String>,
        lost: &'static str,
        remedy: &'static str,
    ) -> Self {
        Self { name, state: State::Degraded, detail: detail.into(), lost, remedy }
    }

    fn missing(
        name: &'static str,
        detail: impl Into<String>,
        lost: &'static str,
        remedy: &'static str,
    ) -> Self {
        Self { name, state: State::Missing, detail: detail.into(), lost, remedy }
    }
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// One entry for each thing, the most important first.
    pub items: Vec<Item>,
}

impl Report {
    /// Whether the agent can do its work here.
    #[must_use]
    pub fn works(&self) -> bool {
        self.items.iter().all(|item| item.state != State::Missing)
    }
}

/// Looks at this host.
#[must_use]
pub fn probe() -> Report {
    let mut items = permissions::items();
    items.extend(features::items());
    Report { items }
}

/// Reads a setting of the kernel as one trimmed line.
fn read_setting(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_not_ok_says_what_is_lost_and_how_to_mend_it() {
        let report = probe();
        assert!(report.items.len() > 10);
        for item in &report.items {
            assert!(!item.detail.is_empty(), "{item:?}");
            assert_eq!(item.state == State::Ok, item.lost.is_empty(), "{item:?}");
            assert_eq!(item.state == State::Ok, item.remedy.is_empty(), "{item:?}");
        }
    }

    #[test]
    fn one_missing_thing_is_enough_for_the_agent_not_to_work() {
        let mut report = Report { items: vec![Item::ok("a", "yes")] };
        assert!(report.works());
        report.items.push(Item::degraded("b", "no", "little", "none"));
        assert!(report.works());
        report.items.push(Item::missing("c", "no", "all", "none"));
        assert!(!report.works());
    }
}
