//! Answers questions that need no stacks: finds the series of a selection, and reads their sums.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, params};

use super::{SqliteStore, failed, signed, unsigned};
use crate::store::{
    Selection, SeriesPoint, ServiceEntry, StoreError, TimeRange, VersionEntry, VersionSpan,
};

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
        let read = failed("read a series");
        let reader = self.readers.take()?;
        let mut points: BTreeMap<(u64, String), (u64, u64)> = BTreeMap::new();
        for Series { id, runner, .. } in find_series(&reader, selection)? {
            let mut find = reader
                .prepare_cached(
                    "SELECT start_unix_ns, samples, cpu_ns FROM block WHERE series = ?1 \
                     AND start_unix_ns >= ?2 AND start_unix_ns < ?3",
                )
                .map_err(read)?;
            let mut blocks = find
                .query(params![id, signed(range.start_unix_ns), signed(range.end_unix_ns)])
                .map_err(read)?;
            while let Some(block) = blocks.next().map_err(read)? {
                let start = unsigned(block.get(0).map_err(read)?) / step_ns * step_ns;
                let point = points.entry((start, runner.version.clone())).or_default();
                point.0 = point.0.saturating_add(unsigned(block.get(1).map_err(read)?));
                point.1 = point.1.saturating_add(unsigned(block.get(2).map_err(read)?));
                limit(points.len(), POINTS_MAX, "points")?;
            }
        }
        Ok(points
            .into_iter()
            .map(|((start_unix_ns, version), (samples, cpu_ns))| SeriesPoint {
                start_unix_ns,
                version,
                samples,
                cpu_ns,
            })
            .collect())
    }

    pub(super) fn versions(
        &self,
        until_unix_ns: u64,
    ) -> Result<BTreeMap<String, Vec<VersionSpan>>, StoreError> {
        let read = failed("read the versions");
        let reader = self.readers.take()?;
        // Both ends come from the index, so a series with a month of windows costs no more than a new one.
        let mut find = reader
            .prepare_cached(
                "SELECT service, version, min(first), max(last) FROM (SELECT s.service, s.version, \
                 (SELECT start_unix_ns FROM block WHERE series = s.id AND start_unix_ns < ?1 \
                 ORDER BY start_unix_ns LIMIT 1) AS first, \
                 (SELECT end_unix_ns FROM block WHERE series = s.id AND start_unix_ns < ?1 \
                 ORDER BY start_unix_ns DESC LIMIT 1) AS last FROM series s) \
                 WHERE first IS NOT NULL GROUP BY service, version",
            )
            .map_err(read)?;
        let mut rows = find.query([signed(until_unix_ns)]).map_err(read)?;
        let mut services: BTreeMap<String, Vec<VersionSpan>> = BTreeMap::new();
        while let Some(row) = rows.next().map_err(read)? {
            let span = VersionSpan {
                version: row.get(1).map_err(read)?,
                first_seen_unix_ns: unsigned(row.get(2).map_err(read)?),
                last_seen_unix_ns: unsigned(row.get(3).map_err(read)?),
            };
            services.entry(row.get(0).map_err(read)?).or_default().push(span);
        }
        Ok(services)
    }

    pub(super) fn catalog(&self, range: TimeRange) -> Result<Vec<ServiceEntry>, StoreError> {
        let read = failed("read the catalog");
        let reader = self.readers.take()?;
        // Sums of CPU time are split, because SQLite's numbers end at 292 years and a fleet's need not.
        let mut find = reader
            .prepare_cached(
                "SELECT s.service, s.version, s.host, s.unit, sum(b.samples), \
                 sum(b.cpu_ns >> 32), sum(b.cpu_ns & 4294967295), \
                 min(b.start_unix_ns), max(b.end_unix_ns), sum(b.stacks), sum(b.whole) \
                 FROM series s CROSS JOIN block b ON b.series = s.id \
                 WHERE b.start_unix_ns >= ?1 AND b.start_unix_ns < ?2 GROUP BY s.id",
            )
            .map_err(read)?;
        let mut rows = find
            .query(params![signed(range.start_unix_ns), signed(range.end_unix_ns)])
            .map_err(read)?;
        let mut services: BTreeMap<String, Service> = BTreeMap::new();
        while let Some(row) = rows.next().map_err(read)? {
            let service = services.entry(row.get(0).map_err(read)?).or_default();
            service.add(row).map_err(read)?;
        }
        let mut entries: Vec<ServiceEntry> =
            services.into_iter().map(|(name, service)| service.into_entry(name)).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.cpu_ns));
        Ok(entries)
    }
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

