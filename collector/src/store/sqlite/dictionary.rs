//! Frames and stacks by identity: finds or adds them while writing, loads them while reading.

use std::collections::HashMap;
use std::sync::Arc;

use moka::sync::Cache;
use profiler_common::profile::{Frame, FrameKind};
use profiler_common::stack_key::StackKey;
use profiler_common::wire::v1;
use rusqlite::{Connection, params};

use super::failed;
use crate::store::{Arrival, StoreError};

/// Most rows in one generation of a write cache. A host has about 20,000 live stacks; 2^18 rows take 12 MB.
const RECENT_MAX: usize = 1 << 18;

/// Most rows of one hash that are compared. Seeded hashes collide by chance only; past the limit a row is added twice,
/// which costs space and nothing else.
const COLLISIONS_MAX: i64 = 8;

/// Memory for decoded frames and for decoded stacks while reading, in bytes each.
const READ_CACHE_BYTES_MAX: u64 = 64 << 20;

/// A dictionary row that is known to be there, and the day up to which retention keeps it.
#[derive(Debug, Clone, Copy)]
struct Known {
    id: i64,
    used_day: i64,
}

/// Rows seen lately, in two generations: a full one becomes the old one, and the old one is forgotten.
#[derive(Debug, Default)]
struct Recent {
    new: HashMap<u128, Known>,
    old: HashMap<u128, Known>,
}

impl Recent {
    fn find(&mut self, key: u128) -> Option<Known> {
        if let Some(known) = self.new.get(&key) {
            return Some(*known);
        }
        let known = self.old.remove(&key)?;
        self.insert(key, known);
        Some(known)
    }

    fn insert(&mut self, key: u128, known: Known) {
        if self.new.len() >= RECENT_MAX {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(key, known);
    }
}

/// The write side. What it learns in a transaction counts only after [`Self::keep`].
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    frames: Recent,
    stacks: Recent,
    /// Days up to which frames of known stacks are kept, by identity.
    kept_frames: HashMap<i64, i64>,
    fresh_frames: HashMap<u128, Known>,
    fresh_stacks: HashMap<u128, Known>,
    fresh_kept_frames: HashMap<i64, i64>,
}

impl Dictionary {
    /// The transaction is durable.
    pub(super) fn keep(&mut self) {
        for (key, known) in self.fresh_frames.drain() {
            self.frames.insert(key, known);
        }
        for (key, known) in self.fresh_stacks.drain() {
            self.stacks.insert(key, known);
        }
        if self.kept_frames.len() >= RECENT_MAX {
            self.kept_frames.clear();
        }
        self.kept_frames.extend(self.fresh_kept_frames.drain());
    }

    /// The transaction, or a part of it, was undone.
    pub(super) fn forget_fresh(&mut self) {
        self.fresh_frames.clear();
        self.fresh_stacks.clear();
        self.fresh_kept_frames.clear();
    }

    /// Rows were deleted.
    pub(super) fn forget_all(&mut self) {
        self.forget_fresh();
        self.frames = Recent::default();
        self.stacks = Recent::default();
        self.kept_frames.clear();
    }

    fn find_stack(&mut self, key: StackKey) -> Option<Known> {
        self.fresh_stacks.get(&key.0).copied().or_else(|| self.stacks.find(key.0))
    }
}

/// Finds or adds the stacks of one batch.
pub(super) struct BatchStacks<'a> {
    dictionary: &'a mut Dictionary,
    connection: &'a Connection,
    arrival: &'a Arrival,
    day: i64,
    /// By index of the key.
    stack_ids: Vec<Option<i64>>,
}

impl<'a> BatchStacks<'a> {
    /// `day` is that of the end of the batch's window.
    pub(super) fn new(
        dictionary: &'a mut Dictionary,
        connection: &'a Connection,
        arrival: &'a Arrival,
        day: i64,
    ) -> Self {
        let stack_ids = vec![None; arrival.keys().len()];
        Self { dictionary, connection, arrival, day, stack_ids }
    }

