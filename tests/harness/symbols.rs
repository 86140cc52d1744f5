//! Names the frames of a stripped program, by the symbols that it had.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use object::{Object as _, ObjectSegment as _, ObjectSymbol as _, SymbolKind};

/// Bytes of `_start`, whose symbol a stripped program does not have.
const START_BYTES: u64 = 48;

/// Functions by the address at which they begin, and where the file's bytes are.
#[derive(Debug, Clone)]
pub struct Symbols {
    module: String,
    segments: Vec<(u64, u64, u64)>,
    functions: BTreeMap<u64, String>,
}

impl Symbols {
    /// Reads the segments of a program, its entry, and the functions of its twin that has symbols.
    ///
    /// # Errors
    ///
    /// When one of the files is no ELF file.
    pub fn read(program: &Path, twin: Option<&Path>) -> Result<Self> {
        let name = program.file_name().context("a program without a name")?;
        let bytes = read(program)?;
        let file = object::File::parse(&*bytes).context("the program is no ELF file")?;
        let segments = file.segments().map(|segment| {
            let (offset, length) = segment.file_range();
            (offset, offset + length, segment.address())
        });
        let segments = segments.collect();
        let mut functions = BTreeMap::from([
            (file.entry(), "_start".to_owned()),
            (file.entry() + START_BYTES, String::new()),
        ]);
        if let Some(twin) = twin {
            let bytes = read(twin)?;
            let file = object::File::parse(&*bytes).context("the twin is no ELF file")?;
            let symbols = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
            functions.extend(
                symbols
                    .filter_map(|symbol| Some((symbol.address(), symbol.name().ok()?.to_owned()))),
            );
        }
        Ok(Self { module: name.to_string_lossy().into_owned(), segments, functions })
    }

    /// The name of a frame `module+0xoffset` of this program; any other frame as it is.
    #[must_use]
    pub fn name(&self, frame: &str) -> String {
        self.find(frame).unwrap_or_else(|| frame.to_owned())
    }

    fn find(&self, frame: &str) -> Option<String> {
        let offset = frame.strip_prefix(&self.module)?.strip_prefix("+0x")?;
        let offset = u64::from_str_radix(offset, 16).ok()?;
        let (start, _, address) =
            self.segments.iter().find(|(start, end, _)| (*start..*end).contains(&offset))?;
        let (_, name) = self.functions.range(..=address + (offset - start)).next_back()?;
        (!name.is_empty()).then(|| name.clone())
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_finds_its_own_entry() {
        let program = std::env::current_exe().unwrap();
        let symbols = Symbols::read(&program, Some(&program)).unwrap();
        let (address, _) = symbols.functions.iter().find(|(_, name)| *name == "_start").unwrap();
        let segments = &symbols.segments;
        let inside = segments
            .iter()
            .find(|(start, end, base)| (*base..base + (end - start)).contains(address));
        let (start, _, base) = inside.unwrap();
        let frame = format!("{}+{:#x}", symbols.module, address - base + start + 1);
        assert_eq!(symbols.name(&frame), "_start");
        assert_eq!(symbols.name("libc.so.6+0x10"), "libc.so.6+0x10");
    }
}
