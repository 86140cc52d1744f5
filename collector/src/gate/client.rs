//! The `gate` command: asks a collector, waits for a conclusive answer, prints it.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

use super::policy::OnInconclusive;
use super::{
    GateAnswer, GateArgs, GatePolicy, GateRequest, GateVerdict, Head, Labels, answer_table,
    markdown,
};
use crate::diff::{Output, Paint};
use crate::show::now_unix_ns;

/// Time between two questions while waiting.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Exit code of a command that was interrupted: 128 plus the number of SIGINT.
const INTERRUPTED: u8 = 130;

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
    if let Some(path) = &args.check_policy {
        write!(out, "{}", serde_saphyr::to_string(&GatePolicy::read(path)?)?)?;
        return Ok(0);
    }
    let request = request_of(args)?;
    let answer = tokio::select! {
        answer = wait_for_answer(args, &request) => answer,
        _ = tokio::signal::ctrl_c() => {
            end_progress();
            return Ok(INTERRUPTED);
        }
    };
    end_progress();
    let mut answer = answer?;
    if answer.is_final || !args.wait.is_zero() {
        // Nobody asks again.
        let policy =
            request.policy.as_ref().map_or(OnInconclusive::Hold, |policy| policy.on_inconclusive);
        answer.close(args.on_inconclusive.unwrap_or(policy));
    }
    print(&answer, args, &request, out)?;
    Ok(answer.exit_code)
}

/// Asks until the answer is conclusive or the time is over.
async fn wait_for_answer(args: &GateArgs, request: &GateRequest) -> anyhow::Result<GateAnswer> {
    let url = format!("{}/api/v1/gate", args.collector.trim_end_matches('/'));
    // Another part of the process may have chosen a provider before; both choose the same one.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build()?;
    let deadline = Instant::now() + args.wait;
    let mut was_reached = false;
    loop {
        let asked = ask(&client, &url, request).await;
        let left = deadline.saturating_duration_since(Instant::now());
        match asked {
            Ok(answer) => {
                was_reached = true;
                // Versions that are not there yet may still come.
                let is_open = match answer.verdict {
                    GateVerdict::Inconclusive => !answer.is_final,
                    GateVerdict::Error => true,
                    GateVerdict::Pass | GateVerdict::Fail => false,
                };
                if !is_open || left.is_zero() {
                    return Ok(answer);
                }
                let reason = answer.reasons.first().map_or("", String::as_str);
                show_progress(&format!("{}: {reason}", answer.verdict.name()), left);
            }
            // A collector that restarts while we wait loses nothing; one that was never there is a wrong address.
            Err(error) if was_reached && !left.is_zero() => {
                show_progress(&format!("{error:#}"), left);
            }
            Err(error) => return Err(error),
        }
        sleep(POLL_INTERVAL.min(left)).await;
    }
}

fn request_of(args: &GateArgs) -> anyhow::Result<GateRequest> {
    let merge = |sides: &[Labels]| sides.iter().flat_map(|labels| labels.0.clone()).collect();
    Ok(GateRequest {
        service: args.service.clone().unwrap_or_default(),
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
fn show_progress(text: &str, left: Duration) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let line = format!("waiting {} s more, {text}", left.as_secs());
        let shown: String = line.chars().take(100).collect();
        // Progress that cannot be shown is no reason to stop.
        let _unshown = write!(stderr, "\r\x1b[K{shown}").and_then(|()| stderr.flush());
    }
}

/// Clears the line of the progress.
fn end_progress() {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _unshown = write!(stderr, "\r\x1b[K").and_then(|()| stderr.flush());
    }
}

fn print(
    answer: &GateAnswer,
    args: &GateArgs,
    request: &GateRequest,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    match args.output {
        Output::Json => {
            serde_json::to_writer_pretty(&mut *out, answer)?;
            writeln!(out)?;
        }
        Output::Markdown => {
            let side = |labels: &std::collections::BTreeMap<String, String>| {
                Labels(labels.clone()).to_string()
            };
            let head = Head {
                service: &request.service,
                sides: [side(&request.baseline), side(&request.candidate)],
                now_unix_ns: now_unix_ns(),
                summary: &args.summary,
            };
            markdown(answer, &head, out)?;
        }
        Output::Table => answer_table(answer, Paint::of_stdout(), out)?,
    }
    Ok(())
}
