//! The accounting invariant: what must hold while things fail, and what must hold when all has arrived.

use std::collections::BTreeMap;

use flamewatch_collector::store::{Selection, Store, TimeRange};

use crate::agent::Agent;
use crate::work::{APART_NS, Content, FIRST_NS, SERVICES};

/// What every moment must look like. `store` is that of a running collector.
pub(crate) fn check_meanwhile(agents: &[Agent], store: &dyn Store) -> Result<(), String> {
    let stored = store.stats().map_err(|error| error.to_string())?.samples_stored;
    let mut acknowledged = 0;
    for agent in agents {
        let Some(totals) = agent.totals() else { continue };
        acknowledged += totals.acknowledged;
        let known = totals.acknowledged + totals.pending + totals.lost_total();
        if totals.taken != known {
            return Err(format!("the books of {} do not balance: {totals:?}", agent.name()));
        }
    }
    if acknowledged > stored {
        return Err(format!("{acknowledged} samples are acknowledged, {stored} are stored"));
    }
    Ok(())
}

/// What the end must look like, when everything has been sent.
pub(crate) fn check_end(agents: &[Agent], store: &dyn Store) -> Result<(), String> {
    let stats = store.stats().map_err(|error| error.to_string())?;
    let contents = contents(store)?;
    let (mut acknowledged, mut taken) = (0, 0);
    let mut lost: BTreeMap<String, u64> = BTreeMap::new();
    for agent in agents {
        let totals = agent.totals().ok_or("an agent does not run at the end")?;
        acknowledged += totals.acknowledged;
        taken += totals.taken;
        for (reason, samples) in &totals.lost {
            *lost.entry(reason.clone()).or_default() += samples;
        }
        let stored = check_content(agent, &contents)?;
        let name = agent.name();
        let told = format!("{name}: {stored} samples are stored, the books say {totals:?}");
        if totals.pending != 0 || totals.taken != totals.acknowledged + totals.lost_total() {
            return Err(told);
        }
        let is_right = if agent.overstates_losses {
            totals.acknowledged <= stored
        } else {
            totals.acknowledged == stored
        };
        if !is_right {
            return Err(told);
        }
    }
    let overstated = agents.iter().any(|agent| agent.overstates_losses);
    let is_right = if overstated {
        acknowledged <= stats.samples_stored && stats.samples_taken >= taken
    } else {
        acknowledged == stats.samples_stored && taken == stats.samples_taken && lost == stats.lost
    };
    if !is_right {
        return Err(format!(
            "{acknowledged} acknowledged, {taken} taken, {lost:?} lost: {stats:?}"
        ));
    }
    Ok(())
}

/// Each window of the agent is in the store whole, or not at all. Returns the samples that are there.
fn check_content(
    agent: &Agent,
    contents: &BTreeMap<(String, u64), Content>,
) -> Result<u64, String> {
    let mut stored = 0;
    for ((host, start), content) in contents {
        if host != agent.name() {
            continue;
        }
        let made = agent.work.windows.get(start).ok_or("a window is stored that nobody made")?;
        if made != content {
            return Err(format!("{host} made {made:?} at {start}, stored is {content:?}"));
        }
        stored += content.values().sum::<u64>();
    }
    Ok(stored)
}

/// Everything in the store, by host and start of the window.
fn contents(store: &dyn Store) -> Result<BTreeMap<(String, u64), Content>, String> {
    let range = TimeRange { start_unix_ns: 0, end_unix_ns: FIRST_NS + 10_000 * APART_NS };
    let mut contents: BTreeMap<(String, u64), Content> = BTreeMap::new();
    for service in SERVICES {
        let selection = Selection { service: service.to_owned(), labels: Vec::new() };
        let windows = store.unit_windows(&selection, range, APART_NS);
        for window in windows.map_err(|error| error.to_string())? {
            let content = contents.entry((window.host, window.start_unix_ns)).or_default();
            let dictionary = window.profile.dictionary();
            let stacks: Vec<&[u32]> = dictionary.stacks().collect();
            for (stack, count) in window.profile.counts() {
                let frames = stacks[*stack as usize].iter();
                let names = frames.map(|at| dictionary.frames()[*at as usize].function.as_str());
                let stack = names.collect::<Vec<_>>().join(";");
                *content.entry((service.to_owned(), stack)).or_default() += count;
            }
        }
    }
    Ok(contents)
}
