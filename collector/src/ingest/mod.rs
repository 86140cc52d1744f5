//! Accepts batches over gRPC; acknowledges what is durable.
//!
//! Decodes within limits, validates ([`validate`]), stores, answers. A batch that can never be stored is refused for
//! good; one that cannot be stored now is refused so that its agent sends it again.

mod blocking;
mod references;
mod session;
mod validate;

pub use session::{SESSIONS_BYTES_MAX, Sessions, UnknownSession};
pub use validate::{AcceptedPush, Rejection, validate};

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use profiler_common::wire::v1::ingest_server::{Ingest, IngestServer};
use profiler_common::wire::{PUSH_BYTES_MAX, SEND, SEND_WHOLE, v1};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status};

use crate::metrics::Metrics;
use crate::store::{Arrival, Store, StoreError, Written};

/// Most batches received, decoded and written at once; further ones are refused before they are read, and come again.
/// One may take 100 MB decoded, and the store's group commit gains nothing beyond.
const PUSHES_MAX: usize = 32;

/// The gRPC service.
#[derive(Debug)]
pub struct IngestService {
    work: Arc<Work>,
    slots: Arc<Semaphore>,
}

/// What every push needs.
#[derive(Debug)]
struct Work {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    retention_ns: u64,
    sessions: Sessions,
}

impl IngestService {
    /// Stores into `store`; refuses windows that ended longer than `retention_ns` ago.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>, retention_ns: u64) -> Self {
        let sessions = Sessions::new(SESSIONS_BYTES_MAX);
        let work = Work { store, metrics, retention_ns, sessions };
        Self { work: Arc::new(work), slots: Arc::new(Semaphore::new(PUSHES_MAX)) }
    }

    /// The service with its limits, to be added to a server.
    #[must_use]
    pub fn into_server(self) -> InterceptedService<IngestServer<Self>, Admission> {
        let admission =
            Admission { slots: Arc::clone(&self.slots), metrics: Arc::clone(&self.work.metrics) };
        let server = IngestServer::new(self)
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(PUSH_BYTES_MAX);
        InterceptedService::new(server, admission)
    }
}

/// Lets in no more pushes than are worked on at once; it stands before the message is read.
#[derive(Debug, Clone)]
pub struct Admission {
    slots: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// One push's place, given back when the push is over.
#[derive(Debug, Clone)]
struct Slot {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Interceptor for Admission {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() else {
            self.metrics.count_rejected("overloaded");
            return Err(Status::resource_exhausted(
                "too many batches at once: send it again later",
            ));
        };
        request.extensions_mut().insert(Slot { _permit: Arc::new(permit) });
        Ok(request)
    }
}

#[tonic::async_trait]
impl Ingest for IngestService {
    async fn push(
        &self,
        request: Request<v1::PushRequest>,
    ) -> Result<Response<v1::PushResponse>, Status> {
        let started = Instant::now();
        let (_metadata, extensions, message) = request.into_parts();
        let work = Arc::clone(&self.work);
        // Runs to its end even if the agent hangs up: what was begun is stored, and the repetition is a duplicate.
        let pushed = blocking::run(move || {
            let pushed = work.push(message);
            // The slot goes with the work: an agent that hangs up does not make room for more.
            drop(extensions);
            pushed
        });
        let outcome = pushed.await.map_err(|error| Status::internal(error.to_string()))??;
        self.work.metrics.observe_push(started.elapsed());
        Ok(Response::new(v1::PushResponse { outcome: outcome.into() }))
    }
}

impl Work {
    fn push(&self, request: v1::PushRequest) -> Result<v1::Outcome, Status> {
        let now = unix_ns(SystemTime::now());
        let push = validate(request, now, self.retention_ns).map_err(|rejection| {
            self.metrics.count_rejected(rejection.name());
            refuse(&rejection)
        })?;
        let AcceptedPush { batch, slots, session } = push;
        let (agent, defined) = (batch.agent_id.clone(), batch.stacks.len());
        let known = match &session {
            Some(session) => self.sessions.resolve(&agent, session, &slots),
            None => Ok(Vec::new()),
        };
        let known = known.map_err(|unknown| self.ask_for_the_whole(&unknown))?;
        let arrival = Arrival::new(batch, known, self.store.hash_seed());
        let written = arrival.and_then(|arrival| Ok((self.store.write(&arrival)?, arrival)));
        match (written, &session) {
            (Ok((written, arrival)), session) => {
                if let Some(session) = session {
                    self.sessions.learn(&agent, session, &arrival.keys()[..defined]);
                }
                Ok(match written {
                    Written::Stored => v1::Outcome::Stored,
                    Written::Duplicate => v1::Outcome::Duplicate,
                })
            }
            (Err(StoreError::UnknownStack), Some(session)) => {
                self.sessions.forget(&agent, session.id);
                Err(self.ask_for_the_whole(&UnknownSession(session.id)))
            }
            (Err(error), _) => Err(self.fail(&agent, &error)),
        }
    }

    fn ask_for_the_whole(&self, unknown: &UnknownSession) -> Status {
        self.metrics.count_rejected("unknown_session");
        let mut status = Status::failed_precondition(unknown.to_string());
        status.metadata_mut().insert(SEND, MetadataValue::from_static(SEND_WHOLE));
        status
    }

    fn fail(&self, agent: &str, error: &StoreError) -> Status {
        let status = fail(error);
        let is_lost = status.code() == tonic::Code::InvalidArgument;
        self.metrics.count_rejected(if is_lost { "invalid" } else { "unavailable" });
        tracing::warn!(agent, error = %status.message(), "failed to store");
        status
    }
}

fn refuse(rejection: &Rejection) -> Status {
    match rejection {
        Rejection::Protocol(_) => Status::failed_precondition(rejection.to_string()),
        Rejection::TooOld { .. } | Rejection::Invalid(_) => {
            Status::invalid_argument(rejection.to_string())
        }
    }
}

/// Only what can never be stored is refused for good; everything else comes again.
fn fail(error: &StoreError) -> Status {
    match error {
        StoreError::Inconsistent(_) => Status::invalid_argument(error.to_string()),
        StoreError::UnknownStack => Status::failed_precondition(error.to_string()),
        StoreError::Disk { action, source } | StoreError::Database { action, source } => {
            Status::unavailable(format!("failed to {action}: {source}"))
        }
        StoreError::Unusable { .. }
        | StoreError::Damaged(_)
        | StoreError::TooLarge { .. }
        | StoreError::Cancelled
        | StoreError::Commit(_) => Status::unavailable(error.to_string()),
    }
}

/// A time of the clock as the wire has it; 0 before 1970.
pub(crate) fn unix_ns(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
