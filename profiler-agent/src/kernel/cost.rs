//! What the kernel's verifier makes of each program: loads every one, attaches none.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use aya::programs::Program;

use super::{LoadError, LoadOptions, attach};

/// One program, as this kernel took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramCost {
    /// Its name in the object.
    pub name: String,
    /// Instructions that the verifier looked at, on all paths; `None` before Linux 5.16, which does not say.
    pub verified_instructions: Option<u32>,
    /// Bytes of the instructions that were left after verification.
    pub translated_bytes: Option<u32>,
    /// Time of loading: verification and translation to machine code.
    pub load: Duration,
}

/// Loads each program of the object with the settings of `options`: its name, and its cost or the kernel's refusal with
/// the verifier's whole log, in the order of the names.
///
/// # Errors
///
/// When the maps cannot be created.
pub fn program_costs(
    options: &LoadOptions,
) -> Result<Vec<(String, anyhow::Result<ProgramCost>)>, LoadError> {
    let mut ebpf = attach::load_object(options)?;
    let mut costs: Vec<(String, anyhow::Result<ProgramCost>)> =
        ebpf.programs_mut().map(|(name, program)| (name.to_owned(), cost(name, program))).collect();
    costs.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
    Ok(costs)
}

fn cost(name: &str, program: &mut Program) -> anyhow::Result<ProgramCost> {
    let started = Instant::now();
    match program {
        Program::PerfEvent(program) => program.load()?,
        Program::RawTracePoint(program) => program.load()?,
        _ => anyhow::bail!("a program of a kind that the agent does not load"),
    }
    let load = started.elapsed();
    let info = program.info().context("failed to ask for what was loaded")?;
    Ok(ProgramCost {
        name: name.to_owned(),
        verified_instructions: info.verified_instruction_count(),
        translated_bytes: info.size_translated(),
        load,
    })
}
