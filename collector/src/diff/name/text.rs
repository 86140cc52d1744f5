//! Looks for numbers and brackets in names.

/// Length of the decimal digits that a text begins with.
pub(super) fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Whether a text is nothing but decimal digits, one at least.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && digits(text) == text.len()
}

/// Whether a text is hexadecimal digits, `least` to 16 of them.
pub(super) fn is_hash(text: &str, least: usize) -> bool {
    (least..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a byte may stand in an identifier.
pub(super) const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Leaves out the digits behind every `mark` that `holds`, which is told what stands before the mark and behind the digits.
pub(super) fn without_digits_after(
    text: &str,
    mark: &str,
    holds: impl Fn(&str, &str) -> bool,
) -> Option<String> {
    let mut kept = String::new();
    let mut done = 0;
    for (at, _) in text.match_indices(mark) {
        let end = at + mark.len();
        let length = digits(&text[end..]);
        if length > 0 && at >= done && holds(&text[..at], &text[end + length..]) {
            kept.push_str(&text[done..end]);
            done = end + length;
        }
    }
    (done > 0).then(|| kept + &text[done..])
}

/// Replaces every part from `open` to the `]` that closes it, for those whose inside `holds`.
pub(super) fn replace_brackets(
    text: &str,
    open: &str,
    (holds, by): (impl Fn(&str, &str) -> bool, &str),
) -> Option<String> {
    let mut kept = String::new();
    let mut done = 0;
    for (at, _) in text.match_indices(open).filter(|_| open.starts_with('[')) {
        if at < done {
            continue;
        }
        let Some(length) = bracketed(&text[at..]) else { break };
        if holds(&text[..at], &text[at + 1..at + length - 1]) {
            kept.push_str(&text[done..at]);
            kept.push_str(by);
            done = at + length;
        }
    }
    (done > 0).then(|| kept + &text[done..])
}

/// Length of the bracket that a text begins with, those inside it included.
fn bracketed(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}
