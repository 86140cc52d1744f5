//! Replays the committed fuzz corpus, and each of its files cut short, through the entries that the fuzz targets use.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/entries.rs"]
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
