//! Answers questions that need no stacks: finds the series of a selection, and reads their sums.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rusqlite::Connection;

use super::level::Level;
use super::lives::segment_ends;
use super::parts::{Parts, Scope, Sums};
use super::{SqliteStore, failed};
use crate::store::{Selection, SeriesPoint, StoreError, TimeRange, VersionSpan};

/// Most points of a series: more than any screen shows.
const POINTS_MAX: usize = 100_000;

/// Who ran; in the order of an answer within a window.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Runner {
    pub(super) host: String,
    pub(super) unit: String,
    pub(super) version: String,
}

impl Runner {
    /// Host, unit and version.
    pub(super) fn into_parts(self) -> (String, String, String) {
        (self.host, self.unit, self.version)
    }
}

/// One series that a question is about.
pub(super) struct Series {
    pub(super) id: i64,
    pub(super) runner: Runner,
    pub(super) labels: String,
}

impl Series {
    /// One of its further labels.
    pub(super) fn label(&self, key: &str) -> Result<Option<String>, StoreError> {
        Ok(parse_labels(&self.labels)?.remove(key))
    }
}

impl SqliteStore {
    pub(super) fn series(
        &self,
        selection: &Selection,
        range: TimeRange,
        step_ns: u64,
    ) -> Result<Vec<SeriesPoint>, StoreError> {
        let step_ns = step_ns.max(1);
        let reader = self.readers.take()?;
        let mut parts = Parts::new(&reader, range, Level::within(step_ns))?;
        let mut points: BTreeMap<(u64, Arc<str>), (u64, u64)> = BTreeMap::new();
        let mut add = |version: &Arc<str>, sums: Sums| {
            let start = sums.start_unix_ns / step_ns * step_ns;
            let point = points.entry((start, Arc::clone(version))).or_default();
            point.0 = point.0.saturating_add(sums.samples);
            point.1 = point.1.saturating_add(sums.cpu_ns);
        };
        let is_of_releases = is_of_releases(selection);
        if is_of_releases {
            for (id, version) in find_releases(&reader, selection)? {
                let version = version.into();
                parts.segment_sums(Scope::release(id), |sums| add(&version, sums))?;
            }
        }
        for Series { id, runner, .. } in find_series(&reader, selection)? {
            let version = runner.version.into();
            if !is_of_releases {
                parts.segment_sums(Scope::series(id), |sums| add(&version, sums))?;
            }
            parts.fresh_sums(id, |sums| add(&version, sums))?;
        }
        limit(points.len(), POINTS_MAX, "points")?;
        Ok(points
            .into_iter()
            .map(|((start_unix_ns, version), (samples, cpu_ns))| SeriesPoint {
                start_unix_ns,
                version: version.to_string(),
                samples,
                cpu_ns,
            })
            .collect())
    }

    pub(super) fn versions(
        &self,
        until_unix_ns: u64,
    ) -> Result<BTreeMap<String, Vec<VersionSpan>>, StoreError> {
        let reader = self.readers.take()?;
        let range = TimeRange { start_unix_ns: 0, end_unix_ns: until_unix_ns };
        let mut spans: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
        for (service, version, ends) in seen(&reader, range)? {
            let span = spans.entry((service, version)).or_insert(ends);
            *span = (span.0.min(ends.0), span.1.max(ends.1));
        }
        let mut services: BTreeMap<String, Vec<VersionSpan>> = BTreeMap::new();
        for ((service, version), (first_seen_unix_ns, last_seen_unix_ns)) in spans {
            let span = VersionSpan { version, first_seen_unix_ns, last_seen_unix_ns };
            services.entry(service).or_default().push(span);
        }
        Ok(services)
    }
}

/// Service, version, and its first start and last end.
type Seen = (String, String, (u64, u64));

/// When releases were seen in the range: each of them, and those of their series that have
/// windows in no whole segment.
fn seen(connection: &Connection, range: TimeRange) -> Result<Vec<Seen>, StoreError> {
    let read = failed("read the versions");
    let mut seen = Vec::new();
    let mut fresh: BTreeSet<i64> = fresh_series(connection)?;
    let last_minute = TimeRange {
        start_unix_ns: range.end_unix_ns - range.end_unix_ns % Level::Minute.length_ns(),
        end_unix_ns: range.end_unix_ns.saturating_add(Level::Minute.length_ns()),
    };
    let mut find =
        connection.prepare_cached("SELECT id, service, version FROM release").map_err(read)?;
    let mut rows = find.query([]).map_err(read)?;
    while let Some(row) = rows.next().map_err(read)? {
        let id = row.get(0).map_err(read)?;
        if let Some(ends) = segment_ends(connection, Scope::release(id), range)? {
            seen.push((row.get(1).map_err(read)?, row.get(2).map_err(read)?, ends));
        }
        if segment_ends(connection, Scope::release(id), last_minute)?.is_some() {
            fresh.extend(series_of(connection, id)?);
        }
    }
    let mut name = connection
        .prepare_cached("SELECT service, version FROM series WHERE id = ?1")
        .map_err(read)?;
    let mut parts = Parts::at_the_ends(connection, range)?;
    for series in fresh {
        let mut ends: Option<(u64, u64)> = None;
        parts.fresh_ends(series, |first, last| {
            let known = ends.unwrap_or((first, last));
            ends = Some((known.0.min(first), known.1.max(last)));
        })?;
        if let Some(ends) = ends {
            let names = name.query_row([series], |row| Ok((row.get(0)?, row.get(1)?)));
            let (service, version) = names.map_err(read)?;
            seen.push((service, version, ends));
        }
    }
    Ok(seen)
}

