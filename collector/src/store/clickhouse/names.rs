//! Frames and stacks by key: adds those that are new, and names those that an answer has.
//!
//! Each day has its own dictionary: a stack is written once on each day on which it is seen. So retention drops a day of
//! names as it drops a day of windows, and need not ask who still uses them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use moka::sync::Cache;
use profiler_common::profile::{Frame, FrameKind};
use profiler_common::wire::v1;

use super::client::Client;
use super::row::{Rows, Values, key_literal};
use super::schema::{SETTLE_EVERY, SETTLE_TRIES_MAX};
use super::write::day_of;
use crate::store::{Arrival, Dictionary, StoreError};

/// Most stacks and frames each that are known to be written; 2^20 entries take about 100 MB.
const KNOWN_MAX: u64 = 1 << 20;

/// Most keys in one question: 90 KB of SQL, below the 256 KB that a server takes by default.
const KEYS_MAX: usize = 2_000;

/// Memory for frames and for stacks while reading, in bytes each.
const READ_CACHE_BYTES_MAX: u64 = 64 << 20;

/// Most frames in all stacks of one answer, each stack counted once; 100 million take 400 MB.
const STACK_FRAMES_MAX: usize = 100_000_000;

const WRITE: &str = "write the names of stacks";
const READ: &str = "read the names of stacks";

type StackFrames = Arc<[u128]>;

/// Names of frames and stacks, shared by all threads.
pub(super) struct Names {
    database: String,
    /// The last day on which a frame or stack is known to be written.
    frame_days: Cache<u128, u16>,
    stack_days: Cache<u128, u16>,
    frames: Cache<u128, Arc<Frame>>,
    stacks: Cache<u128, StackFrames>,
}

impl Names {
    pub(super) fn new(database: &str) -> Self {
        // 150 bytes for each entry's own bookkeeping.
        let frames = Cache::builder()
            .weigher(|_: &u128, frame: &Arc<Frame>| {
                let text = frame.function.len() + frame.module.len() + frame.file.len();
                u32::try_from(text + frame.build_id.len() + 300).unwrap_or(u32::MAX)
            })
            .max_capacity(READ_CACHE_BYTES_MAX)
            .build();
        let stacks = Cache::builder()
            .weigher(|_: &u128, stack: &StackFrames| {
                u32::try_from(stack.len() * 16 + 150).unwrap_or(u32::MAX)
            })
            .max_capacity(READ_CACHE_BYTES_MAX)
            .build();
        Self {
            database: database.to_owned(),
            frame_days: Cache::new(KNOWN_MAX),
            stack_days: Cache::new(KNOWN_MAX),
            frames,
            stacks,
        }
    }

