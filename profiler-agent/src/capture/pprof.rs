//! The profile format of pprof: gzipped `profile.proto`, as `go tool pprof` reads it.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use profiler_common::pprof::{Builder, Profile, Span};
use prost::Message;

use super::form::Captured;

/// Writes the capture with samples and CPU time as values, and service and version as labels.
pub(super) fn render(captured: &Captured) -> anyhow::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&encode(captured).encode_to_vec())?;
    Ok(gzip.finish()?)
}

fn encode(captured: &Captured) -> Profile {
    let mut builder = Builder::default();
    for (service, frames, count) in captured.stacks() {
        let cpu_ns = count.saturating_mul(service.period_ns);
        let labels =
            [("service", &*service.identity.service), ("version", &*service.identity.version)];
        builder.add(&frames, count, cpu_ns, &labels);
    }
    builder.comment(&captured.title);
    builder.comment(&captured.subtitle());
    builder.finish(Span {
        start_unix_ns: captured.window.start_unix_ns,
        end_unix_ns: captured.window.end_unix_ns,
        period_ns: 1_000_000_000 / u64::from(captured.frequency_hz.max(1)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::form::tests::captured;
    use super::*;
    use profiler_common::pprof::Sample;
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
