//! How work moved.

use super::super::ShiftKind;
use super::super::functions::Tested;
use super::super::items::Family;
use super::Moved;

/// What there may be of a function on the side where it is not, as a part of the other side.
const REST_MAX: f64 = 0.1;

/// On which sides a set of stacks is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// Only after.
    Comes,
    /// Only before.
    Goes,
    /// On both.
    Stays,
}

impl Presence {
    /// Judges rates before and after.
    pub(super) fn of([before, after]: [f64; 2]) -> Self {
        if before <= REST_MAX * after {
            Self::Comes
        } else if after <= REST_MAX * before {
            Self::Goes
        } else {
            Self::Stays
        }
    }
}

/// Names the kind of a shift between a root and the neighbours that changed with it.
pub(super) fn of(
    tested: &Tested<'_>,
    item: usize,
    presence: Presence,
    moved: &[Moved],
) -> ShiftKind {
    let root = &tested.items.list[item];
    // What a function of its own can become: not a part of another's code, nor one of several calls.
    let is_function = |at: &Moved| !at.neighbour.is_own && at.neighbour.function != root.function;
    let count = |wanted: Presence| {
        moved.iter().filter(|at| is_function(at) && at.presence == wanted).count()
    };
    let is_whole = root.family != Family::SelfTime || !calls_others(tested, item);
    let own = |wanted: Presence| usize::from(is_whole && presence == wanted);
    let (come, go) = (
        count(Presence::Comes) + own(Presence::Comes),
        count(Presence::Goes) + own(Presence::Goes),
    );
    let is_all = come + go == moved.len() + 1;
    match (come, go) {
        (1, 1) if is_all => ShiftKind::Rename,
        (2.., 1) if is_all => ShiftKind::Split,
        (1, 2..) if is_all => ShiftKind::Merge,
        (0, 1..) => ShiftKind::Inline,
        _ => ShiftKind::Move,
    }
}

/// Whether the function of an item calls others.
fn calls_others(tested: &Tested<'_>, item: usize) -> bool {
    let function = tested.items.list[item].function;
    let nodes = &tested.tree.nodes;
    nodes.iter().any(|node| {
        nodes.get(node.parent as usize).is_some_and(|caller| caller.function == function)
    })
}
