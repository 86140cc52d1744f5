//! The profile format of pprof: gzipped `profile.proto`, as `go tool pprof` reads it.
//!
//! Message and field numbers are those of <https://github.com/google/pprof/blob/main/proto/profile.proto>.

use std::collections::HashMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use indexmap::IndexSet;
use profiler_common::profile::{Frame, FrameKind};
use prost::Message;

use super::form::Captured;

/// Writes the capture with samples and CPU time as values, and service and version as labels.
pub(super) fn render(captured: &Captured) -> anyhow::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&Builder::default().build(captured).encode_to_vec())?;
    Ok(gzip.finish()?)
}

/// Functions, locations and mappings by what they say; ids count from 1.
#[derive(Default)]
struct Builder<'c> {
    strings: IndexSet<String>,
    mappings: IndexSet<&'c str>,
    build_ids: HashMap<u64, i64>,
    functions: IndexSet<(i64, i64)>,
    locations: IndexSet<PlaceKey>,
}

/// A location: mapping, address, and (function, line) from the innermost inlined function outwards.
#[derive(PartialEq, Eq, Hash)]
struct PlaceKey {
    mapping: u64,
    address: u64,
    lines: Vec<(u64, i64)>,
}

impl<'c> Builder<'c> {
    fn build(mut self, captured: &'c Captured) -> Profile {
        self.string("");
        let sample_type =
            vec![self.value_type("samples", "count"), self.value_type("cpu", "nanoseconds")];
        let mut sample = Vec::new();
        for (service, frames, count) in captured.stacks() {
            let mut location_id = self.stack(&frames);
            location_id.reverse();
            let cpu_ns = count.saturating_mul(service.period_ns);
            let label =
                [("service", &service.identity.service), ("version", &service.identity.version)]
                    .into_iter()
                    .filter(|(_, value)| !value.is_empty())
                    .map(|(key, value)| Label { key: self.string(key), str: self.string(value) })
                    .collect();
            sample.push(Sample { location_id, value: vec![signed(count), signed(cpu_ns)], label });
        }
        let period_type = Some(self.value_type("cpu", "nanoseconds"));
        let default_sample_type = self.string("cpu");
        let comment = vec![self.string(&captured.title), self.string(&captured.subtitle())];
        let window = &captured.window;
        Profile {
            sample_type,
            sample,
            period_type,
            period: 1_000_000_000 / i64::from(captured.frequency_hz.max(1)),
            time_nanos: signed(window.start_unix_ns),
            duration_nanos: signed(window.end_unix_ns.saturating_sub(window.start_unix_ns)),
            comment,
            default_sample_type,
            mapping: self.mappings(),
            function: (1..)
                .zip(&self.functions)
                .map(|(id, (name, filename))| Function {
                    id,
                    name: *name,
                    system_name: *name,
                    filename: *filename,
                })
                .collect(),
            location: (1..)
                .zip(self.locations)
                .map(|(id, PlaceKey { mapping, address, lines })| Location {
                    id,
                    mapping_id: mapping,
                    address,
                    line: lines
                        .into_iter()
                        .map(|(function_id, line)| Line { function_id, line })
                        .collect(),
                })
                .collect(),
            string_table: self.strings.into_iter().collect(),
        }
    }

