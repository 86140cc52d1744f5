//! Programs with known answers: compiled from `workloads/*.c`, started as a service of our choice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::running::{Running, quiet};
use crate::{Scenario, binaries, command, e2e_folder};

/// Frame pointers are kept and calls stay calls, so that every named function is a frame.
const FLAGS: &[&str] =
    &["-O2", "-g", "-Wall", "-Wextra", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"];

/// A program and whom it pretends to be.
#[derive(Debug, Clone)]
pub struct Workload {
    program: PathBuf,
    name: String,
    arguments: Vec<String>,
    service: Option<String>,
    attributes: Vec<String>,
    stdin: bool,
}

impl Workload {
    /// Compiles `workloads/NAME.c` unless that has been done.
    ///
    /// # Errors
    ///
    /// When there is no such source or no C compiler.
    pub fn new(name: &str) -> Result<Self> {
        Ok(Self {
            program: compile(name)?,
            name: name.to_owned(),
            arguments: Vec::new(),
            service: None,
            attributes: Vec::new(),
            stdin: false,
        })
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl ToString) -> Self {
        self.arguments.push(argument.to_string());
        self
    }

    /// Sets the service's name.
    #[must_use]
    pub fn service(mut self, service: &str) -> Self {
        self.service = Some(service.to_owned());
        self
    }

    /// Sets the service's version.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.attributes.push(format!("service.version={version}"));
        self
    }

    /// Sets the service's instance, its unit of replication.
    #[must_use]
    pub fn instance(mut self, instance: &str) -> Self {
        self.attributes.push(format!("service.instance.id={instance}"));
        self
    }

    /// Gives it a standard input that stays open until it is taken and dropped.
    #[must_use]
    pub fn with_stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Path of the compiled program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts it; its output goes to a log named after program and attributes.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(&self, scenario: &Scenario) -> Result<Running> {
        let mut command = quiet(&self.program);
        command.args(&self.arguments);
        if self.stdin {
            command.stdin(Stdio::piped());
        }
        if let Some(service) = &self.service {
            command.env("OTEL_SERVICE_NAME", service);
        }
        if !self.attributes.is_empty() {
            command.env("OTEL_RESOURCE_ATTRIBUTES", self.attributes.join(","));
        }
        let mut log = self.name.clone();
        for attribute in &self.attributes {
            log.push('-');
            log.push_str(attribute.rsplit('=').next().unwrap_or(attribute));
        }
        Running::start(&log, scenario.folder(), &mut command)
    }
}

fn compile(name: &str) -> Result<PathBuf> {
    let source = binaries::workspace_folder()?.join("tests/workloads").join(format!("{name}.c"));
    let folder = e2e_folder()?.join("workloads");
    fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create `{}`", folder.display()))?;
    let program = folder.join(name);
    let written = |path: &Path| fs::metadata(path).and_then(|facts| facts.modified()).ok();
    let wanted = written(&source).with_context(|| format!("no `{}`", source.display()))?;
    if written(&program).is_some_and(|built| built >= wanted) {
        return Ok(program);
    }
    let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compiler.args(FLAGS).arg(&source).arg("-o").arg(&program);
    command::finish(&mut compiler)?.expect_code(0).context("failed to compile a workload")?;
    Ok(program)
}
