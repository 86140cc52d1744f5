//! The vDSO: code of the kernel that is mapped into every process, and the same in all of them.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::MemfdFlags;

use crate::process::{Executable, MappingKind, parse_mappings};

/// Module name of the vDSO.
pub(super) const MODULE: &str = "[vdso]";

/// Largest vDSO that is believed; it has two pages today.
const IMAGE_BYTES_MAX: u64 = 1 << 20;

/// Copies the vDSO of this very process into a file without a name.
pub(crate) fn open_vdso() -> io::Result<Arc<Executable>> {
    let maps = std::fs::read("/proc/self/maps")?;
    let mapping = parse_mappings(&maps)
        .into_iter()
        .find(|mapping| mapping.kind == MappingKind::Vdso)
        .ok_or(io::ErrorKind::NotFound)?;
    let bytes = (mapping.end - mapping.start).min(IMAGE_BYTES_MAX);
    let mut image = vec![0; usize::try_from(bytes).unwrap_or(0)];
    File::open("/proc/self/mem")?.read_exact_at(&mut image, mapping.start)?;
    let mut file = File::from(rustix::fs::memfd_create("vdso", MemfdFlags::CLOEXEC)?);
    file.write_all(&image)?;
    Executable::new(file, MODULE).map(Arc::new)
}
