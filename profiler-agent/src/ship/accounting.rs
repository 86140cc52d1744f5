//! Where every sample is: in the kernel's ring, in the window, in a batch, acknowledged, or lost for a named reason.
//!
//! Pure: no file, no clock. Each event moves samples from one place to another, so that always
//! `taken = acknowledged + pending + Σ lost`. What a batch reports to the collector is taken back when the batch is
//! lost, and reported again by a later one: the sums that the collector makes stay exact.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Samples by reason of their loss.
pub type LossByReason = BTreeMap<String, u64>;

/// Names one batch of this agent; sorts by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchKey {
    /// Unix time in nanoseconds at which the agent process started.
    pub epoch: u64,
    /// Counts from 1 within the epoch.
    pub sequence: u64,
}

/// What one batch holds, and what it tells the collector about the time since the batch before it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BatchReport {
    /// Samples in the batch.
    pub samples: u64,
    /// Samples taken since the previous report.
    pub taken: u64,
    /// Samples lost since the previous report.
    pub lost: LossByReason,
}

/// The totals over the life of this agent, for metrics and the last log line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    /// Samples that the kernel took.
    pub taken: u64,
    /// Samples that the collector has stored.
    pub acknowledged: u64,
    /// Samples that are still on their way.
    pub pending: u64,
    /// Samples that never arrive.
    pub lost: LossByReason,
}

impl Totals {
    /// Samples lost for any reason.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.lost.values().sum()
    }
}

/// The book of all samples of this agent, kept over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounting {
    taken: u64,
    acknowledged: u64,
    lost: LossByReason,
    /// Submitted by the kernel, not yet drained.
    undrained: u64,
    /// Drained, not yet in a batch.
    window: u64,
    /// What batches have told, or will tell once they arrive.
    reported_taken: u64,
    reported_lost: LossByReason,
    /// Batches made and neither acknowledged nor lost.
    #[serde(with = "batch_list")]
    batches: BTreeMap<BatchKey, BatchReport>,
    /// The kernel's counters as last seen; they start at zero with each process.
    #[serde(skip)]
    kernel: KernelSeen,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct KernelSeen {
    submitted: u64,
    lost: LossByReason,
}

impl Accounting {
    /// Takes over the kernel's counters, given as totals since the program was loaded.
    ///
    /// Read them after draining. A sample that was drained was submitted, even when its counter is a moment behind.
    pub fn observe_kernel<'r>(
        &mut self,
        submitted: u64,
        lost: impl IntoIterator<Item = (&'r str, u64)>,
    ) {
        let submitted = submitted.max(self.kernel.submitted);
        let new = submitted - self.kernel.submitted;
        self.kernel.submitted = submitted;
        self.taken += new;
        self.undrained += new;
        for (reason, total) in lost {
            let seen = self.kernel.lost.entry(reason.to_owned()).or_default();
            let new = total.saturating_sub(*seen);
            *seen += new;
            self.taken += new;
            add(&mut self.lost, reason, new);
        }
    }

    /// Moves samples from the kernel's ring to the window.
    pub fn drain(&mut self, samples: u64) {
        // The counter may lag behind the ring: then the samples were taken now.
        let unseen = samples.saturating_sub(self.undrained);
        self.taken += unseen;
        self.kernel.submitted += unseen;
        self.undrained -= samples - unseen;
        self.window += samples;
    }

    /// Gives up samples of the window, at most as many as it has.
    pub fn lose_from_window(&mut self, reason: &str, samples: u64) {
        let samples = samples.min(self.window);
        self.window -= samples;
        add(&mut self.lost, reason, samples);
    }

    /// Moves samples of the window into a new batch and says what the batch has to report.
    ///
    /// Takes at most as many as the window has: a batch never claims a sample that was not taken.
    pub fn make_batch(&mut self, key: BatchKey, samples: u64) -> BatchReport {
        let samples = samples.min(self.window);
        self.window -= samples;
        let report = BatchReport {
            samples,
            taken: self.taken.saturating_sub(self.reported_taken),
            lost: self
                .lost
                .iter()
                .map(|(reason, total)| {
                    let reported = self.reported_lost.get(reason).copied().unwrap_or(0);
                    (reason.clone(), total.saturating_sub(reported))
                })
                .filter(|(_, samples)| *samples > 0)
                .collect(),
        };
        self.reported_taken = self.taken;
        self.reported_lost.clone_from(&self.lost);
        self.batches.insert(key, report.clone());
        report
    }