    /// The identity of a stack that the batch names.
    pub(super) fn id_of(&mut self, index: u32) -> Result<i64, StoreError> {
        let index = index as usize;
        let known = self.stack_ids.get(index).ok_or(NO_STACK)?;
        if let Some(id) = known {
            return Ok(*id);
        }
        let key = self.arrival.keys()[index];
        let known = self.dictionary.find_stack(key).filter(|known| known.used_day >= self.day);
        let known = match known {
            Some(known) => known,
            // Also when only the day is old: the frames of a stack must be kept at least as long as the stack.
            None => {
                let known = match self.arrival.batch().stacks.get(index) {
                    Some(stack) => self.find_or_add_stack(key, &stack.frames)?,
                    None => self.find_and_keep_stack(key)?,
                };
                self.dictionary.fresh_stacks.insert(key.0, known);
                known
            }
        };
        self.stack_ids[index] = Some(known.id);
        Ok(known.id)
    }

    fn find_or_add_stack(&mut self, key: StackKey, frames: &[u32]) -> Result<Known, StoreError> {
        let mut bytes = Vec::with_capacity(frames.len() * 3);
        for frame in frames {
            write_leb128(&mut bytes, self.find_or_add_frame(*frame as usize)?);
        }
        self.find_or_insert_stack(low_half(key.0), &bytes)
    }

    /// A stack of which only the key was sent. The table has half of it: where two rows share that, the whole batch is
    /// needed to tell them apart.
    fn find_and_keep_stack(&mut self, key: StackKey) -> Result<Known, StoreError> {
        let read = failed("read a stack");
        let mut find = self
            .connection
            .prepare_cached("SELECT id, used_day, frames FROM stack WHERE hash = ?1 LIMIT 2")
            .map_err(read)?;
        let mut rows = find.query([low_half(key.0)]).map_err(read)?;
        let row = rows.next().map_err(read)?.ok_or(StoreError::UnknownStack)?;
        let (id, used_day) = (row.get(0).map_err(read)?, row.get(1).map_err(read)?);
        let frames = row.get_ref(2).map_err(read)?.as_blob();
        let frames = frames.map_err(|_text| StoreError::Damaged("a stack is not a blob"))?;
        let frames = if used_day < self.day { read_leb128(frames)? } else { Vec::new() };
        if rows.next().map_err(read)?.is_some() {
            return Err(StoreError::UnknownStack);
        }
        for frame in frames {
            self.keep_frame(frame)?;
        }
        self.touch("UPDATE stack SET used_day = ?2 WHERE id = ?1", id, used_day)
    }

    fn keep_frame(&mut self, id: i64) -> Result<(), StoreError> {
        let Dictionary { fresh_kept_frames: fresh, kept_frames: kept, .. } = &mut *self.dictionary;
        if fresh.get(&id).or_else(|| kept.get(&id)).is_some_and(|day| *day >= self.day) {
            return Ok(());
        }
        fresh.insert(id, self.day);
        self.connection
            .prepare_cached("UPDATE frame SET used_day = ?2 WHERE id = ?1 AND used_day < ?2")
            .and_then(|mut update| update.execute(params![id, self.day]))
            .map(drop)
            .map_err(failed("keep a stack"))
    }

    fn find_or_insert_stack(&self, hash: i64, frames: &[u8]) -> Result<Known, StoreError> {
        let write = failed("write a stack");
        let mut find = self
            .connection
            .prepare_cached("SELECT id, used_day, frames FROM stack WHERE hash = ?1 LIMIT ?2")
            .map_err(write)?;
        let mut rows = find.query(params![hash, COLLISIONS_MAX]).map_err(write)?;
        while let Some(row) = rows.next().map_err(write)? {
            let found = row.get_ref(2).map_err(write)?.as_blob();
            if found.is_ok_and(|found| found == frames) {
                let id = row.get(0).map_err(write)?;
                let used_day = row.get(1).map_err(write)?;
                return self.touch("UPDATE stack SET used_day = ?2 WHERE id = ?1", id, used_day);
            }
        }
        self.connection
            .prepare_cached("INSERT INTO stack (hash, used_day, frames) VALUES (?1, ?2, ?3)")
            .and_then(|mut insert| insert.insert(params![hash, self.day, frames]))
            .map(|id| Known { id, used_day: self.day })
            .map_err(write)
    }

