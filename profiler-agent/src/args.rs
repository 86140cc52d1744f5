//! The command line.
//!
//! Every flag is also an environment variable and a key of the TOML file ([`config`](crate::config)); long names only,
//! so that scripts explain themselves, but for `-o`, `-p` and `-s` of a capture at a terminal.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use profiler_common::abi::row::{CHUNK_ROWS, CHUNKS_MAX};

use crate::ship::client::parse_url;

/// Highest rate of sampling. A sample costs a few microseconds, so that 1,000 Hz keeps below one percent of a CPU.
pub const FREQUENCY_HZ_MAX: u32 = 1_000;

/// Longest window: the process table keeps ended processes, and the drain unique stacks, for one window.
const WINDOW_SECONDS_MAX: u64 = 300;

/// Where the state lies when nothing else is said.
pub const STATE_DIR_DEFAULT: &str = "/var/lib/flamewatch-agent";

/// Bytes of unwind tables when nothing else is said: about 300 usual executables.
pub const UNWIND_BYTES_DEFAULT: u64 = 32 << 20;

/// Most bytes of unwind tables: the kernel program knows no more chunks of them.
const UNWIND_BYTES_MAX: u64 = (CHUNKS_MAX * CHUNK_ROWS * size_of::<u32>()) as u64;

/// Longest capture: a day.
const CAPTURE_SECONDS_MAX: u64 = 86_400;

/// Samples this host with eBPF: which functions use its CPUs, and how long its syscalls take.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "flamewatch-agent",
    version,
    max_term_width = 120,
    after_help = "Flags win over environment variables, those over the file of --config, that over the defaults."
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// TOML file with settings: a table for each command, such as [run], with the long names of its flags as keys
    #[arg(long, global = true, value_name = "FILE", env = "FLAMEWATCH_CONFIG")]
    pub config: Option<PathBuf>,
    /// What to log on stderr: error, warn, info, debug, trace, or a filter such as `info,flamewatch_agent=debug`
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
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Sample this host without end and ship the profiles to a collector
    #[command(after_long_help = RUN_EXAMPLES)]
    Run(RunArguments),
    /// Take one profile and write it to a file; needs no collector
    #[command(after_long_help = CAPTURE_EXAMPLES)]
    Capture(CaptureArguments),
    /// Say what this host supports, what is lost without it, and how to mend it
    Check(CheckArguments),
    /// Print the completions of a shell, to be sourced or installed
    #[command(
        after_long_help = "Example: flamewatch-agent completions bash > /etc/bash_completion.d/flamewatch-agent"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Stop, and turn into COMMAND once continued: how a capture is attached before its command begins
    #[command(hide = true)]
    StopThenExec {
        /// The command with its arguments
        #[arg(required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<std::ffi::OsString>,
    },
}

impl Command {
    /// The command's name, which is also the name of its table in the file of settings.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::Capture(_) => "capture",
            Self::Check(_) => "check",
            Self::Completions { .. } => "completions",
            Self::StopThenExec { .. } => "stop-then-exec",
        }
    }
}

const RUN_EXAMPLES: &str = "\
Examples:
  flamewatch-agent run --collector http://collector:7170
  flamewatch-agent run --service checkout --service-version 1.4.2
  flamewatch-agent run --config /etc/flamewatch/agent.toml

What the collector does not take is kept in --state-dir and shipped later,
also after a restart. SIGTERM and ctrl-c ship the last window and end with
exit code 0. Metrics: http://127.0.0.1:7172/metrics";

const CAPTURE_EXAMPLES: &str = "\
Examples:
  flamewatch-agent capture --all --seconds 5 -o host.svg
  flamewatch-agent capture --all --quality
  flamewatch-agent capture -p 1234 -p 1235 --syscalls -o service.html
  flamewatch-agent capture --cgroup /sys/fs/cgroup/web.slice -o web.pb.gz
  flamewatch-agent capture -o build.speedscope.json -- make -j8

The ending of the file chooses the form: .svg and .html for a browser, .folded
for flamegraph tools, .pb.gz for `go tool pprof`, .speedscope.json for
https://www.speedscope.app. With a command the exit code is that of the command
(128 + signal when one ended it). Ctrl-c ends the capture early and writes what
was taken; once more, and nothing is written.";

