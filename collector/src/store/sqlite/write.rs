//! Turns one batch into rows: its dictionary, one block per service, and the totals.

use std::collections::BTreeMap;

use profiler_common::profile::{LatencyHistogram, Quality};
use profiler_common::wire::v1;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::block::Content;
use super::dictionary::{BatchStacks, string};
use super::writer::Core;
use super::{failed, signed};
use crate::store::{Arrival, LostSamples, StoreError, UnitSyscall, Written};

/// Names of the totals.
pub(super) const SAMPLES_STORED: &str = "samples_stored";
pub(super) const BATCHES_STORED: &str = "batches_stored";
pub(super) const DUPLICATES: &str = "duplicates";
pub(super) const SAMPLES_TAKEN: &str = "samples_taken";
/// Stands before the reason in the name of a total of lost samples.
pub(super) const LOST_PREFIX: &str = "lost:";

/// Stands before the name of a walk's end in the name of its total.
pub(super) const WALKS_PREFIX: &str = "walks:";

/// Most names that are counted apart after one prefix. An agent knows about twenty reasons of loss and ten ends of a walk;
/// more would be invented, and count as `other`.
const NAMES_MAX: i64 = 128;

const DAY_NS: u64 = 86_400 * 1_000_000_000;

/// The day of a time, since 1970.
pub(super) fn day_of(unix_ns: u64) -> i64 {
    signed(unix_ns / DAY_NS)
}

