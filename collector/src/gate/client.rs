//! The `gate` command: asks a collector, waits for a conclusive answer, prints it.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

use super::{GateAnswer, GateArgs, GatePolicy, GateRequest, GateVerdict, Labels};
use crate::diff::{Output, verdict_table};

/// Time between two questions while waiting.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Longest time for one question.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Most of an error's body that is shown, in characters.
const BODY_CHARS_MAX: usize = 500;

/// Asks the collector, prints the answer to `out`, and returns the exit code.
///
/// # Errors
///
/// When the policy cannot be read, the collector cannot be reached or refuses, or `out` fails.
pub async fn command(args: &GateArgs, out: &mut (dyn Write + Send)) -> anyhow::Result<u8> {
    let request = request_of(args)?;
    let url = format!("{}/api/v1/gate", args.collector.trim_end_matches('/'));
    // Another part of the process may have chosen a provider before; both choose the same one.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build()?;
    let deadline = Instant::now() + args.wait;
    let answer = loop {
        let answer = ask(&client, &url, &request).await?;
        // Versions that are not there yet may still come; a wrong question will not get better without --wait.
        let is_open = !answer.is_final || matches!(answer.verdict, GateVerdict::Error);
        let left = deadline.saturating_duration_since(Instant::now());
        if !is_open || left.is_zero() {
            break answer;
        }
        show_progress(&answer, left);
        sleep(POLL_INTERVAL.min(left)).await;
    };
    print(&answer, args.output, out)?;
    Ok(answer.exit_code)
}

fn request_of(args: &GateArgs) -> anyhow::Result<GateRequest> {
    let merge = |sides: &[Labels]| sides.iter().flat_map(|labels| labels.0.clone()).collect();
    Ok(GateRequest {
        service: args.service.clone(),
        baseline: merge(&args.baseline),
        candidate: merge(&args.candidate),
        from: None,
        to: None,
        lookback_seconds: args.lookback.map(|lookback| lookback.as_secs_f64()),
        window_seconds: Some(args.window.as_secs().max(1)),
        policy: args.policy.as_deref().map(GatePolicy::read).transpose()?,
    })
}

async fn ask(
    client: &reqwest::Client,
    url: &str,
    request: &GateRequest,
) -> anyhow::Result<GateAnswer> {
    let asking = || format!("failed to ask the collector at `{url}`");
    let response = client.post(url).json(request).send().await.with_context(asking)?;
    let status = response.status();
    let body = response.text().await.with_context(asking)?;
    if !status.is_success() {
        let shown: String = body.chars().take(BODY_CHARS_MAX).collect();
        bail!("failed to ask the collector at `{url}`: it answered {status}: {shown}");
    }
    serde_json::from_str(&body).with_context(|| format!("failed to read the answer of `{url}`"))
}

/// One line that is written over, and only where a person can see it.
fn show_progress(answer: &GateAnswer, left: Duration) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let reason = answer.reasons.first().map_or("", String::as_str);
        let line =
            format!("{}, waiting {} s more: {reason}", answer.verdict.name(), left.as_secs());
        let shown: String = line.chars().take(100).collect();
        // Progress that cannot be shown is no reason to stop.
        let _unshown = write!(stderr, "\r\x1b[K{shown}").and_then(|()| stderr.flush());
    }
}

fn print(answer: &GateAnswer, output: Output, out: &mut dyn Write) -> anyhow::Result<()> {
    if std::io::stderr().is_terminal() {
        let _unshown = write!(std::io::stderr(), "\r\x1b[K");
    }
    match output {
        Output::Json => {
            serde_json::to_writer_pretty(&mut *out, answer)?;
            writeln!(out)?;
        }
        Output::Table => {
            if !answer.findings.is_empty() {
                writeln!(out, "{}", verdict_table(&answer.findings, answer.findings.len()))?;
            }
            writeln!(out, "{}", answer.verdict.name())?;
            for reason in &answer.reasons {
                writeln!(out, "  {reason}")?;
            }
            writeln!(
                out,
                "  baseline: {} samples, {} replicates; candidate: {} samples, {} replicates",
                answer.baseline.samples,
                answer.baseline.replicates,
                answer.candidate.samples,
                answer.candidate.replicates
            )?;
        }
    }
    Ok(())
}
