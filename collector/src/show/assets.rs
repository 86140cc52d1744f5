//! The page: the files of `collector/web`, which the binary carries.

use std::borrow::Cow;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use super::answer::Failure;

/// The page loads only its own files and runs no script from a text: names of functions come from any process.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(RustEmbed)]
#[folder = "web"]
#[exclude = "tests/*"]
struct Web;

/// The page.
pub(crate) async fn index(headers: HeaderMap) -> Result<Response, Failure> {
    answer("index.html", &headers)
}

/// A file of the page.
pub(crate) async fn asset(
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    answer(&path, &headers)
}

fn answer(path: &str, headers: &HeaderMap) -> Result<Response, Failure> {
    let Some(file) = Web::get(path) else {
        let path: String = path.chars().take(200).collect();
        return Err(Failure::NotFound(format!("there is no `/{path}`; the page is at `/`")));
    };
    let digest = file.metadata.sha256_hash();
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    // Weak, as compression changes the bytes but not what they say.
    let etag = format!("W/\"{hex}\"");
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let unchanged = known
        .is_some_and(|known| known.split(',').any(|one| one.trim() == etag || one.trim() == "*"));
    let body = if unchanged { Cow::Borrowed(&[][..]) } else { file.data };
    let status = if unchanged { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let mut response = (status, body).into_response();
    let answer_headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type(path)),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // A new build serves a new page at once; an unchanged one costs an empty answer.
        (header::CACHE_CONTROL, "no-cache"),
    ] {
        answer_headers.insert(name, HeaderValue::from_static(value));
    }
    let etag = HeaderValue::from_str(&etag).map_err(|error| Failure::Internal(error.into()))?;
    answer_headers.insert(header::ETAG, etag);
    Ok(response)
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
