//! Every way a sample, an event or a syscall can end in the kernel: one counter each.

/// Declares the outcomes with metric name and sentence, so that no place can forget one.
macro_rules! outcomes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $index:literal, $name:literal, $class:ident;)+) => {
        /// How one pass through the kernel program ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Outcome { $($(#[doc = $doc])+ $variant = $index,)+ }

        impl Outcome {
            /// All outcomes, in the order of their indices.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Name in metrics and tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What kind of end this is.
            #[must_use]
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)+ }
            }

            /// One sentence for tables and documentation.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+),)+ }
            }
        }
    };
}

/// What kind of end an outcome is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The sample was taken and handed to the agent.
    SampleTaken,
    /// The sample was taken and lost in the kernel.
    SampleLost,
    /// No sample was due: the CPU was idle or the process is not a target.
    SampleSkipped,
    /// An event was handed over.
    EventTaken,
    /// An event was lost: a process is found by its first sample instead, a child is not followed.
    EventLost,
    /// A syscall was measured.
    CallTaken,
    /// A syscall was not measured, for a reason that is no fault.
    CallSkipped,
    /// A syscall was not measured for want of room.
    CallLost,
}

outcomes! {
    /// The sample was handed to the agent.
    SampleSubmitted = 0, "submitted", SampleTaken;
    /// The sample ring was full.
    SampleRingFull = 1, "ring_full", SampleLost;
    /// The per-CPU scratch buffer was missing.
    SampleNoScratch = 2, "no_scratch", SampleLost;
    /// The CPU was idle.
    SampleIdle = 3, "idle", SampleSkipped;
    /// The process is not a target of this capture.
    SampleFiltered = 4, "filtered", SampleSkipped;
    /// The exec or exit event was handed to the agent.
    EventSubmitted = 5, "event_submitted", EventTaken;
    /// The event ring was full.
    EventRingFull = 6, "event_ring_full", EventLost;
    /// The call went to the overflow table because its slot was taken.
    CallOverflowed = 7, "call_overflowed", CallTaken;
    /// The call has no start: it was in flight when tracing began, or belongs to a child just forked.
    CallWithoutStart = 8, "call_without_start", CallSkipped;
    /// The number is none of this architecture.
    CallUnknownNumber = 9, "call_unknown_number", CallSkipped;
    /// The table of call starts had no room.
    CallStartLost = 10, "call_start_lost", CallLost;
    /// The overflow table had no room.
    CallHistogramLost = 11, "call_histogram_lost", CallLost;
    /// The process is not a target of this capture.
    CallFiltered = 12, "call_filtered", CallSkipped;
    /// The table of targets had no room for a child of a target.
    TargetLost = 13, "target_lost", EventLost;
}

/// Number of outcomes.
pub const OUTCOMES: usize = Outcome::ALL.len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_have_no_gaps() {
        for (index, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, index);
        }
    }
}
