//! Fetches the kernels of `tests/kernels.toml` from Debian's archive, once: `target/tools/kernels` keeps them.

use std::{
    cmp::Ordering,
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::apt::Archive;
use crate::workspace::{root, target};

/// Where the kernels are listed, relative to the root.
pub(super) const LIST: &str = "tests/kernels.toml";

/// Ending of the releases that are made for virtual machines.
const FLAVOUR: &str = "-cloud-amd64";

/// One kernel of the matrix.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kernel {
    /// First two numbers of the version.
    pub(super) series: String,
    /// Suite of Debian that offers it.
    pub(super) suite: String,
    /// What `uname -r` says.
    pub(super) release: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    kernel: Vec<Kernel>,
}

/// Reads the list of kernels.
pub(super) fn listed() -> Result<Vec<Kernel>> {
    let text = fs::read_to_string(root().join(LIST))
        .with_context(|| format!("failed to read `{LIST}`"))?;
    let list: List = toml::from_str(&text).with_context(|| format!("failed to read `{LIST}`"))?;
    Ok(list.kernel)
}

/// The archive's indices and files belong to one caller at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Returns the file of a kernel, fetched unless that has been done.
pub(super) fn fetch(kernel: &Kernel) -> Result<PathBuf> {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = target().join("tools/kernels");
    if let Some(kept) = kept(&folder, kernel)? {
        return Ok(kept);
    }
    let archive = Archive::open(&folder.join("apt"), &kernel.suite)?;
    let packages = archive.packages("linux-")?;
    let offered = releases(&packages, &kernel.series);
    let Some(release) = choose(&offered, kernel) else {
        bail!("`{}` offers no kernel of the series {}", kernel.suite, kernel.series);
    };
    if release != kernel.release {
        eprintln!("{} is not offered any more; taking {release} instead", kernel.release);
    }
    // Newer releases have the kernel in a package of its own, and only references in the other.
    let binary = format!("linux-binary-{release}");
    let package = match packages.contains(&binary) {
        true => binary,
        false => format!("linux-image-{release}"),
    };
    eprintln!("fetching {package} from {}", kernel.suite);
    let file = folder.join(release);
    archive.unpack(&package, &["./boot/vmlinuz-*", "./usr/lib/modules/*/vmlinuz"], &file)?;
    Ok(file)
}

/// The kernel that was fetched before: the listed one, or else the newest of its series.
fn kept(folder: &std::path::Path, kernel: &Kernel) -> Result<Option<PathBuf>> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut names = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("failed to list `{}`", folder.display()))?
    {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    let in_series: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| is_of(name, &kernel.series)).collect();
    Ok(choose(&in_series, kernel).map(|name| folder.join(name)))
}

/// Releases of a series among the names of packages.
fn releases<'p>(packages: &'p [String], series: &str) -> Vec<&'p str> {
    packages
        .iter()
        .filter_map(|name| {
            name.strip_prefix("linux-binary-").or_else(|| name.strip_prefix("linux-image-"))
        })
        .filter(|release| is_of(release, series))
        .collect()
}

fn is_of(release: &str, series: &str) -> bool {
    release.ends_with(FLAVOUR)
        && release.strip_prefix(series).is_some_and(|rest| rest.starts_with('.'))
}

/// The listed release if it is there, or else the newest.
fn choose<'r>(releases: &[&'r str], kernel: &Kernel) -> Option<&'r str> {
    let listed = releases.iter().find(|release| **release == kernel.release);
    listed.or_else(|| releases.iter().max_by(|a, b| by_age(a, b))).copied()
}

/// Compares the numbers in two releases, one after the other.
fn by_age(left: &str, right: &str) -> Ordering {
    let numbers = |release: &str| -> Vec<u64> {
        release.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
    };
    numbers(left).cmp(&numbers(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(release: &str) -> Kernel {
        Kernel { series: "6.1".into(), suite: "bookworm".into(), release: release.into() }
    }

    #[test]
    fn the_list_has_every_series_that_is_promised() {
        let series: Vec<String> = listed().unwrap().into_iter().map(|k| k.series).collect();
        assert_eq!(series, ["5.10", "6.1", "6.12", "6.17", "6.19", "7.3"]);
        assert!(listed().unwrap().iter().all(|kernel| is_of(&kernel.release, &kernel.series)));
    }

    #[test]
    fn a_release_that_is_gone_is_replaced_by_the_newest_of_its_series() {
        let offered = ["6.1.0-9-cloud-amd64", "6.1.0-50-cloud-amd64", "6.1.0-47-cloud-amd64"];
        let chosen = |release| choose(&offered, &kernel(release));
        assert_eq!(chosen("6.1.0-47-cloud-amd64"), Some(offered[2]));
        assert_eq!(chosen("6.1.0-12-cloud-amd64"), Some(offered[1]));
        assert_eq!(choose(&[], &kernel("6.1.0-12-cloud-amd64")), None);
    }

    #[test]
    fn only_kernels_of_the_series_and_flavour_count() {
        let packages = [
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.1.0-50-amd64",
            "linux-image-6.1.0-50-cloud-amd64-unsigned",
            "linux-image-6.12.9+deb13-cloud-amd64",
            "linux-binary-6.1.0-51-cloud-amd64",
            "linux-headers-6.1.0-52-cloud-amd64",
        ]
        .map(str::to_owned);
        assert_eq!(releases(&packages, "6.1"), ["6.1.0-50-cloud-amd64", "6.1.0-51-cloud-amd64"]);
    }
}
