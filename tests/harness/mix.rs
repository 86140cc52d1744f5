//! Builds the workloads of `workloads/mix`, which tell their own truth, and runs them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::running::{Running, quiet};
use crate::symbols::Symbols;
use crate::truth::{Stack, Truth, plain_name};
use crate::{Scenario, binaries, command, e2e_folder, eventually, tools};

/// What a release is built with: no frame pointers. The sources see to it that calls stay calls.
const FLAGS: &[&str] = &["-O2", "-g", "-Wall", "-Wextra", "-fomit-frame-pointer", "-pthread"];

/// A Python of the distribution, which has neither frame pointers nor symbols.
const PYTHON: &str = "/usr/bin/python3";

/// Unit of a process's times (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// Suffix of the kernel's and of inlined functions in folded text, which are no frames of the program.
const NOT_FRAMES: &[&str] = &["_[k]", "_[i]"];

/// A workload that is built, and can be started.
#[derive(Debug, Clone)]
pub struct Mix {
    case: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    symbols: Symbols,
    service: bool,
}

impl Mix {
    /// A C program.
    ///
    /// # Errors
    ///
    /// When it cannot be built.
    pub fn c(source: &str) -> Result<Self> {
        Self::own(source, compiled(source, &format!("{source}.c"), &[])?)
    }

    /// A C program with a build id that no agent has met before, known by the name of its file.
    ///
    /// # Errors
    ///
    /// When it cannot be built.
    pub fn newcomer(scenario: &Scenario, name: &str, milliseconds: u32) -> Result<Self> {
        let program = scenario.path(name);
        let mut compiler = compiler("CC", "cc");
        // The name makes it unique in this run, and the process among all runs.
        let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
        compiler.args(FLAGS).arg(format!("-Wl,--build-id=0x{:08x}{digits}", std::process::id()));
        compiler.arg("-o").arg(&program).arg(source_file("newcomer.c")?);
        command::finish(&mut compiler)?.expect_code(0).context("failed to build a newcomer")?;
        Ok(Self { service: false, ..Self::own(name, program)? }.arg(milliseconds.to_string()))
    }

    /// The same program under another name.
    ///
    /// # Errors
    ///
    /// When it cannot be copied.
    pub fn copied(&self, scenario: &Scenario, name: &str) -> Result<Self> {
        let program = scenario.path(name);
        fs::copy(&self.program, &program).context("failed to copy a program")?;
        Ok(Self { arguments: self.arguments.clone(), service: false, ..Self::own(name, program)? })
    }

    /// A C program that needs no loader and lies at any address.
    ///
    /// # Errors
    ///
    /// When it cannot be built.
    pub fn static_pie(source: &str) -> Result<Self> {
        let case = format!("{source}_static");
        let program = compiled(&case, &format!("{source}.c"), &["-static-pie"])?;
        Self::own(&case, program)
    }

    /// A C program without symbols and debug information.
    ///
    /// # Errors
    ///
    /// When it cannot be built.
    pub fn stripped(source: &str) -> Result<Self> {
        let case = format!("{source}_stripped");
        let twin = compiled(source, &format!("{source}.c"), &[])?;
        let program = compiled(&case, &format!("{source}.c"), &["-s"])?;
        let symbols = Symbols::read(&program, Some(&twin))?;
        Ok(Self { case, program, arguments: Vec::new(), symbols, service: true })
    }

    /// A C++ program.
    ///
    /// # Errors
    ///
    /// When it cannot be built.
    pub fn cpp(source: &str) -> Result<Self> {
        Self::own(source, compiled(source, &format!("{source}.cc"), &[])?)
    }

    /// A Rust release; `panic` is `abort` or `unwind`.
    ///
    /// # Errors
    ///
    /// When it cannot be built.
    pub fn rust(source: &str, panic: &str) -> Result<Self> {
        let case = format!("{source}_{panic}");
        let program = built(&case, |program| {
            let mut rustc = compiler("RUSTC", "rustc");
            rustc.args(["--edition", "2024", "-O", "-C", &format!("panic={panic}"), "-o"]);
            rustc.arg(program).arg(source_file(&format!("{source}.rs"))?);
            Ok(rustc)
        })?;
        Self::own(&case, program)
    }

