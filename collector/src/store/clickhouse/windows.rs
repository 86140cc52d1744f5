//! Answers with stacks: what each unit did in each window, and all that a selection did.
//!
//! The servers add up; what comes back is one row for each unit and window, or for each stack. A window's counts, walks
//! and syscalls are asked for one after another, so a window that arrives meanwhile may be in some of them only; one that
//! ended a moment ago is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use profiler_common::profile::{LatencyHistogram, Quality};

use super::ClickHouseStore;
use super::question::{NS_PER_MINUTE, is_of_versions, matching, split, within};
use super::read::limit;
use super::row::Values;
use super::tables::NS_PER_HOUR;
use crate::store::{
    LostSamples, Merged, Selection, StoreError, TimeRange, UnitSyscall, UnitWindow, WindowProfile,
};

/// Most rows of units and windows in one answer: a day of minutes of 70 units.
const UNIT_WINDOWS_MAX: usize = 100_000;

/// Most (window, unit, stack) counts in one answer; 10 million take about 300 MB.
const COUNTS_MAX: usize = 10_000_000;

const READ: &str = "read profiles";

/// Names the syscalls of windows one by one.
const EACH_CALL: &str = "ARRAY JOIN call_names AS call_name, call_waiting AS waiting, \
    call_sums AS call_sum, call_maxes AS call_max, call_buckets AS buckets, \
    call_calls AS bucket_calls, call_errnos AS errnos, call_errors AS errno_calls";

/// Adds them up, as [`read_syscall`] reads them.
const SUM_OF_CALLS: &str = "sum(call_sum), max(call_max), \
    sumMap(buckets, bucket_calls).1, sumMap(buckets, bucket_calls).2, \
    sumMap(errnos, errno_calls).1, sumMap(errnos, errno_calls).2";

/// Start of the window, host, unit and version.
type Key = (u64, [String; 3]);

#[derive(Default)]
struct Row {
    machine: String,
    cpu_ns: u64,
    lost: LostSamples,
    counts: Vec<(u128, u64)>,
    quality: Quality,
    syscalls: Vec<UnitSyscall>,
}

impl ClickHouseStore {
    pub(super) fn read_unit_windows(
        &self,
        selection: &Selection,
        range: TimeRange,
        window_ns: u64,
    ) -> Result<Vec<UnitWindow>, StoreError> {
        let window_ns = window_ns.max(1);
        let question = UnitQuestion {
            table: self.table("window"),
            key: format!("intDiv(start_ns, {window_ns}) * {window_ns} AS at, host, unit, version"),
            condition: format!("{} AND {}", matching(selection), within("start_ns", &[range])),
        };
        let mut rows = self.read_rows(&question)?;
        self.read_counts(&question, &mut rows)?;
        self.read_walks(&question, &mut rows)?;
        self.read_calls(&question, &mut rows)?;
        let since = self.read_since(selection)?;
        let keys: BTreeSet<u128> =
            rows.values().flat_map(|row| row.counts.iter().map(|(key, _)| *key)).collect();
        let (dictionary, numbers) = self.names.dictionary(&self.client, &keys)?;
        let dictionary = Arc::new(dictionary);
        let window = |((start, runner), row): (Key, Row)| {
            let since_unix_ns = since.get(&runner).copied().unwrap_or(start);
            let [host, unit, version] = runner;
            let counts = row.counts.iter().map(|(key, count)| (numbers[key], *count)).collect();
            UnitWindow {
                host,
                unit,
                version,
                machine: row.machine,
                since_unix_ns,
                start_unix_ns: start,
                cpu_ns: row.cpu_ns,
                profile: WindowProfile::new(Arc::clone(&dictionary), counts),
                quality: row.quality,
                lost: row.lost,
                syscalls: row.syscalls,
            }
        };
        Ok(rows.into_iter().map(window).collect())
    }

