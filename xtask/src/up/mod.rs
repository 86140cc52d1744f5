//! `cargo xtask up`: the whole product on this host, from one command to a page in the browser.
//!
//! It needs a Rust toolchain and a C compiler. Only the agent runs as root.

mod place;
mod keeper;
pub(crate) mod http;

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::{Duration, Instant, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use keeper::{GRACE, Kept, RunAs};
use serde_json::Value;

use crate::workspace::{self, Programs};

/// How long a program may take to open its port: opening a large store and loading eBPF take seconds.
const START: Duration = Duration::from_secs(30);

/// How long the first profile may take: a window of 10 s, its symbols, one shipment.
const FIRST_PROFILE: Duration = Duration::from_secs(90);

/// How often the programs are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Arguments of `cargo xtask up`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the collector takes profiles from agents
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7170")]
    grpc: SocketAddr,
    /// Where the collector shows the page
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7171")]
    http: SocketAddr,
    /// Where the agent shows its own metrics
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7172")]
    admin: SocketAddr,
    /// Folder for the store, the state of the agent, and the logs [default: `.flamewatch` in the checkout]
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    /// Stops by itself after this many seconds of running
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// More arguments for the agent, after `--`
    #[arg(last = true, value_name = "ARGUMENT")]
    agent: Vec<String>,
}

/// Builds both programs, runs them until ctrl-c, and stops them.
pub(crate) fn run(args: &Args) -> Result<()> {
    let default_state = workspace::root().join(".flamewatch");
    let state = place::prepare_state(args.state_dir.as_deref().unwrap_or(&default_state))?;
    place::check_free("--grpc", args.grpc)?;
    place::check_free("--http", args.http)?;
    place::check_free("--admin", args.admin)?;
    let agent_runs_as = how_to_be_root()?;

    let programs = workspace::build_programs()?;
    if agent_runs_as == RunAs::Root {
        eprintln!("the agent needs root to load eBPF; asking sudo for it");
        workspace::run(Command::new("sudo").arg("--validate"))?;
    }

    let stop = stop_signals()?;
    eprintln!("state and logs: {}", state.display());
    let collector = Kept::start(
        "the collector",
        &collector_command(args, &programs, &state)?,
        RunAs::Us,
        &state.join("collector.log"),
    )?;
    let mut running = Running { collector, agent: None, stop };
    let watched =
        watch(&mut running, args, &agent_command(args, &programs, &state)?, agent_runs_as, &state);
    let stopped = running.stop();
    watched.and(stopped)
}

/// Starts the agent, says where the page is, and returns when the programs should stop.
fn watch(
    running: &mut Running,
    args: &Args,
    agent: &[String],
    run_as: RunAs,
    state: &Path,
) -> Result<()> {
    let up = running.wait_until(START, "the collector to open its ports", || {
        http::get(args.http, "/-/ready").is_ok()
    })?;
    if !up {
        return Ok(());
    }
    let started = UNIX_EPOCH.elapsed().context("failed to read the clock")?.as_secs();
    running.agent = Some(Kept::start("the agent", agent, run_as, &state.join("agent.log"))?);
    eprintln!("waiting for the first profile (a window is 10 s)");
    let profiled = running
        .wait_until(FIRST_PROFILE, "the first profile", || has_services(args.http, started))?;
    if !profiled {
        return Ok(());
    }
    say_running(args.http)?;
    running.wait_to_stop(args.seconds.map(Duration::from_secs))
}

/// Both programs, and how we are told to stop them.
struct Running {
    collector: Kept,
    agent: Option<Kept>,
    stop: Receiver<()>,
}

impl Running {
    /// Waits for `done`; returns false when asked to stop before.
    fn wait_until(&mut self, time: Duration, what: &str, done: impl Fn() -> bool) -> Result<bool> {
        let deadline = Instant::now() + time;
        while !done() {
            if self.is_asked_to_stop()? {
                return Ok(false);
            }
            if Instant::now() >= deadline {
                bail!(
                    "gave up after {} s of waiting for {what}; the logs say more",
                    time.as_secs()
                );
            }
        }
        Ok(true)
    }

    /// Waits for ctrl-c, or for `time` to pass.
    fn wait_to_stop(&mut self, time: Option<Duration>) -> Result<()> {
        let started = Instant::now();
        while time.is_none_or(|time| started.elapsed() < time) {
            if self.is_asked_to_stop()? {
                break;
            }
        }
        Ok(())
    }

