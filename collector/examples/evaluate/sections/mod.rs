//! The parts of the report, in its order.

mod calibration;
mod canary;
mod composition;
mod cells;
mod stream;
mod syscalls;
mod coverage;
mod detectable;
mod root;
mod shift;

use crate::Run;
use crate::report::Section;

/// A part of the report: its name, and what measures it.
type Part = (&'static str, fn(&Run) -> Section);

/// All parts.
pub(crate) const ALL: &[Part] = &[
    ("aa", calibration::run),
    ("canary", canary::run),
    ("mde", detectable::run),
    ("cells", cells::run),
    ("coverage", coverage::run),
    ("root", root::run),
    ("shift", shift::run),
    ("composition", composition::run),
    ("syscalls", syscalls::run),
    ("stream", stream::run),
    ("temporal", crate::temporal::run),
];

/// The names of all parts, for a message.
pub(crate) fn names() -> String {
    let names: Vec<String> = ALL.iter().map(|(name, _)| format!("`{name}`")).collect();
    names.join(", ")
}
