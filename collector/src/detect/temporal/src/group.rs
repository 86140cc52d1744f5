//! Findings with one cause: what people are told.

use serde::{Deserialize, Serialize};

use super::{Direction, Verdict};

/// What changed, and everything in which it shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Which way it went.
    pub direction: Direction,
    /// Where it begins: the function or syscall to look at first.
    pub root: Verdict,
    /// How the root was found: by its own code, by all it calls, by one call edge, or along one path.
    pub seen_as: SeenAs,
    /// Functions that no sample tells apart from the root, outermost first, the root among them.
    pub chain: Vec<String>,
    /// Functions that may be the root, the most likely first; those of the chain stand there only once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspects: Vec<String>,
    /// The one function from which the change comes, where it comes from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Functions from the outermost to the root, where the change lies on one path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
    /// Other significant functions that this accounts for.
    pub also_visible_in: Vec<String>,
    /// What kind of change it is.
    pub cause: Cause,
}

/// Which family of stacks showed the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenAs {
    /// Its own code.
    #[serde(rename = "self")]
    SelfTime,
    /// All that it calls.
    Total,
    /// Calls from one function.
    Edge,
    /// Calls along one path.
    Path,
    /// A syscall's latency or errors.
    Syscall,
}

/// What kind of change a group is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// The service does more, or less, work.
    Change,
    /// The same work stands under another name; the sum did not change beyond doubt.
    CostShift(CostShift),
}

/// Work that moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CostShift {
    /// How it moved.
    pub kind: ShiftKind,
    /// Functions from which it moved, or to which.
    pub partners: Vec<String>,
    /// Change of the sum of both, as a share of the service's CPU.
    pub net: f64,
    /// Lower end of the 90 % interval of `net`.
    pub net_low: f64,
    /// Upper end of the 90 % interval of `net`.
    pub net_high: f64,
}

/// How work moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShiftKind {
    /// One function went and another came in its place.
    Rename,
    /// A part of a function's work is done by another.
    Move,
    /// A called function became part of its callers.
    Inline,
    /// One function became several.
    Split,
    /// Several functions became one.
    Merge,
}

impl Group {
    /// Whether this is work that grew, and not work that moved.
    #[must_use]
    pub fn is_regression(&self) -> bool {
        self.direction == Direction::Worse && matches!(self.cause, Cause::Change)
    }
}
