//! The profile format of pprof: its messages, and how stacks become one.
//!
//! Message and field numbers are those of <https://github.com/google/pprof/blob/main/proto/profile.proto>; fields that
//! nobody here writes or reads are left out.

use std::collections::HashMap;

use indexmap::IndexSet;
use prost::Message;

use crate::profile::{Frame, FrameKind};

/// A whole profile.
#[derive(Clone, PartialEq, Message)]
pub struct Profile {
    /// What each value of a sample means.
    #[prost(message, repeated, tag = "1")]
    pub sample_type: Vec<ValueType>,
    /// Unique stacks.
    #[prost(message, repeated, tag = "2")]
    pub sample: Vec<Sample>,
    /// Executables and libraries.
    #[prost(message, repeated, tag = "3")]
    pub mapping: Vec<Mapping>,
    /// Places in the code.
    #[prost(message, repeated, tag = "4")]
    pub location: Vec<Location>,
    /// Functions.
    #[prost(message, repeated, tag = "5")]
    pub function: Vec<Function>,
    /// All texts; the first one is empty. Other messages hold indices into it.
    #[prost(string, repeated, tag = "6")]
    pub string_table: Vec<String>,
    /// Start, Unix nanoseconds.
    #[prost(int64, tag = "9")]
    pub time_nanos: i64,
    /// Length in nanoseconds.
    #[prost(int64, tag = "10")]
    pub duration_nanos: i64,
    /// Unit of the period.
    #[prost(message, optional, tag = "11")]
    pub period_type: Option<ValueType>,
    /// What one sample stands for.
    #[prost(int64, tag = "12")]
    pub period: i64,
    /// Text for people.
    #[prost(int64, repeated, tag = "13")]
    pub comment: Vec<i64>,
    /// Name of the value that is shown first.
    #[prost(int64, tag = "14")]
    pub default_sample_type: i64,
}

/// Name and unit of a value.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ValueType {
    /// Such as `cpu`.
    #[prost(int64, tag = "1")]
    pub r#type: i64,
    /// Such as `nanoseconds`.
    #[prost(int64, tag = "2")]
    pub unit: i64,
}

/// One unique stack.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Sample {
    /// Its places, leaf first.
    #[prost(uint64, repeated, tag = "1")]
    pub location_id: Vec<u64>,
    /// One for each sample type.
    #[prost(int64, repeated, tag = "2")]
    pub value: Vec<i64>,
    /// What else is known of it.
    #[prost(message, repeated, tag = "3")]
    pub label: Vec<Label>,
}

/// A text beside a sample.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Label {
    /// Its name.
    #[prost(int64, tag = "1")]
    pub key: i64,
    /// Its text.
    #[prost(int64, tag = "2")]
    pub str: i64,
}

/// An executable or library.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Mapping {
    /// Counted from 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its path or file name.
    #[prost(int64, tag = "5")]
    pub filename: i64,
    /// Its build id in hex.
    #[prost(int64, tag = "6")]
    pub build_id: i64,
    /// Whether functions are named already.
    #[prost(bool, tag = "7")]
    pub has_functions: bool,
    /// Whether files are named already.
    #[prost(bool, tag = "8")]
    pub has_filenames: bool,
    /// Whether lines are known already.
    #[prost(bool, tag = "9")]
    pub has_line_numbers: bool,
    /// Whether inlined functions are known already.
    #[prost(bool, tag = "10")]
    pub has_inline_frames: bool,
}

/// A place in the code.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Location {
    /// Counted from 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its executable or library; 0 for none.
    #[prost(uint64, tag = "2")]
    pub mapping_id: u64,
    /// Its address, as far as it is known.
    #[prost(uint64, tag = "3")]
    pub address: u64,
    /// Its function, after those that are inlined there, the innermost first.
    #[prost(message, repeated, tag = "4")]
    pub line: Vec<Line>,
}

/// A function at a place.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Line {
    /// The function.
    #[prost(uint64, tag = "1")]
    pub function_id: u64,
    /// Line in its file; 0 when unknown.
    #[prost(int64, tag = "2")]
    pub line: i64,
}

/// A function.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Function {
    /// Counted from 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its name for people.
    #[prost(int64, tag = "2")]
    pub name: i64,
    /// Its name for the linker.
    #[prost(int64, tag = "3")]
    pub system_name: i64,
    /// File that it is in.
    #[prost(int64, tag = "4")]
    pub filename: i64,
}

/// When a profile was taken, and what one sample stands for.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Start, Unix nanoseconds.
    pub start_unix_ns: u64,
    /// End, Unix nanoseconds.
    pub end_unix_ns: u64,
    /// CPU time of one sample in nanoseconds.
    pub period_ns: u64,
}

/// Turns stacks of frames into a profile with samples and CPU time as values.
#[derive(Debug)]
pub struct Builder<'f> {
    strings: IndexSet<String>,
    mappings: IndexSet<&'f str>,
    /// By mapping.
    build_ids: HashMap<u64, i64>,
    /// (name, file).
    functions: IndexSet<(i64, i64)>,
    locations: IndexSet<Place>,
    samples: Vec<Sample>,
    comments: Vec<i64>,
}

/// A location: mapping, address, and (function, line) from the innermost inlined function outwards.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Place {
    mapping: u64,
    address: u64,
    lines: Vec<(u64, i64)>,
}

