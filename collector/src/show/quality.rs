//! `GET /api/v1/quality`: how many stacks of a selection are whole, and why the others are not.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use profiler_common::profile;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Failure;
use super::flamegraph::services_of;
use super::openapi::SelectionParameters;
use super::parameters::{Parameters, seconds};
use crate::store::{QualityOf, Selection, Store, TimeRange};

/// Most versions, hosts and executables in one answer, those with the most samples: more than anybody reads.
const PARTS_MAX: usize = 200;

/// How far the stacks of a selection can be trusted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Quality {
    /// Start of the range, Unix seconds.
    from: f64,
    /// End of the range, Unix seconds.
    to: f64,
    #[serde(flatten)]
    all: Walks,
    /// The same by version, the most samples first.
    versions: Vec<Part>,
    /// The same by host, the most samples first.
    hosts: Vec<Part>,
    /// The same by executable, the most samples first; those that agents could not name are left out.
    executables: Vec<Part>,
}

/// How the walks over user stacks ended.
#[derive(Debug, Serialize, ToSchema)]
struct Walks {
    /// Samples that have a user stack.
    samples: u64,
    /// Share of them that are whole; absent without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    whole_share: Option<f64>,
    /// Why the others are not whole, the most frequent first.
    reasons: Vec<Reason>,
}

/// One version, host or executable.
#[derive(Debug, Serialize, ToSchema)]
struct Part {
    /// Its name.
    name: String,
    #[serde(flatten)]
    walks: Walks,
}

/// One way in which a walk ends before the root.
#[derive(Debug, Serialize, ToSchema)]
struct Reason {
    /// Its name.
    reason: String,
    /// What it means; absent where the agent is newer than this collector.
    #[serde(skip_serializing_if = "Option::is_none")]
    sentence: Option<&'static str>,
    /// Samples.
    samples: u64,
    /// Share of the samples that have a user stack.
    share: f64,
}

/// Says how many stacks of a selection are whole, and why the others are not. The service `*` is all services.
#[utoipa::path(
    get,
    path = "/api/v1/quality",
    params(
        ("service" = String, Query, description = "the service, or `*` for all"),
        SelectionParameters,
    ),
    responses((status = 200, body = Quality), (status = 400, body = super::openapi::Refusal)),
)]
pub(crate) async fn quality(
    State(state): State<super::State>,
    mut parameters: Parameters,
) -> Result<Json<Quality>, Failure> {
    let selection = parameters.take_selection()?;
    let range = parameters.take_range()?;
    parameters.finish()?;
    let store = Arc::clone(&state.store);
    let answer = state.queries.run(move || answer(&*store, &selection, range)).await?;
    Ok(Json(answer))
}

fn answer(store: &dyn Store, selection: &Selection, range: TimeRange) -> Result<Quality, Failure> {
    let mut found = Vec::new();
    for service in services_of(store, selection, range)? {
        found.extend(store.quality(&service, range)?);
    }
    let mut all = profile::Quality::default();
    found.iter().for_each(|part| all.merge(&part.quality));
    Ok(Quality {
        from: seconds(range.start_unix_ns),
        to: seconds(range.end_unix_ns),
        all: Walks::from(&all),
        versions: parts(&found, |part| &part.version),
        hosts: parts(&found, |part| &part.host),
        executables: parts(&found, |part| &part.executable),
    })
}

/// What was found, by what `name` says of it.
fn parts(found: &[QualityOf], name: impl Fn(&QualityOf) -> &str) -> Vec<Part> {
    let mut by_name: BTreeMap<&str, profile::Quality> = BTreeMap::new();
    for part in found.iter().filter(|part| !name(part).is_empty()) {
        by_name.entry(name(part)).or_default().merge(&part.quality);
    }
    let mut parts: Vec<Part> = by_name
        .into_iter()
        .map(|(name, quality)| Part { name: name.to_owned(), walks: Walks::from(&quality) })
        .collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.walks.samples));
    parts.truncate(PARTS_MAX);
    parts
}

impl From<&profile::Quality> for Walks {
    fn from(quality: &profile::Quality) -> Self {
        let samples = quality.stacks();
        let reason = |(reason, of_them): (&str, u64)| Reason {
            reason: reason.to_owned(),
            sentence: profile::Quality::sentence(reason),
            samples: of_them,
            share: of_them as f64 / samples as f64,
        };
        let reasons = quality.reasons().into_iter().map(reason).collect();
        Self { samples, whole_share: quality.whole_share(), reasons }
    }
}
