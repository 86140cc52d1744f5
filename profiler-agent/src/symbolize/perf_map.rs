//! Names of code made at run time, from the `/tmp/perf-PID.map` that many runtimes write.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::process::{ProcessKey, open_in_root};

/// Most maps held at once, each with a file held open.
const MAPS_MAX: usize = 32;

/// Most processes known to have no map, each with a few words.
const MISSING_MAX: usize = 1024;

/// Most bytes read of one map: 200,000 functions of 160 bytes.
const MAP_BYTES_MAX: u64 = 32 << 20;

/// Most functions held of one map; at about 100 bytes each, 20 MB.
const FUNCTIONS_MAX: usize = 200_000;

/// Longest line that is looked at.
const LINE_BYTES_MAX: usize = 4096;

/// Bytes read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Addresses of a process that are passed over before a missing map is looked for again.
const RETRY_LOOKUPS: u32 = 256;

/// The perf maps of all processes.
#[derive(Debug, Default)]
pub(super) struct PerfMaps {
    maps: HashMap<ProcessKey, Slot>,
    clock: u64,
}

#[derive(Debug)]
struct Slot {
    state: SlotState,
    used: u64,
}

#[derive(Debug)]
enum SlotState {
    /// There is none; the number of lookups until it is tried again.
    Missing(u32),
    Open(PerfMap),
}

impl PerfMaps {
    /// Finds the name of an address; `namespace_tgid` is the number of the process as it sees itself.
    pub(super) fn find(
        &mut self,
        process: ProcessKey,
        namespace_tgid: u32,
        address: u64,
    ) -> Option<String> {
        self.clock += 1;
        if !self.maps.contains_key(&process) && self.maps.len() >= MAPS_MAX + MISSING_MAX {
            self.drop_oldest(|_| true);
        }
        let missing = Slot { state: SlotState::Missing(0), used: 0 };
        let slot = self.maps.entry(process).or_insert(missing);
        slot.used = self.clock;
        match &mut slot.state {
            SlotState::Open(map) => return map.find(address),
            SlotState::Missing(lookups) if *lookups > 0 => {
                *lookups -= 1;
                return None;
            }
            SlotState::Missing(_) => {}
        }
        match open_map(process.tgid, namespace_tgid) {
            Ok(file) => {
                let mut map = PerfMap::new(file);
                let name = map.find(address);
                slot.state = SlotState::Open(map);
                let is_open = |slot: &Slot| matches!(slot.state, SlotState::Open(_));
                if self.maps.values().filter(|slot| is_open(slot)).count() > MAPS_MAX {
                    self.drop_oldest(is_open);
                }
                name
            }
            Err(_absent) => {
                slot.state = SlotState::Missing(RETRY_LOOKUPS);
                None
            }
        }
    }

    fn drop_oldest(&mut self, fits: impl Fn(&Slot) -> bool) {
        let fitting = self.maps.iter().filter(|(_, slot)| fits(slot));
        let oldest = fitting.min_by_key(|(_, slot)| slot.used).map(|(key, _)| *key);
        if let Some(key) = oldest {
            self.maps.remove(&key);
        }
    }
}

/// Opens the map of a process in its own `/tmp`, if it belongs to the same user: anybody can write there.
fn open_map(tgid: u32, namespace_tgid: u32) -> io::Result<File> {
    let file = open_in_root(tgid, format!("/tmp/perf-{namespace_tgid}.map").as_bytes())?;
    let owner = file.metadata()?.uid();
    if owner != 0 && owner != std::fs::metadata(format!("/proc/{tgid}"))?.uid() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(file)
}

/// One map; it only grows, so it is read on from where it ended.
#[derive(Debug)]
struct PerfMap {
    file: File,
    position: u64,
    lines: Lines,
}

/// What the lines of a map say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lines {
    /// The start of a line whose end is not written yet.
    partial: Vec<u8>,
    functions: Functions,
}

/// Functions by their first address, with the address after the last and the name.
type Functions = BTreeMap<u64, (u64, Box<str>)>;

impl PerfMap {
    fn new(file: File) -> Self {
        Self { file, position: 0, lines: Lines::default() }
    }

    fn find(&mut self, address: u64) -> Option<String> {
        find_function(&self.lines.functions, address).or_else(|| {
            self.read_on();
            find_function(&self.lines.functions, address)
        })
    }

    /// Reads what was written since the last time.
    fn read_on(&mut self) {
        let size = self.file.metadata().map_or(0, |metadata| metadata.len()).min(MAP_BYTES_MAX);
        if size < self.position {
            // It was written anew.
            self.position = 0;
            self.lines = Lines::default();
        }
        let mut chunk =
            vec![0; CHUNK_BYTES.min(usize::try_from(size - self.position).unwrap_or(0))];
        while self.position < size {
            let count = match self.file.read_at(&mut chunk, self.position) {
                Ok(count) if count > 0 => count,
                _ => break,
            };
            self.position += count as u64;
            self.lines.take(&chunk[..count]);
        }
    }
}

