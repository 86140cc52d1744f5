//! Makes the tables, and brings them from one version to the next.
//!
//! Rows arrive in a table that keeps nothing (`arrival`). Materialised views bring them to the windows as they came and to
//! each roll-up; all of them see the same rows, so none rests on another. Each target refuses a block that it has already
//! (by the hash of its rows), which is what makes an insert that is repeated after any failure whole and never double.
//! A plain view over `window` would miss what was inserted when the server died between the two.
//!
//! With a cluster every table is replicated within its shard (`…_local`) and reached through a distributed table. A batch
//! goes to one shard, by its agent: so it is one block, no batch is half there while a shard is away, and the others'
//! agents are not held up. Every service is on all shards, and each merges its part before it answers.

use std::time::Duration;

use super::client::Client;
use super::row::{Rows, Values};
use super::tables::{
    ARRIVAL_SHARD, DEDUPLICATED_BLOCKS, Engine, Place, TABLES, Table, VIEWS, arrival_columns,
    window_names,
};
use crate::store::StoreError;

/// Version of this schema.
const VERSION: u32 = 1;

/// First release whose tables refuse repeated blocks without replication.
const SINGLE_MAJOR_MIN: u32 = 22;

/// How often, and how many times, replicas are asked for what was written to another one: five seconds.
pub(super) const SETTLE_EVERY: Duration = Duration::from_millis(250);
pub(super) const SETTLE_TRIES_MAX: usize = 20;

/// What an opened schema says.
pub(super) struct Opened {
    /// Seeds the keys of stacks.
    pub(super) seed: u64,
    /// Settings that go with each insert.
    pub(super) insert_settings: String,
}

/// Makes what is not there. Several collectors may do so at once.
pub(super) fn open(client: &Client) -> Result<Opened, StoreError> {
    let schema = Schema { client, database: &client.address().database };
    let major = schema.major()?;
    let is_clustered = client.address().cluster.is_some();
    if !is_clustered && major < SINGLE_MAJOR_MIN {
        return Err(schema.unusable(format!(
            "a single server of release {major} cannot refuse what it has already; \
             use release {SINGLE_MAJOR_MIN} or newer, or name a cluster"
        )));
    }
    let (version, seed) = match schema.version()? {
        Some(found) => found,
        None => schema.make()?,
    };
    if version > VERSION {
        return Err(schema.unusable(format!(
            "its schema has version {version}, and this build knows {VERSION}: use a newer build"
        )));
    }
    let mut insert_settings = String::new();
    if is_clustered {
        // Without this a distributed insert is answered before any shard has it.
        insert_settings.push_str("&insert_distributed_sync=1");
    }
    if client.address().quorum > 0 {
        insert_settings.push_str(&format!("&insert_quorum={}", client.address().quorum));
    }
    if major >= SINGLE_MAJOR_MIN {
        insert_settings
            .push_str("&async_insert=0&deduplicate_blocks_in_dependent_materialized_views=1");
    }
    Ok(Opened { seed, insert_settings })
}

struct Schema<'c> {
    client: &'c Client,
    database: &'c str,
}

