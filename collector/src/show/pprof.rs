//! `GET /debug/pprof/profile`: the samples of a selection in the form that `go tool pprof` reads.
//!
//! The messages are those of <https://github.com/google/pprof/blob/main/proto/profile.proto>, with the fields we fill.

use std::io::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use flate2::Compression;
use flate2::write::GzEncoder;
use indexmap::{IndexMap, IndexSet};
use profiler_common::profile::{Frame, Profile};
use prost::Message;

use super::answer::Failure;
use super::parameters::Parameters;
use crate::query;
use crate::store::TimeRange;

/// Longest `seconds`: that of any range.
const SECONDS_MAX: f64 = 31.0 * 86_400.0;

/// Writes the samples of a selection as a gzipped pprof profile.
#[utoipa::path(
    get,
    path = "/debug/pprof/profile",
    params(
        ("service" = String, Query, description = "the service"),
        ("seconds" = Option<f64>, Query, description = "the last seconds; instead of `from` and `to`"),
        ("from" = Option<String>, Query, description = "start: Unix seconds or `-15m`"),
        ("to" = Option<String>, Query, description = "end: Unix seconds, `-5m` or `now`"),
        ("version" = Option<String>, Query, description = "only this version"),
        ("host" = Option<String>, Query, description = "only this host"),
        ("unit" = Option<String>, Query, description = "only this unit of replication"),
        ("label.KEY" = Option<String>, Query, description = "only where the label KEY has this value"),
    ),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, body = super::openapi::Refusal),
    ),
)]
pub(crate) async fn profile(
    State(state): State<super::State>,
    mut parameters: Parameters,
) -> Result<impl IntoResponse, Failure> {
    let selection = parameters.take_selection()?;
    let mut range = parameters.take_range()?;
    let seconds = parameters.take_number("seconds", 0.0, 0.0..=SECONDS_MAX)?;
    parameters.finish()?;
    if seconds > 0.0 {
        range.start_unix_ns = range.end_unix_ns.saturating_sub((seconds * 1e9) as u64);
    }
    let store = Arc::clone(&state.store);
    let question = move || {
        let profile = query::merge(&store, &selection, range)?;
        let points = store.series(&selection, range, range.end_unix_ns - range.start_unix_ns)?;
        let samples: u64 = points.iter().map(|point| point.samples).sum();
        let cpu_ns: u64 = points.iter().map(|point| point.cpu_ns).sum();
        let period_ns = cpu_ns.checked_div(samples).unwrap_or(0);
        gzip(&encode(&profile, range, period_ns).encode_to_vec())
    };
    let bytes = state.queries.run(question).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"profile.pb.gz\""),
    ];
    Ok((headers, bytes))
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let compressed = encoder.write_all(bytes).and_then(|()| encoder.finish());
    compressed.map_err(|error| Failure::Internal(error.into()))
}

