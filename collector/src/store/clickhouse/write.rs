//! Turns an arrival into rows, and inserts them so that they count once.
//!
//! First the names of stacks that are new, then all windows and totals in one insert, then the batch's own record. A
//! collector that dies in between leaves a batch without a record; its agent sends it again, and what is there already is
//! refused by each table, because the same batch makes the same rows ([`schema`](super::schema)). Only with the record is
//! it acknowledged, and known as a duplicate from then on.

use std::collections::BTreeMap;

use profiler_common::profile::Quality;
use profiler_common::wire::v1;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::ClickHouseStore;
use super::row::{Rows, Values, key_literal};
use super::tables::arrival_names;
use crate::store::{Arrival, LostSamples, StoreError, Written};

/// Names of the totals.
pub(super) const SAMPLES_STORED: &str = "samples_stored";
pub(super) const BATCHES_STORED: &str = "batches_stored";
pub(super) const DUPLICATES: &str = "duplicates";
pub(super) const SAMPLES_TAKEN: &str = "samples_taken";
/// Stands before the reason in the name of a total of lost samples.
pub(super) const LOST_PREFIX: &str = "lost:";
/// Stands before the name of a walk's end in the name of its total.
pub(super) const WALKS_PREFIX: &str = "walks:";

const NS_PER_DAY: u64 = 86_400 * 1_000_000_000;

const WRITE: &str = "write a batch";

/// What a row of an arrival is.
const KIND_WINDOW: u8 = 1;
const KIND_TOTALS: u8 = 2;

/// The day of a time, since 1970, as far as two bytes reach: to the year 2149.
pub(super) fn day_of(unix_ns: u64) -> u16 {
    u16::try_from(unix_ns / NS_PER_DAY).unwrap_or(u16::MAX)
}

/// One service of one batch.
struct Window<'b> {
    service: &'b v1::ServiceProfile,
    names: [&'b str; 3],
    labels: BTreeMap<&'b str, &'b str>,
    stacks: BTreeMap<u128, u64>,
    samples: u64,
    quality: Quality,
}

impl ClickHouseStore {
    pub(super) fn write_arrival(&self, arrival: &Arrival) -> Result<Written, StoreError> {
        let batch = arrival.batch();
        let key = self.key_of(batch);
        if self.is_stored(key)? {
            self.count_duplicate(batch)?;
            return Ok(Written::Duplicate);
        }
        let windows: Vec<Window<'_>> = batch
            .services
            .iter()
            .map(|service| window(arrival, service))
            .collect::<Result<_, _>>()?;
        let mut rows = Rows::default();
        self.totals_row(&mut rows, (batch, key), &totals(batch, &windows));
        // Past retention: counted like any other, and as if retention had already passed.
        if batch.end_unix_ns > self.floor() {
            self.names.add(&self.client, arrival, windows.iter().map(|window| &window.stacks))?;
            for window in &windows {
                if !(window.stacks.is_empty() && window.service.syscalls.is_empty()) {
                    self.window_row(&mut rows, (batch, key), window)?;
                }
            }
        }
        let into = format!("{} ({})", self.table("arrival"), arrival_names());
        self.client.insert(WRITE, &into, rows)?;
        let mut rows = Rows::default();
        rows.u16(day_of(batch.end_unix_ns)).key(key).text(&batch.agent_id);
        let into = format!("{} (day, batch, agent)", self.table("batch"));
        self.client.insert(WRITE, &into, rows)?;
        self.stored.insert(key, ());
        Ok(Written::Stored)
    }

    /// Stands for agent, epoch and sequence.
    fn key_of(&self, batch: &v1::Batch) -> u128 {
        let mut bytes = batch.agent_id.as_bytes().to_vec();
        bytes.extend(batch.epoch.to_le_bytes());
        bytes.extend(batch.sequence.to_le_bytes());
        xxh3_128_with_seed(&bytes, self.seed)
    }

    fn is_stored(&self, key: u128) -> Result<bool, StoreError> {
        if self.stored.contains_key(&key) {
            return Ok(true);
        }
        let sql = format!(
            "SELECT count() FROM {} WHERE batch = {}",
            self.table("batch"),
            key_literal(key)
        );
        Ok(Values::new(&self.client.ask(WRITE, &sql)?).u64()? > 0)
    }

