//! Rules of functions written in Go, from `.gopclntab`, which even stripped programs keep: their runtime needs it.
//!
//! It tells for each function how far the stack pointer is below the return address, from which program counter on. The
//! format is that of Go 1.18 and later; older programs are unwound by `.debug_frame` or their frame pointers. Functions
//! with a frame keep the caller's rbp right below the return address.

use profiler_common::abi::row::{DWARF_RBP, DWARF_RSP, Rule, cfa, rbp};

use super::bytes::Cursor;

/// First bytes of the format of Go 1.18, and of Go 1.20 and later.
const MAGICS: [u32; 2] = [0xffff_fff0, 0xffff_fff1];

/// Bytes of an entry of the list of functions: offset of its code, offset of its description.
const ENTRY_BYTES: usize = 8;

/// Where fields are in the description of a function.
const NAME_FIELD: u64 = 4;
const STACK_FIELD: u64 = 16;
const FLAG_FIELD: u64 = 41;

/// The function is the first one of its stack.
const FLAG_TOP: u8 = 1;
/// The function sets the stack pointer to something else: it switches stacks, and nothing is written about that.
const FLAG_SWITCHES: u8 = 2;

/// The return address that the kernel pushed is below this one, although it has the flag of the first function.
const SIGNAL_HANDLER: &[u8] = b"runtime.sigtramp";

/// They call on another stack, and rbp keeps pointing to their frame on the stack they came from.
const KEEP_FRAME: [&[u8]; 2] = [b"runtime.systemstack", b"runtime.asmcgocall"];

/// What function names may end with.
const NAME_SUFFIX: &[u8] = b".abi0";

/// Bytes of a return address, and of a saved rbp.
const WORD: i32 = 8;

/// The functions of a program.
#[derive(Debug)]
pub(super) struct Functions<'b> {
    /// Address of the code that offsets count from.
    text: u64,
    entries: &'b [[u8; ENTRY_BYTES]],
    descriptions: &'b [u8],
    names: &'b [u8],
    stacks: &'b [u8],
}

/// Which rules a function gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Usual,
    Top,
    KeepsFrame,
    Switches,
}

impl<'b> Functions<'b> {
    /// Reads the head of `.gopclntab`. `text` is where the code starts, in case that is not written there, as since Go
    /// 1.26.
    pub(super) fn parse(bytes: &'b [u8], text: Option<u64>) -> Option<Self> {
        let mut at = Cursor::new(bytes);
        let magic = at.u32()?;
        // Two zeros; the least bytes of an instruction and those of an address, for x86-64.
        if !MAGICS.contains(&magic) || at.take(4)? != [0, 0, 1, 8] {
            return None;
        }
        let (count, _files, written_text) = (at.u64()?, at.u64()?, at.u64()?);
        let (names, _units, _files) = (at.u64()?, at.u64()?, at.u64()?);
        let (stacks, descriptions) = (at.u64()?, at.u64()?);
        let from = |offset: u64| bytes.get(usize::try_from(offset).ok()?..);
        let descriptions = from(descriptions)?;
        let entries = descriptions.as_chunks::<ENTRY_BYTES>().0;
        // Behind the last function stands only where its code ends; what follows completes the entry.
        let count = usize::try_from(count).ok()?.checked_add(1)?;
        Some(Self {
            text: if written_text == 0 { text? } else { written_text },
            entries: entries.get(..count)?,
            descriptions,
            names: from(names)?,
            stacks: from(stacks)?,
        })
    }

