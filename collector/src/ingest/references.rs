//! Turns the references of a push into indices: first the stacks that the batch defines, behind them the slots it names.

use profiler_common::wire::{SLOTS_MAX, v1};

use super::validate::{Rejection, check};

/// Stands for a slot that no row has named so far.
const UNNAMED: u32 = u32::MAX;

/// Writes the `stacks` of each service, and returns the slots that they name, each once: index N + i is the i-th of them,
/// with N stacks in the batch.
///
/// # Errors
///
/// When a reference or a slot lies past the largest one, or two stacks get one slot.
pub(super) fn unfold(batch: &mut v1::Batch, session: &v1::Session) -> Result<Vec<u32>, Rejection> {
    numbers(batch, session)?;
    let defined = batch.stacks.len();
    let mut slots = Vec::new();
    let mut index_of_slot = vec![UNNAMED; SLOTS_MAX];
    for service in &mut batch.services {
        check(service.stacks.is_empty(), || {
            "a push with a session names stacks by index".to_owned()
        })?;
        let mut reference = 0_u32;
        let mut stacks = std::mem::take(&mut service.stack_steps);
        for stack in &mut stacks {
            let next =
                reference.checked_add(*stack).filter(|next| (*next as usize) < defined + SLOTS_MAX);
            reference = next.ok_or_else(|| {
                Rejection::Invalid(format!("a reference is not below {defined} + {SLOTS_MAX}"))
            })?;
            *stack = match (reference as usize).checked_sub(defined) {
                None => reference,
                Some(slot) => {
                    let index = &mut index_of_slot[slot];
                    if *index == UNNAMED {
                        // At most as many as definitions and slots together, which is far below 2^32.
                        *index = (defined + slots.len()) as u32;
                        slots.push(slot as u32);
                    }
                    *index
                }
            };
        }
        service.stacks = stacks;
    }
    Ok(slots)
}

/// Checks the numbers of the push and the slots that it gives.
fn numbers(batch: &v1::Batch, session: &v1::Session) -> Result<(), Rejection> {
    check(session.acknowledged < session.push, || {
        format!("push `{}` of a session acknowledges push `{}`", session.push, session.acknowledged)
    })?;
    check(session.slots.len() <= batch.stacks.len(), || {
        format!("{} slots for {} stacks", session.slots.len(), batch.stacks.len())
    })?;
    let mut is_given = vec![false; SLOTS_MAX];
    for slot in &session.slots {
        let Some(slot) = slot.checked_sub(1) else { continue };
        let is_given = is_given
            .get_mut(slot as usize)
            .ok_or_else(|| Rejection::Invalid(format!("slot `{slot}` is not below {SLOTS_MAX}")))?;
        check(!std::mem::replace(is_given, true), || format!("slot `{slot}` is given twice"))?;
    }
    Ok(())
}
