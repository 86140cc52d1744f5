//! Any bytes as a block of the store.

#![no_main]

#[path = "../collector_entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::run(env!("CARGO_BIN_NAME"), bytes));
