//! `cargo xtask bench programs`: how many stacks of real programs under load reach their root, and why the rest do not.
//!
//! Each program of Debian runs alone, as a user without rights, in a folder of its own; the agent captures it for some
//! seconds; and the folded stacks are counted by how their walk ended.

mod document;
mod quality;
mod runtimes;
mod sandbox;
mod servers;

use std::{path::Path, process::Command, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};

use self::{
    quality::Quality,
    sandbox::{Running, Sandbox},
};
use crate::{
    test::install::{self, Package},
    workspace,
};

/// How long a program runs before it is captured: its caches are warm then, and compilers have seen its hot code.
const WARM_UP: Duration = Duration::from_secs(4);

/// Arguments of `cargo xtask bench programs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Measures only these programs
    #[arg(value_name = "PROGRAM")]
    programs: Vec<String>,
    /// How long each is captured
    #[arg(long, value_name = "SECONDS", default_value_t = 8)]
    seconds: u32,
    /// Samples per second and CPU
    #[arg(long, value_name = "HERTZ", default_value_t = 499)]
    frequency: u32,
    /// Uses this agent instead of building one
    #[arg(long, value_name = "FILE")]
    agent: Option<std::path::PathBuf>,
    /// Writes the table into `docs/unwinding.md`
    #[arg(long)]
    write: bool,
}

/// A program that is measured.
struct Program {
    name: &'static str,
    /// The package whose version is shown.
    package: &'static str,
    start: fn(&Sandbox) -> Result<Load>,
}

/// A program under load. The client, if there is one, is not measured.
struct Load {
    measured: Running,
    client: Option<Running>,
}

/// All programs, the servers first.
const PROGRAMS: &[Program] = &[
    Program { name: "postgres", package: "postgresql-15", start: servers::postgres },
    Program { name: "redis-server", package: "redis-server", start: servers::redis },
    Program { name: "nginx", package: "nginx", start: servers::nginx },
    Program { name: "python3", package: "python3", start: runtimes::python },
    Program { name: "node", package: "nodejs", start: runtimes::node },
    Program { name: "java", package: "openjdk-17-jdk-headless", start: runtimes::java },
    Program {
        name: "java -XX:+PreserveFramePointer",
        package: "openjdk-17-jdk-headless",
        start: runtimes::java_with_frame_pointers,
    },
];

/// What they come from.
const PACKAGES: &[Package] = &[
    Package {
        program: "/usr/share/postgresql/15/postgres.bki",
        package: "postgresql-15",
        why: "measured",
    },
    Package { program: "/usr/bin/redis-server", package: "redis-server", why: "measured" },
    Package { program: "/usr/bin/redis-benchmark", package: "redis-tools", why: "load for Redis" },
    Package { program: "/usr/sbin/nginx", package: "nginx", why: "measured" },
    Package { program: "/usr/bin/ab", package: "apache2-utils", why: "load for nginx" },
    Package { program: "/usr/bin/openssl", package: "openssl", why: "nginx serves over TLS" },
    Package { program: "/usr/bin/python3", package: "python3", why: "measured" },
    Package { program: "/usr/bin/node", package: "nodejs", why: "measured" },
    Package { program: "/usr/bin/javac", package: "openjdk-17-jdk-headless", why: "measured" },
];

/// One line of the table.
struct Row {
    program: &'static str,
    package: String,
    quality: Quality,
}

/// Measures the programs and prints the table.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(workspace::is_root(), "failed to measure: sampling needs root; run it with `sudo -E`");
    let chosen = chosen(&args.programs)?;
    ensure!(
        !args.write || chosen.len() == PROGRAMS.len(),
        "a table of some programs is not written"
    );
    install::debian_packages(PACKAGES)?;
    let agent = match &args.agent {
        Some(agent) => agent.clone(),
        None => workspace::build_programs()?.agent,
    };
    let mut rows = Vec::new();
    for program in chosen {
        eprintln!("{}: {} s at {} Hz", program.name, args.seconds, args.frequency);
        let quality = measure(program, &agent, args)
            .with_context(|| format!("failed to measure `{}`", program.name))?;
        rows.push(Row { program: program.name, package: version(program.package)?, quality });
    }
    document::print(&rows)?;
    if args.write { document::write(&rows, args.seconds, args.frequency) } else { Ok(()) }
}

/// The programs with these names, or all.
fn chosen(names: &[String]) -> Result<Vec<&'static Program>> {
    for name in names {
        let known = PROGRAMS.iter().map(|program| program.name);
        let list = known.collect::<Vec<_>>().join("`, `");
        ensure!(
            PROGRAMS.iter().any(|program| program.name == *name),
            "there is no program `{name}`; there are `{list}`"
        );
    }
    let is_chosen =
        |program: &&Program| names.is_empty() || names.iter().any(|name| name == program.name);
    Ok(PROGRAMS.iter().filter(is_chosen).collect())
}

/// Runs one program under load and captures it.
fn measure(program: &Program, agent: &Path, args: &Args) -> Result<Quality> {
    let sandbox = Sandbox::new()?;
    let mut load = (program.start)(&sandbox)?;
    sleep(WARM_UP);
    let file = tempfile::Builder::new().suffix(".folded").tempfile();
    let file = file.context("failed to make a file for the capture")?;
    let mut capture = Command::new(agent);
    capture
        .arg("capture")
        .args(["--pid", &load.measured.id().to_string()])
        .args(["--seconds", &args.seconds.to_string()])
        .args(["--frequency", &args.frequency.to_string()])
        .arg("--out")
        .arg(file.path());
    workspace::run(&mut capture)?;
    sandbox.check_running(&mut load.measured)?;
    if let Some(client) = &mut load.client {
        sandbox.check_running(client)?;
    }
    let folded = std::fs::read_to_string(file.path()).context("failed to read the capture")?;
    let quality = Quality::of(&folded)?;
    ensure!(quality.all.samples > 0, "the capture has no samples");
    Ok(quality)
}

/// Name and version of an installed package.
fn version(package: &str) -> Result<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${Package} ${Version}", package]);
    let output = query.output().context("failed to run `dpkg-query`")?;
    ensure!(output.status.success(), "package `{package}` is not installed");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
