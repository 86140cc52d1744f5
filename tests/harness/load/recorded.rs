//! Stacks of real programs, recorded with our own agent: the ground of every batch that is made here.

use std::collections::HashMap;

/// Folded text of each program; `collector/examples/evaluate/profiles/README.md` says how it was taken.
const PROGRAMS: [(&str, &str); 6] = [
    (
        "postgres",
        include_str!("../../../collector/examples/evaluate/profiles/reporting/postgres.folded"),
    ),
    ("rustc", include_str!("../../../collector/examples/evaluate/profiles/reporting/rustc.folded")),
    ("node", include_str!("../../../collector/examples/evaluate/profiles/reporting/node.folded")),
    ("redis", include_str!("../../../collector/examples/evaluate/profiles/tuning/redis.folded")),
    ("python", include_str!("../../../collector/examples/evaluate/profiles/tuning/python.folded")),
    ("nginx", include_str!("../../../collector/examples/evaluate/profiles/tuning/nginx.folded")),
];

/// One recorded program.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    /// Each function once, and whether it is the kernel's.
    pub(super) functions: Vec<(&'static str, bool)>,
    /// Root first, as indices into the functions; the most frequent stack first.
    pub(super) stacks: Vec<Vec<u32>>,
}

/// All recorded programs.
pub(super) fn programs() -> Vec<Program> {
    PROGRAMS.iter().map(|(name, text)| parse(name, text)).collect()
}

fn parse(name: &'static str, text: &'static str) -> Program {
    let mut functions = Vec::new();
    let mut known: HashMap<&str, u32> = HashMap::new();
    let mut counted: Vec<(u64, Vec<u32>)> = Vec::new();
    for line in text.lines() {
        let Some((stack, samples)) = line.rsplit_once(' ') else { continue };
        let Ok(samples) = samples.parse() else { continue };
        let frames = stack.split(';').map(|frame| {
            *known.entry(frame).or_insert_with(|| {
                let kernel = frame.strip_suffix("_[k]");
                functions.push((kernel.unwrap_or(frame), kernel.is_some()));
                functions.len() as u32 - 1
            })
        });
        counted.push((samples, frames.collect()));
    }
    counted.sort_by_key(|(samples, _)| std::cmp::Reverse(*samples));
    Program { name, functions, stacks: counted.into_iter().map(|(_, stack)| stack).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_recorded_program_has_hundreds_of_stacks_over_functions_that_exist() {
        for program in programs() {
            assert!(program.stacks.len() >= 900, "{}: {}", program.name, program.stacks.len());
            let functions = program.functions.len() as u32;
            assert!(program.stacks.iter().flatten().all(|function| *function < functions));
            assert!(program.functions.iter().any(|(_, is_kernel)| *is_kernel), "{}", program.name);
        }
    }
}
