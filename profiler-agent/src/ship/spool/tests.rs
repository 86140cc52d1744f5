//! The spool in real folders: limits, damage, and disks that take nothing.

use super::*;
use proptest::prelude::*;

fn key(sequence: u64) -> BatchKey {
    BatchKey { epoch: 7, sequence }
}

/// Bytes that do not compress, so that sizes are known.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|i| (xxh3_64(&(seed << 32 | i).to_le_bytes()) & 0xff) as u8).collect()
}

fn first_file(folder: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files.remove(0)
}

#[test]
fn a_full_spool_drops_the_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(folder.path(), 10_000, Disk::default()).unwrap();
    for sequence in 1..=3 {
        assert_eq!(spool.keep(key(sequence), 5, &noise(sequence, 3_000)), []);
    }
    assert_eq!(
        spool.keep(key(4), 5, &noise(4, 3_000)),
        [Dropped { key: key(1), reason: "spool_full" }]
    );
    assert_eq!(spool.oldest(), Some(key(2)));
    assert!(spool.bytes() <= 10_000);
}

#[test]
fn a_batch_that_may_be_stored_is_not_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(folder.path(), 10_000, Disk::default()).unwrap();
    for sequence in 1..=3 {
        spool.keep(key(sequence), 5, &noise(sequence, 3_000));
    }
    spool.hold(key(1));
    let dropped = spool.keep(key(4), 5, &noise(4, 3_000));
    assert_eq!(dropped, [Dropped { key: key(2), reason: "spool_full" }]);
    let dropped = spool.keep(key(5), 5, &noise(5, 3_000));
    assert_eq!(dropped, [Dropped { key: key(3), reason: "spool_full" }]);
    spool.remove(key(1));
    assert_eq!(spool.keep(key(6), 5, &noise(6, 3_000)), []);
}

#[test]
fn a_batch_larger_than_the_spool_is_dropped_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(folder.path(), 1_000, Disk::default()).unwrap();
    let dropped = spool.keep(key(1), 5, &noise(1, 3_000));
    assert_eq!(dropped, [Dropped { key: key(1), reason: "spool_full" }]);
    assert!(spool.is_empty() && spool.bytes() == 0);
}

#[test]
fn batches_come_back_in_order_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(folder.path(), 1 << 20, Disk::default()).unwrap();
    let late = BatchKey { epoch: 8, sequence: 1 };
    spool.keep(late, 3, b"late");
    spool.keep(key(10), 2, b"ten");
    spool.keep(key(9), 1, b"nine");
    fs::write(folder.path().join("half.tmp"), b"half").unwrap();
    drop(spool);
    let (mut spool, found) = Spool::open(folder.path(), 1 << 20, Disk::default()).unwrap();
    assert_eq!(found, [(key(9), 1), (key(10), 2), (late, 3)]);
    let mut read = Vec::new();
    while let Some(oldest) = spool.oldest() {
        read.push(spool.read(oldest).unwrap());
        spool.remove(oldest);
    }
    assert_eq!(read, [b"nine".to_vec(), b"ten".to_vec(), b"late".to_vec()]);
    assert_eq!(Spool::open(folder.path(), 1 << 20, Disk::default()).unwrap().1, []);
    assert!(!folder.path().join("half.tmp").exists());
}

#[test]
fn a_damaged_file_is_refused_and_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(folder.path(), 1 << 20, Disk::default()).unwrap();
    spool.keep(key(1), 4, b"one");
    spool.keep(key(2), 4, b"two");
    let path = first_file(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(spool.read(key(1)), Err(SpoolError::Damaged(_))));
    spool.set_aside(key(1));
    assert_eq!(spool.oldest(), Some(key(2)));
    assert_eq!(spool.read(key(2)).unwrap(), b"two");
    assert!(first_file(&folder.path().join(FOLDER_DAMAGED)).exists());
}

#[test]
fn what_the_disk_refuses_waits_in_memory_until_it_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("spool");
    let (mut spool, _) = Spool::open(&inner, 1 << 20, Disk::default()).unwrap();
    // A file where the folder should be: every write fails, for root too.
    fs::remove_dir_all(&inner).unwrap();
    fs::write(&inner, b"").unwrap();
    assert_eq!(spool.keep(key(1), 4, b"one"), []);
    assert_eq!(spool.read(key(1)).unwrap(), b"one");
    fs::remove_file(&inner).unwrap();
    fs::create_dir_all(&inner).unwrap();
    spool.keep(key(2), 4, b"two");
    drop(spool);
    let found: Vec<BatchKey> = Spool::open(&inner, 1 << 20, Disk::default())
        .unwrap()
        .1
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(found, [key(1), key(2)]);
}

#[test]
fn memory_is_bounded_and_drops_the_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("spool");
    let (mut spool, _) = Spool::open(&inner, 5_000, Disk::default()).unwrap();
    fs::remove_dir_all(&inner).unwrap();
    fs::write(&inner, b"").unwrap();
    assert_eq!(spool.keep(key(1), 4, &noise(1, 3_000)), []);
    assert_eq!(
        spool.keep(key(2), 4, &noise(2, 3_000)),
        [Dropped { key: key(1), reason: "disk_failed" }]
    );
}

proptest! {
    #[test]
    fn no_bytes_panic_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _any_answer = unseal(&bytes);
        let headed = [MAGIC.as_slice(), &bytes].concat();
        let _any_answer = unseal(&headed);
    }

    #[test]
    fn what_is_sealed_is_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert_eq!(unseal(&seal(&bytes)).unwrap(), bytes);
    }
}
