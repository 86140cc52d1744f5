//! Folded text: one line for each stack, `root;…;leaf count`.

use std::io::{self, Write};

use thiserror::Error;

/// Why a line is not a folded stack.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FoldedError {
    /// No count stands at the end of the line.
    #[error("line {line}: expected `frame;frame count`, found no count at the end")]
    NoCount {
        /// Line number, from 1.
        line: usize,
    },
    /// The count is not a whole number that fits 64 bits.
    #[error("line {line}: `{count}` is not a whole number of samples")]
    BadCount {
        /// Line number, from 1.
        line: usize,
        /// The text that stands where the count should.
        count: String,
    },
}

/// Writes one stack, root first.
///
/// # Errors
///
/// When `out` fails.
pub fn write_folded<W: Write>(
    out: &mut W,
    frames: impl IntoIterator<Item = String>,
    count: u64,
) -> io::Result<()> {
    for (index, frame) in frames.into_iter().enumerate() {
        if index > 0 {
            out.write_all(b";")?;
        }
        out.write_all(frame.as_bytes())?;
    }
    writeln!(out, " {count}")
}

/// Reads folded text: a list of (frames root first, count). Empty lines and lines that start with `#` are skipped.
///
/// # Errors
///
/// When a line has no whole number at its end; the error names the line.
pub fn parse_folded(text: &str) -> Result<Vec<(Vec<&str>, u64)>, FoldedError> {
    let mut stacks = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        let (frames, count) = line.rsplit_once(' ').ok_or(FoldedError::NoCount { line: number })?;
        let count = count.parse().map_err(|_not_a_number| FoldedError::BadCount {
            line: number,
            count: count.to_owned(),
        })?;
        stacks.push((frames.split(';').collect(), count));
    }
    Ok(stacks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_without_a_count_is_named() {
        assert_eq!(parse_folded("main;f 3\nmain;g\n"), Err(FoldedError::NoCount { line: 2 }));
        assert_eq!(
            parse_folded("main;g -1"),
            Err(FoldedError::BadCount { line: 1, count: "-1".to_owned() })
        );
    }

    #[test]
    fn frames_may_hold_spaces() {
        assert_eq!(
            parse_folded("main;operator new(unsigned long) 7"),
            Ok(vec![(vec!["main", "operator new(unsigned long)"], 7)])
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            stacks in proptest::collection::vec(
                (proptest::collection::vec("[a-z][a-z<> ]{0,8}[a-z]", 1..6), any::<u64>()), 0..20)
        ) {
            let mut text = Vec::new();
            for (frames, count) in &stacks {
                write_folded(&mut text, frames.iter().cloned(), *count).expect("a Vec takes all");
            }
            let text = String::from_utf8(text).expect("names are UTF-8");
            let read = parse_folded(&text).expect("own output parses");
            let read: Vec<(Vec<String>, u64)> = read
                .into_iter()
                .map(|(frames, count)| (frames.into_iter().map(str::to_owned).collect(), count))
                .collect();
            prop_assert_eq!(read, stacks);
        }
    }
}