    fn count_duplicate(&self, batch: &v1::Batch) -> Result<(), StoreError> {
        let mut rows = Rows::default();
        // Each repetition counts, so each has a key of its own.
        let key = u128::from(self.random()) << 64 | u128::from(self.random());
        self.totals_row(&mut rows, (batch, key), &[(DUPLICATES.to_owned(), 1)]);
        let into = format!("{} ({})", self.table("arrival"), arrival_names());
        self.client.insert(WRITE, &into, rows)
    }

    fn totals_row(
        &self,
        rows: &mut Rows,
        (batch, key): (&v1::Batch, u128),
        totals: &[(String, u64)],
    ) {
        rows.u8(KIND_TOTALS).text(&batch.agent_id);
        rows.array(totals.iter(), |rows, (name, _)| {
            rows.text(name);
        });
        rows.array(totals.iter(), |rows, (_, value)| {
            rows.u64(*value);
        });
        rows.u16(0).key(key).u64(0).u64(0);
        // Service, version, host, unit; series; labels; machine.
        for _ in 0..4 {
            rows.text("");
        }
        rows.key(0).u8(0).u8(0).text("");
        for _ in 0..7 {
            rows.u64(0);
        }
        // All arrays of a window are empty.
        for _ in 0..12 {
            rows.u8(0);
        }
    }

    fn window_row(
        &self,
        rows: &mut Rows,
        (batch, key): (&v1::Batch, u128),
        window: &Window<'_>,
    ) -> Result<(), StoreError> {
        rows.u8(KIND_WINDOW).text(&batch.agent_id).u8(0).u8(0);
        let [service, version, unit] = window.names;
        rows.u16(day_of(batch.end_unix_ns)).key(key);
        rows.u64(batch.start_unix_ns).u64(batch.end_unix_ns);
        rows.text(service).text(version).text(&batch.host).text(unit);
        rows.key(self.series_of(batch, window));
        rows.array(window.labels.keys(), |rows, label| {
            rows.text(label);
        });
        rows.array(window.labels.values(), |rows, value| {
            rows.text(value);
        });
        rows.text(&machine_of(&window.labels));
        let period_ns = window.service.period_ns;
        rows.u64(period_ns).u64(window.samples).u64(window.samples.saturating_mul(period_ns));
        rows.u64(window.quality.stacks()).u64(window.quality.whole());
        let lost = lost_of(batch);
        rows.u64(lost.taken).u64(lost.lost);
        rows.array(window.stacks.keys(), |rows, stack| {
            rows.key(*stack);
        });
        rows.array(window.stacks.values(), |rows, count| {
            rows.u64(*count);
        });
        rows.array(window.quality.ends(), |rows, (end, _)| {
            rows.text(end);
        });
        rows.array(window.quality.ends(), |rows, (_, samples)| {
            rows.u64(samples);
        });
        syscalls(rows, batch, &window.service.syscalls)
    }

    /// Stands for the service, who ran it, and its labels.
    fn series_of(&self, batch: &v1::Batch, window: &Window<'_>) -> u128 {
        let mut bytes = Vec::new();
        let [service, version, unit] = window.names;
        let labels = window.labels.iter().flat_map(|(key, value)| [*key, *value]);
        for text in [service, version, &batch.host, unit].into_iter().chain(labels) {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        xxh3_128_with_seed(&bytes, self.seed)
    }
}

fn string(batch: &v1::Batch, index: u32) -> Result<&str, StoreError> {
    batch
        .strings
        .get(index as usize)
        .map(String::as_str)
        .ok_or(StoreError::Inconsistent("an index points past the strings"))
}

fn window<'b>(
    arrival: &'b Arrival,
    service: &'b v1::ServiceProfile,
) -> Result<Window<'b>, StoreError> {
    let batch = arrival.batch();
    if service.stacks.len() != service.counts.len() {
        return Err(StoreError::Inconsistent("a service has stacks without counts"));
    }
    let mut stacks: BTreeMap<u128, u64> = BTreeMap::new();
    let mut samples = 0_u64;
    for (index, count) in service.stacks.iter().zip(&service.counts) {
        let key = arrival.keys().get(*index as usize);
        let key =
            key.ok_or(StoreError::Inconsistent("a service names a stack that is not there"))?;
        if *count > 0 {
            let known = stacks.entry(key.0).or_default();
            *known = known.saturating_add(*count);
            samples = samples.saturating_add(*count);
        }
    }
    let mut quality = Quality::default();
    for walk in &service.walks {
        quality.add(&walk.end, walk.samples);
    }
    let mut labels = BTreeMap::new();
    // What the service says of itself stands over what its host says.
    for label in batch.host_labels.iter().chain(&service.labels) {
        labels.insert(string(batch, label.key)?, string(batch, label.value)?);
    }
    let names = [
        string(batch, service.service)?,
        string(batch, service.version)?,
        string(batch, service.unit)?,
    ];
    Ok(Window { service, names, labels, stacks, samples, quality })
}

