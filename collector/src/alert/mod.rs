//! The life of an alert, and who is told.
//!
//! Every `interval_seconds` the [`Evaluator`] looks at each service that has a new window: it compares the newest version
//! with the one before ([`release`]), the service with its past ([`temporal`]), and now and then with itself
//! ([`self_test`]). What is found becomes alerts, one for each cause; they move along [`lifecycle`], are kept in the
//! [`AlertBook`], and told by [`notify`].

mod topic;
mod basis;
mod record;
mod fingerprint;
mod plan;
mod support;
mod comparison;
mod evidence;
mod cost;
mod lifecycle;
mod transition;
mod matching;
mod release;
mod temporal;
mod self_test;
mod storm;
mod saved;
mod book;
mod engine;
mod evaluate;
mod notify;
mod options;

pub use basis::{ChangedPath, Evidence, Measured, Past, PerRequest};
pub(crate) use book::NOTE_BYTES_MAX;
pub use book::{AlertBook, DecisionError};
pub use evaluate::{Evaluator, EvaluatorCounters};
pub use fingerprint::fingerprint;
pub use lifecycle::Track;
pub(crate) use notify::rfc3339;
pub use options::{AlertOptions, WebhookOptions};
pub use record::{Acceptance, Alert, AlertState, Escalation, Mode};
pub use self_test::{Alarms, SelfTests};
pub use topic::{AlertName, Severity, Topic, Whole};

#[cfg(test)]
pub(crate) mod tests;
