//! `peers`: what the same rows cost as plain rows of SQLite, and as columns packed with zstd.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use harness::load::{Fleet, FleetSize, SentBatch, Window};
use profiler_common::wire::v1::Batch;
use rusqlite::{Connection, params};
use serde_json::{Value, json};

/// A row as one would store it first: its stack by number, its service, version and unit by name, an index for the
/// question "this service in this time". Stacks stand once, as text.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE stack (id INTEGER PRIMARY KEY, frames TEXT NOT NULL UNIQUE);
    CREATE TABLE sample (start_unix_ns INTEGER NOT NULL, service TEXT NOT NULL, version TEXT NOT NULL,
        unit TEXT NOT NULL, stack INTEGER NOT NULL, count INTEGER NOT NULL);
    CREATE INDEX sample_by_service ON sample (service, start_unix_ns);
";

/// Rows of one chunk of columns: what a column store compresses together.
const CHUNK_ROWS: usize = 1 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder for the files, which are removed at the end
    #[arg(long)]
    folder: PathBuf,
    /// Windows of 100 agents
    #[arg(long, default_value_t = 10)]
    windows: u64,
}

pub(crate) fn run(args: &Args) -> Result<Value> {
    let fleet = Fleet::new(FleetSize::of(100), 1);
    let batches: Vec<Batch> = (1..=args.windows)
        .flat_map(|sequence| (0..fleet.size().agents).map(move |agent| (agent, sequence)))
        .map(|(agent, sequence)| {
            let start_unix_ns = sequence * 10_000_000_000;
            let window = Window { start_unix_ns, end_unix_ns: start_unix_ns + 10_000_000_000 };
            fleet.batch(SentBatch { agent, epoch: 1, sequence, window })
        })
        .collect();
    let rows: usize =
        batches.iter().flat_map(|batch| &batch.services).map(|s| s.stacks.len()).sum();
    let folder = tempfile::tempdir_in(&args.folder).context("failed to make a folder")?;
    let begun = Instant::now();
    let path = folder.path().join("plain.db");
    plain(&path, &batches)?;
    let seconds = begun.elapsed().as_secs_f64();
    let bytes = std::fs::metadata(&path)?.len();
    let begun = Instant::now();
    let column_bytes = columns(&batches)?;
    let column_seconds = begun.elapsed().as_secs_f64();
    Ok(json!({
        "rows": rows,
        "sqlite": {"bytes_per_row": bytes as f64 / rows as f64, "rows_per_second": rows as f64 / seconds},
        "columns": {
            "bytes_per_row": column_bytes as f64 / rows as f64,
            "rows_per_second": rows as f64 / column_seconds,
        },
    }))
}

/// Writes each batch as one transaction of rows, as each is to be acknowledged.
fn plain(path: &std::path::Path, batches: &[Batch]) -> Result<()> {
    let mut connection = Connection::open(path)?;
    connection.execute_batch(SCHEMA)?;
    for batch in batches {
        let transaction = connection.transaction()?;
        for service in &batch.services {
            let text = |index: u32| &batch.strings[index as usize];
            for (stack, count) in service.stacks.iter().zip(&service.counts) {
                let id = stack_id(&transaction, batch, *stack)?;
                transaction
                    .prepare_cached("INSERT INTO sample VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                    .execute(params![
                    i64::try_from(batch.start_unix_ns)?,
                    text(service.service),
                    text(service.version),
                    text(service.unit),
                    id,
                    i64::try_from(*count)?
                ])?;
            }
        }
        transaction.commit()?;
    }
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(())
}

fn stack_id(connection: &Connection, batch: &Batch, stack: u32) -> Result<i64> {
    let frames = folded(batch, stack);
    connection
        .prepare_cached("INSERT OR IGNORE INTO stack (frames) VALUES (?1)")?
        .execute([&frames])?;
    Ok(connection
        .prepare_cached("SELECT id FROM stack WHERE frames = ?1")?
        .query_row([&frames], |row| row.get(0))?)
}

fn folded(batch: &Batch, stack: u32) -> String {
    let frames = &batch.stacks[stack as usize].frames;
    let names = frames.iter().map(|frame| {
        let frame = &batch.frames[*frame as usize];
        format!(
            "{}`{}",
            batch.strings[frame.module as usize], batch.strings[frame.function as usize]
        )
    });
    names.collect::<Vec<_>>().join(";")
}

/// The columns of the same rows, sorted as they come, each chunk of each column packed alone: what a column store keeps
/// without its indexes.
fn columns(batches: &[Batch]) -> Result<u64> {
    let mut numbers = std::collections::HashMap::new();
    let mut number = |text: String| {
        let next = numbers.len() as u32;
        *numbers.entry(text).or_insert(next)
    };
    let mut columns: [Vec<u8>; 6] = Default::default();
    let mut bytes = 0;
    let mut rows = 0;
    for batch in batches {
        for service in &batch.services {
            let names = [service.service, service.version, service.unit]
                .map(|index| number(batch.strings[index as usize].clone()));
            for (stack, count) in service.stacks.iter().zip(&service.counts) {
                columns[0].extend(batch.start_unix_ns.to_le_bytes());
                for (column, name) in columns[1..4].iter_mut().zip(names) {
                    column.extend(name.to_le_bytes());
                }
                columns[4].extend(number(folded(batch, *stack)).to_le_bytes());
                columns[5].extend(u32::try_from(*count)?.to_le_bytes());
                rows += 1;
                if rows % CHUNK_ROWS == 0 {
                    bytes += pack(&mut columns)?;
                }
            }
        }
    }
    bytes += pack(&mut columns)?;
    // The texts are packed too, once.
    let mut texts: Vec<&String> = numbers.keys().collect();
    texts.sort_unstable();
    let texts = texts.iter().map(|text| text.as_str()).collect::<Vec<_>>().join("\n");
    Ok(bytes + zstd::bulk::compress(texts.as_bytes(), 3)?.len() as u64)
}

fn pack(columns: &mut [Vec<u8>; 6]) -> Result<u64> {
    let mut bytes = 0;
    for column in columns {
        bytes += zstd::bulk::compress(column, 3)?.len() as u64;
        column.clear();
    }
    Ok(bytes)
}