    /// The collector has stored the batch. Nothing happens when the batch is settled already.
    pub fn acknowledge(&mut self, key: BatchKey) {
        if let Some(report) = self.batches.remove(&key) {
            self.acknowledged += report.samples;
        }
    }

    /// The batch will never arrive: its samples are lost, its report is open again.
    pub fn lose_batch(&mut self, key: BatchKey, reason: &str) {
        let Some(report) = self.batches.remove(&key) else { return };
        add(&mut self.lost, reason, report.samples);
        self.reported_taken = self.reported_taken.saturating_sub(report.taken);
        for (lost_for, samples) in report.lost {
            if let Some(reported) = self.reported_lost.get_mut(&lost_for) {
                *reported = reported.saturating_sub(samples);
            }
        }
    }

    /// Takes in a batch that is on disk but in no book: its samples count as taken and reported.
    pub fn adopt_batch(&mut self, key: BatchKey, samples: u64) {
        self.taken += samples;
        self.reported_taken += samples;
        self.batches.insert(key, BatchReport { samples, taken: samples, ..BatchReport::default() });
    }

    /// Starts a new process: what the last one had taken and not put into a batch went with it.
    ///
    /// `noted` is what it had taken in all when it was last heard of, which may be more than it told this book.
    pub fn resume(&mut self, noted: u64, reason: &str) {
        let unbooked = noted.saturating_sub(self.taken);
        self.taken += unbooked;
        let gone =
            std::mem::take(&mut self.undrained) + std::mem::take(&mut self.window) + unbooked;
        add(&mut self.lost, reason, gone);
        self.kernel = KernelSeen::default();
    }

    /// Batches made and neither acknowledged nor lost, oldest first.
    pub fn batches(&self) -> impl ExactSizeIterator<Item = (BatchKey, &BatchReport)> {
        self.batches.iter().map(|(key, report)| (*key, report))
    }

    /// Samples taken over the life of this agent.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// The totals over the life of this agent.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let in_batches: u64 = self.batches.values().map(|report| report.samples).sum();
        Totals {
            taken: self.taken,
            acknowledged: self.acknowledged,
            pending: self.undrained + self.window + in_batches,
            lost: self.lost.clone(),
        }
    }
}

fn add(losses: &mut LossByReason, reason: &str, samples: u64) {
    if samples > 0 {
        *losses.entry(reason.to_owned()).or_default() += samples;
    }
}