    fn find_or_add_frame(&mut self, index: usize) -> Result<i64, StoreError> {
        let key = *self.arrival.frame_keys().get(index).ok_or(NO_FRAME)?;
        let known = self.dictionary.fresh_frames.get(&key).copied();
        if let Some(known) = known.or_else(|| self.dictionary.frames.find(key))
            && known.used_day >= self.day
        {
            return Ok(known.id);
        }
        let known =
            self.find_or_insert_frame(low_half(key), &self.arrival.batch().frames[index])?;
        self.dictionary.fresh_frames.insert(key, known);
        Ok(known.id)
    }

    fn find_or_insert_frame(&self, hash: i64, frame: &v1::Frame) -> Result<Known, StoreError> {
        let write = failed("write a frame");
        let content = params![
            hash,
            frame.kind,
            string(self.arrival.batch(), frame.function)?,
            string(self.arrival.batch(), frame.module)?,
            string(self.arrival.batch(), frame.file)?,
            frame.line,
            string(self.arrival.batch(), frame.build_id)?,
            self.day,
        ];
        let found = self
            .connection
            .prepare_cached(
                "SELECT id, used_day FROM frame WHERE hash = ?1 AND kind = ?2 AND function = ?3 \
                 AND module = ?4 AND file = ?5 AND line = ?6 AND build_id = ?7 AND ?8 IS NOT NULL \
                 LIMIT 1",
            )
            .and_then(|mut find| {
                let mut rows = find.query(content)?;
                rows.next()?.map(|row| Ok((row.get(0)?, row.get(1)?))).transpose()
            })
            .map_err(write)?;
        if let Some((id, used_day)) = found {
            return self.touch("UPDATE frame SET used_day = ?2 WHERE id = ?1", id, used_day);
        }
        self.connection
            .prepare_cached(
                "INSERT INTO frame (hash, kind, function, module, file, line, build_id, used_day) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )
            .and_then(|mut insert| insert.insert(content))
            .map(|id| Known { id, used_day: self.day })
            .map_err(write)
    }

    fn touch(&self, update: &str, id: i64, used_day: i64) -> Result<Known, StoreError> {
        if used_day >= self.day {
            return Ok(Known { id, used_day });
        }
        self.connection
            .prepare_cached(update)
            .and_then(|mut update| update.execute(params![id, self.day]))
            .map_err(failed("keep a stack"))?;
        Ok(Known { id, used_day: self.day })
    }
}

/// The read side: decoded rows, shared by all readers.
#[derive(Debug)]
pub(super) struct Names {
    frames: Cache<i64, Arc<Frame>>,
    stacks: Cache<i64, Arc<[i64]>>,
}

impl Names {
    pub(super) fn new() -> Self {
        // 150 bytes for each entry's own bookkeeping.
        let frames = Cache::builder()
            .weigher(|_: &i64, frame: &Arc<Frame>| {
                let text = frame.function.len() + frame.module.len() + frame.file.len();
                u32::try_from(text + frame.build_id.len() + 300).unwrap_or(u32::MAX)
            })
            .max_capacity(READ_CACHE_BYTES_MAX)
            .build();
        let stacks = Cache::builder()
            .weigher(|_: &i64, stack: &Arc<[i64]>| {
                u32::try_from(stack.len() * 8 + 150).unwrap_or(u32::MAX)
            })
            .max_capacity(READ_CACHE_BYTES_MAX)
            .build();
        Self { frames, stacks }
    }