    /// Writes what the windows of a batch name and its day does not have yet.
    pub(super) fn add<'w>(
        &self,
        client: &Client,
        arrival: &Arrival,
        windows: impl Iterator<Item = &'w BTreeMap<u128, u64>>,
    ) -> Result<(), StoreError> {
        let batch = arrival.batch();
        let day = day_of(batch.end_unix_ns);
        let is_new = |key: &u128| self.stack_days.get(key).is_none_or(|known| known < day);
        let mut wanted: BTreeSet<u128> =
            windows.flat_map(BTreeMap::keys).copied().filter(is_new).collect();
        let mut fresh = Fresh::default();
        for (key, stack) in arrival.keys().iter().zip(&batch.stacks) {
            if wanted.remove(&key.0) {
                let frame = |at: &u32| fresh_frame(arrival, *at);
                let frames: Vec<(u128, Frame)> =
                    stack.frames.iter().map(frame).collect::<Result<_, _>>()?;
                fresh.stacks.insert(key.0, frames.iter().map(|(key, _)| *key).collect());
                fresh.frames.extend(frames);
            }
        }
        let again = self.find_again(client, (wanted, day), &mut fresh)?;
        fresh.frames.retain(|key, _| self.frame_days.get(key).is_none_or(|known| known < day));
        self.insert(client, day, &fresh)?;
        for key in fresh.frames.keys() {
            self.frame_days.insert(*key, day);
        }
        for (key, day) in fresh.stacks.keys().map(|key| (*key, day)).chain(again) {
            self.stack_days.insert(key, day);
        }
        Ok(())
    }

    /// Finds stacks that a batch names by key only; those of an earlier day become fresh. Returns the others, with the
    /// last day that has them.
    fn find_again(
        &self,
        client: &Client,
        (wanted, day): (BTreeSet<u128>, u16),
        fresh: &mut Fresh,
    ) -> Result<Vec<(u128, u16)>, StoreError> {
        let wanted: Vec<u128> = wanted.into_iter().collect();
        let mut there = Vec::new();
        let mut earlier = Vec::new();
        for keys in wanted.chunks(KEYS_MAX) {
            let sql = format!(
                "SELECT key, max(day) FROM {}.stack WHERE key IN ({}) GROUP BY key",
                self.database,
                list(keys)
            );
            let answer = client.ask(READ, &sql)?;
            let mut values = Values::new(&answer);
            let mut found = 0;
            while !values.is_at_end() {
                let (key, last) = (values.key()?, values.u16()?);
                found += 1;
                if last >= day { there.push((key, last)) } else { earlier.push(key) }
            }
            if found < keys.len() {
                return Err(StoreError::UnknownStack);
            }
        }
        let stacks = self.load_stacks(client, &earlier)?;
        if stacks.len() < earlier.len() {
            return Err(StoreError::UnknownStack);
        }
        let frame_keys: BTreeSet<u128> =
            stacks.values().flat_map(|frames| frames.iter().copied()).collect();
        let frames = self.load_frames(client, &frame_keys.iter().copied().collect::<Vec<_>>())?;
        if frames.len() < frame_keys.len() {
            return Err(StoreError::UnknownStack);
        }
        fresh.stacks.extend(stacks.into_iter().map(|(key, frames)| (key, frames.to_vec())));
        fresh.frames.extend(frames.into_iter().map(|(key, frame)| (key, Frame::clone(&frame))));
        Ok(there)
    }

    /// Frames first: a stack that is there must have its frames.
    fn insert(&self, client: &Client, day: u16, fresh: &Fresh) -> Result<(), StoreError> {
        if !fresh.frames.is_empty() {
            let mut rows = Rows::default();
            for (key, frame) in &fresh.frames {
                rows.u16(day).key(*key).u32(kind_number(frame.kind)).text(&frame.function);
                rows.text(&frame.module).text(&frame.file).u32(frame.line).text(&frame.build_id);
            }
            let columns = "day, key, kind, function, module, file, line, build_id";
            client.insert(WRITE, &format!("{}.frame ({columns})", self.database), rows)?;
        }
        if !fresh.stacks.is_empty() {
            let mut rows = Rows::default();
            for (key, frames) in &fresh.stacks {
                rows.u16(day).key(*key).array(frames.iter(), |rows, frame| {
                    rows.key(*frame);
                });
            }
            client.insert(WRITE, &format!("{}.stack (day, key, frames)", self.database), rows)?;
        }
        Ok(())
    }

    /// Names the stacks of an answer; returns them with the number of each.
    pub(super) fn dictionary(
        &self,
        client: &Client,
        keys: &BTreeSet<u128>,
    ) -> Result<(Dictionary, HashMap<u128, u32>), StoreError> {
        let keys: Vec<u128> = keys.iter().copied().collect();
        let stacks = self.settled(&keys, |missing| self.load_stacks(client, missing))?;
        let frame_keys: BTreeSet<u128> =
            stacks.iter().flat_map(|(_, frames)| frames.iter().copied()).collect();
        let frame_keys: Vec<u128> = frame_keys.into_iter().collect();
        let frames = self.settled(&frame_keys, |missing| self.load_frames(client, missing))?;
        let numbers: HashMap<u128, u32> =
            (0..).zip(&frame_keys).map(|(at, key)| (*key, at)).collect();
        let total: usize = stacks.iter().map(|(_, frames)| frames.len()).sum();
        if total > STACK_FRAMES_MAX {
            return Err(StoreError::TooLarge {
                what: "frames in all stacks",
                limit: STACK_FRAMES_MAX,
            });
        }
        let number = |key: &u128| numbers.get(key).copied().unwrap_or_default();
        let named: Vec<Box<[u32]>> =
            stacks.iter().map(|(_, frames)| frames.iter().map(number).collect()).collect();
        let frames = frames.into_iter().map(|(_, frame)| Frame::clone(&frame)).collect();
        let numbers = (0..).zip(keys).map(|(at, key)| (key, at)).collect();
        Ok((Dictionary::new(frames, named), numbers))
    }

    /// Loads all of `keys`, in their order. A replica may have a window a moment before it has the names in it.
    fn settled<T>(
        &self,
        keys: &[u128],
        load: impl Fn(&[u128]) -> Result<HashMap<u128, T>, StoreError>,
    ) -> Result<Vec<(u128, T)>, StoreError> {
        let mut found = load(keys)?;
        for _ in 0..SETTLE_TRIES_MAX {
            if found.len() == keys.len() {
                break;
            }
            std::thread::sleep(SETTLE_EVERY);
            let missing: Vec<u128> =
                keys.iter().copied().filter(|key| !found.contains_key(key)).collect();
            found.extend(load(&missing)?);
        }
        let damaged = StoreError::Damaged("a window names a stack or frame that is not there");
        let named: Option<Vec<(u128, T)>> =
            keys.iter().map(|key| Some((*key, found.remove(key)?))).collect();
        named.ok_or(damaged)
    }

    fn load_stacks(
        &self,
        client: &Client,
        keys: &[u128],
    ) -> Result<HashMap<u128, StackFrames>, StoreError> {
        load(
            &self.stacks,
            keys,
            |keys| {
                let sql = format!(
                    "SELECT key, frames FROM {}.stack WHERE key IN ({}) LIMIT 1 BY key",
                    self.database,
                    list(keys)
                );
                client.ask(READ, &sql)
            },
            |values| Ok(values.array(Values::key)?.into()),
        )
    }

    fn load_frames(
        &self,
        client: &Client,
        keys: &[u128],
    ) -> Result<HashMap<u128, Arc<Frame>>, StoreError> {
        load(
            &self.frames,
            keys,
            |keys| {
                let sql = format!(
                    "SELECT key, kind, function, module, file, line, build_id FROM {}.frame \
                 WHERE key IN ({}) LIMIT 1 BY key",
                    self.database,
                    list(keys)
                );
                client.ask(READ, &sql)
            },
            |values| {
                Ok(Arc::new(Frame {
                    kind: kind_of(values.u32()?),
                    function: values.text()?,
                    module: values.text()?,
                    file: values.text()?,
                    line: values.u32()?,
                    build_id: values.text()?,
                }))
            },
        )
    }
}

