//! The gate's policy file.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::detect::Policy;

/// Largest policy file in bytes.
const POLICY_BYTES_MAX: u64 = 1 << 20;

/// What counts as a regression, and how much must be excluded before a candidate passes. Every field has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatePolicy {
    /// Fewest samples a side.
    pub min_samples: u64,
    /// Fewest units (pods or hosts) a side, when units are compared.
    pub min_units: usize,
    /// Fewest windows a side, when windows are compared.
    pub min_windows: usize,
    /// Share of the service's CPU from which a function must be shown not to have grown.
    pub function_share: f64,
    /// Share from which total time is the whole service, and so is not bounded.
    pub root_share: f64,
    /// Growth of such a function, relative, that must be excluded.
    pub margin_relative: f64,
    /// Growth of such a function, as a share of the service's CPU, below which it need not be excluded.
    pub margin_absolute: f64,
    /// What the detector calls a regression.
    pub detect: Policy,
}

impl Default for GatePolicy {
    fn default() -> Self {
        Self {
            min_samples: 1_000,
            min_units: 2,
            min_windows: 3,
            function_share: 0.05,
            root_share: 0.9,
            margin_relative: 0.15,
            margin_absolute: 0.03,
            detect: Policy::default(),
        }
    }
}

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
            Ok(serde_saphyr::from_str(&fs::read_to_string(path)?)?)
        };
        read().with_context(|| format!("failed to read policy `{}`", path.display()))
    }
}
