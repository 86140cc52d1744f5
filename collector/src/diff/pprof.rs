//! Reads the parts of a pprof profile that a comparison needs.

use std::collections::HashMap;

use profiler_common::pprof;
use profiler_common::profile::{Frame, FrameKind, Profile};
use profiler_common::wire::STRING_BYTES_MAX;
use prost::Message as _;
use thiserror::Error;

use super::offline::COUNT_MAX;

/// Most samples (unique stacks) in a file.
const SAMPLES_MAX: usize = 4 << 20;

/// Most frames in a stack, with inlined ones.
const STACK_FRAMES_MAX: usize = 1024;

/// Most functions of all locations, with inlined ones.
const LINES_MAX: usize = 4 << 20;

/// Why bytes are no profile that can be compared.
#[derive(Debug, Error)]
pub(super) enum PprofError {
    #[error("failed to decode pprof")]
    Decode(#[from] prost::DecodeError),
    #[error("pprof names {what} {index}, which it does not hold")]
    Dangling { what: &'static str, index: u64 },
    #[error("pprof has more than {limit} {what}")]
    TooLarge { what: &'static str, limit: usize },
    #[error("pprof counts more than {limit} samples")]
    TooManyCounted { limit: u64 },
    #[error("pprof has no sample type")]
    NoSampleType,
}

/// Decodes an uncompressed pprof profile. The value of type `samples` is the count, else the first one.
pub(super) fn parse_pprof(bytes: &[u8]) -> Result<Profile, PprofError> {
    let pprof = pprof::Profile::decode(bytes)?;
    if pprof.sample.len() > SAMPLES_MAX {
        return Err(PprofError::TooLarge { what: "samples", limit: SAMPLES_MAX });
    }
    let column = pprof
        .sample_type
        .iter()
        .position(|value| text(&pprof, value.r#type).is_ok_and(|kind| kind == "samples"))
        .or_else(|| (!pprof.sample_type.is_empty()).then_some(0))
        .ok_or(PprofError::NoSampleType)?;
    let locations = locations(&pprof)?;
    let mut profile = Profile::default();
    let mut total = 0_u64;
    for sample in &pprof.sample {
        // Differences (`-base`) hold negative counts; there is nothing to count in them.
        let count =
            sample.value.get(column).and_then(|count| u64::try_from(*count).ok()).unwrap_or(0);
        total = total.saturating_add(count);
        if total > COUNT_MAX {
            return Err(PprofError::TooManyCounted { limit: COUNT_MAX });
        }
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

fn text(pprof: &pprof::Profile, index: i64) -> Result<&str, PprofError> {
    usize::try_from(index)
        .ok()
        .and_then(|index| pprof.string_table.get(index))
        .map(String::as_str)
        .ok_or(PprofError::Dangling { what: "string", index: index as u64 })
}

/// Frames of each location, outermost first.
fn locations(pprof: &pprof::Profile) -> Result<HashMap<u64, Vec<Frame>>, PprofError> {
    let lines: usize = pprof.location.iter().map(|location| location.line.len().max(1)).sum();
    if lines > LINES_MAX {
        return Err(PprofError::TooLarge { what: "functions in locations", limit: LINES_MAX });
    }
    let functions: HashMap<u64, i64> =
        pprof.function.iter().map(|function| (function.id, function.name)).collect();
    let mappings: HashMap<u64, i64> =
        pprof.mapping.iter().map(|mapping| (mapping.id, mapping.filename)).collect();
    let mut locations = HashMap::with_capacity(pprof.location.len());
    for location in &pprof.location {
        let path = match mappings.get(&location.mapping_id) {
            Some(path) => text(pprof, *path)?,
            None => "",
        };
        let module = path.rsplit('/').next().unwrap_or(path);
        let mut frames = Vec::with_capacity(location.line.len().max(1));
        // The first line is the innermost inlined function.
        for (depth, line) in location.line.iter().rev().enumerate() {
            let id = line.function_id;
            let name =
                functions.get(&id).ok_or(PprofError::Dangling { what: "function", index: id })?;
            frames.push(frame(text(pprof, *name)?, module, depth > 0));
        }
        if frames.is_empty() {
            frames.push(frame(&format!("{module}+0x{:x}", location.address), module, false));
        }
        locations.insert(location.id, frames);
    }
    Ok(locations)
}

fn frame(function: &str, module: &str, is_inlined: bool) -> Frame {
    let kind = if is_inlined { FrameKind::Inlined } else { FrameKind::Native };
    // Each location has its own copy, so a long name must not count a million times.
    let (function, module) = (cut(function), cut(module));
    Frame { kind, module: module.to_owned(), ..Frame::marker(function) }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(STRING_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A function with another inlined into it, called by the first one alone.
    fn example() -> pprof::Profile {
        let main = Frame::marker("main");
        let outer = Frame { kind: FrameKind::Native, ..main.clone() };
        let inner = Frame { kind: FrameKind::Inlined, ..Frame::marker("inner") };
        let mut builder = pprof::Builder::default();
        let [main, outer] =
            [main, outer].map(|frame| Frame { module: "/usr/bin/app".to_owned(), ..frame });
        builder.add(&[&main, &outer, &inner], 7, 70_000_000, &[]);
        builder.finish(pprof::Span { start_unix_ns: 0, end_unix_ns: 1, period_ns: 10_000_000 })
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

    #[test]
    fn counts_whose_sum_would_overflow_are_an_error() {
        let mut broken = example();
        broken.sample[0].value[0] = i64::MAX;
        broken.sample = vec![broken.sample[0].clone(); 3];
        let error = parse_pprof(&broken.encode_to_vec()).unwrap_err();
        assert!(matches!(error, PprofError::TooManyCounted { .. }), "{error}");
    }

    #[test]
    fn a_long_name_is_cut() {
        let mut long = example();
        for text in long.string_table.iter_mut().filter(|text| *text == "inner") {
            *text = "\u{e9}".repeat(STRING_BYTES_MAX);
        }
        let profile = parse_pprof(&long.encode_to_vec()).unwrap();
        assert!(profile.frames().iter().all(|frame| frame.function.len() <= STRING_BYTES_MAX));
    }
}
