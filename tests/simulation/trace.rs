//! What happened in one run, as lines and as a hash of them: two runs of one seed must tell the same story.

use std::fmt::Display;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Last lines that are kept for a run that fails.
const LINES_MAX: usize = 60;

/// The story of a run; clones tell the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace {
    story: Arc<Mutex<Story>>,
}

#[derive(Debug, Default)]
struct Story {
    now: Duration,
    hasher: DefaultHasher,
    lines: Vec<String>,
    is_whole: bool,
}

impl Trace {
    /// A story of which every line is kept.
    pub(crate) fn whole() -> Self {
        let trace = Self::default();
        trace.story.lock().unwrap().is_whole = true;
        trace
    }

    /// What is said from now on happens at this time.
    pub(crate) fn at(&self, now: Duration) {
        self.story.lock().unwrap().now = now;
    }

    /// Adds a line.
    pub(crate) fn say(&self, what: impl Display) {
        let mut story = self.story.lock().unwrap();
        let line = format!("{:>9.1} s  {what}", story.now.as_secs_f64());
        story.hasher.write(line.as_bytes());
        if !story.is_whole && story.lines.len() >= 2 * LINES_MAX {
            story.lines.drain(..LINES_MAX);
        }
        story.lines.push(line);
    }

    /// The hash of all lines so far.
    pub(crate) fn hash(&self) -> u64 {
        self.story.lock().unwrap().hasher.finish()
    }

    /// The lines that are kept.
    pub(crate) fn text(&self) -> String {
        let story = self.story.lock().unwrap();
        let from = if story.is_whole { 0 } else { story.lines.len().saturating_sub(LINES_MAX) };
        story.lines[from..].join("\n")
    }
}
