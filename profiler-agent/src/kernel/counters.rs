//! Reads the kernel side's counters.

use aya::maps::{MapData, MapError, PerCpuArray};
use profiler_common::abi::outcome::{Class, OUTCOMES, Outcome};

/// How often each outcome happened, summed over all CPUs, since the program was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters([u64; OUTCOMES]);

impl Counters {
    pub(super) fn read(outcomes: &PerCpuArray<MapData, u64>) -> Result<Self, MapError> {
        let mut counters = Self::default();
        for outcome in Outcome::ALL {
            let per_cpu = outcomes.get(&(*outcome as u32), 0)?;
            counters.0[*outcome as usize] = per_cpu.iter().sum();
        }
        Ok(counters)
    }

    /// Count of one outcome.
    #[must_use]
    pub fn get(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// Samples taken: those handed to the agent and those lost in the kernel.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.of_class(Class::SampleTaken).chain(self.lost()).map(|(_, count)| count).sum()
    }

    /// Samples lost in the kernel, by outcome, including those that never happened.
    pub fn lost(&self) -> impl Iterator<Item = (Outcome, u64)> + '_ {
        self.of_class(Class::SampleLost)
    }

    /// Every outcome with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, u64)> + '_ {
        Outcome::ALL.iter().map(|outcome| (*outcome, self.get(*outcome)))
    }

    fn of_class(&self, class: Class) -> impl Iterator<Item = (Outcome, u64)> + '_ {
        self.iter().filter(move |(outcome, _)| outcome.class() == class)
    }
}
