//! Checks one file by itself: its name, its length, its first line, and words that do not belong.

use super::{Finding, files::File};

/// The longest file of code; above, it has two subjects.
const LINES_MAX: usize = 500;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "helper", "helpers", "misc", "types", "shared", "common", "stuff"];

/// The only folders whose code may be unsafe.
const UNSAFE_FOLDERS: &[&str] =
    &["profiler-ebpf/", "profiler-common/src/abi/", "profiler-agent/src/kernel/"];

/// Words that leave work to others, with what to do instead. Put together here, or this file would hold them.
const UNFINISHED: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "finish it, or open an issue"),
    (concat!("FIX", "ME"), "mend it, or open an issue"),
    (concat!("dbg", "!("), "remove it, or log with `tracing`"),
];

/// Lint attributes that hide a warning for ever.
const ALLOWS: &[&str] = &[concat!("#[all", "ow("), concat!("#![all", "ow(")];

/// Returns every rule that `file` breaks by itself.
pub(super) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_whitespace(file, &mut findings);
    if matches!(file.ending(), "rs" | "js" | "mjs" | "c") {
        check_length(file, &mut findings);
        check_name(file, &mut findings);
        check_unfinished(file, &mut findings);
    }
    if file.ending() == "rs" {
        check_first_line(file, &mut findings);
        check_allow(file, &mut findings);
        check_unsafe(file, &mut findings);
    }
    findings
}

fn check_whitespace(file: &File, findings: &mut Vec<Finding>) {
    // In Rust rustfmt sees to it; what it leaves is inside a text, where it means something.
    let formatted = file.ending() == "rs";
    for (line, text) in numbered(file) {
        if !formatted && text.ends_with([' ', '\t', '\r']) {
            findings.push(Finding::new(file, line, "the line ends with white space"));
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        findings.push(Finding::new(file, 0, "the last line has no end"));
    }
}

fn check_length(file: &File, findings: &mut Vec<Finding>) {
    let lines = file.text.lines().count();
    if lines > LINES_MAX {
        let message =
            format!("the file has {lines} lines, of at most {LINES_MAX}; split it by subject");
        findings.push(Finding::new(file, 0, message));
    }
}

fn check_name(file: &File, findings: &mut Vec<Finding>) {
    let empty = file
        .path
        .split('/')
        .map(|part| part.split('.').next().unwrap_or(part))
        .find(|part| EMPTY_NAMES.contains(part));
    if let Some(name) = empty {
        let message = format!("`{name}` does not say what is inside; name it after its subject");
        findings.push(Finding::new(file, 0, message));
    }
}

fn check_first_line(file: &File, findings: &mut Vec<Finding>) {
    let first = file.text.lines().next().unwrap_or_default();
    if first.strip_prefix("//! ").is_none_or(|story| story.trim().is_empty()) {
        let message = "the first line does not say what this stage does (`//! …`)";
        findings.push(Finding::new(file, 1, message));
    }
}

fn check_unfinished(file: &File, findings: &mut Vec<Finding>) {
    for (line, text) in numbered(file) {
        for (word, instead) in UNFINISHED {
            if has_word(text, word) {
                findings.push(Finding::new(file, line, format!("`{word}`: {instead}")));
            }
        }
    }
}

fn check_allow(file: &File, findings: &mut Vec<Finding>) {
    for (line, text) in numbered(file) {
        if ALLOWS.iter().any(|allow| text.contains(allow)) {
            let message = "use `#[expect(lint, reason = \"…\")]`, which ends with its cause";
            findings.push(Finding::new(file, line, message));
        }
    }
}

fn check_unsafe(file: &File, findings: &mut Vec<Finding>) {
    if UNSAFE_FOLDERS.iter().any(|folder| file.is_in(folder)) {
        return;
    }
    for (line, text) in numbered(file) {
        if is_unsafe(text) {
            let message = format!("unsafe code may live only in {}", UNSAFE_FOLDERS.join(", "));
            findings.push(Finding::new(file, line, message));
        }
    }
}

/// Says whether a line of Rust has unsafe code: the keyword, followed by what it can stand before.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or(line);
    code.match_indices("unsafe").any(|(at, word)| {
        let in_text = code[..at].matches('"').count() % 2 == 1;
        let starts = !in_text && !code[..at].ends_with(is_of_word);
        let rest = code[at + word.len()..].trim_start();
        let follows = ["{", "fn ", "impl", "extern ", "trait ", "("];
        starts && (rest.is_empty() || follows.iter().any(|next| rest.starts_with(next)))
    })
}

fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let open_end = word.ends_with('(');
        !text[..at].ends_with(is_of_word)
            && (open_end || !text[at + word.len()..].starts_with(is_of_word))
    })
}

fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The lines of a file, counted from 1, with what `str::lines` would take off their ends.
fn numbered(file: &File) -> impl Iterator<Item = (usize, &str)> {
    file.text.split_terminator('\n').enumerate().map(|(index, text)| (index + 1, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&file).iter().map(ToString::to_string).collect()
    }

    fn check_caught(path: &str, text: &str, expected: &str) {
        let messages = messages(path, text);
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert!(messages[0].contains(expected), "{messages:?}");
    }

    fn code(line: &str) -> String {
        format!("//! Drains rings.\n{line}\n")
    }

    #[test]
    fn a_file_that_follows_the_rules_passes() {
        let text =
            code("/// Counts unsafe things, of all types; see `unsafe_folders`.\nfn count() {}");
        assert_eq!(messages("collector/src/query.rs", &text), Vec::<String>::new());
    }

    #[test]
    fn a_file_of_501_lines_is_caught_and_one_of_500_is_not() {
        check_caught("a/src/b.rs", &code(&"\n".repeat(LINES_MAX - 1)), "501 lines");
        assert!(messages("a/src/b.rs", &code(&"\n".repeat(LINES_MAX - 2))).is_empty());
    }

    #[test]
    fn a_first_line_without_a_story_is_caught() {
        check_caught("a/src/b.rs", "fn main() {}\n", ":1: the first line");
        check_caught("a/src/b.rs", "//!\nfn main() {}\n", ":1: the first line");
    }

    #[test]
    fn a_name_that_says_nothing_is_caught() {
        check_caught("a/src/util.rs", &code(""), "`util`");
        check_caught("a/src/shared/ring.rs", &code(""), "`shared`");
        assert!(messages("profiler-common/src/lib.rs", &code("")).is_empty());
    }

    #[test]
    fn unfinished_work_is_caught() {
        check_caught("a/src/b.rs", &code(concat!("// TO", "DO: later")), ":2: `TO");
        check_caught("a/web/b.js", concat!("// FIX", "ME\n"), ":1: `FIX");
        check_caught("a/src/b.rs", &code(concat!("dbg", "!(x);")), ":2: `dbg");
    }

    #[test]
    fn a_hidden_warning_is_caught() {
        check_caught("a/src/b.rs", &code(concat!("#[all", "ow(dead_code)]")), "expect");
        check_caught("a/src/b.rs", &code(concat!("#![all", "ow(dead_code)]")), "expect");
    }

    #[test]
    fn unsafe_code_is_caught_outside_its_folders() {
        for line in
            ["unsafe { read(p) }", "unsafe fn f() {}", "#[unsafe(no_mangle)]", "let a = unsafe"]
        {
            check_caught("collector/src/query.rs", &code(line), ":2: unsafe");
            assert!(messages("profiler-agent/src/kernel/mod.rs", &code(line)).is_empty(), "{line}");
        }
    }

    #[test]
    fn white_space_at_the_end_of_a_line_is_caught() {
        check_caught("README.md", "a \nb\n", ":1: the line ends");
        check_caught("a.toml", "a\r\n", ":1: the line ends");
        assert!(messages("a/src/b.rs", &code("const MAPS: &str = \"1-2 r \n\";")).is_empty());
        check_caught("a.toml", "a = 1", "the last line");
    }
}
