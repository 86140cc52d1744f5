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

/// Suffix of the kernel's and of inlined functions in folded text, which are no frames of the program.
const NOT_FRAMES: &[&str] = &["_[k]", "_[i]"];

/// A workload that is built, and can be started.
#[derive(Debug, Clone)]
pub struct Mix {
    case: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    symbols: Symbols,
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
        Ok(Self { case, program, arguments: Vec::new(), symbols })
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
        let (twin, program) = (go(source, source, "")?, go(&case, source, "-s -w")?);
        let symbols = Symbols::read(&program, Some(&twin))?;
        Ok(Self { case, program, arguments: Vec::new(), symbols })
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
        let mut reopen = Self::own("reopen", compiled("reopen", "reopen.c", &["-rdynamic"])?)?;
        let time = time.as_millis().to_string();
        reopen.arguments = vec![first.into(), second.into(), time.into()];
        Ok(reopen)
    }

    /// A C library that the distribution's Python calls.
    ///
    /// # Errors
    ///
    /// When the library cannot be built, or there is no such Python.
    pub fn ctypes() -> Result<Self> {
        let library = compiled("libcalled.so", "ctypes_library.c", &["-shared", "-fPIC"])?;
        let python = fs::canonicalize(PYTHON).context("there is no Python of the distribution")?;
        let mut ctypes = Self::own("ctypes", python)?;
        ctypes.arguments = vec![source_file("ctypes_calls.py")?.into(), library.into()];
        Ok(ctypes)
    }

    fn own(case: &str, program: PathBuf) -> Result<Self> {
        let symbols = Symbols::read(&program, None)?;
        Ok(Self { case: case.to_owned(), program, arguments: Vec::new(), symbols })
    }

    /// Starts it and waits until it has told its truth.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn start(&self, scenario: &Scenario) -> Result<Playing> {
        let mut command = quiet(&self.program);
        command.args(&self.arguments).env("OTEL_SERVICE_NAME", &self.case);
        let mut running = Running::start(&self.case, scenario.folder(), &mut command)?;
        let truth =
            eventually::ok("the workload tells its truth", Duration::from_secs(10), || {
                running.still_runs()?;
                Truth::parse(&running.output())
            })?;
        Ok(Playing { case: self.case.clone(), truth, symbols: self.symbols.clone(), running })
    }
}

/// A workload that runs.
#[derive(Debug)]
pub struct Playing {
    /// What it is called; its service too.
    pub case: String,
    /// The calls that it makes.
    pub truth: Truth,
    symbols: Symbols,
    running: Running,
}

impl Playing {
    /// Its process.
    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Picks its stacks out of the folded stacks of a host.
    ///
    /// # Errors
    ///
    /// When the text is not folded.
    pub fn stacks(&self, folded: &str) -> Result<Vec<Stack>> {
        let lines = profiler_common::profile::parse_folded(folded)?;
        let own = lines.into_iter().filter(|(frames, _)| frames.first() == Some(&&*self.case));
        Ok(own
            .map(|(frames, count)| {
                let frames = frames.iter().skip(1);
                let native =
                    frames.filter(|frame| !NOT_FRAMES.iter().any(|suffix| frame.ends_with(suffix)));
                (native.map(|frame| plain_name(&self.symbols.name(frame))).collect(), count)
            })
            .collect())
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