/// Labels of a series by key.
pub(super) fn parse_labels(labels: &str) -> Result<HashMap<String, String>, StoreError> {
    serde_json::from_str(labels)
        .map_err(|_damaged| StoreError::Damaged("labels of a series cannot be decoded"))
}

#[derive(Default)]
struct Service {
    samples: u64,
    cpu_ns: u64,
    walked: Walked,
    versions: BTreeMap<String, (VersionEntry, Walked)>,
}

/// Samples with a user stack, and those whose stack is whole.
#[derive(Clone, Copy, Default)]
struct Walked {
    stacks: u64,
    whole: u64,
}

impl Walked {
    fn add(&mut self, other: Self) {
        self.stacks = self.stacks.saturating_add(other.stacks);
        self.whole = self.whole.saturating_add(other.whole);
    }

    fn whole_share(self) -> Option<f64> {
        (self.stacks > 0).then(|| self.whole as f64 / self.stacks as f64)
    }
}

impl Service {
    /// Adds a row of the catalog's query.
    fn add(&mut self, row: &rusqlite::Row<'_>) -> rusqlite::Result<()> {
        let version: String = row.get(1)?;
        let samples = unsigned(row.get(4)?);
        let high: i64 = row.get(5)?;
        let low: i64 = row.get(6)?;
        let cpu_ns = (i128::from(high) << 32) + i128::from(low);
        let start = unsigned(row.get(7)?);
        let end = unsigned(row.get(8)?);
        let walked = Walked { stacks: unsigned(row.get(9)?), whole: unsigned(row.get(10)?) };
        self.samples = self.samples.saturating_add(samples);
        self.walked.add(walked);
        self.cpu_ns = self.cpu_ns.saturating_add(u64::try_from(cpu_ns).unwrap_or(u64::MAX));
        let (entry, known) = self.versions.entry(version).or_insert_with_key(|version| {
            let entry = VersionEntry {
                version: version.clone(),
                first_seen_unix_ns: start,
                last_seen_unix_ns: end,
                samples: 0,
                whole_share: None,
                hosts: Vec::new(),
                units: Vec::new(),
            };
            (entry, Walked::default())
        });
        known.add(walked);
        entry.first_seen_unix_ns = entry.first_seen_unix_ns.min(start);
        entry.last_seen_unix_ns = entry.last_seen_unix_ns.max(end);
        entry.samples = entry.samples.saturating_add(samples);
        entry.hosts.push(row.get(2)?);
        entry.units.push(row.get(3)?);
        Ok(())
    }

    fn into_entry(self, service: String) -> ServiceEntry {
        let mut versions = Vec::with_capacity(self.versions.len());
        for (mut version, walked) in self.versions.into_values() {
            version.whole_share = walked.whole_share();
            version.hosts.sort_unstable();
            version.hosts.dedup();
            version.units.sort_unstable();
            version.units.dedup();
            versions.push(version);
        }
        versions.sort_by_key(|version| std::cmp::Reverse(version.last_seen_unix_ns));
        let first = versions.iter().map(|version| version.first_seen_unix_ns).min();
        let last = versions.iter().map(|version| version.last_seen_unix_ns).max();
        ServiceEntry {
            service,
            samples: self.samples,
            whole_share: self.walked.whole_share(),
            cpu_ns: self.cpu_ns,
            first_seen_unix_ns: first.unwrap_or_default(),
            last_seen_unix_ns: last.unwrap_or_default(),
            versions,
        }
    }
}

pub(super) fn limit(count: usize, limit: usize, what: &'static str) -> Result<(), StoreError> {
    if count > limit { Err(StoreError::TooLarge { what, limit }) } else { Ok(()) }
}