impl Lines {
    /// Takes the next bytes of the file; whole lines become functions.
    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            // A line past its limit is no function; only enough of it is kept to know that.
            let room = (LINE_BYTES_MAX + 1).saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                if self.functions.len() < FUNCTIONS_MAX {
                    self.functions.extend(parse_line(&self.partial));
                }
                self.partial.clear();
            }
        }
    }
}

/// Finds the function at an address in the whole text of a map.
#[must_use]
pub fn function_in_perf_map(text: &[u8], address: u64) -> Option<String> {
    let mut lines = Lines::default();
    lines.take(text);
    find_function(&lines.functions, address)
}

fn find_function(functions: &Functions, address: u64) -> Option<String> {
    let (_, (end, name)) = functions.range(..=address).next_back()?;
    (address < *end).then(|| name.to_string())
}

/// Parses `start size name`, both numbers in hex.
fn parse_line(line: &[u8]) -> Option<(u64, (u64, Box<str>))> {
    if line.len() > LINE_BYTES_MAX {
        return None;
    }
    let line = std::str::from_utf8(line).ok()?.trim_end();
    let (start, rest) = line.split_once(' ')?;
    let (size, name) = rest.trim_start().split_once(' ')?;
    let start = hex(start)?;
    let end = start.checked_add(hex(size)?)?;
    let name = name.trim();
    (!name.is_empty()).then(|| (start, (end, name.into())))
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_map_that_grows_is_read_on() {
        let mut file = tempfile::tempfile().unwrap();
        let mut map = PerfMap::new(file.try_clone().unwrap());
        write!(file, "1000 10 one\n0x2000 20 LazyCompile:~two /a b.js:1\n3000 10 thr").unwrap();
        assert_eq!(map.find(0x1000).as_deref(), Some("one"));
        assert_eq!(map.find(0x100f).as_deref(), Some("one"));
        assert_eq!(map.find(0x1010), None);
        assert_eq!(map.find(0x201f).as_deref(), Some("LazyCompile:~two /a b.js:1"));
        assert_eq!(map.find(0x3000), None);
        writeln!(file, "ee").unwrap();
        assert_eq!(map.find(0x3000).as_deref(), Some("three"));
        file.set_len(0).unwrap();
        assert_eq!(map.find(0x9999), None);
        assert_eq!(map.find(0x1000), None);
    }

    #[test]
    fn the_map_of_a_real_process_is_found_through_its_root() {
        let own = std::process::id();
        let path = format!("/tmp/perf-{own}.map");
        let key = ProcessKey { tgid: own, start_ns: 0 };
        let mut maps = PerfMaps::default();
        assert_eq!(maps.find(key, own, 0x77), None);
        std::fs::write(&path, "70 10 jitted\n").unwrap();
        let found: Vec<_> = (0..=RETRY_LOOKUPS).map(|_| maps.find(key, own, 0x77)).collect();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(found.last().unwrap().as_deref(), Some("jitted"));
        // It stays open, as it must for a process that ends.
        assert_eq!(maps.find(key, own, 0x7f).as_deref(), Some("jitted"));
    }

    #[test]
    fn processes_without_a_map_do_not_push_out_maps() {
        let own = std::process::id();
        let mut maps = PerfMaps::default();
        let mut map = PerfMap::new(tempfile::tempfile().unwrap());
        map.lines.take(b"70 10 jitted\n");
        let key = ProcessKey { tgid: own, start_ns: 1 };
        maps.maps.insert(key, Slot { state: SlotState::Open(map), used: 0 });
        for start_ns in 2..2 + MAPS_MAX as u64 {
            assert_eq!(maps.find(ProcessKey { tgid: own, start_ns }, u32::MAX, 0x77), None);
        }
        assert_eq!(maps.find(key, own, 0x77).as_deref(), Some("jitted"));
        for start_ns in 0..2 * (MAPS_MAX + MISSING_MAX) as u64 {
            maps.find(ProcessKey { tgid: own, start_ns }, u32::MAX, 0x77);
        }
        assert_eq!(maps.maps.len(), MAPS_MAX + MISSING_MAX);
    }

    proptest! {
        #[test]
        fn however_a_map_is_cut_it_reads_the_same(
            bytes in "[0-9a-f \\nx~]{0,200}", cut in 0usize..200
        ) {
            let take = |pieces: &[&[u8]]| {
                let mut lines = Lines::default();
                pieces.iter().for_each(|piece| lines.take(piece));
                lines
            };
            let bytes = bytes.as_bytes();
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(take(&[bytes]), take(&[left, right]));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            Lines::default().take(&bytes);
        }
    }
}
