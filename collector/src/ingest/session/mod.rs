//! What agents have told: for each session a table from slot to the key of a stack.
//!
//! Bounded in memory; the session that was not used for longest goes first, and its agent then tells its stacks anew. A key
//! that many agents know, as those of one fleet do, is kept once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use profiler_common::stack_key::StackKey;
use profiler_common::wire::v1;
use thiserror::Error;

use self::keys::Keys;

mod keys;

/// Most memory of all sessions. A thousand agents with full tables take 64 MiB, and as many keys as a fleet of 200 services
/// has take 25 MiB.
pub const SESSIONS_BYTES_MAX: usize = 128 << 20;

/// What a session takes beside its table: its name twice, its place in the order of use.
const SESSION_BYTES: usize = 512;

/// The collector does not know what the session has told: the batch must come whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("session `{0:016x}` is not known here, or no longer: send the batch whole under a new one")]
pub struct UnknownSession(pub u64);

/// The tables of all sessions.
#[derive(Debug)]
pub struct Sessions {
    bytes_max: usize,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    sessions: HashMap<Name, Session>,
    /// By the time of their last use.
    order: BTreeMap<u64, Name>,
    uses: u64,
    keys: Keys,
    slots_bytes: usize,
}

/// An agent, and one of its sessions.
type Name = (String, u64);

#[derive(Debug, Default)]
struct Session {
    /// The last push that was stored.
    last: u64,
    /// By slot, the number of its key; `None` where nothing was told.
    slots: Vec<Option<keys::Number>>,
    used: u64,
}

impl Session {
    /// Whether this table is what the agent had before it in mind, or more: what came on top the agent tells again.
    fn is_before(&self, push: &v1::Session) -> bool {
        push.acknowledged <= self.last && self.last < push.push
    }
}

impl Sessions {
    /// No sessions yet; at most so many bytes of them.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, tables: Mutex::default() }
    }

    /// Keys of the stacks in these slots, in the same order.
    ///
    /// # Errors
    ///
    /// When the session, what it acknowledged, or one of the slots is not known.
    pub fn resolve(
        &self,
        agent: &str,
        push: &v1::Session,
        slots: &[u32],
    ) -> Result<Vec<StackKey>, UnknownSession> {
        let unknown = UnknownSession(push.id);
        let mut tables = self.lock();
        let name = (agent.to_owned(), push.id);
        if !tables.sessions.contains_key(&name) {
            // Nothing was told yet, or nothing is remembered.
            let is_first = push.acknowledged == 0 && slots.is_empty();
            return if is_first { Ok(Vec::new()) } else { Err(unknown) };
        }
        tables.touch(&name);
        let Tables { sessions, keys, .. } = &*tables;
        let session =
            sessions.get(&name).filter(|session| session.is_before(push)).ok_or(unknown)?;
        let find = |slot: &u32| session.slots.get(*slot as usize).copied().flatten();
        let keys =
            slots.iter().map(|slot| find(slot).map(|number| keys.get(number)).ok_or(unknown));
        let keys = keys.collect();
        drop(tables);
        keys
    }

    /// Notes what a stored push has told: the keys of its stacks, of which the first ones have slots.
    pub fn learn(&self, agent: &str, push: &v1::Session, told: &[StackKey]) {
        let mut tables = self.lock();
        let name = (agent.to_owned(), push.id);
        if push.acknowledged == 0 && !tables.sessions.contains_key(&name) {
            tables.sessions.insert(name.clone(), Session::default());
        }
        tables.touch(&name);
        let Tables { sessions, keys, slots_bytes, .. } = &mut *tables;
        // Gone meanwhile, or overtaken by a later push: the agent will be asked for the whole.
        let Some(session) = sessions.get_mut(&name).filter(|session| session.is_before(push))
        else {
            return;
        };
        session.last = push.push;
        let before = session.slots.capacity();
        for (key, slot) in told.iter().zip(&push.slots) {
            let Some(slot) = slot.checked_sub(1) else { continue };
            let slot = slot as usize;
            if slot >= session.slots.len() {
                session.slots.resize(slot + 1, None);
            }
            let number = keys.hold(*key);
            if let Some(old) = session.slots[slot].replace(number) {
                keys.release(old);
            }
        }
        *slots_bytes += (session.slots.capacity() - before) * SLOT_BYTES;
        tables.make_room(self.bytes_max);
    }

    /// Drops a session whose keys the store does not know any more.
    pub fn forget(&self, agent: &str, id: u64) {
        self.lock().remove(&(agent.to_owned(), id));
    }

    /// (sessions, bytes) that are kept.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let tables = self.lock();
        (tables.sessions.len(), tables.bytes())
    }

    /// A table left by a panic holds no key that it was not told: at worst an agent is asked for the whole.
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const SLOT_BYTES: usize = size_of::<Option<keys::Number>>();

impl Tables {
    fn bytes(&self) -> usize {
        self.sessions.len() * SESSION_BYTES + self.slots_bytes + self.keys.bytes()
    }

    fn touch(&mut self, name: &Name) {
        let Some(session) = self.sessions.get_mut(name) else { return };
        self.order.remove(&session.used);
        self.uses += 1;
        session.used = self.uses;
        self.order.insert(self.uses, name.clone());
    }

    fn make_room(&mut self, bytes_max: usize) {
        while self.bytes() > bytes_max {
            let Some((_, oldest)) = self.order.pop_first() else { return };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, name: &Name) {
        let Some(session) = self.sessions.remove(name) else { return };
        self.order.remove(&session.used);
        self.slots_bytes -= session.slots.capacity() * SLOT_BYTES;
        for number in session.slots.into_iter().flatten() {
            self.keys.release(number);
        }
    }
}

#[cfg(test)]
mod tests;