    /// The identities of a stack's frames, root first.
    pub(super) fn stack(&self, connection: &Connection, id: i64) -> Result<Arc<[i64]>, StoreError> {
        if let Some(stack) = self.stacks.get(&id) {
            return Ok(stack);
        }
        let read = failed("read a stack");
        let mut find =
            connection.prepare_cached("SELECT frames FROM stack WHERE id = ?1").map_err(read)?;
        let mut rows = find.query([id]).map_err(read)?;
        let row = rows.next().map_err(read)?;
        let row = row.ok_or(StoreError::Damaged("a window names a stack that is not there"))?;
        let bytes = row.get_ref(0).map_err(read)?.as_blob();
        let bytes = bytes.map_err(|_text| StoreError::Damaged("a stack is not a blob"))?;
        let stack: Arc<[i64]> = read_leb128(bytes)?.into();
        self.stacks.insert(id, Arc::clone(&stack));
        Ok(stack)
    }

    /// A frame by identity.
    pub(super) fn frame(&self, connection: &Connection, id: i64) -> Result<Arc<Frame>, StoreError> {
        if let Some(frame) = self.frames.get(&id) {
            return Ok(frame);
        }
        let frame = connection
            .prepare_cached(
                "SELECT kind, function, module, file, line, build_id FROM frame WHERE id = ?1",
            )
            .and_then(|mut find| {
                find.query_row([id], |row| {
                    Ok(Frame {
                        kind: frame_kind(row.get(0)?),
                        function: row.get(1)?,
                        module: row.get(2)?,
                        file: row.get(3)?,
                        line: row.get(4)?,
                        build_id: row.get(5)?,
                    })
                })
            })
            .map_err(|error| match error {
                rusqlite::Error::QueryReturnedNoRows => {
                    StoreError::Damaged("a stack names a frame that is not there")
                }
                other => failed("read a frame")(other),
            })?;
        let frame = Arc::new(frame);
        self.frames.insert(id, Arc::clone(&frame));
        Ok(frame)
    }
}

const NO_STACK: StoreError = StoreError::Inconsistent("a service names a stack that is not there");
const NO_FRAME: StoreError = StoreError::Inconsistent("a stack names a frame that is not there");

/// A string of a batch.
pub(super) fn string(batch: &v1::Batch, index: u32) -> Result<&str, StoreError> {
    batch
        .strings
        .get(index as usize)
        .map(String::as_str)
        .ok_or(StoreError::Inconsistent("an index points past the strings"))
}

/// Kinds that this build does not know read as native code: a store is never refused for a kind.
fn frame_kind(kind: i32) -> FrameKind {
    match v1::FrameKind::try_from(kind) {
        Ok(v1::FrameKind::Inlined) => FrameKind::Inlined,
        Ok(v1::FrameKind::Kernel) => FrameKind::Kernel,
        Ok(v1::FrameKind::Jit) => FrameKind::Jit,
        Ok(v1::FrameKind::Marker) => FrameKind::Marker,
        Ok(v1::FrameKind::Native | v1::FrameKind::Unspecified) | Err(_) => FrameKind::Native,
    }
}

fn low_half(key: u128) -> i64 {
    (key as u64).cast_signed()
}

fn write_leb128(bytes: &mut Vec<u8>, id: i64) {
    prost::encoding::encode_varint(id.cast_unsigned(), bytes);
}

fn read_leb128(mut bytes: &[u8]) -> Result<Vec<i64>, StoreError> {
    let mut ids = Vec::with_capacity(bytes.len() / 2);
    while !bytes.is_empty() {
        let id = prost::encoding::decode_varint(&mut bytes)
            .map_err(|_damaged| StoreError::Damaged("a stack cannot be decoded"))?;
        ids.push(id.cast_signed());
    }
    Ok(ids)
}
