//! Opens a page in a real browser without a screen, and says what it shows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{Scenario, command};

/// Smallest screenshot that can show something: a page without content compresses to about 5 kB.
const PICTURE_BYTES_MIN: u64 = 8_000;

/// Where a browser is looked for when `FLAMEWATCH_BROWSER` names none.
const BROWSERS: &[&str] =
    &["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/// The page's elements as text, after its scripts have run.
///
/// # Errors
///
/// When there is no browser or it cannot open the page.
pub fn elements(scenario: &Scenario, url: &str) -> Result<String> {
    let mut command = headless(scenario)?;
    command.args(["--virtual-time-budget=8000", "--dump-dom", url]);
    Ok(command::finish(&mut command)?.expect_code(0)?.stdout)
}

/// Takes a picture of the page and checks that it is not empty.
///
/// # Errors
///
/// When there is no browser, or it shows nothing.
pub fn picture(scenario: &Scenario, url: &str, name: &str) -> Result<PathBuf> {
    let path = scenario.path(name);
    let mut command = headless(scenario)?;
    command
        .args(["--virtual-time-budget=8000", "--window-size=1280,900"])
        .arg(format!("--screenshot={}", path.display()))
        .arg(url);
    command::finish(&mut command)?.expect_code(0)?;
    let bytes = fs::metadata(&path).context("the browser took no picture")?.len();
    if bytes < PICTURE_BYTES_MIN {
        bail!("the picture of `{url}` has {bytes} bytes only: an empty page");
    }
    Ok(path)
}

fn headless(scenario: &Scenario) -> Result<Command> {
    let named = std::env::var_os("FLAMEWATCH_BROWSER").map(PathBuf::from);
    let found = BROWSERS.iter().map(PathBuf::from).find(|path| path.is_file());
    let Some(browser) = named.or(found) else {
        bail!("no browser found: install `chromium`, or name one in `FLAMEWATCH_BROWSER`");
    };
    let mut command = Command::new(browser);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--no-first-run", "--disable-background-networking", "--disable-extensions"])
        .arg(format!("--user-data-dir={}", scenario.path("browser").display()));
    Ok(command)
}

/// Address of a file, for the browser.
#[must_use]
pub fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}
