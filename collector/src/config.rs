//! Settings of `serve`: flag over environment over file over default.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::alert::AlertOptions;
use crate::args::ServeArgs;
use crate::detect::Policy;
use crate::detect::temporal::TemporalOptions;
use crate::store::ClickHouseAddress;

/// Days after which profiles are deleted, when nothing says otherwise.
const RETENTION_DAYS: u32 = 30;

/// Longest retention: ten years.
/// Questions about a single minute are about the last days.
const FINE_DAYS: u32 = 7;

/// Least bytes of a store: a busy service's day, and its names.
const STORE_BYTES_LEAST: u64 = 16 << 20;

const RETENTION_DAYS_MAX: u32 = 3660;

/// Largest file of settings: what is larger is not one.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The settings in force.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where agents send profiles.
    pub grpc: SocketAddr,
    /// Where people and programs look.
    pub http: SocketAddr,
    /// Where profiles are kept.
    pub store: StorePlace,
    /// What this collector does.
    pub role: Role,
    /// Days after which profiles are deleted.
    pub retention_days: u32,
    /// Days after which windows shorter than an hour are deleted.
    pub fine_days: u32,
    /// Most bytes that profiles take on the disk.
    pub store_bytes_max: Option<u64>,
    /// Whom to tell.
    pub alert: AlertOptions,
    /// What counts as a regression.
    pub detect: Policy,
    /// What counts as a change over time.
    pub temporal: TemporalOptions,
}

/// Where profiles are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlace {
    /// SQLite in this file.
    File(PathBuf),
    /// ClickHouse on these servers.
    ClickHouse(ClickHouseAddress),
}

impl StorePlace {
    /// A file for what belongs beside the store.
    ///
    /// # Errors
    ///
    /// When the store is elsewhere, and this machine has no folder for it either.
    pub fn folder_file(&self) -> anyhow::Result<PathBuf> {
        match self {
            Self::File(path) => Ok(path.clone()),
            Self::ClickHouse(_) => Ok(default_store()?.with_file_name("clickhouse")),
        }
    }
}

impl fmt::Display for StorePlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::ClickHouse(address) => write!(formatter, "{address}"),
        }
    }
}

/// What a collector does, where several write to one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything; one collector of a store
    #[default]
    All,
    /// All but raising alerts; any number of further collectors
    Ingest,
}

/// The file of settings; its keys are the long names of the flags.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct ConfigFile {
    grpc: Option<SocketAddr>,
    http: Option<SocketAddr>,
    store: Option<String>,
    role: Option<Role>,
    #[serde(alias = "retention_days")]
    retention_days: Option<u32>,
    #[serde(alias = "fine_days")]
    fine_days: Option<u32>,
    #[serde(alias = "store_bytes_max")]
    store_bytes_max: Option<u64>,
    alert: AlertOptions,
    detect: Policy,
    temporal: TemporalOptions,
}

impl Config {
    /// Merges the flags (which hold the environment) with their file and the defaults.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or understood, or a value is out of range.
    pub fn load(args: ServeArgs) -> anyhow::Result<Self> {
        let ServeArgs {
            config,
            grpc,
            http,
            store,
            role,
            retention_days,
            fine_days,
            store_bytes_max,
        } = args;
        let file = match &config {
            Some(path) => read_file(path)?,
            None => ConfigFile::default(),
        };
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let store = match store.or(file.store) {
            Some(store) => parse_store(&store)?,
            None => StorePlace::File(default_store()?),
        };
        let retention_days = retention_days.or(file.retention_days).unwrap_or(RETENTION_DAYS);
        if !(1..=RETENTION_DAYS_MAX).contains(&retention_days) {
            bail!("retention of `{retention_days}` days is not between 1 and {RETENTION_DAYS_MAX}");
        }
        let fine_days = fine_days.or(file.fine_days).unwrap_or(FINE_DAYS);
        if !(1..=RETENTION_DAYS_MAX).contains(&fine_days) {
            bail!("`{fine_days}` fine days are not between 1 and {RETENTION_DAYS_MAX}");
        }
        let store_bytes_max = store_bytes_max.or(file.store_bytes_max);
        if store_bytes_max.is_some_and(|bytes| bytes < STORE_BYTES_LEAST) {
            bail!(
                "a store of less than {STORE_BYTES_LEAST} bytes keeps too little to compare with"
            );
        }
        Ok(Self {
            grpc: grpc.or(file.grpc).unwrap_or_else(|| local(7170)),
            http: http.or(file.http).unwrap_or_else(|| local(7171)),
            store,
            role: role.or(file.role).unwrap_or_default(),
            retention_days,
            fine_days,
            store_bytes_max,
            alert: file.alert,
            detect: file.detect,
            temporal: file.temporal,
        })
    }
}

