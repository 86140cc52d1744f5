//! The kernel's own profiler, which copies stacks to user space and unwinds them there by DWARF: slow, and independent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::running::{Running, quiet};
use crate::truth::{Stack, plain_name};
use crate::{Scenario, command};

/// Debian's package `linux-perf` has it.
const PROGRAM: &str = "perf";

/// Bytes of stack that are copied with each sample; the workloads compared use less.
const STACK_BYTES: u32 = 16 << 10;

/// Addresses from here on are the kernel's.
const KERNEL_START: u64 = 1 << 63;

/// A recording that runs.
#[derive(Debug)]
pub struct Recording {
    running: Running,
    data: PathBuf,
}

impl Recording {
    /// Starts to record processes, given as numbers with commas between them; it ends by itself.
    ///
    /// # Errors
    ///
    /// When there is no `perf`.
    pub fn start(scenario: &Scenario, pids: &str, hertz: u64, seconds: u64) -> Result<Self> {
        let data = scenario.path("perf.data");
        let mut record = quiet(Path::new(PROGRAM));
        record.args(["record", "-e", "cpu-clock", "-F", &hertz.to_string(), "--call-graph"]);
        record.arg(format!("dwarf,{STACK_BYTES}")).args(["-p", pids, "-o"]).arg(&data);
        record.args(["--", "sleep", &seconds.to_string()]);
        let running = Running::start("perf", scenario.folder(), &mut record)
            .context("install `linux-perf`, or `cargo xtask test`")?;
        Ok(Self { running, data })
    }

    /// Waits for the end of the recording and unwinds its stacks, by process.
    ///
    /// # Errors
    ///
    /// When it recorded nothing, or what it prints cannot be understood.
    pub fn stacks(mut self) -> Result<BTreeMap<u32, Vec<Stack>>> {
        let status = self.running.wait(std::time::Duration::from_secs(60))?;
        anyhow::ensure!(status.success(), "perf ended with {status}: {}", self.running.output());
        let mut script = Command::new(PROGRAM);
        script.args(["script", "--no-inline", "-F", "pid,ip,sym,dso", "-i"]).arg(&self.data);
        parse(&command::finish(&mut script)?.expect_code(0)?.stdout)
    }
}

/// Reads blocks of a line with the process and one line for each frame, leaf first, with an empty line between them.
fn parse(script: &str) -> Result<BTreeMap<u32, Vec<Stack>>> {
    let mut processes: BTreeMap<u32, Vec<Stack>> = BTreeMap::new();
    for block in script.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let mut lines = block.lines().filter(|line| !line.trim().is_empty());
        let pid = lines.next().context("an empty sample")?.trim();
        let pid = pid.parse().with_context(|| format!("`{pid}` is no process"))?;
        let mut frames = Vec::new();
        for line in lines {
            frames.extend(frame(line)?);
        }
        frames.reverse();
        processes.entry(pid).or_default().push((frames, 1));
    }
    Ok(processes)
}

/// Reads `address name (file)`; a frame of the kernel is none.
fn frame(line: &str) -> Result<Option<String>> {
    let (address, rest) = line.trim().split_once(' ').context("a frame without a name")?;
    let address = u64::from_str_radix(address, 16).context("a frame without an address")?;
    if address >= KERNEL_START {
        return Ok(None);
    }
    let (name, file) = rest.rsplit_once(" (").context("a frame without a file")?;
    let file = file.trim_end_matches(')');
    let module = Path::new(file).file_name().unwrap_or_default().to_string_lossy();
    let name =
        if name == "[unknown]" { format!("{module}+{address:#x}") } else { plain_name(name) };
    Ok(Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_read_from_the_root_without_the_kernel() {
        let script = "  42 \n\tffffffff81000000 do_it ([kernel.kallsyms])\n\t 130c work(int, char) (/tmp/a b/plain)\n\
                      \t 1e0 [unknown] (/usr/lib/libffi.so.8)\n\n  43 \n\t 10 main (/tmp/plain)\n\n";
        let found = parse(script).unwrap();
        let frames = vec!["libffi.so.8+0x1e0".to_owned(), "work(int, char)".to_owned()];
        assert_eq!(found[&42], [(frames, 1)]);
        assert_eq!(found[&43], [(vec!["main".to_owned()], 1)]);
    }
}
