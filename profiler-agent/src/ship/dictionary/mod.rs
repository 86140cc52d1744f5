//! Leaves out of a batch what the collector was told before. Pure: no clock, no I/O.
//!
//! Each stack has a slot, a small number, from its first push on. Later pushes name it by that. The books here say what
//! the collector knows for sure: a stack counts as told once the push that defined it is acknowledged, and no sooner. So
//! it is of no matter whether a push without an answer arrived, arrives late, or never does.

use std::collections::HashMap;

use profiler_common::stack_key::{DictionaryKeys, StackKey};
use profiler_common::wire::{SLOTS_MAX, v1};

use self::trim::Trimmer;

mod trim;

/// What one collector was told under one session.
#[derive(Debug)]
pub struct Dictionary {
    seed: u64,
    session: u64,
    slots_max: usize,
    /// Number of the last push that was made.
    push: u64,
    /// Number of the last push that was acknowledged.
    acknowledged: u64,
    slots: HashMap<StackKey, u16>,
    /// By slot.
    entries: Vec<Entry>,
    /// Whether the last push belongs to the session and has no answer yet.
    on_its_way: bool,
    /// Slots that it defines.
    defined: Vec<u16>,
}

const _: () = assert!(SLOTS_MAX <= 1 << 16);

#[derive(Debug, Clone, Copy)]
struct Entry {
    key: StackKey,
    /// The last push that named it.
    used: u64,
    is_told: bool,
}

impl Dictionary {
    /// Opens a session. `seed` is random and told to nobody; `session` is random.
    #[must_use]
    pub fn new(seed: u64, session: u64) -> Self {
        Self::with_slots(seed, session, SLOTS_MAX)
    }

    /// Opens a session with fewer slots, which run out sooner.
    fn with_slots(seed: u64, session: u64, slots_max: usize) -> Self {
        Self {
            seed,
            session,
            slots_max,
            push: 0,
            acknowledged: 0,
            slots: HashMap::new(),
            entries: Vec::new(),
            on_its_way: false,
            defined: Vec::new(),
        }
    }

    /// Writes a batch as the collector needs it, whatever became of the pushes before.
    pub fn write(&mut self, batch: &v1::Batch) -> v1::PushRequest {
        self.on_its_way = false;
        self.defined.clear();
        let Some(keys) = DictionaryKeys::new(batch, self.seed) else {
            // A batch that names what it does not hold: the collector refuses it, as it is.
            return v1::PushRequest { batch: Some(batch.clone()), ..Default::default() };
        };
        self.push += 1;
        self.on_its_way = true;
        let references = self.refer(&keys.stacks);
        self.give_slots(&keys.stacks, &references.definitions);
        let slots = self.defined.iter().map(|slot| u32::from(*slot) + 1).collect();
        let session = v1::Session {
            id: self.session,
            push: self.push,
            acknowledged: self.acknowledged,
            slots,
        };
        let batch = rewrite(batch, &references);
        v1::PushRequest { batch: Some(batch), session: Some(session), ..Default::default() }
    }

    /// The collector has stored the last batch that was written.
    pub fn acknowledge(&mut self) {
        if std::mem::take(&mut self.on_its_way) {
            self.acknowledged = self.push;
        }
        for slot in self.defined.drain(..) {
            self.entries[usize::from(slot)].is_told = true;
        }
    }

    /// The collector has lost what it was told: opens another session.
    pub fn forget(&mut self, session: u64) {
        *self = Self::with_slots(self.seed, session, self.slots_max);
    }

    /// Tells stacks that were told before from those that this push must define.
    fn refer(&mut self, keys: &[StackKey]) -> References {
        let mut references =
            References { of_stack: Vec::with_capacity(keys.len()), definitions: Vec::new() };
        let mut fresh: HashMap<StackKey, u32> = HashMap::new();
        for (index, key) in keys.iter().enumerate() {
            let entry =
                self.slots.get(key).map(|slot| (*slot, &mut self.entries[usize::from(*slot)]));
            let reference = match entry {
                Some((slot, entry)) if entry.is_told => {
                    entry.used = self.push;
                    Reference::Slot(slot)
                }
                _ => Reference::Definition(*fresh.entry(*key).or_insert_with(|| {
                    references.definitions.push(index);
                    number(references.definitions.len() - 1)
                })),
            };
            references.of_stack.push(reference);
        }
        references
    }

