//! Copies and checks a store, also one that a collector has open.

use std::path::Path;

use rusqlite::Connection;

use super::schema::{self, unusable};
use super::{SqliteStore, failed};
use crate::store::StoreError;

/// Most faults that a check tells of.
const FAULTS_MAX: u32 = 20;

impl SqliteStore {
    /// Writes a whole and compact copy of a store to a new file; a collector may go on writing to it. What was
    /// acknowledged before the begin is in the copy.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the copy is there already or cannot be written; nothing is left of it then.
    pub fn back_up(path: &Path, copy: &Path) -> Result<(), StoreError> {
        const COPY: &str = "copy the store";
        if copy.exists() {
            return Err(unusable(copy, "there is a file of this name; name another".to_owned()));
        }
        let reader = open_ours(path)?;
        let Some(name) = copy.to_str() else {
            return Err(unusable(copy, "its name is not UTF-8; name another".to_owned()));
        };
        let written = reader.execute("VACUUM INTO ?1", [name]).map_err(failed(COPY));
        if written.is_err() {
            // A full disk leaves half a copy, of no use.
            drop(std::fs::remove_file(copy));
        }
        written?;
        schema::only_for_its_owner(copy)
            .and_then(|()| std::fs::File::open(copy)?.sync_all())
            .map_err(|error| unusable(copy, format!("failed to make it durable: {error}")))
    }

    /// Reads all of a store and returns its faults; none when it is whole.
    ///
    /// # Errors
    ///
    /// When it is no store of ours, or cannot be read at all.
    pub fn faults(path: &Path) -> Result<Vec<String>, StoreError> {
        let check = failed("check the store");
        let reader = open_ours(path)?;
        let mut find =
            reader.prepare(&format!("PRAGMA integrity_check({FAULTS_MAX})")).map_err(check)?;
        let faults: Result<Vec<String>, _> =
            find.query_map([], |row| row.get(0)).map_err(check)?.collect();
        let mut faults = faults.map_err(check)?;
        faults.retain(|fault| fault != "ok");
        Ok(faults)
    }
}

fn open_ours(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        return Err(unusable(path, "there is no such file".to_owned()));
    }
    let reader = schema::open_reader(path)?;
    schema::check_owner(&reader, path)?;
    Ok(reader)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ALWAYS, T0, batch, open, select};
    use super::*;
    use crate::query;
    use crate::store::{Store as _, StoreOptions};

    #[test]
    fn a_copy_made_beside_a_running_collector_has_all_that_was_accepted() {
        let (folder, store) = open();
        store.write_whole(&batch(1, T0, "v1", &[2, 3])).unwrap();
        let (path, copy) = (folder.path().join("store.db"), folder.path().join("copy.db"));
        SqliteStore::back_up(&path, &copy).unwrap();
        store.write_whole(&batch(2, T0, "v1", &[4])).unwrap();
        let again = SqliteStore::back_up(&path, &copy).unwrap_err().to_string();
        assert!(again.contains("name another"), "{again}");
        assert!(SqliteStore::faults(&copy).unwrap().is_empty());
        let copy = SqliteStore::open(&copy, StoreOptions::default()).unwrap();
        assert_eq!(query::merge(&copy, &select(&[]), ALWAYS).unwrap().total(), 5);
    }

    #[test]
    fn what_is_no_store_is_neither_copied_nor_checked() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("other.db"), folder.path().join("copy.db"));
        assert!(SqliteStore::faults(&path).unwrap_err().to_string().contains("no such file"));
        let other = Connection::open(&path).unwrap();
        other.execute_batch("CREATE TABLE t (a)").unwrap();
        let refusal = SqliteStore::back_up(&path, &copy).unwrap_err().to_string();
        assert!(refusal.contains("of another program"), "{refusal}");
        assert!(!copy.exists());
    }

    #[test]
    fn a_rotten_page_is_a_fault() {
        let (folder, store) = open();
        for sequence in 1..40 {
            let counts: Vec<u64> = (1..200).collect();
            store.write_whole(&batch(sequence, T0 + sequence, "v1", &counts)).unwrap();
        }
        drop(store);
        let path = folder.path().join("store.db");
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 4096].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        let found = SqliteStore::faults(&path);
        assert!(found.as_ref().map_or(true, |faults| !faults.is_empty()), "{found:?}");
    }
}
