//! Other people's programs that read what we write: Go's pprof and speedscope.
//!
//! `cargo xtask test` installs them into `target/tools`; `FLAMEWATCH_TOOLS` names another place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{Scenario, binaries, browser, command};

/// The samples that `go tool pprof -top` finds in a profile, as the table that it prints.
///
/// # Errors
///
/// When there is no Go, or it cannot read the profile.
pub fn pprof_top(profile: &Path) -> Result<String> {
    let go = go()?;
    let mut pprof = Command::new(&go);
    pprof.args(["tool", "pprof", "-top", "-symbolize=none", "-nodecount=2000"]).arg(profile);
    let finished = command::finish(&mut pprof)
        .with_context(|| format!("no `{}`: install Go, or `cargo xtask test`", go.display()))?;
    Ok(finished.expect_code(0)?.stdout)
}

/// The Go toolchain.
///
/// # Errors
///
/// When the place of our tools is unknown.
pub fn go() -> Result<PathBuf> {
    let installed = folder()?.join("python/bin/go");
    Ok(if installed.is_file() { installed } else { PathBuf::from("go") })
}

/// Opens a profile in speedscope, in the way its own command line does, and returns the page's elements.
///
/// # Errors
///
/// When speedscope is not installed or refuses the profile.
pub fn speedscope(scenario: &Scenario, profile: &Path) -> Result<String> {
    let page = folder()?.join("node/node_modules/speedscope/dist/release/index.html");
    if !page.is_file() {
        bail!("no `{}`: run `cargo xtask test`, or set FLAMEWATCH_TOOLS", page.display());
    }
    let text =
        fs::read_to_string(profile).with_context(|| format!("no `{}`", profile.display()))?;
    let script = scenario.path("speedscope.js");
    let literal = serde_json::to_string(&text).context("failed to quote the profile")?;
    // The browser has base64 built in; `btoa` takes bytes, which the two inner functions make of the text.
    let load = format!(
        "speedscope.loadFileFromBase64('out.speedscope.json', btoa(unescape(encodeURIComponent({literal}))))"
    );
    fs::write(&script, load).context("failed to write the script that loads the profile")?;
    let url = format!("{}#localProfilePath={}", browser::file_url(&page), script.display());
    let elements = browser::elements(scenario, &url)?;
    ensure!(!elements.contains("Something went wrong"), "speedscope refused the profile");
    ensure!(elements.contains("Time Order"), "speedscope shows no profile: {elements:.1500}");
    Ok(elements)
}

fn folder() -> Result<PathBuf> {
    match std::env::var_os("FLAMEWATCH_TOOLS") {
        Some(named) => Ok(PathBuf::from(named)),
        None => Ok(binaries::workspace_folder()?.join("target/tools")),
    }
}