    /// Start and end of each function's code, in the order of their indices.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.entries.array_windows().map(|[entry, next]| (self.start(entry), self.start(next)))
    }

    /// Gives `emit` each address of a function from which a rule holds, until it returns false.
    pub(super) fn run(&self, index: u32, emit: &mut impl FnMut(u64, Rule) -> bool) {
        let Some([entry, _next]) = self.entries.get(index as usize..).and_then(<[_]>::first_chunk)
        else {
            return;
        };
        let start = self.start(entry);
        let rules = self.stack(entry).map(|stack| (self.kind(entry), stack));
        match rules {
            Some((Kind::Top, _)) => drop(emit(start, Rule::ROOT)),
            Some((kind @ (Kind::Usual | Kind::KeepsFrame), stack)) => {
                run_stack(stack, kind, start, emit);
            }
            // Their frame pointer is zero on the other stack, which is that stack's root.
            Some((Kind::Switches, _)) | None => drop(emit(start, Rule::NONE)),
        }
    }

    fn start(&self, entry: &[u8; ENTRY_BYTES]) -> u64 {
        let [a, b, c, d, ..] = *entry;
        self.text.saturating_add(u64::from(u32::from_le_bytes([a, b, c, d])))
    }

    /// The description of a function, from one of its fields on.
    fn field(&self, entry: &[u8; ENTRY_BYTES], field: u64) -> Option<Cursor<'b>> {
        let [.., a, b, c, d] = *entry;
        let mut at = Cursor::new(self.descriptions);
        at.take(u64::from(u32::from_le_bytes([a, b, c, d])) + field)?;
        Some(at)
    }

    /// How far the stack pointer is down; `None` for a function that does not tell.
    fn stack(&self, entry: &[u8; ENTRY_BYTES]) -> Option<Cursor<'b>> {
        let offset = self.field(entry, STACK_FIELD)?.u32()?;
        let mut at = Cursor::new(self.stacks);
        at.take(u64::from(offset))?;
        (offset != 0).then_some(at)
    }

    fn kind(&self, entry: &[u8; ENTRY_BYTES]) -> Kind {
        let flag = self.field(entry, FLAG_FIELD).and_then(|mut at| at.u8()).unwrap_or(0);
        if flag & (FLAG_TOP | FLAG_SWITCHES) == 0 {
            return Kind::Usual;
        }
        let name = self.name(entry).unwrap_or_default();
        let name = name.strip_suffix(NAME_SUFFIX).unwrap_or(name);
        match flag & FLAG_TOP {
            0 if KEEP_FRAME.contains(&name) => Kind::KeepsFrame,
            0 => Kind::Switches,
            _ if name == SIGNAL_HANDLER => Kind::Usual,
            _ => Kind::Top,
        }
    }

    fn name(&self, entry: &[u8; ENTRY_BYTES]) -> Option<&'b [u8]> {
        let offset = self.field(entry, NAME_FIELD)?.u32()?;
        let mut at = Cursor::new(self.names);
        at.take(u64::from(offset))?;
        at.text()
    }
}

/// Reads pairs of numbers: by how much the depth of the stack changes, and for how many bytes of code it then holds. A
/// change of zero ends them, but for the first one.
fn run_stack(mut at: Cursor<'_>, kind: Kind, start: u64, emit: &mut impl FnMut(u64, Rule) -> bool) {
    let (mut address, mut depth) = (start, -1_i32);
    let mut next = || {
        let change = at.unsigned()? as u32;
        if change == 0 && address != start {
            return None;
        }
        // The sign is in the lowest bit.
        depth = depth.wrapping_add((change >> 1).cast_signed() ^ -(change & 1).cast_signed());
        let held = address;
        address = address.checked_add(at.unsigned()?.max(1))?;
        Some((held, depth))
    };
    while let Some((address, depth)) = next() {
        if !emit(address, rule_at_depth(kind, depth)) {
            return;
        }
    }
    // The function ends before what is described ends, or it is not described to its end.
    emit(address, Rule::NONE);
}

