//! What `flamewatch-agent check` says where something is missing.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use harness::binaries::Program;
use harness::command::{self, Finished};
use harness::scenario;

/// User and group `nobody` of every distribution that matters here.
const NOBODY: &str = "65534";

#[test]
fn root_lacks_nothing_that_cannot_be_done_without() {
    scenario("check_root", |_| {
        let answer = command::run(&Program::Agent.path()?, &["check", "--json"])?.expect_code(0)?;
        let items = items(&answer)?;
        let missing: Vec<&Value> = items.iter().filter(|item| state(item) == "missing").collect();
        ensure!(missing.is_empty(), "root lacks {missing:?}");
        Ok(())
    });
}

#[test]
fn an_ordinary_user_is_told_what_is_missing_and_what_that_costs() {
    scenario("check_user", |_| {
        let agent = public_copy()?;
        let nobody = ["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
        let json = command::finish(wrapped("setpriv", &nobody, &agent.path()).arg("--json"))?;
        names_what_is_missing(&json)?;
        let table = command::finish(&mut wrapped("setpriv", &nobody, &agent.path()))?;
        speaks_of(&table, &["CAP_"])
    });
}

#[test]
fn root_without_capabilities_is_told_which_ones_are_missing() {
    scenario("check_drop", |_| {
        let agent = public_copy()?;
        let script = |more: &str| {
            let script = format!("exec '{}' check {more}", agent.path().display());
            let mut command = Command::new("capsh");
            command.args(["--drop=all", "--", "-c", &script]);
            command::finish(&mut command)
        };
        names_what_is_missing(&script("--json")?)?;
        speaks_of(&script("")?, &["CAP_BPF", "CAP_PERFMON"])
    });
}

#[test]
fn hidden_kernel_addresses_cost_kernel_names_and_nothing_else() {
    scenario("check_kptr", |scenario| {
        let _restored = Sysctl::set("/proc/sys/kernel/kptr_restrict", "2")?;
        let agent = Program::Agent.path()?;
        let answer = command::run(&agent, &["check", "--json"])?.expect_code(0)?;
        let items = items(&answer)?;
        let worse: Vec<&Value> = items.iter().filter(|item| state(item) != "ok").collect();
        ensure!(
            worse.iter().any(|item| item.to_string().contains("kptr_restrict")),
            "nothing says that kernel addresses are hidden: {worse:?}"
        );
        ensure!(
            items.iter().all(|item| state(item) != "missing"),
            "hidden addresses are no reason to give up: {worse:?}"
        );
        let out = scenario.path("hidden.folded");
        let out: &OsStr = out.as_ref();
        // A command that keeps the kernel busy, since a host with nothing to do gives no samples.
        let zeros = ["--", "dd", "if=/dev/zero", "of=/dev/null", "bs=1M", "count=8000"];
        let arguments = [&["capture", "-o"].map(OsStr::new)[..], &[out], &zeros.map(OsStr::new)];
        command::run(&agent, &arguments.concat())?.expect_code(0)?;
        let folded = fs::read_to_string(out).context("there is no capture")?;
        ensure!(folded.contains("[kernel]+0x"), "no unnamed kernel frame in {folded}");
        Ok(())
    });
}

fn items(answer: &Finished) -> Result<Vec<Value>> {
    let report: Value = serde_json::from_str(&answer.stdout)
        .with_context(|| format!("no JSON: {} {}", answer.stdout, answer.stderr))?;
    let items = report["items"].as_array().context("no `items`")?;
    ensure!(!items.is_empty(), "nothing was checked");
    Ok(items.clone())
}

fn state(item: &Value) -> String {
    item["state"].as_str().unwrap_or("?").to_lowercase()
}

/// Something is missing, and each missing thing has a name, a price and a remedy.
fn names_what_is_missing(answer: &Finished) -> Result<()> {
    let items = items(answer)?;
    let not_ok: Vec<&Value> = items.iter().filter(|item| state(item) != "ok").collect();
    ensure!(
        not_ok.iter().any(|item| state(item) == "missing"),
        "nothing is missing: {}",
        answer.stdout
    );
    for item in not_ok {
        for field in ["name", "lost", "remedy"] {
            ensure!(
                item[field].as_str().is_some_and(|text| !text.is_empty()),
                "`{field}` is empty in {item}"
            );
        }
    }
    ensure!(answer.code.is_some_and(|code| code != 0 && code != 101), "code {:?}", answer.code);
    Ok(())
}

fn speaks_of(answer: &Finished, texts: &[&str]) -> Result<()> {
    answer.clone().expect_no_panic()?.expect_said(texts)?;
    Ok(())
}

fn wrapped(program: &str, arguments: &[&str], agent: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg(agent).arg("check");
    command
}

/// A copy of the agent in a folder that every user may enter.
struct PublicCopy {
    folder: tempfile::TempDir,
}

impl PublicCopy {
    fn path(&self) -> PathBuf {
        self.folder.path().join(Program::Agent.name())
    }
}

fn public_copy() -> Result<PublicCopy> {
    let folder = tempfile::tempdir().context("failed to create a folder")?;
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    open(folder.path()).context("failed to open the folder")?;
    let copy = PublicCopy { folder };
    fs::copy(Program::Agent.path()?, copy.path()).context("failed to copy the agent")?;
    open(&copy.path()).context("failed to open the copy")?;
    Ok(copy)
}

/// A kernel setting that is put back when dropped, even after a panic.
struct Sysctl {
    path: &'static str,
    before: String,
}

impl Sysctl {
    fn set(path: &'static str, value: &str) -> Result<Self> {
        let before =
            fs::read_to_string(path).with_context(|| format!("failed to read `{path}`"))?;
        let setting = Self { path, before };
        fs::write(path, value).with_context(|| format!("failed to write `{path}`"))?;
        Ok(setting)
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        // Nothing better can be done here when it fails.
        let _ = fs::write(self.path, &self.before);
    }
}