/// JSON keys are strings, so the batches stand as a list.
mod batch_list {
    use super::{BTreeMap, BatchKey, BatchReport};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        batches: &BTreeMap<BatchKey, BatchReport>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(batches)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<BatchKey, BatchReport>, D::Error> {
        Ok(Vec::<(BatchKey, BatchReport)>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Event {
        Kernel { submitted: u64, lost: u64 },
        Drain(u64),
        LoseFromWindow(u64),
        MakeBatch(u64),
        Acknowledge(usize),
        LoseBatch(usize),
        Restart { unbooked: u64 },
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            (0u64..100, 0u64..5).prop_map(|(submitted, lost)| Event::Kernel { submitted, lost }),
            (0u64..100).prop_map(Event::Drain),
            (0u64..20).prop_map(Event::LoseFromWindow),
            (0u64..200).prop_map(Event::MakeBatch),
            (0usize..4).prop_map(Event::Acknowledge),
            (0usize..4).prop_map(Event::LoseBatch),
            (0u64..9).prop_map(|unbooked| Event::Restart { unbooked }),
        ];
        proptest::collection::vec(event, 0..80)
    }

    /// What a collector sums up from the batches that reached it.
    #[derive(Default)]
    struct Collector {
        stored: u64,
        taken: u64,
        lost: u64,
    }

    fn oldest(book: &Accounting, skip: usize) -> Option<(BatchKey, BatchReport)> {
        book.batches().nth(skip).map(|(key, report)| (key, report.clone()))
    }

    fn apply(book: &mut Accounting, kernel: &mut (u64, u64), event: &Event, sequence: u64) {
        match event {
            Event::Kernel { submitted, lost } => {
                kernel.0 += submitted;
                kernel.1 += lost;
                book.observe_kernel(kernel.0, [("ring_full", kernel.1)]);
            }
            Event::Drain(samples) => {
                book.drain(*samples);
                kernel.0 = kernel.0.max(book.kernel.submitted);
            }
            Event::LoseFromWindow(samples) => book.lose_from_window("window_full", *samples),
            Event::MakeBatch(samples) => {
                book.make_batch(BatchKey { epoch: 1, sequence }, *samples);
            }
            Event::Acknowledge(_) => {}
            Event::LoseBatch(index) => {
                if let Some((key, _)) = oldest(book, *index) {
                    book.lose_batch(key, "spool_full");
                }
            }
            Event::Restart { unbooked } => {
                let saved = serde_json::to_string(book).expect("a book is JSON");
                *book = serde_json::from_str(&saved).expect("own output parses");
                book.resume(book.taken() + unbooked, "agent_killed");
                *kernel = (0, 0);
            }
        }
    }

    proptest! {
        #[test]
        fn every_sample_is_in_one_place_whatever_happens(events in events()) {
            let mut book = Accounting::default();
            let mut kernel = (0, 0);
            for (sequence, event) in events.iter().enumerate() {
                apply(&mut book, &mut kernel, event, sequence as u64);
                if let Event::Acknowledge(index) = event
                    && let Some((key, _)) = oldest(&book, *index)
                {
                    book.acknowledge(key);
                }
                let totals = book.totals();
                prop_assert_eq!(
                    totals.taken,
                    totals.acknowledged + totals.pending + totals.lost_total()
                );
            }
        }

        #[test]
        fn what_the_collector_sums_up_is_the_truth_once_all_has_arrived(events in events()) {
            let mut book = Accounting::default();
            let mut kernel = (0, 0);
            let mut collector = Collector::default();
            let receive = |collector: &mut Collector, report: &BatchReport| {
                collector.stored += report.samples;
                collector.taken += report.taken;
                collector.lost += report.lost.values().sum::<u64>();
            };
            for (sequence, event) in events.iter().enumerate() {
                apply(&mut book, &mut kernel, event, sequence as u64);
                if let Event::Acknowledge(index) = event
                    && let Some((key, report)) = oldest(&book, *index)
                {
                    receive(&mut collector, &report);
                    book.acknowledge(key);
                }
            }
            book.drain(book.undrained);
            book.make_batch(BatchKey { epoch: 2, sequence: 1 }, u64::MAX);
            while let Some((key, report)) = oldest(&book, 0) {
                receive(&mut collector, &report);
                book.acknowledge(key);
            }
            let totals = book.totals();
            prop_assert_eq!(totals.pending, 0);
            prop_assert_eq!(collector.taken, totals.taken);
            prop_assert_eq!(collector.stored, totals.acknowledged);
            prop_assert_eq!(collector.lost, totals.lost_total());
            prop_assert_eq!(collector.taken, collector.stored + collector.lost);
        }
    }

    #[test]
    fn a_lost_batch_is_reported_by_the_next_one() {
        let mut book = Accounting::default();
        book.observe_kernel(10, [("ring_full", 2)]);
        book.drain(10);
        let first = BatchKey { epoch: 1, sequence: 1 };
        book.make_batch(first, 10);
        book.lose_batch(first, "spool_full");
        let report = book.make_batch(BatchKey { epoch: 1, sequence: 2 }, 0);
        assert_eq!(report.taken, 12);
        assert_eq!(
            report.lost,
            [("ring_full".to_owned(), 2), ("spool_full".to_owned(), 10)].into()
        );
    }

    #[test]
    fn acknowledging_twice_counts_once() {
        let mut book = Accounting::default();
        book.observe_kernel(5, []);
        book.drain(5);
        let key = BatchKey { epoch: 1, sequence: 1 };
        book.make_batch(key, 5);
        book.acknowledge(key);
        book.acknowledge(key);
        book.lose_batch(key, "rejected");
        assert_eq!(book.totals(), Totals { taken: 5, acknowledged: 5, ..Totals::default() });
    }
}
