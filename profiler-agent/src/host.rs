//! What every profile of this host says about it.

use std::fs;

/// What the kernel calls this host.
#[must_use]
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Facts that stratify comparisons: `arch`, `cpu_model`, `kernel`.
#[must_use]
pub fn labels() -> Vec<(String, String)> {
    let cpu_model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    [
        ("arch", Some(std::env::consts::ARCH.to_owned())),
        ("cpu_model", cpu_model),
        ("kernel", Some(kernel)),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value?)))
    .collect()
}