/// CPU model and kernel of the host.
fn machine_of(labels: &BTreeMap<&str, &str>) -> String {
    let parts = ["cpu_model", "kernel"].map(|key| labels.get(key).copied().unwrap_or_default());
    let named: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    named.join(", ")
}

/// Agents do not say whose samples were lost, so each window of the batch keeps the share of all.
fn lost_of(batch: &v1::Batch) -> LostSamples {
    batch.accounting.as_ref().map_or_else(LostSamples::default, |accounting| LostSamples {
        taken: accounting.samples_taken,
        lost: accounting.lost.iter().fold(0, |sum: u64, loss| sum.saturating_add(loss.samples)),
    })
}

fn totals(batch: &v1::Batch, windows: &[Window<'_>]) -> Vec<(String, u64)> {
    let mut totals: BTreeMap<String, u64> = BTreeMap::new();
    let mut add = |name: String, value: u64| {
        let known = totals.entry(name).or_default();
        *known = known.saturating_add(value);
    };
    add(BATCHES_STORED.to_owned(), 1);
    for window in windows {
        add(SAMPLES_STORED.to_owned(), window.samples);
        for (end, samples) in window.quality.ends() {
            add(format!("{WALKS_PREFIX}{end}"), samples);
        }
    }
    if let Some(accounting) = &batch.accounting {
        add(SAMPLES_TAKEN.to_owned(), accounting.samples_taken);
        for loss in &accounting.lost {
            add(format!("{LOST_PREFIX}{}", loss.reason), loss.samples);
        }
    }
    totals.into_iter().collect()
}

/// Writes the syscalls of a window, each field of all of them as an array.
fn syscalls(
    rows: &mut Rows,
    batch: &v1::Batch,
    calls: &[v1::SyscallLatency],
) -> Result<(), StoreError> {
    let names: Vec<&str> =
        calls.iter().map(|call| string(batch, call.name)).collect::<Result<_, _>>()?;
    if calls.iter().any(|call| call.buckets.len() != call.bucket_counts.len()) {
        return Err(StoreError::Inconsistent("a syscall has buckets without counts"));
    }
    rows.array(names.iter(), |rows, name| {
        rows.text(name);
    });
    rows.array(calls.iter(), |rows, call| {
        rows.u8(u8::from(call.waiting));
    });
    rows.array(calls.iter(), |rows, call| {
        rows.u64(call.sum_ns);
    });
    rows.array(calls.iter(), |rows, call| {
        rows.u64(call.max_ns);
    });
    rows.array(calls.iter(), |rows, call| numbers(rows, call.buckets.iter().copied()));
    rows.array(calls.iter(), |rows, call| amounts(rows, call.bucket_counts.iter().copied()));
    rows.array(calls.iter(), |rows, call| {
        numbers(rows, call.errors.iter().map(|error| error.errno));
    });
    rows.array(calls.iter(), |rows, call| {
        amounts(rows, call.errors.iter().map(|error| error.count));
    });
    Ok(())
}

fn numbers(rows: &mut Rows, numbers: impl ExactSizeIterator<Item = u32>) {
    rows.array(numbers, |rows, number| {
        rows.u32(number);
    });
}

fn amounts(rows: &mut Rows, amounts: impl ExactSizeIterator<Item = u64>) {
    rows.array(amounts, |rows, amount| {
        rows.u64(amount);
    });
}
