//! Why a push is not taken, as its agent hears it and as it is counted.

use std::time::Duration;

use profiler_common::wire::{RETRY_AFTER_MS, SEND, SEND_WHOLE};
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

use super::session::UnknownSession;
use super::validate::Rejection;
use crate::store::StoreError;

/// Waits of whoever is told to come again when there is room: ten of an ordinary push.
const ROOM_AFTER: Duration = Duration::from_millis(250);

/// Longest wait that is asked for; agents wait no longer than that.
const AFTER_MAX: Duration = Duration::from_secs(60);

/// Why a push is not taken.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It breaks a rule.
    Rejected(Rejection),
    /// Too many pushes wait.
    Overloaded,
    /// It comes from whom has sent too much lately.
    TooFast {
        /// When there is room again.
        after: Duration,
    },
    /// Another push of the same agent is being stored.
    InWork,
    /// The batch must come whole.
    SendWhole(UnknownSession),
    /// The store does not take it now.
    Unavailable(StoreError),
    /// The store can never take it.
    SetAside(&'static str),
}

impl Refusal {
    /// Its name in metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Rejected(rejection) => rejection.name(),
            Self::Overloaded => "overloaded",
            Self::TooFast { .. } => "too_fast",
            Self::InWork => "in_work",
            Self::SendWhole(_) => "unknown_session",
            Self::Unavailable(_) => "unavailable",
            Self::SetAside(_) => "set_aside",
        }
    }

    /// What the agent is told.
    pub(super) fn status(&self) -> Status {
        match self {
            Self::Rejected(rejection) if rejection.is_final() => {
                Status::invalid_argument(rejection.to_string())
            }
            Self::Rejected(rejection) => Status::failed_precondition(rejection.to_string()),
            Self::Overloaded => later("too many batches at once: send it again later", ROOM_AFTER),
            Self::TooFast { after } => {
                later("too many bytes in a short time: send it again later", *after)
            }
            Self::InWork => later(
                "another batch of this agent is being stored: send it again later",
                ROOM_AFTER,
            ),
            Self::SendWhole(unknown) => {
                let mut whole = MetadataMap::new();
                whole.insert(SEND, MetadataValue::from_static(SEND_WHOLE));
                let code = tonic::Code::FailedPrecondition;
                Status::with_metadata(code, unknown.to_string(), whole)
            }
            Self::Unavailable(error) => Status::unavailable(chain(error)),
            Self::SetAside(why) => Status::invalid_argument(*why),
        }
    }
}

fn later(why: &str, after: Duration) -> Status {
    let mut status = Status::resource_exhausted(why);
    let milliseconds = u64::try_from(after.min(AFTER_MAX).as_millis()).unwrap_or(u64::MAX);
    status.metadata_mut().insert(RETRY_AFTER_MS, MetadataValue::from(milliseconds));
    status
}

/// An error and its causes in one line.
fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
