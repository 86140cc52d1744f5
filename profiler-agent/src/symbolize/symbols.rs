//! The functions of an ELF file by address, from its symbol table.
//!
//! A compiler's library has some hundred thousand of them, with tens of megabytes of names. So only 12 bytes are kept of
//! each, and the few names that are asked for are read from the file.

use std::io::Read;

use object::elf::{
    SHF_COMPRESSED, SHF_EXECINSTR, SHN_LORESERVE, SHT_DYNSYM, SHT_SYMTAB, STT_FUNC, STT_GNU_IFUNC,
    STT_NOTYPE, SectionHeader64, Sym64,
};
use object::read::elf::{FileHeader, SectionHeader, Sym};
use object::{Endianness, FileKind, elf};

use crate::process::Executable;

/// Most functions of a file, 24 MB; the largest browsers have half as many. The rest stay without names.
const FUNCTIONS_MAX: usize = 2 << 20;

/// Longest name that is read. Those of nested generic types have some kilobytes.
const NAME_BYTES_MAX: usize = 16 << 10;

/// Bytes read of a name at first; nearly all are shorter.
const NAME_BYTES: usize = 256;

/// Names of one function that are compared; aliases are few.
const ALIASES_MAX: usize = 16;

/// Symbols read at once.
const CHUNK_SYMBOLS: u64 = 8192;

/// Bytes of one symbol in the file.
const SYMBOL_BYTES: u64 = size_of::<Sym64<Endianness>>() as u64;

/// Largest packed symbol table, unpacked: it has only what the dynamic one lacks.
const PACKED_BYTES_MAX: u64 = 32 << 20;

/// Where the symbol table of a file is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SymbolTable {
    /// Symbols.
    pub(super) symbols: Part,
    /// Their names.
    pub(super) names: Part,
    /// Whether it has only what other files may ask for.
    pub(super) is_dynamic: bool,
    /// Packed file with a better symbol table, instead of a table in the file itself.
    pub(super) packed: Option<Part>,
    /// Sections with code: (index, first address, address after the last one).
    pub(super) code: Vec<(usize, u64, u64)>,
    /// How numbers are written.
    pub(super) endian: Endianness,
}

/// A part of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// First byte.
    pub(super) offset: u64,
    /// Number of bytes.
    pub(super) bytes: u64,
}

impl SymbolTable {
    /// Finds the best table among the sections: the whole one, else the dynamic one.
    pub(super) fn find(sections: &[SectionHeader64<Endianness>], endian: Endianness) -> Self {
        let part = |section: &SectionHeader64<Endianness>| Part {
            offset: section.sh_offset(endian),
            bytes: section.sh_size(endian),
        };
        let of_type = |wanted| {
            let mut found = sections.iter().filter(|section| section.sh_type(endian) == wanted);
            found.find(|section| {
                let packed = section.sh_flags(endian).contains(SHF_COMPRESSED);
                !packed && section.sh_size(endian) >= SYMBOL_BYTES
            })
        };
        let code = sections
            .iter()
            .enumerate()
            .filter(|(_, section)| section.sh_flags(endian).contains(SHF_EXECINSTR));
        let code = code.map(|(index, section)| {
            let start = section.sh_addr(endian);
            (index, start, start.saturating_add(section.sh_size(endian)))
        });
        let mut table = Self { code: code.collect(), endian, ..Self::default() };
        let whole = of_type(SHT_SYMTAB);
        if let Some(found) = whole.or_else(|| of_type(SHT_DYNSYM)) {
            table.is_dynamic = whole.is_none();
            table.symbols = part(found);
            let names = sections.get(found.sh_link(endian) as usize);
            table.names = names.map(part).unwrap_or_default();
        }
        table
    }
}

/// The functions of one file, by address.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    /// Sorted by address, the largest first among those that begin together.
    functions: Vec<Function>,
    /// Address from which functions are counted.
    base: u64,
    names: Names,
}

/// One function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Function {
    /// Where it begins, from the base.
    start: u32,
    bytes: u32,
    /// Where its name begins among the names.
    name: u32,
}

/// Where names are.
#[derive(Debug)]
enum Names {
    File(Part),
    Memory(Vec<u8>),
}

impl Default for Names {
    fn default() -> Self {
        Self::File(Part::default())
    }
}

impl Symbols {
    /// Reads the table of a file; empty where there is none or it makes no sense.
    pub(super) fn read(executable: &Executable, table: &SymbolTable) -> Self {
        let packed = table.packed.and_then(|part| Self::read_packed(executable, part));
        packed.filter(|symbols| !symbols.functions.is_empty()).unwrap_or_else(|| {
            let read = |offset, bytes| executable.read(offset, bytes).unwrap_or_default();
            Self::collect(table, Names::File(table.names), &read)
        })
    }

