//! Answers whether a candidate may go on.
//!
//! Pass is a finding of its own: no regression was shown, *and* the data would have shown one of the policy's margin.
//! Where they would not, the answer is inconclusive and says what is missing.

pub mod args;
pub mod policy;
mod read;
mod request;
mod arms;
pub mod looks;
pub mod checks;
pub mod restarts;
mod holm;
pub mod detectable;
mod bound;
mod describe;
mod measure;
pub mod criteria;
pub mod decide;
mod verdict;
mod answer;
mod triggers;
mod ask;
mod table;
mod markdown;
mod client;

pub(crate) use answer::Seen;
pub use answer::{GateAnswer, GateSide};
pub use args::{GateArgs, Labels};
pub use ask::evaluate;
pub use client::command;
pub use markdown::Summary;
pub(crate) use markdown::{Head, markdown};
pub use policy::GatePolicy;
pub use request::GateRequest;
pub(crate) use table::answer_table;
pub use verdict::{GateResult, GateVerdict};

#[cfg(test)]
pub(crate) mod tests;
