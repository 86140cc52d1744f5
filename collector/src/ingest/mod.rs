//! Accepts batches over gRPC; acknowledges what is durable.
//!
//! Lets pushes in fairly ([`door`]), decodes within limits, validates ([`validate`]), resolves what the session has told
//! ([`session`]), stores, answers. A batch that can never be stored is refused for good; one that cannot be stored now is
//! refused so that its agent sends it again.

mod blocking;
mod agents;
mod bucket;
mod clock;
mod door;
mod doorway;
mod poison;
mod references;
mod refusal;
mod session;
mod validate;
mod work;

pub use clock::{Moved, TooFar};
pub use doorway::Doorway;
pub use session::{SESSIONS_BYTES_MAX, Sessions, UnknownSession};
pub use validate::{AcceptedPush, Rejection, validate};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use profiler_common::wire::v1::ingest_server::{Ingest, IngestServer};
use profiler_common::wire::{PUSH_BYTES_MAX, v1};
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use self::door::{Door, Limits};
use self::doorway::Visit;
use self::poison::Poison;
use self::work::Work;
use crate::metrics::Metrics;
use crate::store::Store;

/// The gRPC service.
#[derive(Debug)]
pub struct IngestService {
    work: Work,
    limits: Limits,
}

impl IngestService {
    /// Stores into `store`; refuses windows that ended longer than `retention_ns` ago.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>, retention_ns: u64) -> Self {
        Self { work: Work::new(store, metrics, retention_ns), limits: Limits::default() }
    }

    /// Keeps batches that harm in a folder, which is made with the first one.
    #[must_use]
    pub fn set_aside_in(mut self, folder: PathBuf) -> Self {
        self.work.poison = Poison::new(Some(folder));
        self
    }

    /// The service with its limits, to be added to a server.
    #[must_use]
    pub fn into_server(self) -> Doorway<IngestServer<impl Ingest>> {
        let door = Door::new(self.limits);
        let metrics = Arc::clone(self.work.metrics());
        let service = IngestServer::new(Service { work: Arc::new(self.work) })
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(PUSH_BYTES_MAX);
        Doorway { door, metrics, service }
    }
}

/// What the server calls.
#[derive(Debug)]
struct Service {
    work: Arc<Work>,
}

#[tonic::async_trait]
impl Ingest for Service {
    async fn push(
        &self,
        request: Request<v1::PushRequest>,
    ) -> Result<Response<v1::PushResponse>, Status> {
        let started = Instant::now();
        let (_metadata, mut extensions, message) = request.into_parts();
        let visit = extensions.remove::<Visit>();
        let work = Arc::clone(&self.work);
        // Runs to its end even if the agent hangs up: what was begun is stored, and the repetition is a duplicate. The place
        // goes with the work: an agent that hangs up does not make room for more.
        let pushed = blocking::run(move || work.push(message, visit)).await;
        let outcome = pushed.map_err(|error| Status::internal(error.to_string()))??;
        self.work.metrics().observe_push(started.elapsed());
        Ok(Response::new(v1::PushResponse { outcome: outcome.into() }))
    }
}

/// A time of the clock as the wire has it; 0 before 1970.
pub(crate) fn unix_ns(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