    /// Reads the small file that some distributions pack into a section.
    fn read_packed(executable: &Executable, part: Part) -> Option<Self> {
        let packed = executable.read(part.offset, part.bytes.min(PACKED_BYTES_MAX)).ok()?;
        let mut file = Vec::new();
        xz2::read::XzDecoder::new(&*packed).take(PACKED_BYTES_MAX).read_to_end(&mut file).ok()?;
        if !matches!(FileKind::parse(&*file), Ok(FileKind::Elf64)) {
            return None;
        }
        let header = elf::FileHeader64::<Endianness>::parse(&*file).ok()?;
        let endian = header.endian().ok()?;
        let table = SymbolTable::find(header.section_headers(endian, &*file).ok()?, endian);
        let slice = |offset: u64, bytes: u64| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(file.len());
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            file[start..start.saturating_add(bytes).min(file.len())].to_vec()
        };
        let names = slice(table.names.offset, table.names.bytes);
        Some(Self::collect(&table, Names::Memory(names), &slice))
    }

    /// Keeps the functions of a table whose bytes are read piece by piece.
    fn collect(table: &SymbolTable, names: Names, read: &dyn Fn(u64, u64) -> Vec<u8>) -> Self {
        let base = table.code.iter().map(|(_, start, _)| *start).min().unwrap_or(0);
        let mut functions = Vec::new();
        let count = table.symbols.bytes / SYMBOL_BYTES;
        for first in (0..count).step_by(CHUNK_SYMBOLS as usize) {
            let bytes = SYMBOL_BYTES * CHUNK_SYMBOLS.min(count - first);
            let chunk = read(table.symbols.offset.saturating_add(SYMBOL_BYTES * first), bytes);
            let whole = chunk.len() / SYMBOL_BYTES as usize;
            let Ok((symbols, _)) = object::pod::slice_from_bytes(&chunk, whole) else { break };
            let found = symbols.iter().filter_map(|symbol| table.function(symbol, base));
            functions.extend(found.take(FUNCTIONS_MAX - functions.len()));
            if whole < (bytes / SYMBOL_BYTES) as usize || functions.len() >= FUNCTIONS_MAX {
                break;
            }
        }
        functions.sort_unstable_by_key(|function| {
            (function.start, std::cmp::Reverse(function.bytes), function.name)
        });
        table.bound(&mut functions, base);
        functions.shrink_to_fit();
        Self { functions, base, names }
    }

    /// Finds the name of the function at an address that the linker gave.
    pub(super) fn find(&self, executable: &Executable, address: u64) -> Option<String> {
        let at = u32::try_from(address.checked_sub(self.base)?).ok()?;
        let behind = self.functions.partition_point(|function| function.start <= at);
        let start = self.functions[..behind].last()?.start;
        let first = self.functions[..behind].partition_point(|function| function.start < start);
        let together = &self.functions[first..behind];
        let found = together.iter().position(|function| at - start < function.bytes)?;
        let bytes = together[found].bytes;
        let aliases = together[found..].iter().take_while(|function| function.bytes == bytes);
        let names = aliases.take(ALIASES_MAX).filter_map(|f| self.names.read(executable, f.name));
        // The one that people call it by: `read`, not `__libc_read`.
        names.min_by_key(|name| {
            let underscores = name.bytes().take_while(|byte| *byte == b'_').count();
            (underscores, name.len(), name.clone())
        })
    }

    /// Bytes of memory that it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        let names = if let Names::Memory(names) = &self.names { names.capacity() } else { 0 };
        self.functions.capacity() * size_of::<Function>() + names
    }
}

impl SymbolTable {
    /// The function that a symbol stands for.
    fn function(&self, symbol: &Sym64<Endianness>, base: u64) -> Option<Function> {
        let endian = self.endian;
        let named = matches!(symbol.st_type(), STT_FUNC | STT_GNU_IFUNC | STT_NOTYPE);
        let section = symbol.st_shndx(endian);
        if !named || symbol.st_name(endian) == 0 || section.0 >= SHN_LORESERVE {
            return None;
        }
        self.code.binary_search_by_key(&usize::from(section.0), |(index, ..)| *index).ok()?;
        let bytes = match symbol.st_size(endian) {
            // Tables for other files have gaps: nothing says how far such a function reaches.
            0 => u64::from(self.is_dynamic),
            bytes => bytes,
        };
        Some(Function {
            start: u32::try_from(symbol.st_value(endian).checked_sub(base)?).ok()?,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            name: symbol.st_name(endian),
        })
    }