impl Core {
    /// Writes one batch into the open transaction.
    pub(super) fn write_arrival(&mut self, arrival: &Arrival) -> Result<Written, StoreError> {
        let batch = arrival.batch();
        if !insert_batch(&self.connection, batch)? {
            add_to_total(&self.connection, DUPLICATES, 1)?;
            return Ok(Written::Duplicate);
        }
        let mut samples = 0_u64;
        let mut walks = Quality::default();
        // Past retention: counted like any other, and as if retention had already passed.
        let is_kept = batch.end_unix_ns > self.floor_unix_ns;
        let day = day_of(batch.end_unix_ns);
        let mut stacks = BatchStacks::new(&mut self.dictionary, &self.connection, arrival, day);
        for service in &batch.services {
            let (content, service_samples) = content_of(batch, service, &mut stacks)?;
            samples = samples.saturating_add(service_samples);
            walks.merge(&content.quality);
            if is_kept && !(content.stacks.is_empty() && content.syscalls.is_empty()) {
                let series = find_or_add_series(&self.connection, batch, service)?;
                let cpu_ns = service_samples.saturating_mul(service.period_ns);
                let [stacks, whole] =
                    [content.quality.stacks(), content.quality.whole()].map(signed);
                let data = self.packer.pack(content)?;
                self.connection
                    .prepare_cached(
                        "INSERT INTO block (series, start_unix_ns, end_unix_ns, samples, cpu_ns, data, stacks, \
                         whole) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    )
                    .and_then(|mut insert| {
                        insert.execute(params![
                            series,
                            signed(batch.start_unix_ns),
                            signed(batch.end_unix_ns),
                            signed(service_samples),
                            signed(cpu_ns),
                            data,
                            stacks,
                            whole,
                        ])
                    })
                    .map_err(failed("write a block"))?;
            }
        }
        add_to_total(&self.connection, BATCHES_STORED, 1)?;
        add_to_total(&self.connection, SAMPLES_STORED, samples)?;
        if let Some(accounting) = &batch.accounting {
            add_to_total(&self.connection, SAMPLES_TAKEN, accounting.samples_taken)?;
            for loss in &accounting.lost {
                add_to_named(&self.connection, LOST_PREFIX, &loss.reason, loss.samples)?;
            }
        }
        for (end, samples) in walks.ends() {
            add_to_named(&self.connection, WALKS_PREFIX, end, samples)?;
        }
        Ok(Written::Stored)
    }
}

/// Notes that the batch is stored; false when it was before.
fn insert_batch(connection: &Connection, batch: &v1::Batch) -> Result<bool, StoreError> {
    let write = failed("write a batch");
    let (Ok(epoch), Ok(sequence)) = (i64::try_from(batch.epoch), i64::try_from(batch.sequence))
    else {
        return Err(StoreError::Inconsistent("epoch or sequence is 2^63 or more"));
    };
    connection
        .prepare_cached("INSERT OR IGNORE INTO agent (name) VALUES (?1)")
        .and_then(|mut insert| insert.execute([&batch.agent_id]))
        .map_err(write)?;
    let inserted = connection
        .prepare_cached(
            "INSERT OR IGNORE INTO batch (agent, epoch, sequence, end_unix_ns) \
             SELECT id, ?2, ?3, ?4 FROM agent WHERE name = ?1",
        )
        .and_then(|mut insert| {
            insert.execute(params![batch.agent_id, epoch, sequence, signed(batch.end_unix_ns)])
        })
        .map_err(write)?;
    Ok(inserted == 1)
}

fn content_of(
    batch: &v1::Batch,
    service: &v1::ServiceProfile,
    stacks: &mut BatchStacks<'_>,
) -> Result<(Content, u64), StoreError> {
    if service.stacks.len() != service.counts.len() {
        return Err(StoreError::Inconsistent("a service has stacks without counts"));
    }
    let mut counts = Vec::with_capacity(service.stacks.len());
    let mut samples = 0_u64;
    for (index, count) in service.stacks.iter().zip(&service.counts) {
        if *count > 0 {
            counts.push((stacks.id_of(*index)?, *count));
            samples = samples.saturating_add(*count);
        }
    }
    let mut content = Content { stacks: counts.into_iter().collect(), ..Content::default() };
    for walk in &service.walks {
        content.quality.add(&walk.end, walk.samples);
    }
    for syscall in &service.syscalls {
        content.add_syscall(syscall_of(batch, syscall)?);
    }
    // Agents do not say whose samples were lost, so each window of the batch keeps the share of all.
    if let Some(accounting) = &batch.accounting {
        let lost = accounting.lost.iter().fold(0_u64, |sum, loss| sum.saturating_add(loss.samples));
        content.lost = LostSamples { taken: accounting.samples_taken, lost };
    }
    Ok((content, samples))
}

fn syscall_of(batch: &v1::Batch, syscall: &v1::SyscallLatency) -> Result<UnitSyscall, StoreError> {
    if syscall.buckets.len() != syscall.bucket_counts.len() {
        return Err(StoreError::Inconsistent("a syscall has buckets without counts"));
    }
    let mut histogram = LatencyHistogram::default();
    for (bucket, calls) in syscall.buckets.iter().zip(&syscall.bucket_counts) {
        histogram.add(*bucket, *calls);
    }
    histogram.sum_ns = syscall.sum_ns;
    histogram.max_ns = syscall.max_ns;
    let mut errors: BTreeMap<u32, u64> = BTreeMap::new();
    for error in &syscall.errors {
        let known = errors.entry(error.errno).or_default();
        *known = known.saturating_add(error.count);
    }
    let name = string(batch, syscall.name)?.to_owned();
    let errors = errors.into_iter().collect();
    Ok(UnitSyscall { name, waiting: syscall.waiting, histogram, errors })
}

fn find_or_add_series(
    connection: &Connection,
    batch: &v1::Batch,
    service: &v1::ServiceProfile,
) -> Result<i64, StoreError> {
    let write = failed("write a series");
    let mut labels = BTreeMap::new();
    // What the service says of itself stands over what its host says.
    for label in batch.host_labels.iter().chain(&service.labels) {
        labels.insert(string(batch, label.key)?, string(batch, label.value)?);
    }
    let labels = serde_json::to_string(&labels)
        .map_err(|_error| StoreError::Inconsistent("labels do not fit JSON"))?;
    let [name, version] = [string(batch, service.service)?, string(batch, service.version)?];
    let identity = params![name, version, batch.host, string(batch, service.unit)?, labels,];
    let found = connection
        .prepare_cached(
            "SELECT id FROM series WHERE service = ?1 AND version = ?2 AND host = ?3 \
             AND unit = ?4 AND labels = ?5",
        )
        .and_then(|mut find| find.query_row(identity, |row| row.get(0)).optional())
        .map_err(write)?;
    if let Some(id) = found {
        return Ok(id);
    }
    connection
        .prepare_cached("INSERT OR IGNORE INTO release (service, version) VALUES (?1, ?2)")
        .and_then(|mut insert| insert.execute([name, version]))
        .map_err(write)?;
    connection
        .prepare_cached(
            "INSERT INTO series (service, version, host, unit, labels, release) VALUES (?1, ?2, ?3, ?4, ?5, \
             (SELECT id FROM release WHERE service = ?1 AND version = ?2))",
        )
        .and_then(|mut insert| insert.insert(identity))
        .map_err(write)
}

/// Adds to the total of a name that an agent chose.
fn add_to_named(
    connection: &Connection,
    prefix: &str,
    name: &str,
    amount: u64,
) -> Result<(), StoreError> {
    let total = format!("{prefix}{name}");
    let is_counted: bool = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM meta WHERE name = ?1) \
             OR (SELECT count(*) FROM meta WHERE substr(name, 1, length(?2)) = ?2) < ?3",
        )
        .and_then(|mut count| count.query_row(params![total, prefix, NAMES_MAX], |row| row.get(0)))
        .map_err(failed("count samples"))?;
    let total = if is_counted { total } else { format!("{prefix}other") };
    add_to_total(connection, &total, amount)
}

fn add_to_total(connection: &Connection, name: &str, amount: u64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO meta (name, value) VALUES (?1, ?2) \
             ON CONFLICT (name) DO UPDATE SET value = \
             CASE WHEN value > 9223372036854775807 - ?2 THEN 9223372036854775807 \
             ELSE value + ?2 END",
        )
        .and_then(|mut add| add.execute(params![name, signed(amount)]))
        .map(drop)
        .map_err(failed("count samples"))
}