    fn read_rows(&self, question: &UnitQuestion) -> Result<BTreeMap<Key, Row>, StoreError> {
        let UnitQuestion { table, key, condition } = question;
        let sql = format!(
            "SELECT {key}, any(machine), sum(cpu_ns), sum(taken), sum(lost) FROM {table} \
             WHERE {condition} GROUP BY at, host, unit, version LIMIT {}",
            UNIT_WINDOWS_MAX + 1
        );
        let answer = self.client.ask(READ, &sql)?;
        let mut values = Values::new(&answer);
        let mut rows = BTreeMap::new();
        while !values.is_at_end() {
            let key = read_key(&mut values)?;
            let row = Row {
                machine: values.text()?,
                cpu_ns: values.u64()?,
                lost: LostSamples { taken: values.u64()?, lost: values.u64()? },
                ..Row::default()
            };
            rows.insert(key, row);
        }
        limit(rows.len(), UNIT_WINDOWS_MAX, "windows of units")?;
        Ok(rows)
    }

    fn read_counts(
        &self,
        question: &UnitQuestion,
        rows: &mut BTreeMap<Key, Row>,
    ) -> Result<(), StoreError> {
        let UnitQuestion { table, key, condition } = question;
        let sql = format!(
            "SELECT at, host, unit, version, groupArray(stack), groupArray(n) FROM (\
             SELECT {key}, stack, sum(count) AS n FROM {table} \
             ARRAY JOIN stacks AS stack, counts AS count WHERE {condition} \
             GROUP BY at, host, unit, version, stack) GROUP BY at, host, unit, version"
        );
        let answer = self.client.ask(READ, &sql)?;
        let mut values = Values::new(&answer);
        let mut total = 0;
        while !values.is_at_end() {
            let key = read_key(&mut values)?;
            let (stacks, counts) = (values.array(Values::key)?, values.array(Values::u64)?);
            total += stacks.len();
            limit(total, COUNTS_MAX, "stack counts")?;
            if let Some(row) = rows.get_mut(&key) {
                row.counts = stacks.into_iter().zip(counts).collect();
                row.counts.sort_unstable();
            }
        }
        Ok(())
    }

    fn read_walks(
        &self,
        question: &UnitQuestion,
        rows: &mut BTreeMap<Key, Row>,
    ) -> Result<(), StoreError> {
        let UnitQuestion { table, key, condition } = question;
        let sql = format!(
            "SELECT {key}, walk_end, sum(walk_count) FROM {table} \
             ARRAY JOIN walk_ends AS walk_end, walk_samples AS walk_count WHERE {condition} \
             GROUP BY at, host, unit, version, walk_end"
        );
        let answer = self.client.ask(READ, &sql)?;
        let mut values = Values::new(&answer);
        while !values.is_at_end() {
            let key = read_key(&mut values)?;
            let (end, samples) = (values.text()?, values.u64()?);
            if let Some(row) = rows.get_mut(&key) {
                row.quality.add(&end, samples);
            }
        }
        Ok(())
    }

    fn read_calls(
        &self,
        question: &UnitQuestion,
        rows: &mut BTreeMap<Key, Row>,
    ) -> Result<(), StoreError> {
        let UnitQuestion { table, key, condition } = question;
        let sql = format!(
            "SELECT {key}, call_name, waiting, {SUM_OF_CALLS} FROM {table} {EACH_CALL} \
             WHERE {condition} GROUP BY at, host, unit, version, call_name, waiting \
             ORDER BY waiting, call_name"
        );
        let answer = self.client.ask(READ, &sql)?;
        let mut values = Values::new(&answer);
        while !values.is_at_end() {
            let key = read_key(&mut values)?;
            let syscall = read_syscall(&mut values)?;
            if let Some(row) = rows.get_mut(&key) {
                row.syscalls.push(syscall);
            }
        }
        Ok(())
    }