    /// Functions without a size, as assemblers make them, reach to the next one or to the end of their section.
    fn bound(&self, functions: &mut [Function], base: u64) {
        let ends: Vec<(u64, u64)> =
            self.code.iter().map(|(_, start, end)| (start - base, end - base)).collect();
        let mut next = u32::MAX;
        let mut same = u32::MAX;
        for function in functions.iter_mut().rev() {
            if function.start != same {
                (next, same) = (same, function.start);
            }
            if function.bytes == 0 {
                let start = u64::from(function.start);
                let section = ends.iter().find(|(first, end)| (*first..*end).contains(&start));
                let end = section.map_or(start, |(_, end)| (*end).min(u64::from(next)));
                function.bytes = u32::try_from(end - start).unwrap_or(u32::MAX);
            }
        }
    }
}

impl Names {
    fn read(&self, executable: &Executable, name: u32) -> Option<String> {
        let name = u64::from(name);
        match self {
            Self::Memory(names) => cut(names.get(usize::try_from(name).ok()?..)?),
            Self::File(part) => {
                let room = part.bytes.checked_sub(name)?;
                let read = |bytes: usize| {
                    executable.read(part.offset.checked_add(name)?, room.min(bytes as u64)).ok()
                };
                cut(&read(NAME_BYTES)?).or_else(|| cut(&read(NAME_BYTES_MAX)?))
            }
        }
    }
}

/// The text up to the zero that ends it.
fn cut(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().take(NAME_BYTES_MAX).position(|byte| *byte == 0)?;
    (end > 0).then(|| String::from_utf8_lossy(&bytes[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: &[u8] = b"\0_libc_read\0read\0start\0end\0data\0";

    /// Symbols of (name, type, section, address, bytes) in a file with code at 0x1000..0x2000, its section 1.
    fn find(
        symbols: &[(u32, u8, u16, u64, u64)],
        is_dynamic: bool,
        address: u64,
    ) -> Option<String> {
        let bytes: Vec<u8> = symbols
            .iter()
            .flat_map(|(name, kind, section, address, bytes)| {
                let mut symbol = name.to_le_bytes().to_vec();
                symbol.extend([*kind, 0]);
                symbol.extend(section.to_le_bytes());
                symbol.extend(address.to_le_bytes());
                symbol.extend(bytes.to_le_bytes());
                symbol
            })
            .collect();
        let table = SymbolTable {
            symbols: Part { offset: 0, bytes: bytes.len() as u64 },
            is_dynamic,
            code: vec![(1, 0x1000, 0x2000)],
            ..SymbolTable::default()
        };
        let read = |offset: u64, count: u64| bytes[offset as usize..][..count as usize].to_vec();
        let symbols = Symbols::collect(&table, Names::Memory(NAMES.to_vec()), &read);
        let file = tempfile::tempfile().unwrap();
        symbols.find(&Executable::new(file, "x").unwrap(), address)
    }

    #[test]
    fn a_function_has_its_name_from_its_first_to_its_last_byte() {
        let function = [(17, 2, 1, 0x1010, 8)];
        let found = |address| find(&function, false, address);
        assert_eq!(found(0x100f), None);
        assert_eq!(found(0x1010).as_deref(), Some("start"));
        assert_eq!(found(0x1017).as_deref(), Some("start"));
        assert_eq!(found(0x1018), None);
    }

    #[test]
    fn a_function_without_a_size_reaches_to_the_next_one_or_the_end_of_the_code() {
        let functions = [(17, 0, 1, 0x1010, 0), (23, 0, 1, 0x1100, 0)];
        let found = |address| find(&functions, false, address);
        assert_eq!(found(0x10ff).as_deref(), Some("start"));
        assert_eq!(found(0x1fff).as_deref(), Some("end"));
        assert_eq!(found(0x2000), None);
        assert_eq!(find(&functions, true, 0x1010).as_deref(), Some("start"));
        assert_eq!(find(&functions, true, 0x1011), None, "a table with gaps says nothing of it");
    }

    #[test]
    fn of_several_names_the_one_that_people_use_is_taken() {
        let functions = [(1, 2, 1, 0x1010, 8), (12, 2, 1, 0x1010, 8)];
        assert_eq!(find(&functions, true, 0x1012).as_deref(), Some("read"));
    }

    #[test]
    fn what_is_no_code_has_no_name() {
        let others = [(27, 1, 1, 0x1010, 8), (27, 2, 2, 0x1010, 8), (27, 2, 0xfff1, 0x1010, 8)];
        assert_eq!(find(&others, false, 0x1012), None);
    }

    proptest! {
        #[test]
        fn arbitrary_symbols_never_panic(
            symbols in proptest::collection::vec(
                (0u32..40, 0u8..3, 0u16..3, any::<u64>(), any::<u64>()), 0..20),
            near in proptest::collection::vec(0x1000u64..0x2000, 0..20),
            address in any::<u64>(),
        ) {
            let mut symbols = symbols;
            for (symbol, near) in symbols.iter_mut().zip(&near) {
                symbol.3 = *near;
            }
            for address in near.iter().copied().chain([address]) {
                let _name = find(&symbols, address % 2 == 0, address);
            }
        }
    }
}
