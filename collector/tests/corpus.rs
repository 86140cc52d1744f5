//! Replays the committed fuzz corpus, and each of its files cut short, through the entries that the fuzz targets use.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

use std::fs;
use std::io::Read as _;
use std::path::Path;

use flamewatch_collector::store::unpack_block;

#[path = "../../fuzz/collector_entries.rs"]
mod entries;

#[test]
fn every_input_of_the_corpus_is_survived() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (target, _) in entries::ENTRIES {
        let inputs = fs::read_dir(corpus.join(target)).expect("each target has a corpus");
        let inputs: Vec<_> = inputs.map(|input| input.unwrap().path()).collect();
        assert!(inputs.len() > 1, "the corpus of `{target}` is nearly empty");
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            entries::run(target, &bytes);
            for eighth in 0..8 {
                entries::run(target, &bytes[..bytes.len() * eighth / 8]);
            }
        }
    }
}

/// Largest content of a block that a store of this build writes, and much more.
const BOMB_BYTES: u64 = 1 << 30;

#[test]
fn a_block_that_unpacks_to_a_gibibyte_is_refused_before_it_takes_memory() {
    let pack = |says_its_length: bool| {
        let mut packed = zstd::Encoder::new(Vec::new(), 1).unwrap();
        if says_its_length {
            packed.set_pledged_src_size(Some(BOMB_BYTES)).unwrap();
        }
        std::io::copy(&mut std::io::repeat(0).take(BOMB_BYTES), &mut packed).unwrap();
        packed.finish().unwrap()
    };
    let before = peak_memory_kib();
    for bomb in [pack(true), pack(false)] {
        assert!(bomb.len() < 1 << 20);
        assert!(unpack_block(&bomb).is_err());
    }
    let grown = peak_memory_kib() - before;
    assert!(grown < 300 << 10, "{grown} KiB");
}

/// The most memory that this process ever had.
fn peak_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}
