//! Answers how far the stacks of a selection can be trusted: reads blocks, and names nothing in them.

use std::collections::BTreeMap;

use profiler_common::profile::Quality;
use rusqlite::params;

use super::block::Unpacker;
use super::read::find_series;
use super::{SqliteStore, failed, signed};
use crate::store::{QualityOf, Selection, StoreError, TimeRange};

/// Label of a series that names the file of the program.
const EXECUTABLE: &str = "executable";

impl SqliteStore {
    pub(super) fn quality(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<QualityOf>, StoreError> {
        let read = failed("read the quality of profiles");
        let reader = self.readers.take()?;
        let mut unpacker = Unpacker::new()?;
        let mut found: BTreeMap<[String; 3], Quality> = BTreeMap::new();
        for series in find_series(&reader, selection)? {
            let executable = series.label(EXECUTABLE)?.unwrap_or_default();
            let key = [series.runner.version, series.runner.host, executable];
            let quality = found.entry(key).or_default();
            let mut find = reader
                .prepare_cached(
                    "SELECT data FROM block WHERE series = ?1 \
                     AND start_unix_ns >= ?2 AND start_unix_ns < ?3",
                )
                .map_err(read)?;
            let range = [range.start_unix_ns, range.end_unix_ns].map(signed);
            let mut blocks = find.query(params![series.id, range[0], range[1]]).map_err(read)?;
            while let Some(block) = blocks.next().map_err(read)? {
                let data = block.get_ref(0).map_err(read)?.as_blob();
                let data = data.map_err(|_text| StoreError::Damaged("a block is not a blob"))?;
                unpacker.unpack_walks(data, quality)?;
            }
        }
        let found = found.into_iter().filter(|(_, quality)| !quality.is_empty());
        let of = |([version, host, executable], quality): ([String; 3], _)| QualityOf {
            version,
            host,
            executable,
            quality,
        };
        Ok(found.map(of).collect())
    }
}
