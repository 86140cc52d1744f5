//! Runs one question against the store off the async threads, and turns failures into answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::{Semaphore, TryAcquireError};

use super::parameters::{BadParameter, Parameters};
use super::tree::TreeTooLarge;
use crate::store::{StoreError, cancel};

/// Questions answered at the same time: each may hold one merged profile in memory and one core.
const QUERIES_MAX: usize = 8;
/// How long a question waits for its turn before it is turned away.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request cannot be answered as it stands: 400.
    Request(String),
    /// Nothing is there: 404.
    NotFound(String),
    /// Too many questions at once: 503.
    Busy,
    /// Our fault: 500, logged.
    Internal(anyhow::Error),
}

impl From<BadParameter> for Failure {
    fn from(bad: BadParameter) -> Self {
        Self::Request(bad.0)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooLarge { .. } => Self::Request(error.to_string()),
            error => Self::Internal(error.into()),
        }
    }
}

impl From<TreeTooLarge> for Failure {
    fn from(error: TreeTooLarge) -> Self {
        Self::Request(error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Request(message) => (StatusCode::BAD_REQUEST, message),
            Self::NotFound(message) => (StatusCode::NOT_FOUND, message),
            Self::Busy => {
                let message = format!(
                    "{QUERIES_MAX} questions have been running for {} s; ask again later or \
                     for a shorter range",
                    WAIT_MAX.as_secs()
                );
                let answer = Json(json!({ "error": message }));
                let retry = [(header::RETRY_AFTER, "10")];
                return (StatusCode::SERVICE_UNAVAILABLE, retry, answer).into_response();
            }
            Self::Internal(error) => {
                tracing::error!("failed to answer a request: {error:#}");
                (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
            }
        };
        (status, Json(json!({ "error": message }))).into_response()
    }
}

/// Bounds how many questions run at once.
#[derive(Debug, Clone)]
pub(crate) struct Queries(Arc<Semaphore>);

impl Default for Queries {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(QUERIES_MAX)))
    }
}

impl Queries {
    /// Runs `question` on a blocking thread when it is its turn.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        question: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let permit = match Arc::clone(&self.0).try_acquire_owned() {
            Ok(permit) => permit,
            Err(TryAcquireError::Closed) => return Err(Failure::Busy),
            Err(TryAcquireError::NoPermits) => {
                let turn = tokio::time::timeout(WAIT_MAX, Arc::clone(&self.0).acquire_owned());
                turn.await.ok().and_then(Result::ok).ok_or(Failure::Busy)?
            }
        };
        // The permit goes with the work: whoever hangs up early does not make room for more.
        let hung_up = HungUp::default();
        let cancelled = Arc::clone(&hung_up.0);
        let work = tokio::task::spawn_blocking(move || {
            let answer = cancel::until(&cancelled, question);
            drop(permit);
            answer
        });
        work.await.unwrap_or_else(|error| {
            Err(Failure::Internal(anyhow::Error::new(error).context("failed to finish a query")))
        })
    }
}

/// Takes the question back when it is dropped: the client hung up, or has its answer.
#[derive(Debug, Default)]
struct HungUp(Arc<AtomicBool>);

impl Drop for HungUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        Ok(Self::parse(&parts.uri, now_unix_ns())?)
    }
}

/// Unix time in nanoseconds.
pub(crate) fn now_unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn no_more_questions_run_at_once_than_allowed() {
        let queries = Queries::default();
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..3 * QUERIES_MAX {
            let (queries, running, most) =
                (queries.clone(), Arc::clone(&running), Arc::clone(&most));
            asked.spawn(async move {
                let question = move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                };
                queries.run(question).await.unwrap();
            });
        }
        while let Some(done) = asked.join_next().await {
            done.unwrap();
        }
        assert!(most.load(Ordering::SeqCst) <= QUERIES_MAX);
    }

    #[tokio::test]
    async fn a_panic_in_a_question_is_an_answer() {
        let answer = Queries::default().run::<()>(|| panic!("a bug")).await;
        let response = answer.unwrap_err().into_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
