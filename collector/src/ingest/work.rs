//! One push from its message to its answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use profiler_common::wire::v1;
use prost::Message as _;
use tokio::time::Instant;
use tonic::Status;

use super::agents::Agents;
use super::clock::Moved;
use super::doorway::Visit;
use super::poison::Poison;
use super::refusal::Refusal;
use super::session::{SESSIONS_BYTES_MAX, Sessions, UnknownSession};
use super::unix_ns;
use super::validate::{AcceptedPush, Rejection, validate};
use crate::metrics::Metrics;
use crate::store::{Arrival, Store, StoreError, Written};

/// What the agent of a batch that was set aside is told.
const PANICKED: &str = "the collector failed on this batch and has set it aside";
const INCONSISTENT: &str = "the batch contradicts itself; the collector has set it aside";
const OVERSIZED: &str =
    "the batch is larger than the store can keep; the collector has set it aside";

/// What every push needs.
#[derive(Debug)]
pub(super) struct Work {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    retention_ns: u64,
    sessions: Sessions,
    agents: Arc<Agents>,
    pub(super) poison: Poison,
}

impl Work {
    pub(super) fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>, retention_ns: u64) -> Self {
        let sessions = Sessions::new(SESSIONS_BYTES_MAX);
        let poison = Poison::new(None);
        Self { store, metrics, retention_ns, sessions, agents: Arc::default(), poison }
    }

    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Stores what a push holds. `visit` is missing where it came past the door.
    pub(super) fn push(
        &self,
        request: v1::PushRequest,
        visit: Option<Visit>,
    ) -> Result<v1::Outcome, Status> {
        let agent = request.batch.as_ref().map(|batch| batch.agent_id.clone()).unwrap_or_default();
        self.take(request, visit.as_ref()).map_err(|refusal| {
            let status = refusal.status();
            self.metrics.count_rejected(refusal.name());
            if matches!(refusal, Refusal::Unavailable(_)) {
                tracing::warn!(agent, error = %status.message(), "failed to store a batch");
            }
            status
        })
    }

    fn take(
        &self,
        request: v1::PushRequest,
        visit: Option<&Visit>,
    ) -> Result<v1::Outcome, Refusal> {
        let now = Instant::now();
        let bytes = request.encoded_len();
        if let Some(visit) = visit {
            visit.place.weigh(bytes, now);
        }
        let arrived = visit.map_or_else(SystemTime::now, |visit| visit.arrived);
        let push = validate(request, unix_ns(arrived), self.retention_ns);
        let push = push.map_err(Refusal::Rejected)?;
        let _turn = self.agents.begin(&push.batch.agent_id, bytes, now)?;
        self.note_clock(&push);
        self.store(push)
    }

    fn store(&self, push: AcceptedPush) -> Result<v1::Outcome, Refusal> {
        let AcceptedPush { batch, slots, session, .. } = push;
        let known = match &session {
            Some(session) => self.sessions.resolve(&batch.agent_id, session, &slots),
            None => Ok(Vec::new()),
        };
        let defined = batch.stacks.len();
        let arrival =
            Arrival::new(batch, known.map_err(Refusal::SendWhole)?, self.store.hash_seed());
        let arrival =
            arrival.map_err(|error| Refusal::Rejected(Rejection::Invalid(error.to_string())))?;
        let agent = &arrival.batch().agent_id;
        let written = catch_unwind(AssertUnwindSafe(|| self.store.write(&arrival)));
        let unknown = session.as_ref().map(|session| UnknownSession(session.id));
        let why = match (written, unknown) {
            (Ok(Ok(written)), _) => {
                if let Some(session) = &session {
                    self.sessions.learn(agent, session, &arrival.keys()[..defined]);
                    self.metrics.set_sessions(self.sessions.size());
                }
                return Ok(match written {
                    Written::Stored => v1::Outcome::Stored,
                    Written::Duplicate => v1::Outcome::Duplicate,
                });
            }
            (Ok(Err(StoreError::UnknownStack)), Some(unknown)) => {
                self.sessions.forget(agent, unknown.0);
                return Err(Refusal::SendWhole(unknown));
            }
            // What is set aside must make sense by itself.
            (
                Ok(Err(StoreError::Inconsistent(_) | StoreError::TooLarge { .. })) | Err(_),
                Some(unknown),
            ) if !slots.is_empty() => {
                return Err(Refusal::SendWhole(unknown));
            }
            (Ok(Err(StoreError::Inconsistent(_))), _) => INCONSISTENT,
            (Ok(Err(StoreError::TooLarge { .. })), _) => OVERSIZED,
            (Ok(Err(error)), _) => return Err(Refusal::Unavailable(error)),
            (Err(_panic), _) => PANICKED,
        };
        self.set_aside(arrival.batch(), why);
        Err(Refusal::SetAside(why))
    }

    fn set_aside(&self, batch: &v1::Batch, why: &'static str) {
        let v1::Batch { agent_id: agent, epoch, sequence, .. } = batch;
        match self.poison.set_aside(batch, unix_ns(SystemTime::now())) {
            Ok(Some(file)) => {
                tracing::error!(agent, epoch, sequence, file = %file.display(), "{why}");
            }
            Ok(None) => tracing::error!(agent, epoch, sequence, "{why}; no folder keeps it"),
            Err(error) => {
                tracing::error!(agent, epoch, sequence, %error, "{why}; its file cannot be written");
            }
        }
    }

    /// Counts what is wrong with the agent's clock, and says it once.
    fn note_clock(&self, push: &AcceptedPush) {
        let agent = &push.batch.agent_id;
        if push.moved != Moved::No {
            self.metrics.count_moved(if push.moved == Moved::BySkew { "skew" } else { "set_back" });
        }
        let Some(skew_ns) = push.skew_ns else { return };
        let seconds = skew_ns as f64 / 1e9;
        self.metrics.observe_skew(seconds.abs());
        if self.agents.note_skew(agent, skew_ns) {
            let (host, ahead_seconds) = (&push.batch.host, seconds);
            if push.moved == Moved::BySkew {
                tracing::warn!(
                    agent,
                    host,
                    ahead_seconds,
                    "the agent's clock is wrong; its windows are moved"
                );
            } else {
                tracing::info!(agent, host, ahead_seconds, "the agent's clock is right again");
            }
        }
    }
}