    /// A Go program.
    ///
    /// # Errors
    ///
    /// When it cannot be built.
    pub fn go(source: &str) -> Result<Self> {
        Self::own(source, go(source, source, "")?)
    }

    /// A Go program without symbols and debug information, as releases are linked.
    ///
    /// # Errors
    ///
    /// When it cannot be built.
    pub fn go_stripped(source: &str) -> Result<Self> {
        let case = format!("{source}_stripped");
        let (twin, program) = (go(source, source, "")?, go(&case, source, "-s -w -X main.bare=")?);
        let symbols = Symbols::read(&program, Some(&twin))?;
        Ok(Self { case, program, arguments: Vec::new(), symbols, service: true })
    }

    /// A program that opens one library after the other, each for some time.
    ///
    /// # Errors
    ///
    /// When it cannot be built.
    pub fn reopen(time: Duration) -> Result<Self> {
        let plugin = |name: &str, frame: u32, multiplier: &str| {
            let flags = [
                "-shared".to_owned(),
                "-fPIC".to_owned(),
                format!("-DPLUGIN={name}"),
                format!("-DFRAME_BYTES={frame}"),
                format!("-DMULTIPLIER={multiplier}u"),
            ];
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            compiled(&format!("lib{name}.so"), "plugin.c", &flags)
        };
        let first = plugin("first", 64, "6364136223846793005")?;
        let second = plugin("second", 4096, "3202034522624059733")?;
        let reopen = Self::own("reopen", compiled("reopen", "reopen.c", &["-rdynamic"])?)?;
        Ok(reopen.arg(first).arg(second).arg(time.as_millis().to_string()))
    }

    /// A C library that the distribution's Python calls.
    ///
    /// # Errors
    ///
    /// When the library cannot be built, or there is no such Python.
    pub fn ctypes() -> Result<Self> {
        let library = compiled("libcalled.so", "ctypes_library.c", &["-shared", "-fPIC"])?;
        let python = fs::canonicalize(PYTHON).context("there is no Python of the distribution")?;
        Ok(Self::own("ctypes", python)?.arg(source_file("ctypes_calls.py")?).arg(library))
    }

    fn own(case: &str, program: PathBuf) -> Result<Self> {
        let symbols = Symbols::read(&program, None)?;
        Ok(Self { case: case.to_owned(), program, arguments: Vec::new(), symbols, service: true })
    }

    fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// What it is called; its service too.
    #[must_use]
    pub fn case(&self) -> &str {
        &self.case
    }

    /// The command that runs it.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = quiet(&self.program);
        command.args(&self.arguments);
        if self.service {
            command.env("OTEL_SERVICE_NAME", &self.case);
        }
        command
    }

    /// Starts it and waits until it has told its truth.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn start(&self, scenario: &Scenario) -> Result<Playing> {
        let mut running = Running::start(&self.case, scenario.folder(), &mut self.command())?;
        let truth =
            eventually::ok("the workload tells its truth", Duration::from_secs(10), || {
                running.still_runs()?;
                Truth::parse(&running.output())
            })?;
        Ok(Playing { mix: self.clone(), truth, running })
    }

    /// Picks its stacks out of the folded stacks of a host.
    ///
    /// # Errors
    ///
    /// When the text is not folded.
    pub fn stacks(&self, folded: &str) -> Result<Vec<Stack>> {
        let lines = profiler_common::profile::parse_folded(folded)?;
        let own = lines.into_iter().filter(|(frames, _)| frames.first() == Some(&&*self.case));
        Ok(own.map(|(frames, count)| (self.named(&frames[1..]), count)).collect())
    }

    /// The frames of the program, by the names that it had.
    fn named(&self, frames: &[&str]) -> Vec<String> {
        let is_frame = |frame: &&&str| !NOT_FRAMES.iter().any(|suffix| frame.ends_with(suffix));
        let native = frames.iter().filter(is_frame);
        native.map(|frame| plain_name(&self.symbols.name(frame))).collect()
    }
}

