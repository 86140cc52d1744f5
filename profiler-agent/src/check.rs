//! Says what this host supports; the probing itself is [`kernel::support`](crate::kernel::support).

use std::io::Write;
use std::process::ExitCode;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

use crate::args::{CheckArguments, OutputForm};
use crate::kernel::support::{self, Report, State};

/// Probes this host and prints the report.
///
/// The exit code is 0 when something useful can run, even degraded, and 1 when nothing can.
///
/// # Errors
///
/// When the report cannot be printed.
pub fn run(arguments: &CheckArguments, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let report = support::probe();
    if arguments.json || arguments.output == OutputForm::Json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        write_text(&report, out)?;
    }
    Ok(if report.works() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write_text(report: &Report, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    for item in &report.items {
        let state = match item.state {
            State::Ok => "ok",
            State::Degraded => "degraded",
            State::Missing => "missing",
        };
        table.add_row([state, item.name, &item.detail]);
    }
    writeln!(out, "{table}")?;
    for item in report.items.iter().filter(|item| item.state != State::Ok) {
        writeln!(out, "\n{}", item.name)?;
        writeln!(out, "  lost:   {}", item.lost)?;
        writeln!(out, "  remedy: {}", item.remedy)?;
    }
    let degraded = report.items.iter().any(|item| item.state != State::Ok);
    let verdict = match (report.works(), degraded) {
        (true, false) => "this host supports everything",
        (true, true) => "this host can be sampled, with what is said above lost",
        (false, _) => "this host cannot be sampled as this user",
    };
    writeln!(out, "\n{verdict}")?;
    Ok(())
}
