//! Any bytes as a table kept on disk.

#![no_main]

#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::run(env!("CARGO_BIN_NAME"), bytes));
