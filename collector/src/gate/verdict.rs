//! The gate's answer in one word, and what a rollout does with it.

use serde::{Deserialize, Serialize};

use super::policy::OnInconclusive;

/// The answer in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    /// No regression, and one of the margin's size would have been seen.
    Pass,
    /// Something got slower, beyond the margin and beyond doubt.
    Fail,
    /// Not enough data to say either.
    Inconclusive,
    /// The question has no answer: nothing matches it, or the sides cannot be compared.
    Error,
}

/// What a rollout does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateResult {
    /// It goes on.
    Pass,
    /// It goes back.
    Fail,
    /// It waits, for more data or for a person.
    Hold,
    /// Somebody must look: the question has no answer.
    Error,
}

impl GateVerdict {
    /// What a rollout does with it; `is_final` says that no further data will be looked at.
    #[must_use]
    pub const fn result(self, is_final: bool, policy: OnInconclusive) -> GateResult {
        match (self, policy) {
            (Self::Pass, _) => GateResult::Pass,
            (Self::Fail, _) => GateResult::Fail,
            (Self::Error, _) => GateResult::Error,
            (Self::Inconclusive, OnInconclusive::Pass) if is_final => GateResult::Pass,
            (Self::Inconclusive, OnInconclusive::Fail) if is_final => GateResult::Fail,
            (Self::Inconclusive, _) => GateResult::Hold,
        }
    }

    /// As it stands in text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::Error => "error",
        }
    }
}

impl GateResult {
    /// Exit code of the command.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Error => 1,
            Self::Fail => 3,
            Self::Hold => 4,
        }
    }

    /// From 0, back, to 100, on; 50 waits. For tools that compare numbers.
    #[must_use]
    pub const fn score(self) -> u8 {
        match self {
            Self::Pass => 100,
            Self::Hold => 50,
            Self::Fail | Self::Error => 0,
        }
    }

    /// As it stands in text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Hold => "hold",
            Self::Error => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_stays_open_is_left_to_the_policy() {
        use OnInconclusive::{Fail, Hold, Pass};
        let open = GateVerdict::Inconclusive;
        for policy in [Pass, Fail, Hold] {
            assert_eq!(open.result(false, policy), GateResult::Hold);
            assert_eq!(GateVerdict::Fail.result(true, policy).exit_code(), 3);
            assert_eq!(GateVerdict::Error.result(true, policy).exit_code(), 1);
            assert_eq!(GateVerdict::Pass.result(true, policy).exit_code(), 0);
        }
        assert_eq!(
            [Pass, Fail, Hold].map(|policy| open.result(true, policy).exit_code()),
            [0, 3, 4]
        );
    }
}
