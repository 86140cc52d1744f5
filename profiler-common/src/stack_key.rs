//! Names a stack by 128 bits of its text, so that it need not be told twice.
//!
//! The seed belongs to whoever makes the keys, and is told to nobody: so no one can choose two stacks of one key, and
//! two that collide by chance are not expected before 10^18 stacks.

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::wire::v1;

/// Bytes of a frame's text that are hashed without growing the buffer: usual names with their module.
const FRAME_BYTES: usize = 256;

/// Stands for the text of all frames of a stack, root first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackKey(pub u128);

/// Keys of the dictionary of one batch, by index in the batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DictionaryKeys {
    /// Of each frame.
    pub frames: Vec<u128>,
    /// Of each stack.
    pub stacks: Vec<StackKey>,
}

impl DictionaryKeys {
    /// Reads every frame and stack once; `None` when an index points past what the batch holds.
    #[must_use]
    pub fn new(batch: &v1::Batch, seed: u64) -> Option<Self> {
        let mut bytes = Vec::with_capacity(FRAME_BYTES);
        let frames = batch.frames.iter().map(|frame| {
            bytes.clear();
            bytes.extend(frame.kind.to_le_bytes());
            bytes.extend(frame.line.to_le_bytes());
            for index in [frame.function, frame.module, frame.file, frame.build_id] {
                let text = batch.strings.get(index as usize)?;
                bytes.extend((text.len() as u64).to_le_bytes());
                bytes.extend(text.as_bytes());
            }
            Some(xxh3_128_with_seed(&bytes, seed))
        });
        let frames: Vec<u128> = frames.collect::<Option<_>>()?;
        let stacks = batch.stacks.iter().map(|stack| {
            bytes.clear();
            for frame in &stack.frames {
                bytes.extend(frames.get(*frame as usize)?.to_le_bytes());
            }
            Some(StackKey(xxh3_128_with_seed(&bytes, seed)))
        });
        let stacks = stacks.collect::<Option<_>>()?;
        Some(Self { frames, stacks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(strings: &[&str], frames: &[(u32, u32)], stacks: &[&[u32]]) -> v1::Batch {
        let frame = |(function, module): &(u32, u32)| v1::Frame {
            kind: 1,
            function: *function,
            module: *module,
            ..Default::default()
        };
        v1::Batch {
            strings: strings.iter().map(|text| (*text).to_owned()).collect(),
            frames: frames.iter().map(frame).collect(),
            stacks: stacks.iter().map(|frames| v1::Stack { frames: frames.to_vec() }).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn equal_text_has_an_equal_key_whatever_its_numbers() {
        let one = batch(&["", "main", "app", "f"], &[(1, 2), (3, 2)], &[&[0, 1], &[1, 0]]);
        let two = batch(&["", "f", "app", "x", "main"], &[(1, 2), (4, 2)], &[&[1, 0]]);
        let (one_keys, two_keys) = (DictionaryKeys::new(&one, 7), DictionaryKeys::new(&two, 7));
        let (one_keys, two_keys) = (one_keys.unwrap(), two_keys.unwrap());
        assert_eq!(one_keys.stacks[0], two_keys.stacks[0]);
        assert_ne!(one_keys.stacks[1], two_keys.stacks[0]);
        assert_ne!(DictionaryKeys::new(&one, 8).unwrap().stacks[0], one_keys.stacks[0]);
    }

    #[test]
    fn text_does_not_run_into_its_neighbour() {
        let one = batch(&["", "ab", "c"], &[(1, 2)], &[&[0]]);
        let two = batch(&["", "a", "bc"], &[(1, 2)], &[&[0]]);
        assert_ne!(DictionaryKeys::new(&one, 7), DictionaryKeys::new(&two, 7));
    }

    #[test]
    fn an_index_past_the_end_gives_no_keys() {
        assert_eq!(DictionaryKeys::new(&batch(&[""], &[(1, 0)], &[]), 7), None);
        assert_eq!(DictionaryKeys::new(&batch(&["", "f"], &[(1, 0)], &[&[1]]), 7), None);
    }
}
