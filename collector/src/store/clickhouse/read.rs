//! Answers questions that need no stacks: whole hours from the roll-up, the ends of the range from the windows.

use std::collections::BTreeMap;

use profiler_common::profile::Quality;

use super::ClickHouseStore;
use super::question::{NOTHING, matching, split, within};
use super::row::Values;
use super::tables::NS_PER_HOUR;
use crate::store::{
    QualityOf, Selection, SeriesPoint, ServiceEntry, StoreError, TimeRange, UnitLife, VersionEntry,
    VersionSpan,
};

/// Most points of a series: more than any screen shows.
const POINTS_MAX: usize = 100_000;

impl ClickHouseStore {
    /// What ran in a range, grouped by columns that windows and the roll-up both have: first, last and the sums as `f`,
    /// `l`, `s`, `c`, `w`, `h`.
    fn activity(&self, columns: &str, condition: &str, range: TimeRange) -> String {
        let (hours, rest) = split(range, NS_PER_HOUR);
        let hours: Vec<TimeRange> = hours.into_iter().collect();
        let (activity, window) = (self.table("activity_1h"), self.table("window"));
        let (in_hours, in_rest) = (within("at_ns", &hours), within("start_ns", &rest));
        format!(
            "(SELECT {columns}, minMerge(first) AS f, maxMerge(last) AS l, \
             sumMerge(sum_samples) AS s, sumMerge(sum_cpu_ns) AS c, sumMerge(sum_walked) AS w, \
             sumMerge(sum_whole) AS h FROM {activity} WHERE {condition} AND {in_hours} \
             GROUP BY {columns} UNION ALL \
             SELECT {columns}, min(start_ns) AS f, max(end_ns) AS l, sum(samples) AS s, \
             sum(cpu_ns) AS c, sum(walked) AS w, sum(whole) AS h FROM {window} \
             WHERE {condition} AND {in_rest} GROUP BY {columns})"
        )
    }