/// A workload that runs.
#[derive(Debug)]
pub struct Playing {
    /// What it is.
    pub mix: Mix,
    /// The calls that it makes.
    pub truth: Truth,
    /// Its process.
    pub running: Running,
}

/// The processes of some workloads, with commas between them.
#[must_use]
pub fn pids(playing: &[Playing]) -> String {
    let pids: Vec<String> = playing.iter().map(|one| one.running.pid().to_string()).collect();
    pids.join(",")
}

impl Playing {
    /// CPU time that it and its children have used.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn worked(&mut self) -> Result<Duration> {
        self.running.still_runs()?;
        let path = format!("/proc/{}/stat", self.running.pid());
        let stat = fs::read_to_string(&path).with_context(|| format!("failed to read `{path}`"))?;
        // The name stands in brackets and may hold spaces; the four times are the 12th to 15th field behind it.
        let (_, fields) = stat.rsplit_once(')').context("a process without a name")?;
        let times = fields.split_whitespace().skip(11).take(4);
        let ticks: u64 = times.map(|ticks| ticks.parse::<u64>().unwrap_or_default()).sum();
        Ok(TICK * u32::try_from(ticks).unwrap_or(u32::MAX))
    }
}

fn go(case: &str, source: &str, link: &str) -> Result<PathBuf> {
    built(case, |program| {
        let mut go = Command::new(tools::go()?);
        go.args(["build", &format!("-ldflags={link}"), "-o"]).arg(program);
        go.arg(source_file(&format!("{source}.go"))?);
        // Nothing is fetched, and no settings of the tester's are read.
        for (name, value) in [("GO111MODULE", "off"), ("GOTOOLCHAIN", "local"), ("GOENV", "off")] {
            go.env(name, value);
        }
        go.env("GOFLAGS", "").env("CGO_ENABLED", "0");
        go.env("GOCACHE", e2e_folder()?.join("go-cache"));
        Ok(go)
    })
}

fn compiled(case: &str, source: &str, flags: &[&str]) -> Result<PathBuf> {
    built(case, |program| {
        let is_c = source.ends_with(".c");
        let mut command = if is_c { compiler("CC", "cc") } else { compiler("CXX", "c++") };
        command.args(FLAGS).args(flags).arg("-o").arg(program).arg(source_file(source)?);
        Ok(command)
    })
}

fn compiler(variable: &str, default: &str) -> Command {
    Command::new(std::env::var_os(variable).unwrap_or_else(|| default.into()))
}

/// Runs a compiler unless there is a program that is as new as all sources and this file.
fn built(case: &str, compiler: impl FnOnce(&Path) -> Result<Command>) -> Result<PathBuf> {
    let folder = e2e_folder()?.join("mix");
    fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create `{}`", folder.display()))?;
    let program = folder.join(case);
    if modified(&program).is_some_and(|built| newest_source().is_ok_and(|newest| built >= newest)) {
        return Ok(program);
    }
    // A program that runs cannot be written to.
    let _absent = fs::remove_file(&program);
    command::finish(&mut compiler(&program)?)?
        .expect_code(0)
        .with_context(|| format!("failed to build the workload `{case}`"))?;
    Ok(program)
}

fn newest_source() -> Result<SystemTime> {
    let mut newest = modified(Path::new(file!())).unwrap_or(SystemTime::UNIX_EPOCH);
    let folder = source_file("")?;
    for entry in fs::read_dir(&folder).context("failed to list the workloads")? {
        let entry = entry.context("failed to list the workloads")?;
        newest = newest.max(modified(&entry.path()).unwrap_or(newest));
    }
    Ok(newest)
}

fn source_file(name: &str) -> Result<PathBuf> {
    Ok(binaries::workspace_folder()?.join("tests/workloads/mix").join(name))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}
