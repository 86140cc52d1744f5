//! A batch as it reaches the store: some of its stacks by definition, the others by a key that the store knows.

use profiler_common::stack_key::{DictionaryKeys, StackKey};
use profiler_common::wire::v1;

use super::StoreError;

/// A batch with the keys of its stacks. Every index in the `stacks` of its services points into [`keys`](Self::keys).
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    batch: v1::Batch,
    frame_keys: Vec<u128>,
    keys: Vec<StackKey>,
}

impl Arrival {
    /// A batch that defines every stack that it names. `seed` is the store's.
    ///
    /// # Errors
    ///
    /// When an index of the batch points past what it holds; validation catches this earlier.
    pub fn whole(batch: v1::Batch, seed: u64) -> Result<Self, StoreError> {
        Self::new(batch, Vec::new(), seed)
    }

    /// A batch whose services name its own stacks, and behind them the `known` ones.
    ///
    /// # Errors
    ///
    /// When an index of the batch points past what it holds and what is known.
    pub fn new(batch: v1::Batch, known: Vec<StackKey>, seed: u64) -> Result<Self, StoreError> {
        let DictionaryKeys { frames, stacks: mut keys } = DictionaryKeys::new(&batch, seed)
            .ok_or(StoreError::Inconsistent("a frame or stack names what is not there"))?;
        keys.extend(known);
        let mut named = batch.services.iter().flat_map(|service| &service.stacks);
        if named.any(|index| *index as usize >= keys.len()) {
            return Err(StoreError::Inconsistent("a service names a stack that is not there"));
        }
        Ok(Self { batch, frame_keys: frames, keys })
    }

    /// The batch, with the definitions of its new stacks.
    #[must_use]
    pub fn batch(&self) -> &v1::Batch {
        &self.batch
    }

    /// Keys of the batch's frames, by index.
    #[must_use]
    pub fn frame_keys(&self) -> &[u128] {
        &self.frame_keys
    }

    /// Keys of all stacks that services name: first those that the batch defines, by index, then the known ones.
    #[must_use]
    pub fn keys(&self) -> &[StackKey] {
        &self.keys
    }
}