impl Default for Builder<'_> {
    fn default() -> Self {
        Self {
            strings: IndexSet::from([String::new()]),
            mappings: IndexSet::new(),
            build_ids: HashMap::new(),
            functions: IndexSet::new(),
            locations: IndexSet::new(),
            samples: Vec::new(),
            comments: Vec::new(),
        }
    }
}

impl<'f> Builder<'f> {
    /// Adds samples of a stack, root first. Labels without a text are left out.
    pub fn add(&mut self, stack: &[&'f Frame], samples: u64, cpu_ns: u64, labels: &[(&str, &str)]) {
        // A function and those inlined into it are one location.
        let mut location_id: Vec<u64> = stack
            .chunk_by(|_, next| next.kind == FrameKind::Inlined)
            .map(|place| self.location(place))
            .collect();
        location_id.reverse();
        let label = labels
            .iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(key, text)| Label { key: self.string(key), str: self.string(text) })
            .collect();
        self.samples.push(Sample {
            location_id,
            value: vec![signed(samples), signed(cpu_ns)],
            label,
        });
    }

    /// Adds a line for people.
    pub fn comment(&mut self, text: &str) {
        let text = self.string(text);
        self.comments.push(text);
    }

    /// The profile.
    #[must_use]
    pub fn finish(mut self, span: Span) -> Profile {
        let samples = self.value_type("samples", "count");
        let cpu = self.value_type("cpu", "nanoseconds");
        Profile {
            default_sample_type: cpu.r#type,
            sample_type: vec![samples, cpu.clone()],
            period_type: Some(cpu),
            period: signed(span.period_ns),
            time_nanos: signed(span.start_unix_ns),
            duration_nanos: signed(span.end_unix_ns.saturating_sub(span.start_unix_ns)),
            comment: std::mem::take(&mut self.comments),
            sample: std::mem::take(&mut self.samples),
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
                .map(|(id, Place { mapping, address, lines })| Location {
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

    fn location(&mut self, place: &[&'f Frame]) -> u64 {
        let outermost = place[0];
        let mapping = self.mapping(outermost);
        let lines = place.iter().rev().map(|frame| (self.function(frame), frame.line.into()));
        let lines = lines.collect();
        let place = Place { mapping, address: offset_of(outermost), lines };
        self.locations.insert_full(place).0 as u64 + 1
    }

    /// The mapping of a frame's module, or 0 when it has none.
    fn mapping(&mut self, frame: &'f Frame) -> u64 {
        if frame.module.is_empty() {
            return 0;
        }
        let id = self.mappings.insert_full(&frame.module).0 as u64 + 1;
        if !frame.build_id.is_empty() && !self.build_ids.contains_key(&id) {
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
                // Everything that can be named is: pprof need not look for the files on the reader's machine.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPAN: Span = Span { start_unix_ns: 5, end_unix_ns: 9, period_ns: 1 };

    fn frame(name: &str) -> Frame {
        let kind = if name.starts_with('d') { FrameKind::Inlined } else { FrameKind::Native };
        Frame { kind, module: format!("lib{name}.so"), ..Frame::marker(name) }
    }

    /// Reads the stacks back as (names root first, samples, CPU time).
    fn read(profile: &Profile) -> Vec<(Vec<String>, i64, i64)> {
        let name = |line: &Line| {
            let function = &profile.function[line.function_id as usize - 1];
            profile.string_table[function.name as usize].clone()
        };
        let place = |id: &u64| {
            let lines = &profile.location[*id as usize - 1].line;
            lines.iter().rev().map(name).collect::<Vec<_>>()
        };
        let stacks = profile.sample.iter().map(|sample| {
            let names = sample.location_id.iter().rev().flat_map(place).collect();
            (names, sample.value[0], sample.value[1])
        });
        stacks.collect()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            stacks in proptest::collection::vec(
                (proptest::collection::vec("[a-d]{1,2}", 1..6), 1_u64..1000), 0..30),
        ) {
            let stacks: Vec<(Vec<Frame>, u64)> = stacks
                .into_iter()
                .map(|(names, count)| (names.iter().map(|name| frame(name)).collect(), count))
                .collect();
            let mut builder = Builder::default();
            for (frames, count) in &stacks {
                builder.add(&frames.iter().collect::<Vec<_>>(), *count, count * 3, &[]);
            }
            let bytes = builder.finish(SPAN).encode_to_vec();
            let profile = Profile::decode(&*bytes).unwrap();
            prop_assert_eq!(&profile.string_table[0], "");
            let expected: Vec<_> = stacks
                .iter()
                .map(|(frames, count)| {
                    let names = frames.iter().map(|frame| frame.function.clone()).collect();
                    (names, *count as i64, *count as i64 * 3)
                })
                .collect();
            prop_assert_eq!(read(&profile), expected);
        }
    }

    #[test]
    fn a_build_id_and_an_offset_let_pprof_name_what_has_no_name() {
        let named = Frame { module: "libc.so".to_owned(), ..Frame::marker("read") };
        let unnamed = Frame {
            module: "libc.so".to_owned(),
            build_id: "beef".to_owned(),
            ..Frame::marker("libc.so+0x10")
        };
        let mut builder = Builder::default();
        builder.add(&[&named, &unnamed], 1, 1, &[]);
        let profile = builder.finish(SPAN);
        let [mapping] = profile.mapping.as_slice() else { panic!("one module, one mapping") };
        assert_eq!(profile.string_table[mapping.build_id as usize], "beef");
        assert_eq!(profile.location[1].address, 0x10);
    }
}
