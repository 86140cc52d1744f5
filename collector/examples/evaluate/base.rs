//! What services look like: stacks of real programs, recorded with our own agent, as folded text.

use std::collections::HashMap;

use flamewatch_collector::diff::FunctionKey;

/// Frames from the root that make up the kind of request: a host's mix varies by it.
const KIND_DEPTH: usize = 8;

/// A program with the share of its CPU by stack.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) name: &'static str,
    pub(crate) functions: Vec<FunctionKey>,
    pub(crate) stacks: Vec<BaseStack>,
    /// Number of kinds of requests.
    pub(crate) kinds: usize,
}

/// A stack of a program.
#[derive(Debug, Clone)]
pub(crate) struct BaseStack {
    /// Root first.
    pub(crate) functions: Vec<u32>,
    /// Share of the CPU; all sum to 1.
    pub(crate) share: f64,
    /// Kind of request.
    pub(crate) kind: u32,
}

/// Parameters are chosen on these, and on nothing else.
const TUNING: &[(&str, &str)] = &[
    ("redis", include_str!("profiles/tuning/redis.folded")),
    ("python", include_str!("profiles/tuning/python.folded")),
    ("nginx", include_str!("profiles/tuning/nginx.folded")),
];

/// What is reported is measured on these, and on nothing else.
const REPORTING: &[(&str, &str)] = &[
    ("postgres", include_str!("profiles/reporting/postgres.folded")),
    ("rustc", include_str!("profiles/reporting/rustc.folded")),
    ("node", include_str!("profiles/reporting/node.folded")),
];

/// All programs of one of the two sets.
pub(crate) fn programs(is_tuning: bool) -> Vec<Base> {
    let set = if is_tuning { TUNING } else { REPORTING };
    set.iter().map(|(name, text)| Base::parse(name, text)).collect()
}

impl Base {
    /// Reads folded text: functions from the root, joined by `;`, and the number of samples.
    fn parse(name: &'static str, text: &str) -> Self {
        let mut base = Self { name, functions: Vec::new(), stacks: Vec::new(), kinds: 0 };
        let mut known: HashMap<String, u32> = HashMap::new();
        let mut kinds: HashMap<Vec<u32>, u32> = HashMap::new();
        for line in text.lines() {
            let Some((stack, samples)) = line.rsplit_once(' ') else { continue };
            let Ok(samples) = samples.parse::<f64>() else { continue };
            let functions: Vec<u32> = stack
                .split(';')
                .map(|frame| {
                    let next = known.len() as u32;
                    *known.entry(frame.to_owned()).or_insert_with(|| {
                        base.functions.push(key(frame));
                        next
                    })
                })
                .collect();
            let prefix = functions[..functions.len().min(KIND_DEPTH)].to_vec();
            let next = kinds.len() as u32;
            let kind = *kinds.entry(prefix).or_insert(next);
            base.stacks.push(BaseStack { functions, share: samples, kind });
        }
        base.kinds = kinds.len();
        let sum: f64 = base.stacks.iter().map(|stack| stack.share).sum();
        for stack in &mut base.stacks {
            stack.share /= sum;
        }
        base
    }
}

/// `_[k]` marks the kernel.
fn key(frame: &str) -> FunctionKey {
    let (function, module) =
        frame.strip_suffix("_[k]").map_or((frame, "program"), |function| (function, "[kernel]"));
    FunctionKey { module: module.to_owned(), function: function.to_owned() }
}
