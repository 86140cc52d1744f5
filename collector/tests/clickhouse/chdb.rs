//! The current engine, from Python's `chdb-core`, behind the HTTP interface.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

/// An engine that runs; it ends when this value does.
pub(crate) struct Chdb {
    process: Child,
    port: u16,
}

impl Chdb {
    /// Starts one on a free port, with its data below `folder`.
    pub(crate) fn start(python: &Path, folder: &Path) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clickhouse/chdb_server.py");
        let mut process = Command::new(python)
            .arg(script)
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start the engine")?;
        let mut line = String::new();
        let output = process.stdout.take().context("the engine has no output")?;
        BufReader::new(output).read_line(&mut line).context("the engine said nothing")?;
        let port = line.trim().parse().with_context(|| format!("`{line}` is no port"))?;
        Ok(Self { process, port })
    }

    /// What `--store` takes.
    pub(crate) fn address(&self) -> String {
        format!("clickhouse://127.0.0.1:{}/flamewatch", self.port)
    }
}

impl Drop for Chdb {
    fn drop(&mut self) {
        // What has already ended is as good as killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A Python that has the engine, if there is one: that of the tests' tools, or the system's.
pub(crate) fn python() -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../tools/python/bin/python");
    let named = std::env::var_os("FLAMEWATCH_TEST_PYTHON").map(PathBuf::from);
    named.into_iter().chain([tools, PathBuf::from("python3")]).find(|python| {
        let mut check = Command::new(python);
        check.args(["-c", "import chdb"]).stdout(Stdio::null()).stderr(Stdio::null());
        check.status().is_ok_and(|status| status.success())
    })
}
