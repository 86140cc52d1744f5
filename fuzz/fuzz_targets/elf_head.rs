//! Any bytes as an ELF file whose build id is sought.

#![no_main]

#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entries::run(env!("CARGO_BIN_NAME"), bytes));
