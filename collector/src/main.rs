//! flamewatch-collector: reads its settings, does what the command says, and turns the outcome into an exit code.

use std::io::{IsTerminal as _, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{CommandFactory as _, Parser as _};
use flamewatch_collector::args::{Arguments, Command, ServeArgs, StoreCommand};
use flamewatch_collector::config::{Config, parse_store_file};
use flamewatch_collector::store::SqliteStore;
use flamewatch_collector::{diff, gate, server};
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

/// What clap itself exits with for a wrong command line.
const USAGE: u8 = 2;

/// How long work on other threads may still take when the command has ended.
const THREADS_END: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match start_log(&arguments.log).and_then(|()| run(arguments.command)) {
        Ok(code) => code,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve(args),
        Command::Gate(args) => {
            let runtime = Runtime::new().context("failed to start threads")?;
            let code = runtime.block_on(gate::command(&args, &mut std::io::stdout()))?;
            Ok(ExitCode::from(code))
        }
        Command::Diff(args) => {
            Ok(ExitCode::from(diff::command(&args, &mut std::io::stdout().lock())?))
        }
        Command::Store(command) => maintain(&command, &mut std::io::stdout().lock()),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            let name = "flamewatch-collector";
            clap_complete::generate(shell, &mut Arguments::command(), name, &mut text);
            std::io::stdout().write_all(&text).context("failed to write to stdout")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn maintain(command: &StoreCommand, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match command {
        StoreCommand::Backup { store, to } => {
            let path = parse_store_file(store)?;
            SqliteStore::back_up(&path, to)?;
            let bytes = std::fs::metadata(to).map_or(0, |metadata| metadata.len());
            writeln!(out, "copied `{}` to `{}`: {bytes} bytes", path.display(), to.display())?;
            Ok(ExitCode::SUCCESS)
        }
        StoreCommand::Check { store } => {
            let path = parse_store_file(store)?;
            let faults = SqliteStore::faults(&path)?;
            for fault in &faults {
                writeln!(out, "{fault}")?;
            }
            if !faults.is_empty() {
                bail!("store `{}` is damaged: put a copy in its place", path.display());
            }
            writeln!(out, "`{}` is whole", path.display())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let config = match Config::load(args) {
        Ok(config) => config,
        Err(error) => {
            report(&error);
            return Ok(ExitCode::from(USAGE));
        }
    };
    let runtime = Runtime::new().context("failed to start threads")?;
    let served = runtime.block_on(server::serve(config));
    runtime.shutdown_timeout(THREADS_END);
    served.map(|()| ExitCode::SUCCESS)
}

fn start_log(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("`{filter}` is no filter for logs; try `info` or `debug`"))?;
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal() && !no_color)
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

fn report(error: &anyhow::Error) {
    // Nothing is left to do when stderr is gone.
    let _closed = writeln!(std::io::stderr(), "error: {error:#}");
}