impl Schema<'_> {
    fn unusable(&self, reason: String) -> StoreError {
        StoreError::Unusable { path: self.client.address().to_string().into(), reason }
    }

    /// Release of the server, such as 18 or 26.
    fn major(&self) -> Result<u32, StoreError> {
        let answer = self.client.ask("ask ClickHouse for its version", "SELECT version()")?;
        let version = Values::new(&answer).text()?;
        let major = version.split('.').next().and_then(|major| major.parse().ok());
        major.ok_or(StoreError::Damaged("the version of ClickHouse is no version"))
    }

    /// Version and seed, if the schema is there.
    fn version(&self) -> Result<Option<(u32, u64)>, StoreError> {
        const READ: &str = "read the version of the schema";
        let database = self.database;
        let answer = self.client.ask(
            READ,
            &format!(
                "SELECT count() FROM system.tables \
                 WHERE database = '{database}' AND name = 'schema_version'"
            ),
        )?;
        if Values::new(&answer).u64()? == 0 {
            return Ok(None);
        }
        let answer = self.client.ask(
            READ,
            &format!("SELECT count(), max(version), min(seed) FROM {database}.schema_version"),
        )?;
        let mut values = Values::new(&answer);
        let (rows, version, seed) = (values.u64()?, values.u32()?, values.u64()?);
        Ok((rows > 0).then_some((version, seed)))
    }

    fn make(&self) -> Result<(u32, u64), StoreError> {
        const MAKE: &str = "make the tables";
        let on_cluster = self.on_cluster();
        let database = self.database;
        self.client
            .change(MAKE, &format!("CREATE DATABASE IF NOT EXISTS {database}{on_cluster}"))?;
        let arrival = self.local("arrival");
        let columns = arrival_columns();
        let create = "CREATE TABLE IF NOT EXISTS";
        let null = format!("{create} {arrival}{on_cluster} ({columns}) ENGINE = Null");
        self.client.change(MAKE, &null)?;
        for table in TABLES {
            self.client.change(MAKE, &self.create(table))?;
        }
        for (target, select) in VIEWS {
            let select = select.replace("$arrival", &arrival).replace("$window", &window_names());
            let target_table = self.local(target);
            let view = format!(
                "CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.to_{target}{on_cluster} \
                 TO {target_table} AS {select}"
            );
            self.client.change(MAKE, &view)?;
        }
        if self.client.address().cluster.is_some() {
            self.client.change(MAKE, &self.distributed("arrival", ARRIVAL_SHARD))?;
            for table in TABLES {
                let shard = match table.place {
                    // Only views write to it.
                    Place::Arrival => "",
                    Place::Shard(shard) => shard,
                    // All servers have it, so any shard will do.
                    Place::Everywhere => "0",
                };
                self.client.change(MAKE, &self.distributed(table.name, shard))?;
            }
        }
        let mut rows = Rows::default();
        rows.u32(VERSION).u64(random_seed());
        self.client.insert(MAKE, &format!("{database}.schema_version (version, seed)"), rows)?;
        // The server that is asked next may get it a moment later.
        for _ in 0..SETTLE_TRIES_MAX {
            if let Some(found) = self.version()? {
                return Ok(found);
            }
            std::thread::sleep(SETTLE_EVERY);
        }
        Err(StoreError::Damaged("the schema has no version after it was made"))
    }

    fn on_cluster(&self) -> String {
        let cluster = self.client.address().cluster.as_ref();
        cluster.map(|cluster| format!(" ON CLUSTER {cluster}")).unwrap_or_default()
    }

    /// The table that holds rows itself.
    fn local(&self, table: &str) -> String {
        local(self.client, table)
    }

    fn create(&self, table: &Table) -> String {
        let Table { name, columns, engine, order, is_daily, place } = table;
        let partition = if *is_daily { "PARTITION BY day " } else { "" };
        let (engine, version) = match engine {
            Engine::Plain => ("MergeTree", String::new()),
            Engine::Summing(columns) => ("SummingMergeTree", format!("({columns})")),
            Engine::Aggregating => ("AggregatingMergeTree", String::new()),
            Engine::Replacing(column) => ("ReplacingMergeTree", (*column).to_owned()),
        };
        let (engine, setting) = if self.client.address().cluster.is_some() {
            let (folder, replica) = match place {
                Place::Everywhere => ("all", "{shard}-{replica}"),
                Place::Arrival | Place::Shard(_) => ("{shard}", "{replica}"),
            };
            let path = format!("/clickhouse/flamewatch/{}/{folder}/{name}", self.database);
            let comma = if version.is_empty() { "" } else { ", " };
            let engine = format!("Replicated{engine}('{path}', '{replica}'{comma}{version})");
            // A server that was killed comes back with what its replicas have, however little of its own fits to that.
            let settings =
                "replicated_max_ratio_of_wrong_parts = 1, replicated_deduplication_window";
            (engine, settings)
        } else {
            (format!("{engine}({version})"), "non_replicated_deduplication_window")
        };
        format!(
            "CREATE TABLE IF NOT EXISTS {}{} ({columns}) ENGINE = {engine} {partition}\
             ORDER BY {order} SETTINGS {setting} = {DEDUPLICATED_BLOCKS}",
            self.local(name),
            self.on_cluster(),
        )
    }

    fn distributed(&self, table: &str, shard: &str) -> String {
        let (database, on_cluster) = (self.database, self.on_cluster());
        let cluster = self.client.address().cluster.as_deref().unwrap_or_default();
        let comma = if shard.is_empty() { "" } else { ", " };
        format!(
            "CREATE TABLE IF NOT EXISTS {database}.{table}{on_cluster} AS {} \
             ENGINE = Distributed({cluster}, {database}, {table}_local{comma}{shard})",
            self.local(table),
        )
    }
}

/// The table that holds rows itself, rather than sending questions to all shards.
pub(super) fn local(client: &Client, table: &str) -> String {
    let suffix = if client.address().cluster.is_some() { "_local" } else { "" };
    format!("{}.{table}{suffix}", client.address().database)
}

/// A number that nobody can guess.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(std::process::id())
}
