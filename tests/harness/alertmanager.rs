//! A real Alertmanager on free ports, as users run it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::running::{Running, quiet};
use crate::{Scenario, eventually, http};

/// Debian's package `prometheus-alertmanager` puts it here.
const PROGRAM: &str = "/usr/bin/prometheus-alertmanager";

/// Alerts are kept and shown; nobody is notified.
const SETTINGS: &str = "route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n";

/// An Alertmanager that runs.
#[derive(Debug)]
pub struct Alertmanager {
    url: String,
    _running: Running,
}

impl Alertmanager {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it is not installed, or not ready in time.
    pub fn start(scenario: &Scenario) -> Result<Self> {
        if !Path::new(PROGRAM).is_file() {
            bail!(
                "`{PROGRAM}` is missing: install `prometheus-alertmanager`, or `cargo xtask test`"
            );
        }
        let config = scenario.path("alertmanager.yml");
        fs::write(&config, SETTINGS).context("failed to write Alertmanager's settings")?;
        let port = http::free_port()?;
        let mut command = quiet(Path::new(PROGRAM));
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", scenario.path("alertmanager").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=");
        let mut running = Running::start("alertmanager", scenario.folder(), &mut command)?;
        let url = format!("http://127.0.0.1:{port}");
        eventually::some("Alertmanager is ready", Duration::from_secs(30), || {
            running.still_runs()?;
            Ok(http::get_text(&format!("{url}/-/ready")).ok())
        })?;
        Ok(Self { url, _running: running })
    }

    /// Base address, as the collector is told it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The alerts that are active now: those resolved are gone.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn active(&self) -> Result<Vec<Value>> {
        let alerts = http::get_json(&format!("{}/api/v2/alerts?active=true", self.url))?;
        Ok(alerts.as_array().context("Alertmanager answered no list")?.clone())
    }

    /// How many alerts it was sent in a state: `firing` or `resolved`.
    ///
    /// # Errors
    ///
    /// When its metrics cannot be read.
    pub fn received(&self, state: &str) -> Result<u64> {
        let label = format!("status=\"{state}\"");
        let page = http::get_text(&format!("{}/metrics", self.url))?;
        http::metric(&page, "alertmanager_alerts_received_total", &label)
    }
}
