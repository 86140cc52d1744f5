//! A timeline as bytes: a version byte, then compressed columns.
//!
//! A count x is kept as round(4 √x). Its Poisson noise is ½ on the scale of √x, so the step of ¼ adds
//! (¼)²/12 ÷ (½)² = 2 % to the variance, whatever x is, and values of one function lie so close that a few bits hold
//! each. The last hours, to which windows are still added, are kept as they are.

use thiserror::Error;

use super::bytes::{Reader, Writer};
use crate::detect::temporal::{
    Containment, FINE_SLOTS_MAX, Followed, Grid, HISTORY_FUNCTIONS_MAX, HOUR_SLOTS_MAX, Timeline,
    Total,
};
use crate::diff::FunctionKey;

/// First byte; another one is another form.
const VERSION: u8 = 2;

/// Most bytes that a packed timeline may unpack to: 512 functions × 2 × 960 windows × at most 3 bytes and names.
const UNPACKED_BYTES_MAX: usize = 8 << 20;

/// Compression level: higher ones save a few percent and take many times longer.
const LEVEL: i32 = 3;

/// Hours at the end that are kept exactly.
const EXACT_HOURS: usize = 2;

/// Longest name of a function or module, bytes; what is longer than that was refused when it came in.
const NAME_BYTES_MAX: usize = 64 << 10;