/// Arguments of `run`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RunArguments {
    /// Address of the collector's gRPC port
    #[arg(long, value_name = "URL", env = "FLAMEWATCH_COLLECTOR", default_value = "http://127.0.0.1:7170",
        value_parser = collector_url)]
    pub collector: String,
    /// PEM file with the certificate authority of an https collector [default: those of the system]
    #[arg(long, value_name = "FILE", env = "FLAMEWATCH_COLLECTOR_CA")]
    pub collector_ca: Option<PathBuf>,
    /// Samples per second and CPU
    #[arg(long, value_name = "HZ", env = "FLAMEWATCH_FREQUENCY", default_value_t = 19,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(FREQUENCY_HZ_MAX)))]
    pub frequency: u32,
    /// Length of a window in seconds: what is shipped at once, and the finest step of time the collector knows
    #[arg(long, value_name = "SECONDS", env = "FLAMEWATCH_WINDOW", default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=WINDOW_SECONDS_MAX))]
    pub window: u64,
    /// Folder for the spool, the agent's id, its accounting, and unwind tables
    #[arg(
        long,
        value_name = "FOLDER",
        env = "FLAMEWATCH_STATE_DIR",
        default_value = STATE_DIR_DEFAULT
    )]
    pub state_dir: PathBuf,
    /// Most bytes that wait on disk for the collector; the oldest are dropped, and counted, beyond that [256 MiB]
    #[arg(long, value_name = "BYTES", env = "FLAMEWATCH_SPOOL_BYTES_MAX", default_value_t = 256 << 20,
        value_parser = clap::value_parser!(u64).range(1 << 20..))]
    pub spool_bytes_max: u64,
    /// Most bytes of unwind tables in the kernel; the ones used longest ago make room for others beyond that [32 MiB]
    #[arg(long, value_name = "BYTES", env = "FLAMEWATCH_UNWIND_BYTES_MAX", default_value_t = UNWIND_BYTES_DEFAULT,
        value_parser = clap::value_parser!(u64).range(1 << 20..=UNWIND_BYTES_MAX))]
    pub unwind_bytes_max: u64,
    /// Where /metrics, /-/healthy and /-/ready are served
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "FLAMEWATCH_ADMIN",
        default_value = "127.0.0.1:7172"
    )]
    pub admin: SocketAddr,
    /// Name of this host in the profiles [default: the host's own]
    #[arg(long, value_name = "NAME", env = "FLAMEWATCH_HOST")]
    pub host: Option<String>,
    /// Service of every process on this host [default: found for each process]
    #[arg(long, value_name = "NAME", env = "FLAMEWATCH_SERVICE")]
    pub service: Option<String>,
    /// Version of every process on this host [default: found for each process]
    #[arg(long, value_name = "VERSION", env = "FLAMEWATCH_SERVICE_VERSION")]
    pub service_version: Option<String>,
    /// Leave syscall latencies out
    #[arg(long, env = "FLAMEWATCH_NO_SYSCALLS")]
    pub no_syscalls: bool,
    /// Sample only these processes and their children
    #[arg(long, value_name = "PID", env = "FLAMEWATCH_PID", value_delimiter = ',', conflicts_with = "cgroup",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Vec<u32>,
    /// Sample only this cgroup (v2): its folder under /sys/fs/cgroup
    #[arg(long, value_name = "FOLDER", env = "FLAMEWATCH_CGROUP")]
    pub cgroup: Option<PathBuf>,
    /// Log what the kernel program says; slow, for finding faults
    #[arg(long, env = "FLAMEWATCH_KERNEL_LOG")]
    pub kernel_log: bool,
}

/// Arguments of `capture`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct CaptureArguments {
    /// A process to sample, with its children; may be given several times
    #[arg(short, long, value_name = "PID", env = "FLAMEWATCH_CAPTURE_PID", value_delimiter = ',',
        group = "target", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Vec<u32>,
    /// A cgroup (v2) to sample: its folder under /sys/fs/cgroup
    #[arg(long, value_name = "FOLDER", env = "FLAMEWATCH_CAPTURE_CGROUP", group = "target")]
    pub cgroup: Option<PathBuf>,
    /// Sample the whole host; this is also what happens when nothing else is chosen
    #[arg(long, env = "FLAMEWATCH_CAPTURE_ALL", group = "target")]
    pub all: bool,
    /// A command to start and sample, with its children, until it ends
    #[arg(last = true, value_name = "COMMAND", group = "target")]
    pub command: Vec<std::ffi::OsString>,
    /// How long to sample [default: 10, or until COMMAND ends]
    #[arg(short, long, value_name = "SECONDS", env = "FLAMEWATCH_CAPTURE_SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=CAPTURE_SECONDS_MAX))]
    pub seconds: Option<u64>,
    /// Samples per second and CPU
    #[arg(long, value_name = "HZ", env = "FLAMEWATCH_CAPTURE_FREQUENCY", default_value_t = 99,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(FREQUENCY_HZ_MAX)))]
    pub frequency: u32,
    /// Also measure syscalls and print a table of their latencies
    #[arg(long, env = "FLAMEWATCH_CAPTURE_SYSCALLS")]
    pub syscalls: bool,
    /// Also print of each binary how many of its stacks are whole, and why the others are not
    #[arg(long, env = "FLAMEWATCH_CAPTURE_QUALITY")]
    pub quality: bool,
    /// File to write; its ending chooses the form: .svg .html .folded .pb.gz .speedscope.json
    #[arg(
        short = 'o',
        long = "out",
        value_name = "FILE",
        env = "FLAMEWATCH_CAPTURE_OUT",
        default_value = "flamewatch.svg"
    )]
    pub out: PathBuf,
    /// How the summary and the tables are printed; as JSON it always holds the quality of the stacks
    #[arg(long, value_name = "FORM", env = "FLAMEWATCH_CAPTURE_OUTPUT", default_value = "table")]
    pub output: OutputForm,
    /// Log what the kernel program says; slow, for finding faults
    #[arg(long, env = "FLAMEWATCH_CAPTURE_KERNEL_LOG")]
    pub kernel_log: bool,
}

/// Arguments of `check`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct CheckArguments {
    /// The same as --output json
    #[arg(long, env = "FLAMEWATCH_CHECK_JSON")]
    pub json: bool,
    /// How the report is printed
    #[arg(long, value_name = "FORM", env = "FLAMEWATCH_CHECK_OUTPUT", default_value = "table")]
    pub output: OutputForm,
}

/// For whom something is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputForm {
    /// Text for people.
    Table,
    /// JSON for programs, on stdout.
    Json,
}

fn collector_url(text: &str) -> Result<String, String> {
    parse_url(text).map(|_uri| text.to_owned()).map_err(|error| error.to_string())
}
