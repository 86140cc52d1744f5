//! Flags of `diff`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::gate::Summary;

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// A benchmark summary, for tickets and pull requests.
    Markdown,
}

/// Compare profile files without a server
///
/// Files are folded stacks or pprof (`.pb`, `.pb.gz`). Several files a side are replicates: runs, pods or hosts.
/// Exit codes: 0 no regression, 3 regression, 4 inconclusive, 1 error, 2 wrong usage.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// Profiles of the baseline; several are replicates
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub baseline: Vec<PathBuf>,
    /// Profiles of the candidate; several are replicates
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub candidate: Vec<PathBuf>,
    /// Policy file (YAML), as for `gate`
    #[arg(long, env = "FLAMEWATCH_POLICY", value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Most rows of the table
    #[arg(long, default_value_t = 20, value_name = "ROWS")]
    pub top: usize,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
    /// Name of the service, for the summary in Markdown
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    pub service: String,
    /// What only the asker knows.
    #[command(flatten)]
    pub summary: Summary,
}
