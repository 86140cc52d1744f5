//! `GET /debug/pprof/profile`: the samples of a selection in the form that `go tool pprof` reads.

use std::io::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use flate2::Compression;
use flate2::write::GzEncoder;
use profiler_common::pprof::{self, Builder, Span};
use profiler_common::profile::Profile;
use prost::Message as _;

use super::answer::Failure;
use super::openapi::SelectionParameters;
use super::parameters::Parameters;
use crate::store::{TimeRange, WindowProfile};

/// Longest `seconds`: that of any range.
const SECONDS_MAX: f64 = 31.0 * 86_400.0;

/// Writes the samples of a selection as a gzipped pprof profile.
#[utoipa::path(
    get,
    path = "/debug/pprof/profile",
    params(
        ("service" = String, Query, description = "the service"),
        ("seconds" = Option<f64>, Query, description = "the last seconds; instead of `from` and `to`"),
        SelectionParameters,
    ),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, body = super::openapi::Refusal),
    ),
)]
pub(crate) async fn profile(
    State(state): State<super::State>,
    mut parameters: Parameters,
) -> Result<impl IntoResponse, Failure> {
    let selection = parameters.take_selection()?;
    let mut range = parameters.take_range()?;
    let seconds = parameters.take_number("seconds", 0.0, 0.0..=SECONDS_MAX)?;
    parameters.finish()?;
    if seconds > 0.0 {
        range.start_unix_ns = range.end_unix_ns.saturating_sub((seconds * 1e9) as u64);
    }
    let store = Arc::clone(&state.store);
    let question = move || {
        let merged = store.merge(&selection, range)?;
        let period_ns = merged.cpu_ns.checked_div(merged.profile.total()).unwrap_or(0);
        let profile = WindowProfile::merge([&merged.profile]);
        gzip(&encode(&profile, range, period_ns).encode_to_vec())
    };
    let bytes = state.queries.run(question).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"profile.pb.gz\""),
    ];
    Ok((headers, bytes))
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let compressed = encoder.write_all(bytes).and_then(|()| encoder.finish());
    compressed.map_err(|error| Failure::Internal(error.into()))
}

fn encode(profile: &Profile, range: TimeRange, period_ns: u64) -> pprof::Profile {
    let TimeRange { start_unix_ns, end_unix_ns } = range;
    let mut builder = Builder::default();
    for (stack, count) in profile.named_stacks() {
        builder.add(&stack, count, count.saturating_mul(period_ns), &[]);
    }
    builder.finish(Span { start_unix_ns, end_unix_ns, period_ns })
}
