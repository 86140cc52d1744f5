//! Reads folded stacks, in which a profiler shows how deep it looked.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The stacks of the load in one capture.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stacks {
    /// Samples of all programs.
    pub(crate) samples: u64,
    /// Samples of the load.
    pub(crate) of_load: u64,
    /// Those of them that reached `_start`.
    pub(crate) whole: u64,
    /// User frames of all that are whole.
    frames: u64,
}

impl Stacks {
    /// Reads the file that a profiler wrote; the first frame of a line is the program.
    pub(crate) fn read(file: &Path, program: &str) -> Result<Self> {
        let text = fs::read_to_string(file)
            .with_context(|| format!("failed to read `{}`", file.display()))?;
        let mut stacks = Self::default();
        for (stack, count) in text.lines().filter_map(|line| line.rsplit_once(' ')) {
            let count: u64 = count.parse().with_context(|| format!("no number in `{stack}`"))?;
            stacks.add(stack, count, program);
        }
        Ok(stacks)
    }

    fn add(&mut self, stack: &str, count: u64, program: &str) {
        self.samples += count;
        let Some(frames) = stack.strip_prefix(program).and_then(|rest| rest.strip_prefix(';'))
        else {
            self.of_load += if stack == program { count } else { 0 };
            return;
        };
        self.of_load += count;
        // profile-bee puts a frame of its own above the outermost one.
        let frames = frames.strip_prefix("[unknown];").unwrap_or(frames);
        if frames.starts_with("_start") {
            let user = frames.split(';').filter(|frame| !is_of_kernel(frame)).count();
            self.whole += count;
            self.frames += count * user as u64;
        }
    }

    /// Mean user frames of the stacks that are whole.
    pub(crate) fn mean_frames(&self) -> f64 {
        self.frames as f64 / self.whole.max(1) as f64
    }

    /// Share of the load's stacks that are whole, in percent.
    pub(crate) fn whole_percent(&self) -> f64 {
        100.0 * self.whole as f64 / self.of_load.max(1) as f64
    }

    /// Share of the samples that hit the load, in percent.
    pub(crate) fn load_percent(&self) -> f64 {
        100.0 * self.of_load as f64 / self.samples.max(1) as f64
    }
}

/// Both profilers mark the kernel's frames by an ending.
fn is_of_kernel(frame: &str) -> bool {
    frame.ends_with("_[k]") || frame.ends_with("_k")
}
