//! A store that keeps every window as it came and answers by reading all of them: slow, and simple enough to be right.

#![expect(clippy::significant_drop_tightening, reason = "a question sees one state of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use flamewatch_collector::store::{
    Arrival, Compacted, LostSamples, Merged, MetaStore, QualityOf, Retained, Selection,
    SeriesPoint, ServiceEntry, Store, StoreError, StoreStats, TimeRange, UnitLife, UnitSyscall,
    UnitWindow, VersionEntry, VersionSpan, WindowProfile, Written,
};
use profiler_common::profile::{Frame, FrameKind, LatencyHistogram, Profile, Quality};
use profiler_common::wire::v1;

/// One service of one batch.
#[derive(Debug, Clone)]
struct Window {
    labels: BTreeMap<String, String>,
    start: u64,
    end: u64,
    cpu_ns: u64,
    stacks: Vec<(Vec<Frame>, u64)>,
    syscalls: Vec<UnitSyscall>,
    quality: Quality,
    lost: LostSamples,
}

impl Window {
    fn label(&self, key: &str) -> String {
        self.labels.get(key).cloned().unwrap_or_default()
    }

    fn samples(&self) -> u64 {
        self.stacks.iter().map(|(_, samples)| samples).sum()
    }
}

#[derive(Debug, Default)]
struct Content {
    batches: BTreeSet<(String, u64, u64)>,
    windows: Vec<Window>,
    stacks: BTreeMap<u128, Vec<Frame>>,
    stats: StoreStats,
    state: BTreeMap<String, (u64, Vec<u8>)>,
}

/// The model.
#[derive(Debug, Default)]
pub(crate) struct Model {
    content: Mutex<Content>,
}

impl Model {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }

    fn find(&self, selection: &Selection, range: TimeRange) -> Vec<Window> {
        let is_in = |window: &&Window| {
            (range.start_unix_ns..range.end_unix_ns).contains(&window.start)
                && window.label("service") == selection.service
                && selection.labels.iter().all(|(key, value)| window.labels.get(key) == Some(value))
        };
        self.content().windows.iter().filter(is_in).cloned().collect()
    }
}

impl Store for Model {
    fn hash_seed(&self) -> u64 {
        7
    }

    fn write(&self, arrival: &Arrival) -> Result<Written, StoreError> {
        let batch = arrival.batch();
        let mut content = self.content();
        if content.batches.contains(&(batch.agent_id.clone(), batch.epoch, batch.sequence)) {
            content.stats.duplicates += 1;
            return Ok(Written::Duplicate);
        }
        let mut stacks = content.stacks.clone();
        for (stack, key) in batch.stacks.iter().zip(arrival.keys()) {
            let frames = stack.frames.iter().map(|at| frame(batch, *at)).collect();
            stacks.insert(key.0, frames);
        }
        let mut windows = Vec::new();
        for service in &batch.services {
            windows.push(window(arrival, service, &stacks)?);
        }
        content.batches.insert((batch.agent_id.clone(), batch.epoch, batch.sequence));
        content.stacks = stacks;
        let accounting = batch.accounting.clone().unwrap_or_default();
        content.stats.batches_stored += 1;
        content.stats.samples_taken += accounting.samples_taken;
        for loss in accounting.lost {
            *content.stats.lost.entry(loss.reason).or_default() += loss.samples;
        }
        for window in windows {
            content.stats.samples_stored += window.samples();
            content.stats.walks.merge(&window.quality);
            if !(window.stacks.is_empty() && window.syscalls.is_empty()) {
                content.windows.push(window);
            }
        }
        Ok(Written::Stored)
    }

