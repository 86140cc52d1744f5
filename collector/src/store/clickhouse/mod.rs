//! The store on ClickHouse, for those who outgrow one machine: several collectors write to it at once and keep nothing.
//!
//! [`tables`] says where rows go, [`write`] why a batch counts once, [`names`] how stacks are named, [`question`] which
//! roll-up answers what. Every method waits for a server; callers are on threads that may.

mod address;
mod client;
mod row;
mod tables;
mod schema;
mod write;
mod names;
mod question;
mod read;
mod windows;
mod state;
mod retain;

pub use address::{AddressError, ClickHouseAddress};

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use moka::sync::Cache;

use self::client::Client;
use self::names::Names;
use super::{
    Arrival, Compacted, Merged, MetaStore, QualityOf, Retained, Selection, SeriesPoint,
    ServiceEntry, Store, StoreError, StoreStats, TimeRange, UnitLife, UnitWindow, VersionSpan,
    Written,
};

/// Batches that this collector stored and still knows without asking; 2^16 take 5 MB.
const STORED_MAX: u64 = 1 << 16;

/// A store on ClickHouse.
pub struct ClickHouseStore {
    client: Client,
    seed: u64,
    names: Names,
    stored: Cache<u128, ()>,
    state: state::Written,
    /// Windows that ended before are counted and not kept.
    floor_unix_ns: AtomicU64,
    random: (RandomState, AtomicU64),
}

impl fmt::Debug for ClickHouseStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.client.address();
        formatter.debug_struct("ClickHouseStore").field("address", address).finish_non_exhaustive()
    }
}

impl ClickHouseStore {
    /// Connects, and makes the tables if they are not there.
    ///
    /// # Errors
    ///
    /// When no server answers, or the database is newer than this build.
    pub fn open(address: ClickHouseAddress) -> Result<Self, StoreError> {
        let mut client = Client::new(address)?;
        let opened = schema::open(&client)?;
        client.set_insert_settings(opened.insert_settings);
        let names = Names::new(&client.address().database);
        Ok(Self {
            client,
            seed: opened.seed,
            names,
            stored: Cache::new(STORED_MAX),
            state: state::Written::default(),
            floor_unix_ns: AtomicU64::new(0),
            random: (RandomState::new(), AtomicU64::new(0)),
        })
    }

    /// A table as questions name it.
    fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.client.address().database)
    }

    fn floor(&self) -> u64 {
        self.floor_unix_ns.load(Ordering::SeqCst)
    }

    /// A number that no other collector has.
    fn random(&self) -> u64 {
        self.random.0.hash_one(self.random.1.fetch_add(1, Ordering::Relaxed))
    }
}

impl Store for ClickHouseStore {
    fn hash_seed(&self) -> u64 {
        self.seed
    }

    fn write(&self, arrival: &Arrival) -> Result<Written, StoreError> {
        self.write_arrival(arrival)
    }

    fn catalog(&self, range: TimeRange) -> Result<Vec<ServiceEntry>, StoreError> {
        self.read_catalog(range)
    }

    fn versions(
        &self,
        until_unix_ns: u64,
    ) -> Result<BTreeMap<String, Vec<VersionSpan>>, StoreError> {
        self.read_versions(until_unix_ns)
    }

    fn merge(&self, selection: &Selection, range: TimeRange) -> Result<Merged, StoreError> {
        self.read_merge(selection, range)
    }

    fn unit_windows(
        &self,
        selection: &Selection,
        range: TimeRange,
        window_ns: u64,
    ) -> Result<Vec<UnitWindow>, StoreError> {
        self.read_unit_windows(selection, range, window_ns)
    }

    fn unit_lives(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<UnitLife>, StoreError> {
        self.read_unit_lives(selection, range)
    }

    fn quality(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<QualityOf>, StoreError> {
        self.read_quality(selection, range)
    }

    fn series(
        &self,
        selection: &Selection,
        range: TimeRange,
        step_ns: u64,
    ) -> Result<Vec<SeriesPoint>, StoreError> {
        self.read_series(selection, range, step_ns)
    }

    fn stats(&self) -> Result<StoreStats, StoreError> {
        self.read_stats()
    }

    /// Nothing is left to do: the views add up each batch as it arrives.
    fn compact(&self, _now_unix_ns: u64) -> Result<Compacted, StoreError> {
        Ok(Compacted::default())
    }

    fn retain(&self, before_unix_ns: u64) -> Result<Retained, StoreError> {
        self.drop_days(before_unix_ns)
    }
}

impl MetaStore for ClickHouseStore {
    fn load_state(&self, key: &str) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        self.read_state(key)
    }

    fn save_state(
        &self,
        key: &str,
        expected_version: u64,
        value: &[u8],
    ) -> Result<bool, StoreError> {
        self.write_state(key, expected_version, value)
    }
}
