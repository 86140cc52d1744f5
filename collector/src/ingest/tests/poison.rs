//! A store that breaks on some batches, around a real one.

use std::collections::BTreeMap;

use super::*;
use crate::store::{
    Arrival, Compacted, Merged, MetaStore, QualityOf, Retained, SeriesPoint, ServiceEntry,
    StoreError, StoreStats, UnitLife, UnitWindow, VersionSpan, Written,
};

/// Breaks on writing the batches of these sequences.
#[derive(Debug)]
struct Breaking {
    store: Arc<SqliteStore>,
    panics_on: u64,
    refuses: u64,
}

impl Store for Breaking {
    fn hash_seed(&self) -> u64 {
        self.store.hash_seed()
    }

    fn write(&self, arrival: &Arrival) -> Result<Written, StoreError> {
        let sequence = arrival.batch().sequence;
        assert_ne!(sequence, self.panics_on, "as if the store had a bug");
        if sequence == self.refuses {
            return Err(StoreError::Inconsistent("a rule that validation does not know"));
        }
        self.store.write(arrival)
    }

    fn catalog(&self, range: TimeRange) -> Result<Vec<ServiceEntry>, StoreError> {
        self.store.catalog(range)
    }

    fn versions(&self, until: u64) -> Result<BTreeMap<String, Vec<VersionSpan>>, StoreError> {
        self.store.versions(until)
    }

    fn merge(&self, selection: &Selection, range: TimeRange) -> Result<Merged, StoreError> {
        self.store.merge(selection, range)
    }

    fn unit_windows(
        &self,
        selection: &Selection,
        range: TimeRange,
        window_ns: u64,
    ) -> Result<Vec<UnitWindow>, StoreError> {
        self.store.unit_windows(selection, range, window_ns)
    }

    fn unit_lives(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<UnitLife>, StoreError> {
        self.store.unit_lives(selection, range)
    }

    fn quality(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<QualityOf>, StoreError> {
        self.store.quality(selection, range)
    }

    fn series(
        &self,
        selection: &Selection,
        range: TimeRange,
        step_ns: u64,
    ) -> Result<Vec<SeriesPoint>, StoreError> {
        self.store.series(selection, range, step_ns)
    }

    fn stats(&self) -> Result<StoreStats, StoreError> {
        self.store.stats()
    }

    fn compact(&self, now: u64) -> Result<Compacted, StoreError> {
        self.store.compact(now)
    }

    fn retain(&self, before: u64) -> Result<Retained, StoreError> {
        self.store.retain(before)
    }
}

impl MetaStore for Breaking {
    fn load_state(&self, key: &str) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        self.store.load_state(key)
    }

    fn save_state(&self, key: &str, expected: u64, value: &[u8]) -> Result<bool, StoreError> {
        self.store.save_state(key, expected, value)
    }
}

#[tokio::test]
async fn a_batch_that_harms_is_set_aside_and_the_next_ones_are_stored() {
    let (folder, store) = open();
    let aside = folder.path().join("store.db.refused");
    let breaking = Breaking { store: Arc::clone(&store), panics_on: 2, refuses: 3 };
    let service = service(Arc::new(breaking)).set_aside_in(aside.clone());
    let mut client = connect(&serve(service), [127, 0, 0, 1]).await;
    for sequence in 1..=4 {
        let pushed = client.push(request(v1::Batch { sequence, ..batch() })).await;
        match sequence {
            2 | 3 => {
                let refused = pushed.unwrap_err();
                assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
                assert!(refused.message().contains("set it aside"), "{refused}");
            }
            _ => drop(pushed.unwrap()),
        }
    }
    assert_eq!(store.stats().unwrap().batches_stored, 2);
    let mut files: Vec<_> =
        std::fs::read_dir(aside).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let kept = files.iter().map(|file| {
        let bytes = zstd::decode_all(&*std::fs::read(file).unwrap()).unwrap();
        <v1::Batch as prost::Message>::decode(&*bytes).unwrap().sequence
    });
    assert_eq!(kept.collect::<Vec<_>>(), [2, 3]);
}

#[tokio::test]
async fn a_batch_that_harms_is_kept_with_all_that_it_names() {
    let (folder, store) = open();
    let aside = folder.path().join("store.db.refused");
    let breaking = Breaking { store, panics_on: 2, refuses: 0 };
    let service = service(Arc::new(breaking)).set_aside_in(aside.clone());
    let mut client = connect(&serve(service), [127, 0, 0, 1]).await;
    client.push(in_session(1, 1, false)).await.unwrap();
    let refused = client.push(in_session(2, 2, true)).await.unwrap_err();
    assert_eq!(refused.metadata().get(SEND).unwrap(), SEND_WHOLE, "{refused}");
    let refused = client.push(in_session(2, 2, false)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert_eq!(std::fs::read_dir(aside).unwrap().count(), 1);
}
