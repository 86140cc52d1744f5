//! Asks the programs over HTTP.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::blocking::Client;
use serde_json::Value;

/// Longest wait for one answer; the slowest, a merge of many windows, takes below a second.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest text of an answer that goes into an error.
const ERROR_CHARS_MAX: usize = 400;

/// Reads JSON.
///
/// # Errors
///
/// When there is no answer, or it is no success, or no JSON.
pub fn get_json(url: &str) -> Result<Value> {
    let text = get_text(url)?;
    serde_json::from_str(&text).with_context(|| format!("`{url}` answered no JSON: {text:.200}"))
}

/// Reads text.
///
/// # Errors
///
/// When there is no answer or it is no success.
pub fn get_text(url: &str) -> Result<String> {
    let answer = client().get(url).send().with_context(|| format!("failed to ask `{url}`"))?;
    let status = answer.status();
    let text = answer.text().with_context(|| format!("failed to read the answer of `{url}`"))?;
    if !status.is_success() {
        let shown: String = text.chars().take(ERROR_CHARS_MAX).collect();
        bail!("`{url}` answered {status}: {shown}");
    }
    Ok(text)
}

/// Sends JSON and reads the JSON that answers it.
///
/// # Errors
///
/// When there is no answer, or it is no success, or no JSON.
pub fn post_json(url: &str, body: &Value) -> Result<Value> {
    let request = client().post(url).header("content-type", "application/json");
    let answer =
        request.body(body.to_string()).send().with_context(|| format!("failed to ask `{url}`"))?;
    let status = answer.status();
    let text = answer.text().with_context(|| format!("failed to read the answer of `{url}`"))?;
    if !status.is_success() {
        let shown: String = text.chars().take(ERROR_CHARS_MAX).collect();
        bail!("`{url}` answered {status}: {shown}");
    }
    serde_json::from_str(&text).with_context(|| format!("`{url}` answered no JSON: {text:.200}"))
}

/// Reads bytes and the status code, whatever it is.
///
/// # Errors
///
/// When there is no answer.
pub fn get_status(url: &str) -> Result<(u16, Vec<u8>)> {
    let answer = client().get(url).send().with_context(|| format!("failed to ask `{url}`"))?;
    let status = answer.status().as_u16();
    Ok((status, answer.bytes().context("failed to read an answer")?.to_vec()))
}

/// Sum of all samples of a Prometheus metric on a page whose labels hold `label`; an empty one takes all.
///
/// # Errors
///
/// When the page lacks the metric.
pub fn metric(page: &str, name: &str, label: &str) -> Result<u64> {
    let found: Vec<f64> = page.lines().filter_map(|line| sample(line, name, label)).collect();
    if found.is_empty() {
        bail!("the page has no metric `{name}` with `{label}`");
    }
    let sum: f64 = found.iter().sum();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counters of samples are whole, positive and far below 2^53"
    )]
    Ok(sum as u64)
}

fn sample(line: &str, name: &str, label: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let (labels, value) = match rest.strip_prefix('{') {
        Some(labelled) => labelled.rsplit_once('}')?,
        None => ("", rest.strip_prefix(' ')?),
    };
    if !labels.contains(label) {
        return None;
    }
    value.trim().parse().ok()
}

/// Sends one gRPC message as raw bytes over HTTP/2 and returns the gRPC status: 0 for success.
///
/// # Errors
///
/// When the server does not answer.
pub fn push_bytes(address: &str, message: &[u8]) -> Result<u32> {
    let length = u32::try_from(message.len()).context("a message longer than 4 GiB")?;
    let mut body = vec![0];
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(message);
    push_body(address, body)
}

/// Sends a body, framed or not, to the ingest method and returns the gRPC status: 0 for success.
///
/// # Errors
///
/// When the server does not answer.
pub fn push_body(address: &str, body: Vec<u8>) -> Result<u32> {
    let client = Client::builder()
        .http2_prior_knowledge()
        .timeout(ANSWER_TIMEOUT)
        .build()
        .context("failed to make an HTTP/2 client")?;
    let answer = client
        .post(format!("http://{address}/flamewatch.v1.Ingest/Push"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .send()
        .context("failed to push")?;
    // A refusal carries its status in the headers; after a message it comes in the trailers, and is 0.
    match answer.headers().get("grpc-status") {
        Some(status) => Ok(status.to_str().context("an unreadable status")?.parse()?),
        None if answer.status().is_success() => Ok(0),
        None => bail!("the server answered {}", answer.status()),
    }
}

/// A port that is free now.
///
/// # Errors
///
/// When the loopback interface has none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to find a port")?;
    Ok(listener.local_addr().context("failed to read a port")?.port())
}

fn client() -> &'static Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        // Fails only when another test of this process was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::builder()
            .timeout(ANSWER_TIMEOUT)
            .no_proxy()
            .build()
            .expect("a client without certificates or files of its own can always be made")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name_and_its_label() {
        assert_eq!(sample("lost_total{reason=\"full\"} 3", "lost_total", "full"), Some(3.0));
        assert_eq!(sample("lost_total{reason=\"full\"} 3", "lost_total", "other"), None);
        assert_eq!(sample("lost_total_ever 3", "lost_total", ""), None);
        assert_eq!(sample("taken_total 12", "taken_total", ""), Some(12.0));
    }
}
