//! Keys of stacks, each kept once for all sessions that know it, under a number that is a quarter of its size.

use std::collections::HashMap;
use std::num::NonZeroU32;

use profiler_common::stack_key::StackKey;

/// Memory for one key: here, and in the table that finds it, which is half empty at worst.
const KEY_BYTES: usize = size_of::<Key>() + 2 * size_of::<(StackKey, Number)>();

/// Stands for a key that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number(NonZeroU32);

impl Number {
    fn new(index: usize) -> Self {
        let number = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("fewer than 2^32 keys fit in memory"))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

#[derive(Debug)]
struct Key {
    key: StackKey,
    /// Slots of all sessions in which it stands; 0 when it is free.
    holders: u32,
}

/// All keys that are in some slot.
#[derive(Debug, Default)]
pub(super) struct Keys {
    numbers: HashMap<StackKey, Number>,
    keys: Vec<Key>,
    free: Vec<Number>,
}

impl Keys {
    /// A key that is held.
    pub(super) fn get(&self, number: Number) -> StackKey {
        self.keys[number.index()].key
    }

    /// Holds a key for one more slot.
    pub(super) fn hold(&mut self, key: StackKey) -> Number {
        let number = *self.numbers.entry(key).or_insert_with(|| match self.free.pop() {
            Some(number) => {
                self.keys[number.index()].key = key;
                number
            }
            None => {
                self.keys.push(Key { key, holders: 0 });
                Number::new(self.keys.len() - 1)
            }
        });
        self.keys[number.index()].holders += 1;
        number
    }

    /// One slot less holds the key.
    pub(super) fn release(&mut self, number: Number) {
        let key = &mut self.keys[number.index()];
        key.holders -= 1;
        if key.holders == 0 {
            self.numbers.remove(&key.key);
            self.free.push(number);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.numbers.len() * KEY_BYTES
    }
}
