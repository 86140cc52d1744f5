//! Colours for terminals, which can be turned off.

use std::io::IsTerminal as _;

/// Whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    is_on: bool,
}

impl Paint {
    /// Colours where stdout is a terminal and `NO_COLOR` is absent or empty (<https://no-color.org>).
    pub(crate) fn of_stdout() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { is_on: std::io::stdout().is_terminal() && !no_color }
    }

    /// Green.
    pub(crate) fn good(self, text: &str) -> String {
        self.with(text, 32)
    }

    /// Red.
    pub(crate) fn bad(self, text: &str) -> String {
        self.with(text, 31)
    }

    /// Yellow.
    pub(crate) fn unsure(self, text: &str) -> String {
        self.with(text, 33)
    }

    fn with(self, text: &str, code: u8) -> String {
        if self.is_on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_only_changed_where_colours_are_on() {
        assert_eq!(Paint { is_on: false }.bad("fail"), "fail");
        assert_eq!(Paint { is_on: true }.bad("fail"), "\x1b[31mfail\x1b[0m");
    }
}