    /// Waits a moment for ctrl-c, then fails when a program has ended by itself.
    ///
    /// In this order, because ctrl-c in a terminal ends an agent under sudo at the same moment.
    fn is_asked_to_stop(&mut self) -> Result<bool> {
        match self.stop.recv_timeout(LOOK_EVERY) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Ok(true),
            Err(RecvTimeoutError::Timeout) => {
                self.collector.check_running()?;
                if let Some(agent) = &mut self.agent {
                    agent.check_running()?;
                }
                Ok(false)
            }
        }
    }

    /// Stops the agent, which ships what it has, and then the collector, which stores it.
    fn stop(self) -> Result<()> {
        let Self { collector, agent, stop: _ } = self;
        eprintln!("stopping");
        let agent = agent.map_or(Ok(()), |agent| agent.stop(GRACE));
        let collector = collector.stop(GRACE);
        agent.and(collector)
    }
}

/// Returns how the agent gets root, and fails before the long build when it cannot.
fn how_to_be_root() -> Result<RunAs> {
    if workspace::is_root() {
        return Ok(RunAs::Us);
    }
    if workspace::find_program("sudo").is_none() {
        bail!("the agent needs root to load eBPF, and there is no sudo here; run this as root");
    }
    Ok(RunAs::Root)
}

/// Turns ctrl-c, SIGTERM and SIGHUP into one message each.
fn stop_signals() -> Result<Receiver<()>> {
    let (sender, receiver) = sync_channel(1);
    ctrlc::set_handler(move || {
        // A full channel means that the message is there already.
        let _ = sender.try_send(());
    })
    .context("failed to listen for ctrl-c")?;
    Ok(receiver)
}

fn collector_command(args: &Args, programs: &Programs, state: &Path) -> Result<Vec<String>> {
    let store = state.join("flamewatch.db");
    Ok(vec![
        text(&programs.collector)?,
        "serve".to_owned(),
        format!("--grpc={}", args.grpc),
        format!("--http={}", args.http),
        format!("--store=sqlite:{}", text(&store)?),
    ])
}

fn agent_command(args: &Args, programs: &Programs, state: &Path) -> Result<Vec<String>> {
    let mut command = vec![
        text(&programs.agent)?,
        "run".to_owned(),
        format!("--collector=http://{}", http::reachable(args.grpc)),
        format!("--admin={}", args.admin),
        format!("--state-dir={}", text(&state.join("agent"))?),
    ];
    command.extend_from_slice(&args.agent);
    Ok(command)
}

fn text(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("`{}` is not UTF-8", path.display()))?;
    Ok(text.to_owned())
}

/// Says whether the collector lists a service that was seen after `since`, in seconds since 1970.
fn has_services(http: SocketAddr, since: u64) -> bool {
    http::get(http, "/api/v1/services").is_ok_and(|body| lists_services(&body, since))
}

/// What an earlier run left in the store says nothing about this one.
fn lists_services(body: &str, since: u64) -> bool {
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    let services = answer["services"].as_array().map(Vec::as_slice).unwrap_or_default();
    services.iter().any(|service| {
        let seen_ns = service["last_seen_unix_ns"].as_u64();
        seen_ns.is_some_and(|seen_ns| seen_ns / 1_000_000_000 >= since)
    })
}

/// Prints the one line that the user waits for.
fn say_running(http: SocketAddr) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let address = http::reachable(http);
    writeln!(out, "flamewatch is running: http://{address}/  (ctrl-c stops both)")
        .and_then(|()| out.flush())
        .context("failed to print the address")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN_AT_12: &str =
        "{\"services\":[{\"service\":\"cron\",\"last_seen_unix_ns\":12000000001}]}";

    #[test]
    fn an_empty_list_of_services_is_not_yet_a_profile() {
        assert!(!lists_services("{\"services\":[]}", 0));
        assert!(lists_services(SEEN_AT_12, 12));
    }

    #[test]
    fn an_answer_of_another_program_is_no_profile() {
        assert!(!lists_services("<html>", 0));
        assert!(!lists_services("{\"services\":3}", 0));
    }

    #[test]
    fn a_service_of_an_earlier_run_is_no_profile() {
        assert!(!lists_services(SEEN_AT_12, 13));
    }
}
