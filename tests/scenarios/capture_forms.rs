//! Captures on demand: five forms, each read by the program it is made for.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use harness::binaries::Program;
use harness::command;
use harness::running::{Running, quiet};
use harness::workload::Workload;
use harness::{Scenario, browser, scenario, tools};

/// The function of the workload that burns most of the CPU.
const HOT: &str = "spin_leaf";

#[test]
fn folded_lines_feed_flamegraph() {
    captured("folded", |_, out| {
        let folded = fs::read_to_string(out)?;
        let hot = folded.lines().find(|line| line.contains(HOT)).context("no hot function")?;
        let caller = hot.find("main;").zip(hot.find("spin_middle;")).zip(hot.find(HOT));
        ensure!(caller.is_some_and(|((a, b), c)| a < b && b < c), "not from the root: {hot}");
        let mut svg = Vec::new();
        let mut options = inferno::flamegraph::Options::default();
        inferno::flamegraph::from_reader(&mut options, Cursor::new(&folded), &mut svg)
            .context("inferno refuses the folded lines")?;
        ensure!(String::from_utf8_lossy(&svg).contains(HOT), "inferno drew no hot function");
        Ok(())
    });
}

#[test]
fn the_pprof_form_is_read_by_go() {
    captured("pb.gz", |_, out| {
        let table = tools::pprof_top(out)?;
        ensure!(table.contains(HOT), "`go tool pprof -top` shows no `{HOT}`:\n{table}");
        Ok(())
    });
}

#[test]
fn the_speedscope_form_is_imported_by_speedscope() {
    captured("speedscope.json", |scenario, out| tools::speedscope(scenario, out).map(|_| ()));
}

#[test]
fn the_svg_form_opens_in_a_browser() {
    captured("svg", in_browser);
}

#[test]
fn the_html_form_opens_in_a_browser() {
    captured("html", in_browser);
}

fn in_browser(scenario: &Scenario, out: &Path) -> Result<()> {
    let url = browser::file_url(out);
    let elements = browser::elements(scenario, &url)?;
    ensure!(elements.contains(HOT), "the browser finds no `{HOT}` in {}", out.display());
    browser::picture(scenario, &url, "capture.png")?;
    Ok(())
}

#[test]
fn a_profiled_command_passes_its_exit_code_on() {
    scenario("capture_command", |scenario| {
        let out = scenario.path("command.folded");
        let spin = Workload::new("spin")?;
        let mut capture = quiet(&Program::Agent.path()?);
        capture.args(["capture", "--seconds", "30", "-o"]).arg(&out).arg("--");
        capture.arg(spin.program()).args(["2", "7"]);
        command::finish(&mut capture)?.expect_code(7)?.expect_no_panic()?;
        let folded = fs::read_to_string(&out).context("no capture")?;
        ensure!(folded.contains(HOT), "the command is not in its capture: {folded}");
        ensure!(
            folded.lines().all(|line| !line.contains("swapper")),
            "others are in the command's capture: {folded}"
        );
        Ok(())
    });
}

#[test]
fn ctrl_c_ends_a_capture_early_and_keeps_it() {
    scenario("capture_interrupted", |scenario| {
        let _spin = Workload::new("spin")?.arg(60).start(scenario)?;
        let out = scenario.path("interrupted.folded");
        let mut capture = quiet(&Program::Agent.path()?);
        capture.args(["capture", "--all", "--seconds", "120", "-o"]).arg(&out);
        let mut running = Running::start("capture", scenario.folder(), &mut capture)?;
        sleep(Duration::from_secs(8));
        running.signal(Signal::INT)?;
        let status = running.wait(Duration::from_secs(30))?;
        ensure!(status.code().is_some(), "ctrl-c killed the capture: {status}");
        let folded = fs::read_to_string(&out).context("ctrl-c lost the capture")?;
        ensure!(folded.contains(HOT), "the capture is empty: {folded}");
        Ok(())
    });
}

/// Captures the whole host for three seconds in one form, beside a program of ours, and hands the file over.
fn captured(form: &str, check: impl FnOnce(&Scenario, &Path) -> Result<()>) {
    let name = format!("capture_{}", form.replace('.', "_"));
    scenario(&name, |scenario| {
        let _spin = Workload::new("spin")?.arg(60).start(scenario)?;
        let out = capture(scenario, form)?;
        check(scenario, &out)
    });
}

fn capture(scenario: &Scenario, form: &str) -> Result<PathBuf> {
    let out = scenario.path(&format!("out.{form}"));
    let mut capture = quiet(&Program::Agent.path()?);
    capture.args(["capture", "--all", "--seconds", "3", "-o"]).arg(&out);
    command::finish(&mut capture)?.expect_code(0)?.expect_no_panic()?;
    ensure!(out.is_file(), "no `{}`", out.display());
    Ok(out)
}
