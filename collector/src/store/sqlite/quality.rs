//! Answers how far the stacks of a selection can be trusted: reads windows, and names nothing in them.

use std::collections::BTreeMap;

use super::SqliteStore;
use super::level::Level;
use super::parts::{Parts, Scope};
use super::read::find_series;
use crate::store::{QualityOf, Selection, StoreError, TimeRange};
use profiler_common::profile::Quality;

/// Label of a series that names the file of the program.
const EXECUTABLE: &str = "executable";

impl SqliteStore {
    pub(super) fn quality(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<QualityOf>, StoreError> {
        let reader = self.readers.take()?;
        let mut parts = Parts::new(&reader, range, Some(Level::Day))?;
        let mut found: BTreeMap<[String; 3], Quality> = BTreeMap::new();
        for series in find_series(&reader, selection)? {
            let executable = series.label(EXECUTABLE)?.unwrap_or_default();
            let id = series.id;
            let key = [series.runner.version, series.runner.host, executable];
            let quality = found.entry(key).or_default();
            parts.segment_walks(Scope::series(id), quality)?;
            parts.fresh(id, |window| {
                quality.merge(&window.content.quality);
                Ok(())
            })?;
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
