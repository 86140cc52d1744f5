//! Any bytes as the `.eh_frame` of a small valid ELF file.

#![no_main]

#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::run(env!("CARGO_BIN_NAME"), bytes));