fn rule_at_depth(kind: Kind, depth: i32) -> Rule {
    let Some(cfa_offset) = depth.checked_add(WORD).filter(|offset| *offset >= WORD) else {
        return Rule::UNSUPPORTED;
    };
    if depth < WORD {
        return Rule { cfa: cfa::REGISTER | DWARF_RSP, cfa_offset, ..Rule::NONE };
    }
    if kind == Kind::KeepsFrame {
        // rbp as its own base tells the walk that the caller's stack may be another one.
        return Rule {
            cfa: cfa::REGISTER | DWARF_RBP,
            cfa_offset: 2 * WORD,
            rbp: rbp::AT_RBP,
            rbp_offset: 0,
        };
    }
    Rule {
        cfa: cfa::REGISTER | DWARF_RSP,
        cfa_offset,
        rbp: rbp::AT_CFA,
        rbp_offset: -2 * WORD as i16,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STACKS_OFFSET: usize = 200;

    /// A table of functions at 0x1000, 0x1010 and so on: name, flag, and pairs of changes of depth and bytes of code.
    fn table(functions: &[(&str, u8, &[u8])]) -> Vec<u8> {
        let mut names = Vec::new();
        let mut stacks = vec![0];
        let mut list = Vec::new();
        let mut descriptions = Vec::new();
        for (index, (name, flag, stack)) in functions.iter().enumerate() {
            let code = 0x10 * index as u32;
            let description = (functions.len() * 8 + 4 + descriptions.len()) as u32;
            list.extend([code, description].iter().flat_map(|word| word.to_le_bytes()));
            let mut fields = vec![0; 44];
            fields[4..8].copy_from_slice(&(names.len() as u32).to_le_bytes());
            let offset = if stack.is_empty() { 0 } else { stacks.len() as u32 };
            fields[16..20].copy_from_slice(&offset.to_le_bytes());
            fields[41] = *flag;
            descriptions.extend(fields);
            names.extend(name.bytes().chain([0]));
            stacks.extend(stack.iter().chain(&[0]));
        }
        list.extend((0x10 * functions.len() as u32).to_le_bytes());
        let stacks_end = STACKS_OFFSET + stacks.len();
        let offsets = [72, 0, 0, STACKS_OFFSET, stacks_end].map(|offset| offset as u64);
        let words = [&[functions.len() as u64, 0, 0x1000][..], &offsets].concat();
        let mut bytes = [&MAGICS[1].to_le_bytes()[..], &[0, 0, 1, 8]].concat();
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(names);
        bytes.resize(STACKS_OFFSET, 0);
        [bytes, stacks, list, descriptions].concat()
    }

    fn rules(bytes: &[u8], index: u32) -> Vec<(u64, u8, i32, u8)> {
        let mut found = Vec::new();
        let functions = Functions::parse(bytes, None).unwrap();
        functions.run(index, &mut |address, rule| {
            found.push((address, rule.cfa, rule.cfa_offset, rule.rbp));
            true
        });
        found
    }

    /// Depth 0 for 1 byte, 8 for 3 bytes, 40 for 8 bytes, 0 for 4 bytes.
    const STACK: &[u8] = &[2, 1, 16, 3, 64, 8, 79, 4];

    #[test]
    fn a_function_with_a_frame_keeps_rbp_below_its_return_address() {
        let bytes = table(&[("main.main", 0, STACK), ("main.tiny", 0, &[2, 16])]);
        let (none, at) = (rbp::SAME, rbp::AT_CFA);
        assert_eq!(
            rules(&bytes, 0),
            [
                (0x1000, 0x17, 8, none),
                (0x1001, 0x17, 16, at),
                (0x1004, 0x17, 48, at),
                (0x100c, 0x17, 8, none),
                (0x1010, cfa::NONE, 0, none)
            ]
        );
        assert_eq!(rules(&bytes, 1), [(0x1010, 0x17, 8, none), (0x1020, cfa::NONE, 0, none)]);
        let functions = Functions::parse(&bytes, None).unwrap();
        assert!(functions.ranges().eq([(0x1000, 0x1010), (0x1010, 0x1020)]));
    }

    #[test]
    fn functions_that_switch_stacks_are_told_apart() {
        let bytes = table(&[
            ("runtime.goexit.abi0", FLAG_TOP, STACK),
            ("runtime.sigtramp.abi0", FLAG_TOP, STACK),
            ("runtime.mcall", FLAG_SWITCHES, STACK),
            ("runtime.systemstack.abi0", FLAG_SWITCHES, STACK),
            ("runtime.abort", 0, &[]),
        ]);
        assert_eq!(rules(&bytes, 0), [(0x1000, cfa::ROOT, 0, 0)]);
        assert_eq!(rules(&bytes, 1)[2], (0x1014, 0x17, 48, rbp::AT_CFA));
        assert_eq!(rules(&bytes, 2), [(0x1020, cfa::NONE, 0, 0)]);
        assert_eq!(rules(&bytes, 3)[0], (0x1030, 0x17, 8, rbp::SAME));
        assert_eq!(rules(&bytes, 3)[2], (0x1034, 0x16, 16, rbp::AT_RBP));
        assert_eq!(rules(&bytes, 4), [(0x1040, cfa::NONE, 0, 0)]);
        assert_eq!(rules(&bytes, 5), []);
    }

    #[test]
    fn where_the_code_starts_may_have_to_be_told() {
        let mut bytes = table(&[("main.main", 0, STACK)]);
        bytes[24..32].fill(0);
        assert!(Functions::parse(&bytes, None).is_none());
        let functions = Functions::parse(&bytes, Some(0x40_1000)).unwrap();
        assert!(functions.ranges().eq([(0x40_1000, 0x40_1010)]));
    }

    proptest! {
        #[test]
        fn lies_end_and_never_panic(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..9),
            count in any::<prop::sample::Index>(),
        ) {
            let mut bytes = table(&[("main.main", 0, STACK), ("runtime.mcall", 2, STACK)]);
            for (index, byte) in damage {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            bytes.truncate(bytes.len() - count.index(bytes.len()) / 8);
            if let Some(functions) = Functions::parse(&bytes, None) {
                for index in 0..functions.ranges().take(9).count() as u32 {
                    let mut last = None;
                    functions.run(index, &mut |address, _| {
                        assert!(last.is_none_or(|last| last < address));
                        last = Some(address);
                        true
                    });
                }
            }
        }
    }
}
