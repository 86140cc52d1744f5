//! Reads the gate's policy from a file.

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::GatePolicy;

/// Largest policy file in bytes.
const POLICY_BYTES_MAX: u64 = 1 << 20;

impl GatePolicy {
    /// Reads a policy file (YAML).
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is too large, or holds unknown or wrong keys; the error names the place.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let read = || -> anyhow::Result<Self> {
            let size = fs::metadata(path)?.len();
            anyhow::ensure!(size <= POLICY_BYTES_MAX, "it has more than {POLICY_BYTES_MAX} bytes");
            Self::parse(&fs::read_to_string(path)?)
        };
        read().with_context(|| format!("failed to read policy `{}`", path.display()))
    }

    /// Reads the text of a policy (YAML); an empty one is the default.
    ///
    /// # Errors
    ///
    /// When it holds unknown or wrong keys; the error names line and column.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let is_empty = text.lines().all(|line| line.trim().is_empty() || line.starts_with('#'));
        let policy: Self = if is_empty { Self::default() } else { serde_saphyr::from_str(text)? };
        policy.check().map_err(anyhow::Error::msg)?;
        Ok(policy)
    }
}
