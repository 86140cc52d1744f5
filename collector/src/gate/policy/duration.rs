//! Durations as people write them: `90s`, `15m`, `2h`, `7d`.

use serde::{Deserialize, Deserializer, Serializer};

/// Writes seconds.
pub(super) fn serialize<S: Serializer>(seconds: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format!("{seconds}s"))
}

/// Reads text with a unit, or a bare number of seconds.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Seconds(u64),
        Text(String),
    }
    match Written::deserialize(from)? {
        Written::Seconds(seconds) => Ok(seconds),
        Written::Text(text) => parse_seconds(&text).map_err(serde::de::Error::custom),
    }
}

/// Reads `90`, `90s`, `15m`, `2h` or `7d` as seconds.
///
/// # Errors
///
/// A sentence that says what is allowed.
pub(crate) fn parse_seconds(text: &str) -> Result<u64, String> {
    let refusal = || format!("`{text}` is not a duration such as `90s`, `15m`, `2h` or `7d`");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let scale = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(refusal()),
    };
    let number: u64 = digits.parse().map_err(|_not_a_number| refusal())?;
    number.checked_mul(scale).ok_or_else(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_wrong_ones_are_refused() {
        assert_eq!(parse_seconds("15m"), Ok(900));
        assert_eq!(parse_seconds("90"), Ok(90));
        for wrong in ["", "m", "-1s", "1w", "1.5h", "99999999999999999999d"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
    }
}