/// Why bytes are no timeline.
#[derive(Debug, Error)]
pub enum UnpackError {
    /// Written by another release.
    #[error("history has form {0}, which this build does not know")]
    Version(u8),
    /// Not what was written.
    #[error("history is damaged: {0}")]
    Damaged(&'static str),
}

/// Packs a timeline.
///
/// # Errors
///
/// When the compressor fails: out of memory.
pub fn pack(timeline: &Timeline) -> std::io::Result<Vec<u8>> {
    let mut out = Writer::default();
    out.number(timeline.functions.len() as u64);
    for Followed { key, since_unix_ns, share_before_ppm } in &timeline.functions {
        out.text(&key.module);
        out.text(&key.function);
        out.number(*since_unix_ns);
        out.number(*share_before_ppm);
    }
    write_grid(&mut out, &timeline.fine, 0);
    write_grid(&mut out, &timeline.hours, EXACT_HOURS);
    let callers = &timeline.containment.callers;
    out.number(callers.len() as u64);
    for list in callers {
        out.number(list.len() as u64);
        for (above, part) in list {
            out.number(u64::from(*above));
            out.number(u64::from(*part));
        }
    }
    let mut packed = vec![VERSION];
    packed.extend(zstd::bulk::compress(&out.bytes, LEVEL)?);
    Ok(packed)
}

/// Unpacks what [`pack`] wrote.
///
/// # Errors
///
/// When the bytes are of another form, or damaged.
pub fn unpack(bytes: &[u8]) -> Result<Timeline, UnpackError> {
    let (version, packed) = bytes.split_first().ok_or(UnpackError::Damaged("empty"))?;
    if *version != VERSION {
        return Err(UnpackError::Version(*version));
    }
    let bytes = zstd::bulk::decompress(packed, UNPACKED_BYTES_MAX)
        .map_err(|_source| UnpackError::Damaged("failed to decompress"))?;
    let mut from = Reader { bytes: &bytes };
    read(&mut from).ok_or(UnpackError::Damaged("not what was written"))
}

fn read(from: &mut Reader<'_>) -> Option<Timeline> {
    let mut timeline = Timeline::default();
    let functions = from.length(HISTORY_FUNCTIONS_MAX)?;
    for _ in 0..functions {
        let module = from.text(NAME_BYTES_MAX)?;
        let function = from.text(NAME_BYTES_MAX)?;
        let key = FunctionKey { module, function };
        let (since_unix_ns, share_before_ppm) = (from.number()?, from.number()?);
        timeline.functions.push(Followed { key, since_unix_ns, share_before_ppm });
    }
    read_grid(from, &mut timeline.fine, (functions, FINE_SLOTS_MAX, 0))?;
    read_grid(from, &mut timeline.hours, (functions, HOUR_SLOTS_MAX, EXACT_HOURS))?;
    timeline.containment = read_containment(from, functions)?;
    from.bytes.is_empty().then_some(timeline)
}

fn write_grid(out: &mut Writer, grid: &Grid, exact: usize) {
    out.number(grid.first);
    out.number(grid.totals.len() as u64);
    for Total { samples, cpu_ns, unit_seconds } in &grid.totals {
        out.number(*samples);
        out.number(*cpu_ns);
        out.number(*unit_seconds);
    }
    let rounded = grid.totals.len().saturating_sub(exact);
    for [own, anywhere] in &grid.counts {
        // A function that calls nothing is on top whenever it is anywhere.
        let is_leaf = own == anywhere;
        out.number(u64::from(is_leaf));
        for counts in [anywhere, own].into_iter().take(if is_leaf { 1 } else { 2 }) {
            let mut before = 0;
            for count in &counts[..rounded] {
                let step = rounded_root(*count);
                out.signed(step - before);
                before = step;
            }
            for count in &counts[rounded..] {
                out.number(u64::from(*count));
            }
        }
    }
}

fn read_grid(
    from: &mut Reader<'_>,
    grid: &mut Grid,
    (functions, slots_max, exact): (usize, usize, usize),
) -> Option<()> {
    grid.first = from.number()?;
    let windows = from.length(slots_max)?;
    for _ in 0..windows {
        let total =
            Total { samples: from.number()?, cpu_ns: from.number()?, unit_seconds: from.number()? };
        grid.totals.push(total);
    }
    let rounded = windows.saturating_sub(exact);
    for _ in 0..functions {
        let is_leaf = from.number()? == 1;
        let anywhere = read_counts(from, rounded, windows)?;
        let own = if is_leaf { anywhere.clone() } else { read_counts(from, rounded, windows)? };
        grid.counts.push([own, anywhere]);
    }
    Some(())
}

fn read_counts(from: &mut Reader<'_>, rounded: usize, windows: usize) -> Option<Vec<u32>> {
    let mut counts = Vec::with_capacity(windows);
    let mut step = 0i64;
    for _ in 0..rounded {
        step = step.checked_add(from.signed()?)?;
        counts.push(square(step)?);
    }
    for _ in rounded..windows {
        counts.push(u32::try_from(from.number()?).ok()?);
    }
    Some(counts)
}

fn read_containment(from: &mut Reader<'_>, functions: usize) -> Option<Containment> {
    let mut containment = Containment::default();
    for _ in 0..from.length(functions)? {
        let mut list = Vec::new();
        for _ in 0..from.length(Containment::CALLERS_MAX)? {
            let above = u16::try_from(from.number()?).ok()?;
            list.push((above, u8::try_from(from.number()?).ok()?));
        }
        containment.callers.push(list);
    }
    Some(containment)
}

/// round(4 √x).
fn rounded_root(count: u32) -> i64 {
    (4.0 * f64::from(count).sqrt()).round() as i64
}

/// The whole number next to (q/4)².
fn square(step: i64) -> Option<u32> {
    /// 4 √(2³² - 1).
    const STEP_MAX: i64 = 262_144;
    let root = (0..=STEP_MAX).contains(&step).then_some(step as f64 / 4.0)?;
    Some((root * root).round().min(f64::from(u32::MAX)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::temporal::{FINE_NS, WindowCounts};
    use proptest::prelude::*;

    fn timeline(windows: &[(u64, u64, u64)]) -> Timeline {
        let mut timeline = Timeline::default();
        for (number, own, below) in windows {
            let key = |function: &str| FunctionKey {
                module: "m".to_owned(),
                function: function.to_owned(),
            };
            timeline.record(&WindowCounts {
                start_unix_ns: number * FINE_NS,
                total: Total { samples: own + below, cpu_ns: 7 * own, unit_seconds: 600 },
                functions: vec![(key("main"), *own, own + below), (key("leaf"), *below, *below)],
            });
        }
        timeline
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back_within_its_noise(
            windows in proptest::collection::vec((0u64..700, 1u64..500_000, 30u64..1_000), 1..60)
        ) {
            let before = timeline(&windows);
            let after = unpack(&pack(&before).unwrap()).unwrap();
            prop_assert_eq!(&before.functions, &after.functions);
            prop_assert_eq!(&before.fine.totals, &after.fine.totals);
            prop_assert_eq!(before.hours.first, after.hours.first);
            for (left, right) in before.fine.counts.iter().flatten().flatten().zip(after.fine.counts.iter().flatten().flatten()) {
                let noise = f64::from(*left).sqrt();
                prop_assert!((f64::from(*left) - f64::from(*right)).abs() <= 0.26 * noise + 0.5);
            }
            // Packed again and again, nothing wanders off.
            let again = unpack(&pack(&after).unwrap()).unwrap();
            prop_assert_eq!(after, again);
        }

        #[test]
        fn damaged_bytes_are_refused_and_never_panic(
            mut at in any::<prop::sample::Index>(), value in any::<u8>()
        ) {
            let mut bytes = pack(&timeline(&[(3, 50, 40), (5, 60, 40)])).unwrap();
            let _ = &mut at;
            let at = at.index(bytes.len());
            bytes[at] = value;
            let _ = unpack(&bytes);
            let _ = unpack(&bytes[..at]);
        }

        #[test]
        fn payloads_of_any_kind_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&mut Reader { bytes: &bytes });
        }
    }

    #[test]
    fn the_open_hour_is_kept_exactly() {
        let before = timeline(&[(600, 12_345, 77), (601, 54_321, 78)]);
        let after = unpack(&pack(&before).unwrap()).unwrap();
        assert_eq!(before.hours, after.hours);
    }

    #[test]
    fn another_form_is_refused_by_its_number() {
        assert!(matches!(unpack(&[9, 1, 2]), Err(UnpackError::Version(9))));
        assert!(matches!(unpack(&[]), Err(UnpackError::Damaged(_))));
    }

    #[test]
    fn a_full_history_takes_no_more_than_it_says() {
        let mut timeline = Timeline::default();
        // Counts of a busy service: 500 functions of rank 1/r, four weeks.
        let keys: Vec<FunctionKey> = (0..HISTORY_FUNCTIONS_MAX)
            .map(|at| FunctionKey {
                module: "server".to_owned(),
                function: format!("ns::function_{at}"),
            })
            .collect();
        let mut state = 1u64;
        for number in 0..(28 * 144) {
            let functions = keys.iter().enumerate().map(|(at, key)| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let mean = 70_000.0 / (at as f64 + 1.0) + 70.0;
                // Uniform with the standard deviation of a Poisson count.
                let noise =
                    ((state >> 33) as f64 / (1u64 << 31) as f64 - 0.5) * (12.0 * mean).sqrt();
                let count = (mean + noise) as u64;
                (key.clone(), count / 2, count)
            });
            timeline.record(&WindowCounts {
                start_unix_ns: number * FINE_NS,
                total: Total { samples: 70_000, cpu_ns: 700_000_000_000, unit_seconds: 6_000 },
                functions: functions.collect(),
            });
        }
        assert_eq!(timeline.functions.len(), HISTORY_FUNCTIONS_MAX);
        let bytes = pack(&timeline).unwrap().len();
        assert!(bytes < 700 << 10, "{bytes} bytes");
    }
}
