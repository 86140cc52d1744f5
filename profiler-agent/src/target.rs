//! Finds out what is to be sampled: the whole host, some processes, or a cgroup.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use profiler_common::abi::TARGETS_MAX;
use profiler_common::abi::settings::Scope;

use crate::kernel::LoadOptions;

/// What is to be sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// All of this host.
    Host,
    /// These processes, with the children they have and will have.
    Processes(Vec<u32>),
    /// A cgroup (v2), given by its folder.
    Cgroup(PathBuf),
}

impl Target {
    /// Fills in scope, targets and cgroup.
    ///
    /// # Errors
    ///
    /// When a process or the cgroup does not exist.
    pub fn apply(&self, options: &mut LoadOptions) -> anyhow::Result<()> {
        match self {
            Self::Host => options.scope = Scope::All,
            Self::Processes(pids) => {
                options.scope = Scope::Targets;
                options.targets = with_descendants(pids)?;
            }
            Self::Cgroup(folder) => {
                options.scope = Scope::Cgroup;
                options.cgroup_id = cgroup_id(folder)?;
            }
        }
        Ok(())
    }
}

/// Whether a process runs or waits to be reaped.
#[must_use]
pub fn exists(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// The processes and all that descend from them now; later children are followed in the kernel.
fn with_descendants(pids: &[u32]) -> anyhow::Result<Vec<u32>> {
    for pid in pids {
        ensure!(exists(*pid), "no process has pid `{pid}`");
    }
    let mut found: BTreeSet<u32> = pids.iter().copied().collect();
    let parents: Vec<(u32, u32)> = procfs::process::all_processes()
        .context("failed to list processes")?
        .filter_map(|process| process.ok()?.stat().ok())
        .filter_map(|stat| Some((u32::try_from(stat.pid).ok()?, u32::try_from(stat.ppid).ok()?)))
        .collect();
    // Each round finds one more generation; rounds end when one finds nothing.
    loop {
        let known = found.len();
        let children = parents.iter().filter(|(_, parent)| found.contains(parent));
        let children: Vec<u32> = children.map(|(child, _)| *child).collect();
        found.extend(children);
        if found.len() == known {
            break;
        }
    }
    ensure!(
        found.len() <= TARGETS_MAX as usize,
        "{} processes are more than the {TARGETS_MAX} that can be followed; choose their cgroup with --cgroup",
        found.len()
    );
    Ok(found.into_iter().collect())
}

fn cgroup_id(folder: &Path) -> anyhow::Result<u64> {
    let metadata = fs::metadata(folder)
        .with_context(|| format!("failed to read the cgroup `{}`", folder.display()))?;
    if !folder.join("cgroup.procs").exists() {
        bail!("`{}` is no cgroup; give its folder under /sys/fs/cgroup", folder.display());
    }
    Ok(metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_that_does_not_exist_is_named() {
        let error = with_descendants(&[4_194_305]).unwrap_err().to_string();
        assert_eq!(error, "no process has pid `4194305`");
    }

    #[test]
    fn children_that_run_already_are_found() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = with_descendants(&[std::process::id()]).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&child.id()));
        assert!(!found.contains(&1));
    }

    #[test]
    fn a_folder_that_is_no_cgroup_is_refused() {
        let error = cgroup_id(Path::new("/tmp")).unwrap_err().to_string();
        assert!(error.contains("`/tmp` is no cgroup"), "{error}");
    }
}