    /// Gives each new stack a slot, as long as there are any that this push does not need itself: first its own from a push
    /// without an answer, then free ones, then those that were not used for longest.
    fn give_slots(&mut self, keys: &[StackKey], definitions: &[usize]) {
        for index in definitions {
            if let Some(slot) = self.slots.get(&keys[*index]) {
                self.entries[usize::from(*slot)].used = self.push;
            }
        }
        let is_new = |index: &&usize| !self.slots.contains_key(&keys[**index]);
        let needed = definitions.iter().filter(is_new).count();
        let mut unused = self.oldest(needed.saturating_sub(self.slots_max - self.entries.len()));
        for index in definitions {
            let key = keys[*index];
            let Some(slot) = self.slots.get(&key).copied().or_else(|| self.free_slot(&mut unused))
            else {
                // The window has more stacks than there are slots.
                return;
            };
            let entry = Entry { key, used: self.push, is_told: false };
            match self.entries.get_mut(usize::from(slot)) {
                Some(old) => {
                    self.slots.remove(&old.key);
                    *old = entry;
                }
                None => self.entries.push(entry),
            }
            self.slots.insert(key, slot);
            self.defined.push(slot);
        }
    }

    fn free_slot(&self, unused: &mut Vec<u16>) -> Option<u16> {
        let next = (self.entries.len() < self.slots_max).then_some(self.entries.len());
        next.and_then(|next| u16::try_from(next).ok()).or_else(|| unused.pop())
    }

    /// So many slots that this push does not use, the least recently used ones.
    fn oldest(&self, count: usize) -> Vec<u16> {
        if count == 0 {
            return Vec::new();
        }
        let slots = (0_u16..=u16::MAX).zip(&self.entries);
        let unused = slots.filter(|(_, entry)| entry.used < self.push);
        let mut unused: Vec<(u64, u16)> = unused.map(|(slot, entry)| (entry.used, slot)).collect();
        if count < unused.len() {
            unused.select_nth_unstable(count);
            unused.truncate(count);
        }
        unused.into_iter().map(|(_, slot)| slot).collect()
    }
}

/// How a push names the stacks of a batch.
struct References {
    /// By index in the batch.
    of_stack: Vec<Reference>,
    /// Indices of the stacks that the push defines.
    definitions: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Reference {
    /// The so many-th definition of the push.
    Definition(u32),
    Slot(u16),
}

/// Leaves the definitions in the batch, and what they need, and makes its rows name them or slots.
fn rewrite(batch: &v1::Batch, references: &References) -> v1::Batch {
    let behind = number(references.definitions.len());
    let services = batch.services.iter().map(|service| {
        let mut rows: Vec<(u32, u64)> = Vec::with_capacity(service.stacks.len());
        for (stack, count) in service.stacks.iter().zip(&service.counts) {
            let reference = match references.of_stack.get(*stack as usize) {
                Some(Reference::Definition(index)) => *index,
                Some(Reference::Slot(slot)) => behind + u32::from(*slot),
                // Nothing has this number, and so the collector refuses the batch.
                None => u32::MAX,
            };
            rows.push((reference, *count));
        }
        rows.sort_unstable();
        let mut before = 0;
        let steps = rows
            .iter()
            .map(|(reference, _)| reference - std::mem::replace(&mut before, *reference));
        v1::ServiceProfile {
            service: service.service,
            version: service.version,
            unit: service.unit,
            labels: service.labels.clone(),
            period_ns: service.period_ns,
            stacks: Vec::new(),
            counts: rows.iter().map(|(_, count)| *count).collect(),
            syscalls: service.syscalls.clone(),
            walks: service.walks.clone(),
            stack_steps: steps.collect(),
        }
    });
    let services = services.collect();
    Trimmer::new(batch).trim(services, &references.definitions)
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