    /// Locations of a stack, root first. A function and those inlined into it are one location.
    fn stack(&mut self, frames: &[&'c Frame]) -> Vec<u64> {
        frames
            .chunk_by(|_, next| next.kind == FrameKind::Inlined)
            .map(|place| self.location(place))
            .collect()
    }

    fn location(&mut self, place: &[&'c Frame]) -> u64 {
        let outermost = place[0];
        let mapping = self.mapping(outermost);
        let lines = place.iter().rev().map(|frame| (self.function(frame), frame.line.into()));
        let lines = lines.collect();
        let key = PlaceKey { mapping, address: offset_of(outermost), lines };
        self.locations.insert_full(key).0 as u64 + 1
    }

    fn mapping(&mut self, frame: &'c Frame) -> u64 {
        if frame.module.is_empty() {
            return 0;
        }
        let id = self.mappings.insert_full(&frame.module).0 as u64 + 1;
        if !frame.build_id.is_empty() {
            let build_id = self.string(&frame.build_id);
            self.build_ids.insert(id, build_id);
        }
        id
    }

    fn mappings(&mut self) -> Vec<Mapping> {
        let names: Vec<&str> = self.mappings.iter().copied().collect();
        (1..)
            .zip(names)
            .map(|(id, name)| Mapping {
                id,
                filename: self.string(name),
                build_id: self.build_ids.get(&id).copied().unwrap_or_default(),
                // Everything that can be named is: pprof need not look for the files.
                has_functions: true,
                has_filenames: true,
                has_line_numbers: true,
                has_inline_frames: true,
            })
            .collect()
    }

    fn function(&mut self, frame: &Frame) -> u64 {
        let key = (self.string(&frame.function), self.string(&frame.file));
        self.functions.insert_full(key).0 as u64 + 1
    }

    fn value_type(&mut self, r#type: &str, unit: &str) -> ValueType {
        ValueType { r#type: self.string(r#type), unit: self.string(unit) }
    }

    fn string(&mut self, text: &str) -> i64 {
        let index = self.strings.get_index_of(text);
        index.unwrap_or_else(|| self.strings.insert_full(text.to_owned()).0) as i64
    }
}

/// The file offset that an unnamed frame carries in its name, else 0.
fn offset_of(frame: &Frame) -> u64 {
    let offset = frame.function.rsplit_once("+0x").map(|(_, digits)| digits);
    offset.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[derive(Clone, PartialEq, Message)]
struct Profile {
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
    #[prost(int64, repeated, tag = "13")]
    comment: Vec<i64>,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    r#type: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    str: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "5")]
    filename: i64,
    #[prost(int64, tag = "6")]
    build_id: i64,
    #[prost(bool, tag = "7")]
    has_functions: bool,
    #[prost(bool, tag = "8")]
    has_filenames: bool,
    #[prost(bool, tag = "9")]
    has_line_numbers: bool,
    #[prost(bool, tag = "10")]
    has_inline_frames: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping_id: u64,
    #[prost(uint64, tag = "3")]
    address: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
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
    use super::super::form::tests::captured;
    use super::*;
    use std::io::Read;

    fn read(bytes: &[u8]) -> Profile {
        let mut proto = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut proto).unwrap();
        Profile::decode(proto.as_slice()).unwrap()
    }

    /// Samples as (function names leaf first with those of a location joined by `<`, values).
    fn samples(profile: &Profile) -> Vec<(Vec<String>, Vec<i64>)> {
        let string = |index: i64| profile.string_table[index as usize].clone();
        let name = |id: u64| string(profile.function[id as usize - 1].name);
        let place = |id: &u64| {
            let lines = &profile.location[*id as usize - 1].line;
            lines.iter().map(|line| name(line.function_id)).collect::<Vec<_>>().join(" < ")
        };
        let read = |sample: &Sample| {
            (sample.location_id.iter().map(place).collect(), sample.value.clone())
        };
        profile.sample.iter().map(read).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let profile = read(&render(&captured()).unwrap());
        assert_eq!(profile.string_table[0], "");
        assert_eq!(
            samples(&profile),
            [
                (
                    vec!["libz.so+0x1f0".to_owned(), "sum<int> < main".to_owned()],
                    vec![3, 30_000_000]
                ),
                (vec!["vfs_fsync".to_owned(), "main".to_owned()], vec![2, 20_000_000]),
            ]
        );
        assert_eq!(profile.duration_nanos, 2_000_000_000);
        assert_eq!(profile.period, 10_000_000);
    }

    #[test]
    fn an_unnamed_frame_keeps_offset_and_build_id() {
        let profile = read(&render(&captured()).unwrap());
        let string = |index: i64| profile.string_table[index as usize].as_str();
        let location = profile.location.iter().find(|location| location.address == 0x1f0).unwrap();
        let mapping = &profile.mapping[location.mapping_id as usize - 1];
        assert_eq!((string(mapping.filename), string(mapping.build_id)), ("libz.so", "abcd"));
    }
}
