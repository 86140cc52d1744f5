//! The disk under one agent: steps fail, the process dies between two of them, the power goes.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use fastrand::Rng;
use flamewatch_agent::ship::disk::{Faults, Step};

/// What the disk does with the steps of writes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mood {
    /// Does them.
    Healthy,
    /// Refuses this share of them.
    Failing { share: f64, kind: ErrorKind },
    /// The process is to be killed: no step is done any more.
    Dead,
}

/// A disk that fails on command.
#[derive(Debug)]
pub(crate) struct SimulatedDisk {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    mood: Mood,
    /// Steps until the process dies, when that is planned.
    steps_left: Option<u64>,
    /// What a power cut may undo, oldest first.
    undo: Vec<Undo>,
    /// Whether the books on disk are older than those in memory, because a step failed.
    books_behind: bool,
    /// Whether the note of the samples taken is older than what was to be noted.
    note_behind: bool,
}

/// What was at a path before a change that is not synced yet.
#[derive(Debug)]
struct Undo {
    path: PathBuf,
    before: Option<Vec<u8>>,
}

impl SimulatedDisk {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            rng: Rng::with_seed(seed),
            mood: Mood::Healthy,
            steps_left: None,
            undo: Vec::new(),
            books_behind: false,
            note_behind: false,
        };
        Self { state: Mutex::new(state) }
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.lock().mood = mood;
    }

    /// The process dies before the step after so many others.
    pub(crate) fn die_after(&self, steps: u64) {
        self.lock().steps_left = Some(steps);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.lock().mood == Mood::Dead
    }

    pub(crate) fn books_behind(&self) -> bool {
        self.lock().books_behind
    }

    pub(crate) fn note_behind(&self) -> bool {
        self.lock().note_behind
    }

    /// The process is gone, and another will start on a disk in this mood.
    pub(crate) fn restart(&self, mood: Mood) {
        let mut state = self.lock();
        state.mood = mood;
        state.steps_left = None;
        state.books_behind = false;
        state.note_behind = false;
    }

    /// The power goes: some of the last changes that were not synced never happened. Returns how many.
    pub(crate) fn cut_power(&self) -> usize {
        let mut state = self.lock();
        let changes = state.undo.len();
        let kept = state.rng.usize(0..=changes);
        let undone = state.undo.split_off(kept);
        state.undo.clear();
        drop(state);
        for undo in undone.iter().rev() {
            match &undo.before {
                Some(bytes) => fs::write(&undo.path, bytes).unwrap(),
                None => drop(fs::remove_file(&undo.path)),
            }
        }
        undone.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Faults for SimulatedDisk {
    fn before(&self, step: Step, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if let Some(left) = state.steps_left {
            match left.checked_sub(1) {
                Some(left) => state.steps_left = Some(left),
                None => state.mood = Mood::Dead,
            }
        }
        let mood = state.mood;
        let done = match mood {
            Mood::Healthy => Ok(()),
            Mood::Failing { share, kind } if state.rng.f64() < share => Err(kind.into()),
            Mood::Failing { .. } => Ok(()),
            Mood::Dead => {
                state.note_behind |= step == Step::Note;
                return Err(io::Error::other("the process is dead"));
            }
        };
        // The last step that makes books durable is that of their folder.
        let is_folder = step == Step::SyncFolder && !path.ends_with("spool");
        let is_books = path.file_stem().is_some_and(|stem| stem == "accounting");
        match step {
            Step::Note => state.note_behind = done.is_err(),
            _ if is_folder => state.books_behind = done.is_err(),
            _ if is_books && done.is_err() => state.books_behind = true,
            _ => {}
        }
        if done.is_ok() {
            state.remember(step, path);
        }
        done
    }
}

impl State {
    /// Keeps what a power cut would bring back.
    fn remember(&mut self, step: Step, path: &Path) {
        match step {
            Step::Rename | Step::Remove | Step::Note => {
                // What is written over is in the page cache only, like the change itself.
                self.undo.push(Undo { path: path.to_owned(), before: fs::read(path).ok() });
            }
            Step::SyncFolder => self.undo.retain(|undo| undo.path.parent() != Some(path)),
            Step::Create | Step::Write | Step::Sync => {}
        }
    }
}
