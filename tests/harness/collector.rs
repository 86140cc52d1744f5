//! The real collector on free ports, with its store in the scenario's folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::binaries::Program;
use crate::running::{Running, quiet};
use crate::{Scenario, eventually, http};

/// Longest time to be ready; a debug build that opens an empty store takes below a second.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// Longest time to stop: the store is closed and open requests are finished.
pub const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Where a collector listens and keeps its data, whether it runs or not.
#[derive(Debug, Clone)]
pub struct CollectorPlace {
    grpc_port: u16,
    http_port: u16,
    /// What `--store` takes.
    store: String,
    config: PathBuf,
    log_folder: PathBuf,
}

impl CollectorPlace {
    /// Chooses free ports, and writes the settings, in TOML.
    ///
    /// # Errors
    ///
    /// When there is no free port or the file cannot be written.
    pub fn new(scenario: &Scenario, settings: &str) -> Result<Self> {
        let config = scenario.path("collector.toml");
        fs::write(&config, settings).context("failed to write the collector's settings")?;
        Ok(Self {
            grpc_port: http::free_port()?,
            http_port: http::free_port()?,
            store: sqlite(&scenario.path("store.db")),
            config,
            log_folder: scenario.folder().to_owned(),
        })
    }

    /// The same place with its store elsewhere.
    #[must_use]
    pub fn with_store(self, store: &Path) -> Self {
        Self { store: sqlite(store), ..self }
    }

    /// The same place with its store at another address, such as `clickhouse://…`.
    #[must_use]
    pub fn with_store_at(self, address: &str) -> Self {
        Self { store: address.to_owned(), ..self }
    }

    /// The command that serves here.
    ///
    /// # Errors
    ///
    /// When the program cannot be found or built.
    pub fn command(&self) -> Result<Command> {
        let mut command = quiet(&Program::Collector.path()?);
        command
            .arg("serve")
            .args(["--grpc", &self.grpc_address()])
            .args(["--http", &format!("127.0.0.1:{}", self.http_port)])
            .args(["--store", &self.store])
            .arg("--config")
            .arg(&self.config);
        Ok(command)
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it ends or is not ready in time.
    pub fn start(&self) -> Result<Collector> {
        self.start_asking_every(eventually::PAUSE)
    }

    /// Starts it, and asks so often whether it is ready: for those who measure how long that takes.
    ///
    /// # Errors
    ///
    /// When it ends or is not ready in time.
    pub fn start_asking_every(&self, pause: Duration) -> Result<Collector> {
        let mut running = Running::start("collector", &self.log_folder, &mut self.command()?)?;
        let ready = format!("{}/-/ready", self.url());
        eventually::some_asking_every(pause, "the collector is ready", READY_LIMIT, || {
            running.still_runs()?;
            Ok(http::get_text(&ready).ok())
        })?;
        Ok(Collector { place: self.clone(), running })
    }

    /// Base of its HTTP addresses.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    /// What agents are told to send to.
    #[must_use]
    pub fn grpc_url(&self) -> String {
        format!("http://{}", self.grpc_address())
    }

    /// Address of the gRPC port.
    #[must_use]
    pub fn grpc_address(&self) -> String {
        format!("127.0.0.1:{}", self.grpc_port)
    }
}

fn sqlite(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// A collector that runs.
#[derive(Debug)]
pub struct Collector {
    place: CollectorPlace,
    running: Running,
}

impl Collector {
    /// Starts one at a new place with these settings.
    ///
    /// # Errors
    ///
    /// When it is not ready in time.
    pub fn start(scenario: &Scenario, settings: &str) -> Result<Self> {
        CollectorPlace::new(scenario, settings)?.start()
    }

    /// Where it listens.
    #[must_use]
    pub fn place(&self) -> &CollectorPlace {
        &self.place
    }

    /// Its process.
    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Asks for JSON below `/api/v1/`.
    ///
    /// # Errors
    ///
    /// When there is no good answer.
    pub fn api(&self, question: &str) -> Result<Value> {
        http::get_json(&format!("{}/api/v1/{question}", self.place.url()))
    }

    /// One whole number of `/api/v1/status`.
    ///
    /// # Errors
    ///
    /// When there is no such number.
    pub fn status(&self, field: &str) -> Result<u64> {
        let status = self.api("status")?;
        status[field].as_u64().with_context(|| format!("no number `{field}` in {status}"))
    }

    /// All samples that agents said they lost, whatever the reason.
    ///
    /// # Errors
    ///
    /// When the status cannot be read.
    pub fn lost(&self) -> Result<u64> {
        let status = self.api("status")?;
        let lost = status["lost"].as_object().with_context(|| format!("no `lost` in {status}"))?;
        Ok(lost.values().filter_map(Value::as_u64).sum())
    }

    /// Samples of a service, of one version or of all.
    ///
    /// # Errors
    ///
    /// When the services cannot be read.
    pub fn samples_of(&self, service: &str, version: Option<&str>) -> Result<u64> {
        let answer = self.api("services?from=-1h")?;
        let services = answer["services"].as_array().context("no `services`")?;
        let Some(found) = services.iter().find(|entry| entry["service"] == service) else {
            return Ok(0);
        };
        let versions = found["versions"].as_array().context("no `versions`")?;
        let wanted = |entry: &&Value| version.is_none_or(|version| entry["version"] == version);
        Ok(versions.iter().filter(wanted).filter_map(|entry| entry["samples"].as_u64()).sum())
    }

    /// Waits until at least so many samples of a service are stored.
    ///
    /// # Errors
    ///
    /// When they do not come in time.
    pub fn wait_for_samples(
        &self,
        service: &str,
        version: Option<&str>,
        samples: u64,
        limit: Duration,
    ) -> Result<u64> {
        eventually::ok(&format!("`{service}` has {samples} samples"), limit, || {
            let seen = self.samples_of(service, version)?;
            anyhow::ensure!(seen >= samples, "it has {seen}");
            Ok(seen)
        })
    }
}