    fn catalog(&self, range: TimeRange) -> Result<Vec<ServiceEntry>, StoreError> {
        let services: BTreeSet<String> =
            self.content().windows.iter().map(|window| window.label("service")).collect();
        let mut entries = Vec::new();
        for service in services {
            let selection = Selection { service: service.clone(), labels: Vec::new() };
            let windows = self.find(&selection, range);
            if windows.is_empty() {
                continue;
            }
            let names: BTreeSet<String> = windows.iter().map(|one| one.label("version")).collect();
            let mut versions: Vec<VersionEntry> =
                names.iter().map(|version| version_entry(version, &windows)).collect();
            versions.sort_by_key(|version| std::cmp::Reverse(version.last_seen_unix_ns));
            entries.push(ServiceEntry {
                service,
                samples: windows.iter().map(Window::samples).sum(),
                whole_share: quality_of(&windows).whole_share(),
                cpu_ns: windows.iter().map(|window| window.cpu_ns).sum(),
                first_seen_unix_ns: windows.iter().map(|window| window.start).min().unwrap(),
                last_seen_unix_ns: windows.iter().map(|window| window.end).max().unwrap(),
                versions,
            });
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.cpu_ns));
        Ok(entries)
    }

    fn versions(&self, until: u64) -> Result<BTreeMap<String, Vec<VersionSpan>>, StoreError> {
        let all = TimeRange { start_unix_ns: 0, end_unix_ns: until };
        let span = |entry: VersionEntry| VersionSpan {
            version: entry.version,
            first_seen_unix_ns: entry.first_seen_unix_ns,
            last_seen_unix_ns: entry.last_seen_unix_ns,
        };
        let entries = self.catalog(all)?.into_iter();
        Ok(entries
            .map(|entry| (entry.service, entry.versions.into_iter().map(span).collect()))
            .collect())
    }

    fn merge(&self, selection: &Selection, range: TimeRange) -> Result<Merged, StoreError> {
        let windows = self.find(selection, range);
        Ok(Merged {
            profile: profile_of(&windows),
            cpu_ns: windows.iter().map(|window| window.cpu_ns).sum(),
            quality: quality_of(&windows),
            syscalls: syscalls_of(&windows),
        })
    }

    fn unit_windows(
        &self,
        selection: &Selection,
        range: TimeRange,
        window_ns: u64,
    ) -> Result<Vec<UnitWindow>, StoreError> {
        let mut groups: BTreeMap<(u64, [String; 3]), Vec<Window>> = BTreeMap::new();
        for window in self.find(selection, range) {
            let start = window.start / window_ns * window_ns;
            groups.entry((start, unit_of(&window))).or_default().push(window);
        }
        let all = self.content().windows.clone();
        let row = |((start_unix_ns, key), windows): ((u64, [String; 3]), Vec<Window>)| {
            let is_same = |window: &&Window| {
                window.label("service") == selection.service && unit_of(window) == key
            };
            let since = all.iter().filter(is_same).map(|window| window.start).min();
            let mut lost = LostSamples::default();
            windows.iter().for_each(|window| lost.add(window.lost));
            let machine = ["cpu_model", "kernel"].map(|key| windows[0].label(key));
            let named: Vec<&str> =
                machine.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
            let [host, unit, version] = key;
            UnitWindow {
                host,
                unit,
                version,
                machine: named.join(", "),
                since_unix_ns: since.unwrap(),
                start_unix_ns,
                cpu_ns: windows.iter().map(|window| window.cpu_ns).sum(),
                profile: profile_of(&windows),
                quality: quality_of(&windows),
                lost,
                syscalls: syscalls_of(&windows),
            }
        };
        Ok(groups.into_iter().map(row).collect())
    }

    fn unit_lives(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<UnitLife>, StoreError> {
        let mut groups: BTreeMap<[String; 3], Vec<(u64, u64)>> = BTreeMap::new();
        for window in self.find(selection, range) {
            groups.entry(unit_of(&window)).or_default().push((window.start, window.end));
        }
        let life = |([host, unit, version], spans): ([String; 3], Vec<(u64, u64)>)| UnitLife {
            host,
            unit,
            version,
            first_seen_unix_ns: spans.iter().map(|(start, _)| *start).min().unwrap(),
            last_seen_unix_ns: spans.iter().map(|(_, end)| *end).max().unwrap(),
        };
        Ok(groups.into_iter().map(life).collect())
    }

    fn quality(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<QualityOf>, StoreError> {
        let mut groups: BTreeMap<[String; 3], Quality> = BTreeMap::new();
        for window in self.find(selection, range) {
            let key = ["version", "host", "executable"].map(|key| window.label(key));
            groups.entry(key).or_default().merge(&window.quality);
        }
        let of = |([version, host, executable], quality): ([String; 3], _)| QualityOf {
            version,
            host,
            executable,
            quality,
        };
        Ok(groups.into_iter().filter(|(_, quality)| !quality.is_empty()).map(of).collect())
    }

    fn series(
        &self,
        selection: &Selection,
        range: TimeRange,
        step_ns: u64,
    ) -> Result<Vec<SeriesPoint>, StoreError> {
        let mut points: BTreeMap<(u64, String), (u64, u64)> = BTreeMap::new();
        for window in self.find(selection, range) {
            let start = window.start / step_ns * step_ns;
            let point = points.entry((start, window.label("version"))).or_default();
            *point = (point.0 + window.samples(), point.1 + window.cpu_ns);
        }
        let point = |((start_unix_ns, version), (samples, cpu_ns))| SeriesPoint {
            start_unix_ns,
            version,
            samples,
            cpu_ns,
        };
        Ok(points.into_iter().map(point).collect())
    }

    fn stats(&self) -> Result<StoreStats, StoreError> {
        Ok(self.content().stats.clone())
    }

    fn compact(&self, _now_unix_ns: u64) -> Result<Compacted, StoreError> {
        Ok(Compacted::default())
    }

    fn retain(&self, before_unix_ns: u64) -> Result<Retained, StoreError> {
        let mut content = self.content();
        let before = content.windows.len();
        content.windows.retain(|window| window.end > before_unix_ns);
        let blocks = (before - content.windows.len()) as u64;
        Ok(Retained { blocks, ..Retained::default() })
    }
}

impl MetaStore for Model {
    fn load_state(&self, key: &str) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        Ok(self.content().state.get(key).cloned())
    }

    fn save_state(&self, key: &str, expected: u64, value: &[u8]) -> Result<bool, StoreError> {
        let mut content = self.content();
        let version = content.state.get(key).map_or(0, |(version, _)| *version);
        if version == expected {
            content.state.insert(key.to_owned(), (version + 1, value.to_vec()));
        }
        Ok(version == expected)
    }
}