/// What a day does not have yet.
#[derive(Default)]
struct Fresh {
    frames: BTreeMap<u128, Frame>,
    stacks: BTreeMap<u128, Vec<u128>>,
}

/// Takes what is in the cache, and asks for the rest in parts. What is not there either is not in the answer.
fn load<T: Clone + Send + Sync + 'static>(
    cache: &Cache<u128, T>,
    keys: &[u128],
    ask: impl Fn(&[u128]) -> Result<Vec<u8>, StoreError>,
    read: impl Fn(&mut Values<'_>) -> Result<T, StoreError>,
) -> Result<HashMap<u128, T>, StoreError> {
    let mut found = HashMap::with_capacity(keys.len());
    let mut missing = Vec::new();
    for key in keys {
        match cache.get(key) {
            Some(known) => {
                found.insert(*key, known);
            }
            None => missing.push(*key),
        }
    }
    for keys in missing.chunks(KEYS_MAX) {
        let answer = ask(keys)?;
        let mut values = Values::new(&answer);
        while !values.is_at_end() {
            let key = values.key()?;
            let value = read(&mut values)?;
            cache.insert(key, value.clone());
            found.insert(key, value);
        }
    }
    Ok(found)
}

fn list(keys: &[u128]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| key_literal(*key)).collect();
    keys.join(", ")
}

fn fresh_frame(arrival: &Arrival, at: u32) -> Result<(u128, Frame), StoreError> {
    const NO_FRAME: StoreError =
        StoreError::Inconsistent("a stack names a frame that is not there");
    let batch = arrival.batch();
    let frame = batch.frames.get(at as usize).ok_or(NO_FRAME)?;
    let key = arrival.frame_keys().get(at as usize).ok_or(NO_FRAME)?;
    let text = |index: u32| {
        let text = batch.strings.get(index as usize);
        text.cloned().ok_or(StoreError::Inconsistent("an index points past the strings"))
    };
    Ok((
        *key,
        Frame {
            kind: kind_of(frame.kind.cast_unsigned()),
            function: text(frame.function)?,
            module: text(frame.module)?,
            file: text(frame.file)?,
            line: frame.line,
            build_id: text(frame.build_id)?,
        },
    ))
}

/// Kinds that this build does not know read as native code: a batch is never refused for a kind.
fn kind_of(number: u32) -> FrameKind {
    match v1::FrameKind::try_from(number.cast_signed()) {
        Ok(v1::FrameKind::Inlined) => FrameKind::Inlined,
        Ok(v1::FrameKind::Kernel) => FrameKind::Kernel,
        Ok(v1::FrameKind::Jit) => FrameKind::Jit,
        Ok(v1::FrameKind::Marker) => FrameKind::Marker,
        Ok(v1::FrameKind::Native | v1::FrameKind::Unspecified) | Err(_) => FrameKind::Native,
    }
}

fn kind_number(kind: FrameKind) -> u32 {
    let kind = match kind {
        FrameKind::Native => v1::FrameKind::Native,
        FrameKind::Inlined => v1::FrameKind::Inlined,
        FrameKind::Kernel => v1::FrameKind::Kernel,
        FrameKind::Jit => v1::FrameKind::Jit,
        FrameKind::Marker => v1::FrameKind::Marker,
    };
    (kind as i32).cast_unsigned()
}
