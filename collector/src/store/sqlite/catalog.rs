//! What services there are in a range, with their versions, hosts and units.

use std::collections::BTreeMap;

use super::level::Level;
use super::parts::{Parts, Scope, Sums};
use super::{SqliteStore, failed};
use crate::store::{ServiceEntry, StoreError, TimeRange, VersionEntry};

impl SqliteStore {
    /// Sums come from the releases, and hosts and units from whether their series have a window in the range.
    pub(super) fn catalog(&self, range: TimeRange) -> Result<Vec<ServiceEntry>, StoreError> {
        let read = failed("read the catalog");
        let reader = self.readers.take()?;
        let mut parts = Parts::new(&reader, range, Some(Level::Day))?;
        let mut releases: BTreeMap<i64, Release> = BTreeMap::new();
        let mut find =
            reader.prepare_cached("SELECT id, service, version FROM release").map_err(read)?;
        let mut rows = find.query([]).map_err(read)?;
        while let Some(row) = rows.next().map_err(read)? {
            let id = row.get(0).map_err(read)?;
            let [service, version] = [row.get(1).map_err(read)?, row.get(2).map_err(read)?];
            let mut release = Release { service, version, ..Release::default() };
            parts.segment_sums(Scope::release(id), |sums| release.sums.merge(sums))?;
            releases.insert(id, release);
        }
        let mut find =
            reader.prepare_cached("SELECT id, release, host, unit FROM series").map_err(read)?;
        let mut rows = find.query([]).map_err(read)?;
        while let Some(row) = rows.next().map_err(read)? {
            let release: i64 = row.get(1).map_err(read)?;
            let Some(release) = releases.get_mut(&release) else { continue };
            let id = row.get(0).map_err(read)?;
            let mut is_seen = false;
            parts.fresh_sums(id, |sums| {
                is_seen = true;
                release.sums.merge(sums);
            })?;
            if is_seen || parts.has_segment(id)? {
                release.hosts.push(row.get(2).map_err(read)?);
                release.units.push(row.get(3).map_err(read)?);
            }
        }
        let mut services: BTreeMap<String, Vec<Release>> = BTreeMap::new();
        for release in releases.into_values().filter(|release| release.sums.end_unix_ns > 0) {
            services.entry(release.service.clone()).or_default().push(release);
        }
        let mut entries: Vec<ServiceEntry> =
            services.into_iter().map(|(name, releases)| entry_of(name, releases)).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.cpu_ns));
        Ok(entries)
    }
}

/// A version of a service, and what was seen of it.
#[derive(Default)]
struct Release {
    service: String,
    version: String,
    sums: Sums,
    hosts: Vec<String>,
    units: Vec<String>,
}

fn entry_of(service: String, releases: Vec<Release>) -> ServiceEntry {
    let mut all = Sums::default();
    let version_of = |mut release: Release| {
        all.merge(release.sums);
        for names in [&mut release.hosts, &mut release.units] {
            names.sort_unstable();
            names.dedup();
        }
        VersionEntry {
            version: release.version,
            first_seen_unix_ns: release.sums.start_unix_ns,
            last_seen_unix_ns: release.sums.end_unix_ns,
            samples: release.sums.samples,
            whole_share: whole_share(release.sums),
            hosts: release.hosts,
            units: release.units,
        }
    };
    let mut versions: Vec<VersionEntry> = releases.into_iter().map(version_of).collect();
    versions.sort_by_key(|version| std::cmp::Reverse(version.last_seen_unix_ns));
    ServiceEntry {
        service,
        samples: all.samples,
        whole_share: whole_share(all),
        cpu_ns: all.cpu_ns,
        first_seen_unix_ns: all.start_unix_ns,
        last_seen_unix_ns: all.end_unix_ns,
        versions,
    }
}

fn whole_share(sums: Sums) -> Option<f64> {
    (sums.stacks > 0).then(|| sums.whole as f64 / sums.stacks as f64)
}