fn text(batch: &v1::Batch, at: u32) -> String {
    batch.strings[at as usize].clone()
}

fn frame(batch: &v1::Batch, at: u32) -> Frame {
    let frame = &batch.frames[at as usize];
    assert_eq!(frame.kind, i32::from(v1::FrameKind::Native), "the suite sends no other kind");
    Frame {
        kind: FrameKind::Native,
        function: text(batch, frame.function),
        module: text(batch, frame.module),
        file: text(batch, frame.file),
        line: frame.line,
        build_id: text(batch, frame.build_id),
    }
}

fn window(
    arrival: &Arrival,
    service: &v1::ServiceProfile,
    stacks: &BTreeMap<u128, Vec<Frame>>,
) -> Result<Window, StoreError> {
    let batch = arrival.batch();
    if service.stacks.len() != service.counts.len() {
        return Err(StoreError::Inconsistent("a service has stacks without counts"));
    }
    let mut labels = BTreeMap::new();
    for label in batch.host_labels.iter().chain(&service.labels) {
        labels.insert(text(batch, label.key), text(batch, label.value));
    }
    labels.insert("service".to_owned(), text(batch, service.service));
    labels.insert("version".to_owned(), text(batch, service.version));
    labels.insert("unit".to_owned(), text(batch, service.unit));
    labels.insert("host".to_owned(), batch.host.clone());
    let mut named = Vec::new();
    for (at, samples) in service.stacks.iter().zip(&service.counts).filter(|(_, n)| **n > 0) {
        let frames = stacks.get(&arrival.keys()[*at as usize].0);
        named.push((frames.ok_or(StoreError::UnknownStack)?.clone(), *samples));
    }
    let mut quality = Quality::default();
    service.walks.iter().for_each(|walk| quality.add(&walk.end, walk.samples));
    let accounting = batch.accounting.clone().unwrap_or_default();
    let lost = accounting.lost.iter().map(|loss| loss.samples).sum();
    Ok(Window {
        labels,
        start: batch.start_unix_ns,
        end: batch.end_unix_ns,
        cpu_ns: named.iter().map(|(_, samples)| samples * service.period_ns).sum(),
        stacks: named,
        syscalls: service.syscalls.iter().map(|call| syscall(batch, call)).collect(),
        quality,
        lost: LostSamples { taken: accounting.samples_taken, lost },
    })
}

fn syscall(batch: &v1::Batch, call: &v1::SyscallLatency) -> UnitSyscall {
    let mut histogram = LatencyHistogram::default();
    for (bucket, calls) in call.buckets.iter().zip(&call.bucket_counts) {
        histogram.add(*bucket, *calls);
    }
    (histogram.sum_ns, histogram.max_ns) = (call.sum_ns, call.max_ns);
    UnitSyscall {
        name: text(batch, call.name),
        waiting: call.waiting,
        histogram,
        errors: call.errors.iter().map(|error| (error.errno, error.count)).collect(),
    }
}

fn unit_of(window: &Window) -> [String; 3] {
    ["host", "unit", "version"].map(|key| window.label(key))
}

fn profile_of(windows: &[Window]) -> WindowProfile {
    let mut profile = Profile::default();
    for (frames, samples) in windows.iter().flat_map(|window| &window.stacks) {
        profile.add(frames, *samples);
    }
    WindowProfile::from(profile)
}

fn quality_of(windows: &[Window]) -> Quality {
    let mut quality = Quality::default();
    windows.iter().for_each(|window| quality.merge(&window.quality));
    quality
}

fn syscalls_of(windows: &[Window]) -> Vec<UnitSyscall> {
    let mut merged: BTreeMap<(bool, String), UnitSyscall> = BTreeMap::new();
    for call in windows.iter().flat_map(|window| &window.syscalls) {
        let key = (call.waiting, call.name.clone());
        merged.entry(key).and_modify(|known| known.merge(call)).or_insert_with(|| call.clone());
    }
    merged.into_values().collect()
}

fn version_entry(version: &str, windows: &[Window]) -> VersionEntry {
    let windows: Vec<Window> =
        windows.iter().filter(|window| window.label("version") == version).cloned().collect();
    let names = |key: &str| {
        let names: BTreeSet<String> = windows.iter().map(|window| window.label(key)).collect();
        names.into_iter().collect()
    };
    VersionEntry {
        version: version.to_owned(),
        first_seen_unix_ns: windows.iter().map(|window| window.start).min().unwrap(),
        last_seen_unix_ns: windows.iter().map(|window| window.end).max().unwrap(),
        samples: windows.iter().map(Window::samples).sum(),
        whole_share: quality_of(&windows).whole_share(),
        hosts: names("host"),
        units: names("unit"),
    }
}
