//! The real agent on this host, with its state in the scenario's folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::binaries::Program;
use crate::running::{Running, quiet};
use crate::{Scenario, eventually, http};

/// Longest time to be ready: the kernel verifies and attaches the programs, which takes seconds on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// Longest time to stop: the last window is named and sent, or laid in the spool.
pub const STOP_LIMIT: Duration = Duration::from_secs(40);

/// How an agent is to run, whether it runs or not.
#[derive(Debug, Clone)]
pub struct AgentPlace {
    name: String,
    collector: String,
    admin_port: u16,
    state: PathBuf,
    arguments: Vec<String>,
    log_folder: PathBuf,
}

impl AgentPlace {
    /// An agent that sends to this collector, at 99 Hz, with short windows.
    ///
    /// # Errors
    ///
    /// When there is no free port.
    pub fn new(scenario: &Scenario, collector: &str) -> Result<Self> {
        let place = Self {
            name: "agent".to_owned(),
            collector: collector.to_owned(),
            admin_port: http::free_port()?,
            state: scenario.path("agent-state"),
            arguments: Vec::new(),
            log_folder: scenario.folder().to_owned(),
        };
        Ok(place.arg("--window").arg("2"))
    }

    /// Sets the samples a second and CPU.
    #[must_use]
    pub fn frequency(self, hertz: u32) -> Self {
        self.arg("--frequency").arg(&hertz.to_string())
    }

    /// Sets the name that it gives this host.
    #[must_use]
    pub fn host(self, host: &str) -> Self {
        self.arg("--host").arg(host)
    }

    /// Keeps its state elsewhere.
    #[must_use]
    pub fn with_state(self, state: &Path) -> Self {
        Self { state: state.to_owned(), ..self }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// The command that runs it.
    ///
    /// # Errors
    ///
    /// When the program cannot be found or built.
    pub fn command(&self) -> Result<Command> {
        let mut command = quiet(&Program::Agent.path()?);
        command
            .arg("run")
            .args(["--collector", &self.collector])
            .args(["--admin", &format!("127.0.0.1:{}", self.admin_port)])
            .arg("--state-dir")
            .arg(&self.state)
            .args(&self.arguments);
        Ok(command)
    }

    /// Starts it and waits until it samples.
    ///
    /// # Errors
    ///
    /// When it ends or is not ready in time.
    pub fn start(&self) -> Result<Agent> {
        let mut running = Running::start(&self.name, &self.log_folder, &mut self.command()?)?;
        let ready = format!("{}/-/ready", self.url());
        eventually::some("the agent is ready", READY_LIMIT, || {
            running.still_runs()?;
            Ok(http::get_text(&ready).ok())
        })?;
        Ok(Agent { place: self.clone(), running })
    }

    /// Base of its HTTP addresses.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin_port)
    }

    /// Folder of its state.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }
}

/// An agent that runs.
#[derive(Debug)]
pub struct Agent {
    place: AgentPlace,
    running: Running,
}

/// What an agent says of its samples at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accounts {
    /// Samples that the kernel took.
    pub taken: u64,
    /// Samples that the collector acknowledged.
    pub acknowledged: u64,
    /// Samples on their way.
    pub pending: u64,
    /// Samples lost, whatever the reason.
    pub lost: u64,
}

impl Agent {
    /// Starts one that sends to this collector.
    ///
    /// # Errors
    ///
    /// When it is not ready in time.
    pub fn start(scenario: &Scenario, collector: &str, hertz: u32) -> Result<Self> {
        AgentPlace::new(scenario, collector)?.frequency(hertz).start()
    }

    /// Its process.
    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// How it runs.
    #[must_use]
    pub fn place(&self) -> &AgentPlace {
        &self.place
    }

    /// Its accounts now.
    ///
    /// # Errors
    ///
    /// When a metric is missing.
    pub fn accounts(&self) -> Result<Accounts> {
        // One page is one moment; several would show a batch that arrived between them twice or not at all.
        let page = http::get_text(&format!("{}/metrics", self.place.url()))?;
        let read = |name: &str| {
            http::metric(&page, &format!("flamewatch_agent_samples_{name}"), "")
                .with_context(|| format!("failed to read samples {name}"))
        };
        Ok(Accounts {
            taken: read("taken_total")?,
            acknowledged: read("acknowledged_total")?,
            pending: read("pending")?,
            lost: read("lost_total")?,
        })
    }
}