    /// Start of the first window that is kept, of each host, unit and version.
    fn read_since(&self, selection: &Selection) -> Result<BTreeMap<[String; 3], u64>, StoreError> {
        let sql = format!(
            "SELECT host, unit, version, minMerge(first) FROM {} WHERE {} \
             GROUP BY host, unit, version",
            self.table("activity_1h"),
            matching(selection)
        );
        let answer = self.client.ask(READ, &sql)?;
        let mut values = Values::new(&answer);
        let mut since = BTreeMap::new();
        while !values.is_at_end() {
            since.insert([values.text()?, values.text()?, values.text()?], values.u64()?);
        }
        Ok(since)
    }

    pub(super) fn read_merge(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Merged, StoreError> {
        let parts = Parts::new(selection, range);
        let (counts, cpu_ns) = self.merge_counts(selection, &parts)?;
        let keys: BTreeSet<u128> = counts.iter().map(|(key, _)| *key).collect();
        let (dictionary, numbers) = self.names.dictionary(&self.client, &keys)?;
        let counts = counts.into_iter().map(|(key, count)| (numbers[&key], count)).collect();
        Ok(Merged {
            profile: WindowProfile::new(Arc::new(dictionary), counts),
            cpu_ns,
            quality: self.merge_walks(selection, &parts)?,
            syscalls: self.merge_calls(selection, &parts)?,
        })
    }

    /// Counts by stack, and the CPU time of all.
    fn merge_counts(
        &self,
        selection: &Selection,
        parts: &Parts,
    ) -> Result<(Vec<(u128, u64)>, u64), StoreError> {
        let condition = matching(selection);
        let rolled = |table: &str, ranges: &[TimeRange]| {
            format!(
                "SELECT stack, sum(samples) AS s, sum(cpu_ns) AS c FROM {} WHERE {condition} AND {} \
                 GROUP BY stack",
                self.table(table),
                within("at_ns", ranges)
            )
        };
        let windows = format!(
            "SELECT stack, sum(count) AS s, sum(count * period_ns) AS c FROM {} \
             ARRAY JOIN stacks AS stack, counts AS count WHERE {condition} AND {} GROUP BY stack",
            self.table("window"),
            within("start_ns", &parts.ends)
        );
        let mut sources = vec![windows];
        if parts.is_rolled {
            sources.push(rolled("stack_1h", &parts.hours));
            sources.push(rolled("stack_1m", &parts.minutes));
        }
        let sql = format!(
            "SELECT stack, sum(s), sum(c) FROM ({}) GROUP BY stack LIMIT {}",
            sources.join(" UNION ALL "),
            COUNTS_MAX + 1
        );
        let answer = self.client.ask(READ, &sql)?;
        let mut values = Values::new(&answer);
        let (mut counts, mut cpu_ns) = (Vec::new(), 0_u64);
        while !values.is_at_end() {
            counts.push((values.key()?, values.u64()?));
            cpu_ns = cpu_ns.saturating_add(values.u64()?);
        }
        limit(counts.len(), COUNTS_MAX, "stack counts")?;
        Ok((counts, cpu_ns))
    }

    fn merge_walks(&self, selection: &Selection, parts: &Parts) -> Result<Quality, StoreError> {
        let condition = matching(selection);
        let mut sources = vec![format!(
            "SELECT walk_end, sum(walk_count) AS n FROM {} \
             ARRAY JOIN walk_ends AS walk_end, walk_samples AS walk_count \
             WHERE {condition} AND {} GROUP BY walk_end",
            self.table("window"),
            within("start_ns", &parts.beside_hours)
        )];
        if parts.is_rolled {
            sources.push(format!(
                "SELECT walk_end, sum(walk_count) AS n FROM {} WHERE {condition} AND {} \
                 GROUP BY walk_end",
                self.table("walk_1h"),
                within("at_ns", &parts.hours)
            ));
        }
        let sql = format!(
            "SELECT walk_end, sum(n) FROM ({}) GROUP BY walk_end",
            sources.join(" UNION ALL ")
        );
        let answer = self.client.ask(READ, &sql)?;
        let mut values = Values::new(&answer);
        let mut quality = Quality::default();
        while !values.is_at_end() {
            quality.add(&values.text()?, values.u64()?);
        }
        Ok(quality)
    }

    fn merge_calls(
        &self,
        selection: &Selection,
        parts: &Parts,
    ) -> Result<Vec<UnitSyscall>, StoreError> {
        let condition = matching(selection);
        let mut sources = vec![format!(
            "SELECT call_name, waiting, sum(call_sum) AS s, max(call_max) AS m, \
             sumMap(buckets, bucket_calls).1 AS b, sumMap(buckets, bucket_calls).2 AS n, \
             sumMap(errnos, errno_calls).1 AS e, sumMap(errnos, errno_calls).2 AS k \
             FROM {} {EACH_CALL} WHERE {condition} AND {} GROUP BY call_name, waiting",
            self.table("window"),
            within("start_ns", &parts.beside_hours)
        )];
        if parts.is_rolled {
            sources.push(format!(
                "SELECT call_name, waiting, sumMerge(sum_ns) AS s, maxMerge(max_ns) AS m, \
                 sumMapMerge(calls).1 AS b, sumMapMerge(calls).2 AS n, \
                 sumMapMerge(errors).1 AS e, sumMapMerge(errors).2 AS k FROM {} \
                 WHERE {condition} AND {} GROUP BY call_name, waiting",
                self.table("call_1h"),
                within("at_ns", &parts.hours)
            ));
        }
        let sql = format!(
            "SELECT call_name, waiting, sum(s), max(m), sumMap(b, n).1, sumMap(b, n).2, \
             sumMap(e, k).1, sumMap(e, k).2 FROM ({}) GROUP BY call_name, waiting \
             ORDER BY waiting, call_name",
            sources.join(" UNION ALL ")
        );
        let answer = self.client.ask(READ, &sql)?;
        let mut values = Values::new(&answer);
        let mut syscalls = Vec::new();
        while !values.is_at_end() {
            syscalls.push(read_syscall(&mut values)?);
        }
        Ok(syscalls)
    }
}

/// What a question about units is made of.
struct UnitQuestion {
    table: String,
    key: String,
    condition: String,
}

/// Which part of a range each table answers.
struct Parts {
    is_rolled: bool,
    hours: Vec<TimeRange>,
    minutes: Vec<TimeRange>,
    /// What is left of the range without its hours and minutes.
    ends: Vec<TimeRange>,
    /// What is left of the range without its hours.
    beside_hours: Vec<TimeRange>,
}

impl Parts {
    fn new(selection: &Selection, range: TimeRange) -> Self {
        if !is_of_versions(selection) {
            return Self {
                is_rolled: false,
                hours: Vec::new(),
                minutes: Vec::new(),
                ends: vec![range],
                beside_hours: vec![range],
            };
        }
        let (hours, beside_hours) = split(range, NS_PER_HOUR);
        let (mut minutes, mut ends) = (Vec::new(), Vec::new());
        for part in &beside_hours {
            let (whole, rest) = split(*part, NS_PER_MINUTE);
            minutes.extend(whole);
            ends.extend(rest);
        }
        Self { is_rolled: true, hours: hours.into_iter().collect(), minutes, ends, beside_hours }
    }
}

fn read_key(values: &mut Values<'_>) -> Result<Key, StoreError> {
    Ok((values.u64()?, [values.text()?, values.text()?, values.text()?]))
}

fn read_syscall(values: &mut Values<'_>) -> Result<UnitSyscall, StoreError> {
    let (name, waiting) = (values.text()?, values.u8()? != 0);
    let mut histogram = LatencyHistogram::default();
    (histogram.sum_ns, histogram.max_ns) = (values.u64()?, values.u64()?);
    let (buckets, calls) = (values.array(Values::u32)?, values.array(Values::u64)?);
    for (bucket, calls) in buckets.into_iter().zip(calls) {
        histogram.add(bucket, calls);
    }
    let (errnos, errors) = (values.array(Values::u32)?, values.array(Values::u64)?);
    Ok(UnitSyscall { name, waiting, histogram, errors: errnos.into_iter().zip(errors).collect() })
}
