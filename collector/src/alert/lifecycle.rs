//! How an alert moves: pending, firing, stale, resolved, accepted. Pure.

use serde::{Deserialize, Serialize};

use super::AlertState;

/// Looks that a pending alert remembers.
const LOOKS: u32 = 4;

/// Looks among the last [`LOOKS`] that did not show a pending alert, at which it went away.
const MISSES_MAX: u32 = 2;

/// What one evaluation saw of an alert's subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// A significant regression.
    Regressed {
        /// Whether it is beyond doubt enough, and trusted enough, for people to be told.
        is_firm: bool,
    },
    /// Not significant, but not shown to be gone either.
    Unclear,
    /// The change is below half of what it was when people were told.
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

/// What the last evaluations said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// Evaluations in a row that confirm the next state.
    pub streak: u32,
    /// The last four evaluations of a pending alert, the newest in the lowest bit; 1 where it was not seen.
    pub misses: u32,
}

impl Track {
    const fn counted(self, is_missed: bool) -> Self {
        let misses = ((self.misses << 1) | is_missed as u32) & ((1 << LOOKS) - 1);
        Self { streak: if is_missed { 0 } else { self.streak + 1 }, misses }
    }
}

/// State and track after one more evaluation; `None` when a pending alert went away.
///
/// ```text
/// pending --`pending` times in a row regressed, the last time firmly--> firing
/// pending --not regressed in 2 of 4--> went away
/// firing, stale --`resolve` times in a row gone--> resolved
/// stale --any data--> firing
/// ```
/// Without data nothing moves: silence is neither better nor worse. What is resolved or accepted stays so; a new
/// regression opens a new life.
pub(super) fn step(
    state: AlertState,
    track: Track,
    sight: Sight,
    patience: Patience,
) -> Option<(AlertState, Track)> {
    if sight == Sight::NoData {
        return Some((state, track));
    }
    match (state, sight) {
        (AlertState::Pending, Sight::Regressed { is_firm }) => {
            let track = track.counted(false);
            if is_firm && track.streak >= patience.pending {
                return Some((AlertState::Firing, Track::default()));
            }
            Some((AlertState::Pending, track))
        }
        (AlertState::Pending, _) => {
            let track = track.counted(true);
            (track.misses.count_ones() < MISSES_MAX).then_some((AlertState::Pending, track))
        }
        (AlertState::Firing | AlertState::Stale, Sight::Gone) => {
            if track.streak + 1 >= patience.resolve {
                return Some((AlertState::Resolved, Track::default()));
            }
            Some((AlertState::Firing, Track { streak: track.streak + 1, misses: 0 }))
        }
        (AlertState::Firing | AlertState::Stale, _) => Some((AlertState::Firing, Track::default())),
        (AlertState::Resolved | AlertState::Accepted, _) => Some((state, track)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { pending: 2, resolve: 3 };

    /// Runs a life: `r`egressed firmly, `w`eakly, `u`nclear, `g`one, `n`o data, `s`ilent for too long; answers `P`, `F`,
    /// `S`, `R`, or `-` where it went away.
    fn life(sights: &str) -> String {
        let mut at = Some((AlertState::Pending, Track::default()));
        let mut states = String::new();
        for sight in sights.chars() {
            let (state, track) = at.unwrap_or((AlertState::Pending, Track::default()));
            at = match sight {
                's' => Some((AlertState::Stale, track)),
                'r' => step(state, track, Sight::Regressed { is_firm: true }, PATIENCE),
                'w' => step(state, track, Sight::Regressed { is_firm: false }, PATIENCE),
                'u' => step(state, track, Sight::Unclear, PATIENCE),
                'g' => step(state, track, Sight::Gone, PATIENCE),
                _ => step(state, track, Sight::NoData, PATIENCE),
            };
            states.push(match at {
                Some((AlertState::Pending, _)) => 'P',
                Some((AlertState::Firing, _)) => 'F',
                Some((AlertState::Stale, _)) => 'S',
                Some((AlertState::Resolved, _)) => 'R',
                Some((AlertState::Accepted, _)) => 'A',
                None => '-',
            });
        }
        states
    }

    #[test]
    fn the_life_of_an_alert() {
        for (sights, states) in [
            ("rr", "PF"),
            // What is only seen weakly waits, and what is then seen firmly has waited long enough.
            ("wwww", "PPPP"),
            ("wwr", "PPF"),
            // One look that does not show it is forgiven, the second among four is not.
            ("rurr", "PPPF"),
            ("ruu", "PP-"),
            ("rwuwu", "PPPP-"),
            ("wuwwwu", "PPPPPP"),
            ("rnr", "PPF"),
            ("rrggg", "PFFFR"),
            // Hysteresis: anything but gone starts the count again.
            ("rrggugg", "PFFFFFF"),
            ("rrggwggg", "PFFFFFFR"),
            ("rrgngg", "PFFFFR"),
            ("rrnnnn", "PFFFFF"),
            // Stale is left by data, without a new life.
            ("rrssu", "PFSSF"),
            ("rrsr", "PFSF"),
            ("rrsggg", "PFSFFR"),
            ("rrgggrug", "PFFFRRRR"),
        ] {
            assert_eq!(life(sights), states, "{sights}");
        }
    }
}