/// Series that have blocks: one seek for each.
fn fresh_series(connection: &Connection) -> Result<BTreeSet<i64>, StoreError> {
    connection
        .prepare_cached(
            "WITH RECURSIVE fresh (id) AS (SELECT min(series) FROM block UNION ALL \
             SELECT (SELECT min(series) FROM block WHERE series > fresh.id) FROM fresh \
             WHERE fresh.id IS NOT NULL) SELECT id FROM fresh WHERE id IS NOT NULL",
        )
        .and_then(|mut find| find.query_map([], |row| row.get(0))?.collect())
        .map_err(failed("read the versions"))
}

fn series_of(connection: &Connection, release: i64) -> Result<Vec<i64>, StoreError> {
    connection
        .prepare_cached("SELECT id FROM series WHERE release = ?1")
        .and_then(|mut find| find.query_map([release], |row| row.get(0))?.collect())
        .map_err(failed("read the versions"))
}

/// Series that a selection matches, and who ran in each.
pub(super) fn find_series(
    connection: &Connection,
    selection: &Selection,
) -> Result<Vec<Series>, StoreError> {
    let read = failed("find series");
    let mut find = connection
        .prepare_cached("SELECT id, host, unit, version, labels FROM series WHERE service = ?1")
        .map_err(read)?;
    let mut rows = find.query([&selection.service]).map_err(read)?;
    let mut series = Vec::new();
    while let Some(row) = rows.next().map_err(read)? {
        let runner = Runner {
            host: row.get(1).map_err(read)?,
            unit: row.get(2).map_err(read)?,
            version: row.get(3).map_err(read)?,
        };
        let labels: String = row.get(4).map_err(read)?;
        if matches(selection, &runner, &labels)? {
            series.push(Series { id: row.get(0).map_err(read)?, runner, labels });
        }
    }
    Ok(series)
}

fn matches(selection: &Selection, runner: &Runner, labels: &str) -> Result<bool, StoreError> {
    let mut parsed: Option<HashMap<String, String>> = None;
    for (key, value) in &selection.labels {
        let is_equal = match key.as_str() {
            "version" => runner.version == *value,
            "host" => runner.host == *value,
            "unit" => runner.unit == *value,
            "service" => selection.service == *value,
            _ => {
                let labels = match &mut parsed {
                    Some(labels) => labels,
                    None => parsed.insert(parse_labels(labels)?),
                };
                labels.get(key) == Some(value)
            }
        };
        if !is_equal {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a selection takes all units of the releases that it names.
pub(super) fn is_of_releases(selection: &Selection) -> bool {
    selection.labels.iter().all(|(key, _)| key == "version" || key == "service")
}

/// Identities and versions of the releases of such a selection.
pub(super) fn find_releases(
    connection: &Connection,
    selection: &Selection,
) -> Result<Vec<(i64, String)>, StoreError> {
    let read = failed("find releases");
    let mut find = connection
        .prepare_cached("SELECT id, version FROM release WHERE service = ?1")
        .map_err(read)?;
    let rows = find
        .query_map([&selection.service], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))
        .map_err(read)?;
    let is_asked_for = |version: &str| {
        selection.labels.iter().all(|(key, value)| match key.as_str() {
            "version" => version == value,
            _ => selection.service == *value,
        })
    };
    let found: Result<Vec<(i64, String)>, _> = rows.collect();
    let mut found = found.map_err(read)?;
    found.retain(|(_, version)| is_asked_for(version));
    Ok(found)
}

/// Labels of a series by key.
pub(super) fn parse_labels(labels: &str) -> Result<HashMap<String, String>, StoreError> {
    serde_json::from_str(labels)
        .map_err(|_damaged| StoreError::Damaged("labels of a series cannot be decoded"))
}

pub(super) fn limit(count: usize, limit: usize, what: &'static str) -> Result<(), StoreError> {
    if count > limit { Err(StoreError::TooLarge { what, limit }) } else { Ok(()) }
}
