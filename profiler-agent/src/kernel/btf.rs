//! Finds the offsets of kernel struct members in the kernel's own type information (BTF).
//!
//! Aya gives no relocations to programs written in Rust, so the offsets are read here and passed as settings. The
//! parser takes any bytes: what is wrong or missing gives no offset, never a panic.

use std::fs;

use profiler_common::abi::settings::Settings;

/// Where the kernel shows its types.
pub(super) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Most types read. A distribution kernel has about 150,000.
const TYPES_MAX: usize = 1 << 20;

/// How deep a member may lie in anonymous structs and unions.
const NESTING_MAX: u32 = 4;

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const TYPE_BYTES: usize = 12;
const MEMBER_BYTES: usize = 12;

/// Fills in every offset that this kernel gives; the others stay 0.
pub(super) fn fill_offsets(settings: &mut Settings) {
    let Ok(bytes) = fs::read(VMLINUX) else { return };
    let Some(types) = Types::parse(&bytes) else { return };
    let offset = |structure, member| types.member_offset(structure, member).unwrap_or(0);
    settings.task_group_leader = offset("task_struct", "group_leader");
    settings.task_start_boottime = offset("task_struct", "start_boottime");
    settings.task_tgid = offset("task_struct", "tgid");
    settings.task_mm = offset("task_struct", "mm");
    settings.task_signal = offset("task_struct", "signal");
    settings.signal_live = offset("signal_struct", "live");
    settings.task_stack = offset("task_struct", "stack");
    settings.binprm_filename = offset("linux_binprm", "filename");
}

/// The types of one BTF section.
struct Types<'b> {
    types: &'b [u8],
    strings: &'b [u8],
    /// Where each type begins; type id 1 is the first.
    starts: Vec<u32>,
}

impl<'b> Types<'b> {
    fn parse(bytes: &'b [u8]) -> Option<Self> {
        if u16::from_ne_bytes(*bytes.first_chunk()?) != MAGIC {
            return None;
        }
        let header_bytes = word(bytes, 4)? as usize;
        let body = bytes.get(header_bytes..)?;
        let section = |at: usize| {
            let start = word(bytes, at)? as usize;
            body.get(start..start.checked_add(word(bytes, at + 4)? as usize)?)
        };
        let (types, strings) = (section(8)?, section(16)?);
        let mut starts = Vec::new();
        let mut at = 0;
        while at < types.len() && starts.len() < TYPES_MAX {
            starts.push(u32::try_from(at).ok()?);
            at = at.checked_add(type_bytes(word(types, at + 4)?)?)?;
        }
        Some(Self { types, strings, starts })
    }

    /// Offset of a member in bytes; `None` where there is no such struct or member, or it is a bit field.
    fn member_offset(&self, structure: &str, member: &str) -> Option<u32> {
        let start = self.starts.iter().find(|start| {
            let start = **start as usize;
            word(self.types, start + 4).is_some_and(|info| kind(info) == KIND_STRUCT)
                && word(self.types, start).is_some_and(|name| self.has_name(name, structure))
        })?;
        let bits = self.member_bits(*start as usize, member, NESTING_MAX)?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    fn member_bits(&self, start: usize, member: &str, nesting: u32) -> Option<u32> {
        let info = word(self.types, start + 4)?;
        let has_bit_fields = info >> 31 != 0;
        let members = (0..length(info)).map(|at| start + TYPE_BYTES + MEMBER_BYTES * at);
        for at in members {
            let (name, kind_id) = (word(self.types, at)?, word(self.types, at + 4)?);
            let offset = word(self.types, at + 8)?;
            let offset = if has_bit_fields { offset & 0xff_ffff } else { offset };
            if self.has_name(name, member) {
                return Some(offset);
            }
            if name == 0
                && nesting > 0
                && let Some(inner) = self.find_nested(kind_id)
                && let Some(bits) = self.member_bits(inner, member, nesting - 1)
            {
                return offset.checked_add(bits);
            }
        }
        None
    }

    /// Where the struct or union of this id begins.
    fn find_nested(&self, id: u32) -> Option<usize> {
        let start = *self.starts.get((id as usize).checked_sub(1)?)? as usize;
        let kind = kind(word(self.types, start + 4)?);
        matches!(kind, KIND_STRUCT | KIND_UNION).then_some(start)
    }

    fn has_name(&self, at: u32, name: &str) -> bool {
        let rest =
            self.strings.get(at as usize..).and_then(|rest| rest.split_at_checked(name.len()));
        rest.is_some_and(|(found, rest)| found == name.as_bytes() && rest.first() == Some(&0))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

fn kind(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

fn length(info: u32) -> usize {
    (info & 0xffff) as usize
}

/// Bytes of a type with what follows it; `None` for a kind that is not known, after which nothing can be read.
fn type_bytes(info: u32) -> Option<usize> {
    let length = length(info);
    let more = match kind(info) {
        // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
        2 | 7..=12 | 16 | 18 => 0,
        // Integer, variable, declaration tag.
        1 | 14 | 17 => 4,
        // Array.
        3 => 12,
        // Struct, union, section, 64-bit enum.
        4 | 5 | 15 | 19 => MEMBER_BYTES * length,
        // Enum, function prototype.
        6 | 13 => 8 * length,
        _ => return None,
    };
    Some(TYPE_BYTES + more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `struct s { <anonymous struct { int in; }> at 64; int out at 96; }`, with an integer of id 1.
    fn example() -> Vec<u8> {
        let strings = b"\0s\0in\0out\0";
        let mut words: Vec<u32> = Vec::new();
        words.extend([0, 1 << 24, 4, 32]);
        words.extend([0, KIND_STRUCT << 24 | 1, 4, 3, 1, 0]);
        words.extend([1, KIND_STRUCT << 24 | 2, 16, 0, 2, 64, 6, 1, 96]);
        let types: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        let header = [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32];
        bytes.extend(header.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_are_found_also_in_anonymous_structs() {
        let bytes = example();
        let types = Types::parse(&bytes).unwrap();
        assert_eq!(types.member_offset("s", "out"), Some(12));
        assert_eq!(types.member_offset("s", "in"), Some(8));
        assert_eq!(types.member_offset("s", "ou"), None);
        assert_eq!(types.member_offset("t", "out"), None);
    }

    proptest! {
        #[test]
        fn garbage_gives_no_offset_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(types) = Types::parse(&bytes) {
                types.member_offset("s", "out");
            }
        }

        #[test]
        fn a_damaged_section_gives_no_panic(at in 0usize..130, value in any::<u8>(), end in 0usize..140) {
            let mut bytes = example();
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            bytes.truncate(end);
            if let Some(types) = Types::parse(&bytes) {
                types.member_offset("s", "in");
                types.member_offset("s", "out");
            }
        }
    }
}
