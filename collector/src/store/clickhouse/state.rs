//! Small state of other stages: the highest version of each key counts.
//!
//! ClickHouse cannot compare and set. Within this collector a lock makes it so; between collectors nothing does, which is
//! why one of them alone evaluates alerts (`--role`), and only that one writes state.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::ClickHouseStore;
use super::row::{Rows, Values, literal};
use crate::store::StoreError;

/// State that this collector wrote, by key: a replica may not have it yet when it is read again. There are as many keys as
/// services, and a few more.
#[derive(Debug, Default)]
pub(super) struct Written {
    last: Mutex<HashMap<String, (u64, Vec<u8>)>>,
}

impl ClickHouseStore {
    pub(super) fn read_state(&self, key: &str) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let last = self.state.last.lock().unwrap_or_else(PoisonError::into_inner);
        self.newest(key, last.get(key))
    }

    fn newest(
        &self,
        key: &str,
        last: Option<&(u64, Vec<u8>)>,
    ) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let sql = format!(
            "SELECT version, value FROM {} WHERE key = {} ORDER BY version DESC LIMIT 1",
            self.table("state"),
            literal(key)
        );
        let answer = self.client.ask("read state", &sql)?;
        let mut values = Values::new(&answer);
        let mut newest = last.cloned();
        while !values.is_at_end() {
            let found = (values.u64()?, values.bytes()?.to_vec());
            if newest.as_ref().is_none_or(|(version, _)| *version < found.0) {
                newest = Some(found);
            }
        }
        Ok(newest)
    }

    #[expect(
        clippy::significant_drop_tightening,
        reason = "the lock makes one step of reading and writing"
    )]
    pub(super) fn write_state(
        &self,
        key: &str,
        expected_version: u64,
        value: &[u8],
    ) -> Result<bool, StoreError> {
        let mut last = self.state.last.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.newest(key, last.get(key))?.map_or(0, |(version, _)| version);
        if found != expected_version {
            return Ok(false);
        }
        let version = expected_version + 1;
        let mut rows = Rows::default();
        rows.text(key).u64(version).bytes(value);
        let into = format!("{} (key, version, value)", self.table("state"));
        self.client.insert("write state", &into, rows)?;
        last.insert(key.to_owned(), (version, value.to_vec()));
        Ok(true)
    }
}
