//! Drops the days that are past retention, and adds up totals.

use std::sync::atomic::Ordering;

use super::ClickHouseStore;
use super::row::Values;
use super::schema::local;
use super::tables::DAILY;
use super::write::{
    BATCHES_STORED, DUPLICATES, LOST_PREFIX, SAMPLES_STORED, SAMPLES_TAKEN, WALKS_PREFIX, day_of,
};
use crate::store::{Retained, StoreError, StoreStats};

const DROP: &str = "drop what is past retention";
const READ: &str = "read the totals";

/// Most names that are told apart after one prefix. An agent knows about twenty reasons of loss and ten ends of a walk;
/// more would be invented, and count as `other`.
const NAMES_MAX: usize = 128;

impl ClickHouseStore {
    /// Drops whole days: of the day in which the retention ends nothing goes yet.
    pub(super) fn drop_days(&self, before_unix_ns: u64) -> Result<Retained, StoreError> {
        self.floor_unix_ns.fetch_max(before_unix_ns, Ordering::SeqCst);
        // A partition has the windows that ended on its day.
        let day = day_of(before_unix_ns);
        let retained = Retained {
            blocks: self
                .count(&format!("count() FROM {} WHERE day < {day}", self.table("window")))?,
            stacks: self
                .count(&format!("uniqExact(key) FROM {} WHERE day < {day}", self.table("stack")))?,
        };
        let cluster = self.client.address().cluster.as_ref();
        let on_cluster = cluster.map(|name| format!(" ON CLUSTER {name}")).unwrap_or_default();
        for table in DAILY {
            let sql = format!("SELECT DISTINCT day FROM {} WHERE day < {day}", self.table(table));
            let answer = self.client.ask(DROP, &sql)?;
            let mut values = Values::new(&answer);
            while !values.is_at_end() {
                let old = values.u16()?;
                let table = local(&self.client, table);
                let sql = format!("ALTER TABLE {table}{on_cluster} DROP PARTITION {old}");
                self.client.change(DROP, &sql)?;
            }
        }
        Ok(retained)
    }

    fn count(&self, what: &str) -> Result<u64, StoreError> {
        Values::new(&self.client.ask(DROP, &format!("SELECT {what}"))?).u64()
    }

    pub(super) fn read_stats(&self) -> Result<StoreStats, StoreError> {
        let mut stats = StoreStats::default();
        // The largest first, so that the names that many agents use are the ones that are told apart.
        let sql = format!(
            "SELECT name, sum(value) AS n FROM {} GROUP BY name ORDER BY n DESC, name",
            self.table("total")
        );
        let answer = self.client.ask(READ, &sql)?;
        let mut values = Values::new(&answer);
        while !values.is_at_end() {
            let (name, value) = (values.text()?, values.u64()?);
            match name.as_str() {
                SAMPLES_STORED => stats.samples_stored = value,
                BATCHES_STORED => stats.batches_stored = value,
                DUPLICATES => stats.duplicates = value,
                SAMPLES_TAKEN => stats.samples_taken = value,
                other => add_named(&mut stats, other, value),
            }
        }
        let parts = match &self.client.address().cluster {
            // Of each shard one replica.
            Some(cluster) => format!("cluster('{cluster}', system, parts)"),
            None => "system.parts".to_owned(),
        };
        let sql = format!(
            "SELECT sum(bytes_on_disk) FROM {parts} WHERE active AND database = '{}'",
            self.client.address().database
        );
        stats.bytes_on_disk = Values::new(&self.client.ask(READ, &sql)?).u64()?;
        Ok(stats)
    }
}

fn add_named(stats: &mut StoreStats, name: &str, value: u64) {
    if let Some(reason) = name.strip_prefix(LOST_PREFIX) {
        let reason = if stats.lost.len() < NAMES_MAX { reason } else { "other" };
        let known = stats.lost.entry(reason.to_owned()).or_default();
        *known = known.saturating_add(value);
    } else if let Some(end) = name.strip_prefix(WALKS_PREFIX) {
        let end = if stats.walks.ends().len() < NAMES_MAX { end } else { "other" };
        stats.walks.add(end, value);
    }
}
