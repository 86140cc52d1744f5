//! flamewatch-agent: reads its settings, does what the command says, and turns the outcome into an exit code.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory;
use flamewatch_agent::args::{Arguments, Command};
use flamewatch_agent::config::{self, ConfigError};
use flamewatch_agent::{capture, check, pipeline};
use tracing_subscriber::EnvFilter;

/// What clap itself exits with for a wrong command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = match config::read(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(ConfigError::Usage(error)) => error.exit(),
        Err(error) => {
            report(&error.into());
            return ExitCode::from(USAGE);
        }
    };
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
        Command::Run(arguments) => {
            let runtime = tokio::runtime::Runtime::new().context("failed to start threads")?;
            let ended = runtime.block_on(pipeline::run(arguments));
            // What still runs after an error must not keep the process.
            runtime.shutdown_background();
            ended.map(|()| ExitCode::SUCCESS)
        }
        Command::Capture(arguments) => capture::run(&arguments),
        Command::Check(arguments) => check::run(&arguments, &mut std::io::stdout().lock()),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(
                shell,
                &mut Arguments::command(),
                "flamewatch-agent",
                &mut text,
            );
            std::io::stdout().write_all(&text).context("failed to write to stdout")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::StopThenExec { command } => capture::command::stop_then_exec(&command),
    }
}

fn start_log(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("`{filter}` is no filter for logs; try `info` or `debug`"))?;
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        // The complaint about a closed stderr would go to stderr and end the agent.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

fn report(error: &anyhow::Error) {
    // Nothing is left to do when stderr is gone.
    let _closed = writeln!(std::io::stderr(), "error: {error:#}");
}