    pub(super) fn read_catalog(&self, range: TimeRange) -> Result<Vec<ServiceEntry>, StoreError> {
        // Sums of CPU time are split: 64 bits of nanoseconds end at 584 years, and a fleet's need not.
        let sql = format!(
            "SELECT service, version, groupUniqArray(host), \
             groupUniqArray(unit), min(f), max(l), sum(s), sum(bitShiftRight(c, 32)), \
             sum(bitAnd(c, 4294967295)), sum(w), sum(h) FROM {} GROUP BY service, version",
            self.activity("service, version, host, unit", "1 = 1", range)
        );
        let answer = self.client.ask("read the catalog", &sql)?;
        let mut values = Values::new(&answer);
        let mut services: BTreeMap<String, Service> = BTreeMap::new();
        while !values.is_at_end() {
            let service = values.text()?;
            services.entry(service).or_default().add(&mut values)?;
        }
        let mut entries: Vec<ServiceEntry> =
            services.into_iter().map(|(name, service)| service.into_entry(name)).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.cpu_ns));
        Ok(entries)
    }

    pub(super) fn read_versions(
        &self,
        until_unix_ns: u64,
    ) -> Result<BTreeMap<String, Vec<VersionSpan>>, StoreError> {
        let range = TimeRange { start_unix_ns: 0, end_unix_ns: until_unix_ns };
        let sql = format!(
            "SELECT service, version, min(f), max(l) FROM {} GROUP BY service, version \
             ORDER BY service, version",
            self.activity("service, version", "1 = 1", range)
        );
        let answer = self.client.ask("read the versions", &sql)?;
        let mut values = Values::new(&answer);
        let mut services: BTreeMap<String, Vec<VersionSpan>> = BTreeMap::new();
        while !values.is_at_end() {
            let service = values.text()?;
            services.entry(service).or_default().push(VersionSpan {
                version: values.text()?,
                first_seen_unix_ns: values.u64()?,
                last_seen_unix_ns: values.u64()?,
            });
        }
        Ok(services)
    }

    pub(super) fn read_unit_lives(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<UnitLife>, StoreError> {
        let sql = format!(
            "SELECT host, unit, version, min(f), max(l) FROM {} GROUP BY host, unit, version \
             ORDER BY host, unit, version",
            self.activity("host, unit, version", &matching(selection), range)
        );
        let answer = self.client.ask("read when units were seen", &sql)?;
        let mut values = Values::new(&answer);
        let mut lives = Vec::new();
        while !values.is_at_end() {
            lives.push(UnitLife {
                host: values.text()?,
                unit: values.text()?,
                version: values.text()?,
                first_seen_unix_ns: values.u64()?,
                last_seen_unix_ns: values.u64()?,
            });
        }
        Ok(lives)
    }

    pub(super) fn read_quality(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<QualityOf>, StoreError> {
        let sql = format!(
            "SELECT version, host, label_values[indexOf(label_keys, 'executable')] AS executable, \
             walk_end, sum(walk_count) FROM {} \
             ARRAY JOIN walk_ends AS walk_end, walk_samples AS walk_count WHERE {} AND {} \
             GROUP BY version, host, executable, walk_end ORDER BY version, host, executable",
            self.table("window"),
            matching(selection),
            within("start_ns", &[range])
        );
        let answer = self.client.ask("read the quality of profiles", &sql)?;
        let mut values = Values::new(&answer);
        let mut found: BTreeMap<[String; 3], Quality> = BTreeMap::new();
        while !values.is_at_end() {
            let key = [values.text()?, values.text()?, values.text()?];
            found.entry(key).or_default().add(&values.text()?, values.u64()?);
        }
        let of = |([version, host, executable], quality): ([String; 3], _)| QualityOf {
            version,
            host,
            executable,
            quality,
        };
        Ok(found.into_iter().filter(|(_, quality)| !quality.is_empty()).map(of).collect())
    }

    pub(super) fn read_series(
        &self,
        selection: &Selection,
        range: TimeRange,
        step_ns: u64,
    ) -> Result<Vec<SeriesPoint>, StoreError> {
        let step_ns = step_ns.max(1);
        // Steps of whole hours come from the roll-up, as far as the range has whole hours.
        let (table, is_rolled) = if step_ns.is_multiple_of(NS_PER_HOUR) {
            split(range, NS_PER_HOUR)
        } else {
            (None, vec![range])
        };
        let hours = table.map_or_else(|| NOTHING.to_owned(), |hours| within("at_ns", &[hours]));
        let sql = format!(
            "SELECT at, version, sum(s), sum(c) FROM (\
             SELECT intDiv(at_ns, {step_ns}) * {step_ns} AS at, version, sumMerge(sum_samples) AS s, \
             sumMerge(sum_cpu_ns) AS c FROM {} WHERE {condition} AND {hours} GROUP BY at, version \
             UNION ALL SELECT intDiv(start_ns, {step_ns}) * {step_ns} AS at, version, \
             sum(samples) AS s, sum(cpu_ns) AS c FROM {} WHERE {condition} AND {} \
             GROUP BY at, version) GROUP BY at, version ORDER BY at, version LIMIT {}",
            self.table("activity_1h"),
            self.table("window"),
            within("start_ns", &is_rolled),
            POINTS_MAX + 1,
            condition = matching(selection),
        );
        let answer = self.client.ask("read a series", &sql)?;
        let mut values = Values::new(&answer);
        let mut points = Vec::new();
        while !values.is_at_end() {
            points.push(SeriesPoint {
                start_unix_ns: values.u64()?,
                version: values.text()?,
                samples: values.u64()?,
                cpu_ns: values.u64()?,
            });
        }
        limit(points.len(), POINTS_MAX, "points")?;
        Ok(points)
    }
}

pub(super) fn limit(count: usize, limit: usize, what: &'static str) -> Result<(), StoreError> {
    if count > limit { Err(StoreError::TooLarge { what, limit }) } else { Ok(()) }
}

#[derive(Default)]
struct Service {
    samples: u64,
    cpu_ns: u64,
    walked: u64,
    whole: u64,
    versions: Vec<VersionEntry>,
}

impl Service {
    /// Adds a row of the catalog's question, behind its service.
    fn add(&mut self, values: &mut Values<'_>) -> Result<(), StoreError> {
        let version = values.text()?;
        let mut names = [values.array(Values::text)?, values.array(Values::text)?];
        names.iter_mut().for_each(|names| names.sort_unstable());
        let [hosts, units] = names;
        let (first_seen_unix_ns, last_seen_unix_ns) = (values.u64()?, values.u64()?);
        let (samples, high, low) = (values.u64()?, values.u64()?, values.u64()?);
        let (walked, whole) = (values.u64()?, values.u64()?);
        let cpu_ns = (u128::from(high) << 32) + u128::from(low);
        self.samples = self.samples.saturating_add(samples);
        self.cpu_ns = self.cpu_ns.saturating_add(u64::try_from(cpu_ns).unwrap_or(u64::MAX));
        self.walked = self.walked.saturating_add(walked);
        self.whole = self.whole.saturating_add(whole);
        self.versions.push(VersionEntry {
            version,
            first_seen_unix_ns,
            last_seen_unix_ns,
            samples,
            whole_share: share(whole, walked),
            hosts,
            units,
        });
        Ok(())
    }

    fn into_entry(mut self, service: String) -> ServiceEntry {
        let first = self.versions.iter().map(|version| version.first_seen_unix_ns).min();
        let last = self.versions.iter().map(|version| version.last_seen_unix_ns).max();
        self.versions.sort_by_key(|version| std::cmp::Reverse(version.last_seen_unix_ns));
        ServiceEntry {
            service,
            samples: self.samples,
            whole_share: share(self.whole, self.walked),
            cpu_ns: self.cpu_ns,
            first_seen_unix_ns: first.unwrap_or_default(),
            last_seen_unix_ns: last.unwrap_or_default(),
            versions: self.versions,
        }
    }
}

fn share(whole: u64, walked: u64) -> Option<f64> {
    (walked > 0).then(|| whole as f64 / walked as f64)
}