fn read_file(path: &Path) -> anyhow::Result<ConfigFile> {
    let shown = path.display();
    let read = || -> anyhow::Result<String> {
        let bytes = std::fs::metadata(path)?.len();
        if bytes > FILE_BYTES_MAX {
            bail!("it has {bytes} bytes; a file of settings has at most {FILE_BYTES_MAX}");
        }
        Ok(std::fs::read_to_string(path)?)
    };
    let text = read().with_context(|| format!("failed to read the settings `{shown}`"))?;
    // The error of `toml` names line and column and shows the line.
    toml::from_str(&text).with_context(|| format!("failed to understand the settings `{shown}`"))
}

/// Reads `sqlite:PATH`, as for what only a file can do.
///
/// # Errors
///
/// When it is of another form.
pub fn parse_store_file(store: &str) -> anyhow::Result<PathBuf> {
    match parse_store(store)? {
        StorePlace::File(path) => Ok(path),
        StorePlace::ClickHouse(address) => {
            bail!("store `{address}` is no file: use sqlite:PATH, and ClickHouse's own tools")
        }
    }
}

/// Reads `sqlite:PATH` or `clickhouse://…`.
fn parse_store(store: &str) -> anyhow::Result<StorePlace> {
    match store.split_once(':') {
        Some(("sqlite", path)) => {
            // Also in the form of a URL with an empty host: sqlite:///var/lib/…
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                bail!("store `{store}` names no file: use sqlite:PATH");
            }
            Ok(StorePlace::File(PathBuf::from(path)))
        }
        Some(("clickhouse" | "clickhouses", _)) => ClickHouseAddress::parse(store)
            .map(StorePlace::ClickHouse)
            // The address has a password, so it is not shown.
            .context("failed to understand the address of the store"),
        _ => bail!(
            "store `{store}` is not understood: use sqlite:PATH or clickhouse://HOST/DATABASE"
        ),
    }
}

fn default_store() -> anyhow::Result<PathBuf> {
    const FOLDER: &str = "flamewatch-collector";
    const FILE: &str = "flamewatch.db";
    if rustix::process::geteuid().is_root() {
        return Ok(Path::new("/var/lib").join(FOLDER).join(FILE));
    }
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let state = folder("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| folder("HOME").map(|home| Path::new(&home).join(".local/state")))
        .context(
            "failed to choose a file for the store: HOME is not set; use --store sqlite:PATH",
        )?;
    Ok(state.join(FOLDER).join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, mut args: ServeArgs) -> anyhow::Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collector.toml");
        std::fs::write(&path, text).unwrap();
        args.config = Some(path);
        Config::load(args)
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = "grpc = '127.0.0.1:1'\nhttp = '127.0.0.1:2'\nstore = 'sqlite:/f'\n";
        let args = ServeArgs { grpc: Some(([127, 0, 0, 1], 9).into()), ..Default::default() };
        let config = load(file, args).unwrap();
        assert_eq!((config.grpc.port(), config.http.port()), (9, 2));
        assert_eq!(config.store, StorePlace::File("/f".into()));
        assert_eq!(config.retention_days, RETENTION_DAYS);
        assert_eq!(load("retention-days = 7", ServeArgs::default()).unwrap().retention_days, 7);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error =
            load("retention-days = 7\ncolour = 'blue'\n", ServeArgs::default()).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("line 2") && text.contains("colour"), "{text}");
    }

    #[test]
    fn a_store_that_is_not_supported_is_refused_with_what_is() {
        for store in ["postgres://x", "path/only", "sqlite:"] {
            let args = ServeArgs { store: Some(store.to_owned()), ..Default::default() };
            let error = Config::load(args).unwrap_err().to_string();
            assert!(error.contains(store) && error.contains("sqlite:PATH"), "{error}");
        }
        assert_eq!(parse_store("sqlite:///a/b").unwrap(), StorePlace::File("/a/b".into()));
        assert_eq!(parse_store("sqlite:a/b").unwrap(), StorePlace::File("a/b".into()));
        let clickhouse = parse_store("clickhouse://u:secret@ch/db?cluster=c").unwrap();
        assert_eq!(clickhouse.to_string(), "clickhouse://ch:8123/db?cluster=c");
        let error = parse_store("clickhouse://u:secret@ch?fast=1").unwrap_err();
        assert!(!format!("{error:#}").contains("secret"), "{error:#}");
    }

    #[test]
    fn retention_has_bounds() {
        for days in [0, RETENTION_DAYS_MAX + 1] {
            let args = ServeArgs { retention_days: Some(days), ..Default::default() };
            assert!(Config::load(args).unwrap_err().to_string().contains(&days.to_string()));
        }
    }
}
