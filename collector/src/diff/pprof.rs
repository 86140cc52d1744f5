//! Reads the parts of a pprof profile that a comparison needs.
//!
//! Field numbers are those of `profile.proto` of github.com/google/pprof. Lines, mappings' ranges and labels are skipped.

use std::collections::HashMap;

use profiler_common::profile::{Frame, FrameKind, Profile};
use prost::Message;
use thiserror::Error;

/// Most samples (unique stacks) in a file.
const SAMPLES_MAX: usize = 4 << 20;

/// Most frames in a stack, with inlined ones.
const STACK_FRAMES_MAX: usize = 1024;

/// Why bytes are no profile that can be compared.
#[derive(Debug, Error)]
pub(super) enum PprofError {
    #[error("failed to decode pprof")]
    Decode(#[from] prost::DecodeError),
    #[error("pprof names {what} {index}, which it does not hold")]
    Dangling { what: &'static str, index: u64 },
    #[error("pprof has more than {limit} {what}")]
    TooLarge { what: &'static str, limit: usize },
    #[error("pprof has no sample type")]
    NoSampleType,
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
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
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
}

#[derive(Clone, PartialEq, Message)]
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

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
}

/// Decodes an uncompressed pprof profile. The value of type `samples` is the count, else the first one.
pub(super) fn parse_pprof(bytes: &[u8]) -> Result<Profile, PprofError> {
    let pprof = PprofProfile::decode(bytes)?;
    if pprof.sample.len() > SAMPLES_MAX {
        return Err(PprofError::TooLarge { what: "samples", limit: SAMPLES_MAX });
    }
    let column = pprof
        .sample_type
        .iter()
        .position(|value| pprof.text(value.kind).is_ok_and(|kind| kind == "samples"))
        .or_else(|| (!pprof.sample_type.is_empty()).then_some(0))
        .ok_or(PprofError::NoSampleType)?;
    let locations = pprof.locations()?;
    let mut profile = Profile::default();
    for sample in &pprof.sample {
        // Differences (`-base`) hold negative counts; there is nothing to count in them.
        let count =
            sample.value.get(column).and_then(|count| u64::try_from(*count).ok()).unwrap_or(0);
        let mut frames: Vec<&Frame> = Vec::new();
        for id in sample.location_id.iter().rev() {
            let named =
                locations.get(id).ok_or(PprofError::Dangling { what: "location", index: *id })?;
            frames.extend(named);
            if frames.len() > STACK_FRAMES_MAX {
                return Err(PprofError::TooLarge {
                    what: "frames in a stack",
                    limit: STACK_FRAMES_MAX,
                });
            }
        }
        if count > 0 {
            profile.add(frames, count);
        }
    }
    Ok(profile)
}

impl PprofProfile {
    fn text(&self, index: i64) -> Result<&str, PprofError> {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.string_table.get(index))
            .map(String::as_str)
            .ok_or(PprofError::Dangling { what: "string", index: index as u64 })
    }

    /// Frames of each location, outermost first.
    fn locations(&self) -> Result<HashMap<u64, Vec<Frame>>, PprofError> {
        let functions: HashMap<u64, i64> =
            self.function.iter().map(|function| (function.id, function.name)).collect();
        let mappings: HashMap<u64, i64> =
            self.mapping.iter().map(|mapping| (mapping.id, mapping.filename)).collect();
        let mut locations = HashMap::with_capacity(self.location.len());
        for location in &self.location {
            let path = match mappings.get(&location.mapping_id) {
                Some(path) => self.text(*path)?,
                None => "",
            };
            let module = path.rsplit('/').next().unwrap_or(path);
            let mut frames = Vec::with_capacity(location.line.len().max(1));
            // The first line is the innermost inlined function.
            for (depth, line) in location.line.iter().rev().enumerate() {
                let id = line.function_id;
                let name = functions
                    .get(&id)
                    .ok_or(PprofError::Dangling { what: "function", index: id })?;
                frames.push(frame(self.text(*name)?, module, depth > 0));
            }
            if frames.is_empty() {
                frames.push(frame(&format!("{module}+0x{:x}", location.address), module, false));
            }
            locations.insert(location.id, frames);
        }
        Ok(locations)
    }
}

fn frame(function: &str, module: &str, is_inlined: bool) -> Frame {
    let kind = if is_inlined { FrameKind::Inlined } else { FrameKind::Native };
    Frame { kind, module: module.to_owned(), ..Frame::marker(function) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> PprofProfile {
        let text = ["", "cpu", "nanoseconds", "samples", "count", "main", "inner", "/usr/bin/app"];
        PprofProfile {
            sample_type: vec![ValueType { kind: 1, unit: 2 }, ValueType { kind: 3, unit: 4 }],
            sample: vec![Sample { location_id: vec![2, 1], value: vec![70_000_000, 7] }],
            mapping: vec![Mapping { id: 1, filename: 7 }],
            location: vec![
                Location { id: 1, mapping_id: 1, address: 0, line: vec![Line { function_id: 1 }] },
                Location {
                    id: 2,
                    mapping_id: 1,
                    address: 0,
                    line: vec![Line { function_id: 2 }, Line { function_id: 1 }],
                },
            ],
            function: vec![Function { id: 1, name: 5 }, Function { id: 2, name: 6 }],
            string_table: text.map(str::to_owned).to_vec(),
        }
    }

    #[test]
    fn stacks_come_root_first_with_inlined_functions_and_sample_counts() {
        let profile = parse_pprof(&example().encode_to_vec()).unwrap();
        let stacks: Vec<(Vec<&str>, u64)> = profile
            .named_stacks()
            .map(|(frames, count)| (frames.iter().map(|f| f.function.as_str()).collect(), count))
            .collect();
        assert_eq!(stacks, [(vec!["main", "main", "inner"], 7)]);
        assert_eq!(profile.frames()[0].module, "app");
    }

    #[test]
    fn a_location_that_is_not_there_is_an_error() {
        let mut broken = example();
        broken.location.pop();
        let error = parse_pprof(&broken.encode_to_vec()).unwrap_err();
        assert!(error.to_string().contains("location 2"), "{error}");
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(at in 0usize..200, byte in any::<u8>(), cut in 0usize..200) {
            let mut bytes = example().encode_to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut.max(1));
            let _either = parse_pprof(&bytes);
        }
    }
}
