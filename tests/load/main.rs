//! Agents without hosts, and the same rows in other forms: what `cargo xtask bench ingest` and `query` measure with.
//!
//! Each command prints one line of JSON at its end.

mod agents;
mod fill;
mod peers;

use anyhow::Result;
use clap::Parser;

/// Sends the traffic of many agents, or stores it in other ways.
#[derive(Debug, Parser)]
enum Command {
    /// Sends as so many agents would, one batch each 10 s
    Agents(agents::Args),
    /// Fills a store with days of many hosts, for questions about the past
    Fill(fill::Args),
    /// Stores the same rows plainly in SQLite, and as compressed columns
    Peers(peers::Args),
}

#[expect(clippy::print_stdout, reason = "the answer of a command-line tool")]
fn main() -> Result<()> {
    let answer = match Command::parse() {
        Command::Agents(args) => agents::run(&args)?,
        Command::Fill(args) => fill::run(&args)?,
        Command::Peers(args) => peers::run(&args)?,
    };
    println!("{answer}");
    Ok(())
}
