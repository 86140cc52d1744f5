//! Where raw records come from: the kernel's rings, or a recording.
//!
//! A source hands out bytes as they lie in the ring; [`drain`](crate::drain) decodes them.

use std::collections::VecDeque;

/// Gives raw records in the order in which the kernel wrote them.
pub trait SampleSource {
    /// Hands over every waiting sample record and returns their number.
    fn read_samples(&mut self, each: &mut dyn FnMut(&[u8])) -> usize;

    /// Hands over every waiting event record and returns their number.
    fn read_events(&mut self, each: &mut dyn FnMut(&[u8])) -> usize;
}

/// Records in memory: what a test or a replay feeds to the pipeline.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// Sample records that were not read yet.
    pub samples: VecDeque<Vec<u8>>,
    /// Event records that were not read yet.
    pub events: VecDeque<Vec<u8>>,
}

impl SampleSource for Recording {
    fn read_samples(&mut self, each: &mut dyn FnMut(&[u8])) -> usize {
        read_all(&mut self.samples, each)
    }

    fn read_events(&mut self, each: &mut dyn FnMut(&[u8])) -> usize {
        read_all(&mut self.events, each)
    }
}

fn read_all(records: &mut VecDeque<Vec<u8>>, each: &mut dyn FnMut(&[u8])) -> usize {
    let number = records.len();
    for record in records.drain(..) {
        each(&record);
    }
    number
}
