//! The store on SQLite.

use std::path::Path;

use profiler_common::wire::v1;

use super::{
    Retained, Selection, SeriesPoint, ServiceEntry, StoreError, StoreOptions, StoreStats, TimeRange,
    UnitWindow, Written,
};

#[derive(Debug)]
pub(super) struct Sqlite {}

const SOON: StoreError = StoreError::Damaged("not written yet");

impl Sqlite {
    pub(super) fn open(_: &Path, _: StoreOptions) -> Result<Self, StoreError> {
        Err(SOON)
    }
    pub(super) fn write(&self, _: &v1::Batch) -> Result<Written, StoreError> {
        Err(SOON)
    }
    pub(super) fn catalog(&self, _: TimeRange) -> Result<Vec<ServiceEntry>, StoreError> {
        Err(SOON)
    }
    pub(super) fn unit_windows(
        &self,
        _: &Selection,
        _: TimeRange,
        _: u64,
    ) -> Result<Vec<UnitWindow>, StoreError> {
        Err(SOON)
    }
    pub(super) fn series(
        &self,
        _: &Selection,
        _: TimeRange,
        _: u64,
    ) -> Result<Vec<SeriesPoint>, StoreError> {
        Err(SOON)
    }
    pub(super) fn stats(&self) -> Result<StoreStats, StoreError> {
        Err(SOON)
    }
    pub(super) fn retain(&self, _: u64) -> Result<Retained, StoreError> {
        Err(SOON)
    }
    pub(super) fn load_state(&self, _: &str) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        Err(SOON)
    }
    pub(super) fn save_state(&self, _: &str, _: u64, _: &[u8]) -> Result<bool, StoreError> {
        Err(SOON)
    }
}
