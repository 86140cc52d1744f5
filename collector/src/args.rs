//! The command line.
//!
//! Every flag of `serve` is also an environment variable and a key of the TOML file; [`config`](crate::config) merges
//! them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Role;
use crate::diff::DiffArgs;
use crate::gate::GateArgs;

/// Keeps profiles, compares them with their baseline, and says what made a release slower.
#[derive(Debug, Parser)]
#[command(
    name = "flamewatch-collector",
    version,
    max_term_width = 120,
    arg_required_else_help = true
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What to log on stderr: error, warn, info, debug, trace, or a filter such as `info,flamewatch_collector=debug`
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "FLAMEWATCH_LOG",
        default_value = "info"
    )]
    pub log: String,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Accept profiles from agents, keep them, raise alerts, and show them in a browser
    #[command(after_long_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Ask a collector whether a new version may go on: exit 0 pass, 3 regression, 4 inconclusive
    Gate(GateArgs),
    /// Compare profile files without a server: exit 0 pass, 3 regression, 4 inconclusive
    Diff(DiffArgs),
    /// Copy or check a store, also while a collector uses it
    #[command(subcommand)]
    Store(StoreCommand),
    /// Print the completions of a shell, to be sourced or installed
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What can be done with a store beside serving it.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Write a whole and compact copy to a new file; a collector may go on meanwhile
    Backup {
        /// The store: sqlite:PATH
        #[arg(long, value_name = "STORE", env = "FLAMEWATCH_STORE")]
        store: String,
        /// File of the copy, which must not exist yet
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Read all of a store and tell its faults: exit 0 whole, 1 damaged
    Check {
        /// The store: sqlite:PATH
        #[arg(long, value_name = "STORE", env = "FLAMEWATCH_STORE")]
        store: String,
    },
}

const SERVE_EXAMPLES: &str = "\
Examples:
  flamewatch-collector serve
  flamewatch-collector serve --grpc 0.0.0.0:7170 --http 0.0.0.0:7171 --store sqlite:/data/flamewatch.db
  FLAMEWATCH_RETENTION_DAYS=7 flamewatch-collector serve --config /etc/flamewatch/collector.toml

A flag wins over its environment variable, that over the file, that over the default. Keys of the file are the long names
of the flags; [alert], [detect] and [temporal] say whom to tell and what counts as a regression.";

/// Arguments of `serve`.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// TOML file with settings
    #[arg(long, value_name = "FILE", env = "FLAMEWATCH_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where agents send profiles [default: 127.0.0.1:7170]
    #[arg(long, value_name = "ADDRESS", env = "FLAMEWATCH_GRPC")]
    pub grpc: Option<SocketAddr>,
    /// Where the page, the API and the metrics are served [default: 127.0.0.1:7171]
    #[arg(long, value_name = "ADDRESS", env = "FLAMEWATCH_HTTP")]
    pub http: Option<SocketAddr>,
    /// Where profiles are kept: sqlite:PATH, or clickhouse://USER:PASSWORD@HOST:PORT,…/DATABASE?cluster=NAME
    /// [default: `sqlite:/var/lib/flamewatch-collector/flamewatch.db`, or below ~/.local/state when not root]
    #[arg(long, value_name = "STORE", env = "FLAMEWATCH_STORE")]
    pub store: Option<String>,
    /// What this collector does, where several write to one ClickHouse: one does all, the others ingest [default: all]
    #[arg(long, value_name = "ROLE", env = "FLAMEWATCH_ROLE", hide_possible_values = true)]
    pub role: Option<Role>,
    /// Days after which profiles are deleted [default: 30]
    #[arg(long, value_name = "DAYS", env = "FLAMEWATCH_RETENTION_DAYS")]
    pub retention_days: Option<u32>,
    /// Days after which windows shorter than an hour are deleted; their hours stay [default: 7]
    #[arg(long, value_name = "DAYS", env = "FLAMEWATCH_FINE_DAYS")]
    pub fine_days: Option<u32>,
    /// Most bytes that profiles take on the disk; beyond it the oldest go first [default: no limit]
    #[arg(long, value_name = "BYTES", env = "FLAMEWATCH_STORE_BYTES_MAX")]
    pub store_bytes_max: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