fn encode(profile: &Profile, range: TimeRange, period_ns: u64) -> PprofProfile {
    let mut strings = Strings::default();
    let count = ValueType { r#type: strings.index("samples"), unit: strings.index("count") };
    let cpu = ValueType { r#type: strings.index("cpu"), unit: strings.index("nanoseconds") };
    let mut mappings: IndexMap<&str, Mapping> = IndexMap::new();
    let mut functions = Vec::new();
    let mut locations = Vec::new();
    for (index, frame) in profile.frames().iter().enumerate() {
        // Ids count from 1; frames are unique, so each has a function and a location of its own.
        let id = index as u64 + 1;
        let mapping_id = mapping_of(&mut mappings, &mut strings, frame);
        functions.push(Function {
            id,
            name: strings.index(&frame.function),
            system_name: strings.index(&frame.function),
            filename: strings.index(&frame.file),
        });
        let line = Line { function_id: id, line: i64::from(frame.line) };
        locations.push(Location { id, mapping_id, line: vec![line] });
    }
    let sample = profile
        .stacks()
        .map(|(stack, count)| Sample {
            location_id: stack.iter().rev().map(|frame| u64::from(*frame) + 1).collect(),
            value: vec![signed(count), signed(count.saturating_mul(period_ns))],
        })
        .collect();
    PprofProfile {
        sample_type: vec![count, cpu.clone()],
        sample,
        mapping: mappings.into_values().collect(),
        location: locations,
        function: functions,
        time_nanos: signed(range.start_unix_ns),
        duration_nanos: signed(range.end_unix_ns - range.start_unix_ns),
        period_type: Some(cpu),
        period: signed(period_ns),
        string_table: strings.0.into_iter().collect(),
    }
}

/// The mapping of a frame's module, or 0 when it has none.
fn mapping_of<'f>(
    mappings: &mut IndexMap<&'f str, Mapping>,
    strings: &mut Strings,
    frame: &'f Frame,
) -> u64 {
    if frame.module.is_empty() {
        return 0;
    }
    let next = mappings.len() as u64 + 1;
    let mapping = mappings.entry(&frame.module).or_insert_with(|| Mapping {
        id: next,
        filename: strings.index(&frame.module),
        build_id: 0,
        // Without this pprof looks for the binaries on the reader's machine.
        has_functions: true,
    });
    if mapping.build_id == 0 {
        mapping.build_id = strings.index(&frame.build_id);
    }
    mapping.id
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The string table; the first string is empty.
struct Strings(IndexSet<String>);

impl Default for Strings {
    fn default() -> Self {
        Self(IndexSet::from([String::new()]))
    }
}

impl Strings {
    fn index(&mut self, text: &str) -> i64 {
        let index = self.0.get_index_of(text);
        index.unwrap_or_else(|| self.0.insert_full(text.to_owned()).0) as i64
    }
}

#[derive(Clone, PartialEq, Message)]
struct PprofProfile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    r#type: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "5")]
    filename: i64,
    #[prost(int64, tag = "6")]
    build_id: i64,
    #[prost(bool, tag = "7")]
    has_functions: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping_id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads the stacks back as (names root first, samples, CPU time).
    fn decode(bytes: &[u8]) -> Vec<(Vec<String>, i64, i64)> {
        let profile = PprofProfile::decode(bytes).unwrap();
        assert_eq!(profile.string_table[0], "");
        let name = |location: &u64| {
            let location = &profile.location[*location as usize - 1];
            let function = &profile.function[location.line[0].function_id as usize - 1];
            profile.string_table[function.name as usize].clone()
        };
        let stacks = profile.sample.iter().map(|sample| {
            let names = sample.location_id.iter().rev().map(name).collect();
            (names, sample.value[0], sample.value[1])
        });
        stacks.collect()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            stacks in proptest::collection::btree_map(
                proptest::collection::vec("[a-d]{1,2}", 1..6), 1_u64..1000, 0..30),
            period_ns in 0_u64..1_000_000_000,
        ) {
            let mut profile = Profile::default();
            for (stack, count) in &stacks {
                let frames: Vec<Frame> = stack
                    .iter()
                    .map(|name| Frame { module: format!("lib{name}.so"), ..Frame::marker(name) })
                    .collect();
                profile.add(&frames, *count);
            }
            let range = TimeRange { start_unix_ns: 5, end_unix_ns: 9 };
            let bytes = encode(&profile, range, period_ns).encode_to_vec();
            let mut found = decode(&bytes);
            found.sort();
            let expected: Vec<_> = stacks
                .into_iter()
                .map(|(stack, count)| (stack, count as i64, (count * period_ns) as i64))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_build_id_names_its_module() {
        let mut profile = Profile::default();
        let named = Frame { module: "libc.so".to_owned(), ..Frame::marker("read") };
        let unnamed = Frame {
            module: "libc.so".to_owned(),
            build_id: "beef".to_owned(),
            ..Frame::marker("libc.so+0x10")
        };
        profile.add([&named, &unnamed], 1);
        let encoded = encode(&profile, TimeRange { start_unix_ns: 0, end_unix_ns: 1 }, 1);
        let [mapping] = encoded.mapping.as_slice() else { panic!("one module, one mapping") };
        assert_eq!(encoded.string_table[mapping.build_id as usize], "beef");
    }
}
