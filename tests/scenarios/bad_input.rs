//! Wrong flags, files, addresses, ports and processes: each has a clear message and the right exit code.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use harness::agent::AgentPlace;
use harness::binaries::Program;
use harness::command::{self, Finished};
use harness::running::quiet;
use harness::scenario;
use harness::workload::Workload;

const FAILURE: i32 = 1;
const USAGE: i32 = 2;

/// A program that refuses its input must say so within this time; `timeout` answers 124 otherwise.
const REFUSAL_LIMIT_S: &str = "20";

#[test]
fn unknown_flags_are_usage_errors_that_name_the_flag() {
    scenario("unknown_flags", |_| {
        for program in [Program::Agent, Program::Collector] {
            for arguments in [&["--no-such-flag"][..], &["no-such-command"], &[]] {
                let answer = command::run(&program.path()?, arguments)?.expect_code(USAGE)?;
                answer.expect_said(arguments)?.expect_said(&["usage"])?;
            }
        }
        let capture = ["capture", "--all", "--seconds", "soon", "-o", "x.svg"];
        command::run(&Program::Agent.path()?, &capture)?
            .expect_code(USAGE)?
            .expect_said(&["soon", "--seconds"])?;
        Ok(())
    });
}

#[test]
fn an_unreadable_configuration_is_named_with_what_is_wrong() {
    scenario("bad_config", |scenario| {
        let missing = scenario.path("missing.toml");
        let noise = scenario.path("noise.toml");
        fs::write(&noise, [0xff, 0xfe, 0, b'[', b'['])?;
        let unknown = scenario.path("unknown.toml");
        fs::write(&unknown, "[no_such_table]\nkey = 1\n")?;
        for (path, said) in [(&missing, "missing.toml"), (&noise, "noise.toml")] {
            for program in [Program::Agent, Program::Collector] {
                refused(with_config(program, path)?)?.expect_said(&[said])?;
            }
        }
        for program in [Program::Agent, Program::Collector] {
            refused(with_config(program, &unknown)?)?
                .expect_said(&["unknown.toml", "no_such_table"])?;
        }
        Ok(())
    });
}

#[test]
fn a_wrong_address_is_named() {
    scenario("bad_address", |scenario| {
        let agent = AgentPlace::new(scenario, "not an address")?;
        refused(agent.command()?)?.expect_said(&["not an address"])?;
        let mut gate = quiet(&Program::Collector.path()?);
        gate.args(["gate", "--collector", "http://127.0.0.1:1", "--service", "shop"]);
        gate.args(["--baseline", "version=v1", "--candidate", "version=v2"]);
        command::finish(&mut gate)?.expect_code(FAILURE)?.expect_said(&["127.0.0.1:1"])?;
        let mut serve = quiet(&Program::Collector.path()?);
        serve.args(["serve", "--store", "no-such-store:here"]);
        refused(serve)?.expect_said(&["no-such-store"])?;
        Ok(())
    });
}

#[test]
fn a_port_in_use_ends_the_program_and_is_named() {
    scenario("busy_port", |scenario| {
        let taken = TcpListener::bind("127.0.0.1:0").context("failed to take a port")?;
        let address = taken.local_addr()?.to_string();
        for flag in ["--grpc", "--http"] {
            let mut serve = quiet(&Program::Collector.path()?);
            let store = format!("sqlite:{}", scenario.path("busy.db").display());
            let free = if flag == "--grpc" { "--http" } else { "--grpc" };
            serve.args(["serve", flag, &address, free, "127.0.0.1:0", "--store", &store]);
            failed(serve)?.expect_said(&[&address])?;
        }
        let mut agent = quiet(&Program::Agent.path()?);
        agent.args(["run", "--collector", "http://127.0.0.1:1", "--admin", &address]);
        agent.arg("--state-dir").arg(scenario.path("state"));
        failed(agent)?.expect_said(&[&address])?;
        Ok(())
    });
}

#[test]
fn a_process_that_is_not_there_is_named() {
    scenario("no_process", |scenario| {
        // Above the largest process id that Linux gives.
        let out = scenario.path("none.folded");
        let answer = command::finish(capture(&out)?.args(["--pid", "4194305", "--seconds", "1"]))?;
        answer.expect_code(FAILURE)?.expect_no_panic()?.expect_said(&["4194305"])?;
        ensure!(!out.exists(), "a capture of nothing was written");
        Ok(())
    });
}

#[test]
fn a_process_that_exits_early_leaves_what_was_seen_of_it() {
    scenario("early_exit", |scenario| {
        let spin = Workload::new("spin")?.arg(4).start(scenario)?;
        let out = scenario.path("early.folded");
        let pid = spin.pid().to_string();
        command::finish(capture(&out)?.args(["--pid", &pid, "--seconds", "8"]))?
            .expect_code(0)?
            .expect_no_panic()?;
        let folded = fs::read_to_string(&out).context("no capture")?;
        ensure!(folded.contains("spin_leaf"), "not seen: {folded}");
        Ok(())
    });
}

#[test]
fn code_in_a_file_of_random_bytes_is_profiled_without_harm() {
    scenario("random_elf", |scenario| {
        let mut running = Vec::new();
        for seed in 1..=4 {
            let file = scenario.path(&format!("random-{seed}.so"));
            let program = Workload::new("garbage")?.arg(file.display()).arg(seed).arg(20);
            running.push(program.start(scenario)?);
        }
        sleep(Duration::from_millis(500));
        let out = scenario.path("garbage.folded");
        command::finish(capture(&out)?.args(["--all", "--seconds", "4"]))?
            .expect_code(0)?
            .expect_no_panic()?;
        let folded = fs::read_to_string(&out).context("no capture")?;
        for seed in 1..=4 {
            let frame = format!("random-{seed}.so+0x40");
            ensure!(folded.contains(&frame), "no frame `{frame}…` in the capture");
        }
        Ok(())
    });
}

fn with_config(program: Program, config: &Path) -> Result<Command> {
    let mut command = quiet(&program.path()?);
    match program {
        Program::Agent => command.args(["run", "--collector", "http://127.0.0.1:1"]),
        Program::Collector => command.args(["serve", "--grpc", "127.0.0.1:0"]),
    };
    command.arg("--config").arg(config);
    Ok(command)
}

fn capture(out: &Path) -> Result<Command> {
    let mut command = quiet(&Program::Agent.path()?);
    command.arg("capture").arg("-o").arg(out);
    Ok(command)
}

/// The program must refuse: as a failure or as wrong usage, but at once.
fn refused(command: Command) -> Result<Finished> {
    let answer = limited(&command)?;
    let refusal = answer.code == Some(FAILURE) || answer.code == Some(USAGE);
    ensure!(refusal, "{command:?} was not refused: {answer:?}");
    answer.expect_no_panic()
}

/// The program must fail at once.
fn failed(command: Command) -> Result<Finished> {
    limited(&command)?.expect_code(FAILURE)?.expect_no_panic()
}

fn limited(command: &Command) -> Result<Finished> {
    let mut limited = quiet(Path::new("timeout"));
    limited.arg(REFUSAL_LIMIT_S).arg(command.get_program()).args(command.get_args());
    command::finish(&mut limited)
}
