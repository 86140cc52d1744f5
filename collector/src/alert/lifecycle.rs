//! How an alert moves: pending, firing, resolved. Pure.

use super::AlertState;

/// What one evaluation saw of an alert's subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// A significant regression.
    Regressed,
    /// Not significant, but not shown to be gone either.
    Unclear,
    /// The growth is below half of what it was when it fired.
    Gone,
    /// Nothing to compare.
    NoData,
}

/// How many evaluations in a row each step takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) pending: u32,
    pub(super) resolve: u32,
}

/// State and streak after one more evaluation; `None` when a pending alert went away.
///
/// ```text
/// pending --`pending` times regressed--> firing --`resolve` times gone--> resolved --regressed--> pending
/// pending --once not regressed--> forgotten
/// ```
/// Without data nothing moves: silence is neither better nor worse.
pub(super) fn step(
    state: AlertState,
    streak: u32,
    sight: Sight,
    patience: Patience,
) -> Option<(AlertState, u32)> {
    match (state, sight) {
        (_, Sight::NoData) => Some((state, streak)),
        (AlertState::Pending, Sight::Regressed) if streak + 1 >= patience.pending => {
            Some((AlertState::Firing, 0))
        }
        (AlertState::Pending, Sight::Regressed) => Some((AlertState::Pending, streak + 1)),
        (AlertState::Pending, Sight::Unclear | Sight::Gone) => None,
        (AlertState::Firing, Sight::Gone) if streak + 1 >= patience.resolve => {
            Some((AlertState::Resolved, 0))
        }
        (AlertState::Firing, Sight::Gone) => Some((AlertState::Firing, streak + 1)),
        (AlertState::Firing, Sight::Regressed | Sight::Unclear) => Some((AlertState::Firing, 0)),
        (AlertState::Resolved, Sight::Regressed) => {
            step(AlertState::Pending, 0, Sight::Regressed, patience)
        }
        (AlertState::Resolved, Sight::Unclear | Sight::Gone) => Some((AlertState::Resolved, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { pending: 2, resolve: 3 };

    /// Runs a life: `r`egressed, `u`nclear, `g`one, `n`o data; answers `P`, `F`, `R`, or `-` for forgotten.
    fn life(sights: &str) -> String {
        let mut at = Some((AlertState::Pending, 0));
        sights
            .chars()
            .map(|sight| {
                let sight = match sight {
                    'r' => Sight::Regressed,
                    'u' => Sight::Unclear,
                    'g' => Sight::Gone,
                    _ => Sight::NoData,
                };
                let (state, streak) = at.unwrap_or((AlertState::Pending, 0));
                at = step(state, streak, sight, PATIENCE);
                match at {
                    Some((AlertState::Pending, _)) => 'P',
                    Some((AlertState::Firing, _)) => 'F',
                    Some((AlertState::Resolved, _)) => 'R',
                    None => '-',
                }
            })
            .collect()
    }

    #[test]
    fn the_life_of_an_alert() {
        for (sights, states) in [
            ("rr", "PF"),
            ("ru", "P-"),
            ("rnr", "PPF"),
            ("rrggg", "PFFFR"),
            ("rrggugg", "PFFFFFF"),
            ("rrggrggg", "PFFFFFFR"),
            ("rrgngg", "PFFFFR"),
            ("rrnnnn", "PFFFFF"),
            ("rrgggr", "PFFFRP"),
            ("rrgggrr", "PFFFRPF"),
            ("rrgggug", "PFFFRRR"),
        ] {
            assert_eq!(life(sights), states, "{sights}");
        }
    }
}
