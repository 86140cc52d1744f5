//! Settings: flag over environment over file over default.
//!
//! The command line is parsed twice. The first time finds the file; then the file's values become the defaults of their
//! flags, and the second parse gives the result. So the order of precedence is clap's own, and every flag is a key of
//! the file without being listed again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::builder::OsStr;
use clap::{ArgAction, CommandFactory, FromArgMatches};
use thiserror::Error;
use toml::Spanned;

use crate::args::Arguments;

/// Largest file of settings that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why there are no settings.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The command line is wrong, or asked for help; it knows its own exit code.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The file cannot be read.
    #[error("failed to read the settings in `{path}`: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Something in the file is wrong.
    #[error("`{path}`, line {line}: {why}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong, and what would be right.
        why: String,
    },
}

type Table = BTreeMap<Spanned<String>, Spanned<toml::Value>>;

/// Reads the command line (its first word is the program's name), the environment, and the file that they name.
///
/// # Errors
///
/// When one of them is wrong; for the file the error names the line.
pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Arguments, ConfigError> {
    let words: Vec<OsString> = words.into_iter().collect();
    let first = Arguments::try_parse_words(Arguments::command(), &words)?;
    let Some(path) = &first.config else { return Ok(first) };
    let text = read_file(path)?;
    let command = with_file(Arguments::command(), path, &text, first.command.name())?;
    Ok(Arguments::try_parse_words(command, &words)?)
}

impl Arguments {
    fn try_parse_words(command: clap::Command, words: &[OsString]) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&command.try_get_matches_from(words)?)
    }
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |why: String| ConfigError::Unreadable { path: path.to_owned(), why };
    let size = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(unreadable(format!("it has {size} bytes; at most {FILE_BYTES_MAX} are read")));
    }
    fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))
}

/// Makes the values of a file the defaults of the flags they name. All tables are checked, that of `chosen` is used.
fn with_file(
    mut command: clap::Command,
    path: &Path,
    text: &str,
    chosen: &str,
) -> Result<clap::Command, ConfigError> {
    let wrong = |offset: usize, why: String| ConfigError::Wrong {
        path: path.to_owned(),
        line: text.get(..offset).unwrap_or(text).matches('\n').count() + 1,
        why,
    };
    let tables: BTreeMap<Spanned<String>, Table> = toml::from_str(text).map_err(|error| {
        wrong(error.span().map_or(0, |span| span.start), error.message().to_owned())
    })?;
    for (name, table) in tables {
        let offset = name.span().start;
        let name = name.into_inner();
        let Some(subcommand) = command.find_subcommand(&name).filter(|found| !found.is_hide_set())
        else {
            let known: Vec<&str> = command
                .get_subcommands()
                .filter(|subcommand| !subcommand.is_hide_set() && !keys_of(subcommand).is_empty())
                .map(clap::Command::get_name)
                .collect();
            let why = format!("unknown table `{name}`; the tables are {}", known.join(", "));
            return Err(wrong(offset, why));
        };
        let defaults = defaults_of(subcommand, table).map_err(|(at, why)| wrong(at, why))?;
        if name == chosen {
            command = command.mut_subcommand(&name, |mut subcommand| {
                for (id, values) in defaults {
                    subcommand = subcommand.mut_arg(id, |flag| flag.default_values(values));
                }
                subcommand
            });
        }
    }
    Ok(command)
}

type Defaults = Vec<(String, Vec<OsStr>)>;

/// Checks a table against the flags of its command; errors carry the offset in the file.
fn defaults_of(command: &clap::Command, table: Table) -> Result<Defaults, (usize, String)> {
    let keys = keys_of(command);
    let mut defaults = Vec::new();
    for (key, value) in table {
        let offset = key.span().start;
        let key = key.into_inner();
        let Some(id) = keys.get(&key) else {
            let known: Vec<&str> = keys.keys().map(String::as_str).collect();
            let table = command.get_name();
            let known = known.join(", ");
            return Err((
                offset,
                format!("unknown key `{key}` in [{table}]; the keys are {known}"),
            ));
        };
        let values = texts_of(value.into_inner()).ok_or_else(|| {
            (offset, format!("`{key}` takes a text, a number, or a list of them"))
        })?;
        check(command, &key, id, &values).map_err(|why| (offset, why))?;
        defaults.push((id.clone(), values.into_iter().map(OsStr::from).collect()));
    }
    Ok(defaults)
}

/// Keys of the file by name, with the identity of their flag: the long name with `_` for `-`.
fn keys_of(command: &clap::Command) -> BTreeMap<String, String> {
    command
        .get_arguments()
        .filter(|flag| flag.get_env().is_some())
        .filter_map(|flag| Some((flag.get_long()?.replace('-', "_"), flag.get_id().to_string())))
        .collect()
}

/// A value as the words that would stand on the command line.
fn texts_of(value: toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Float(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(truth) => Some(vec![truth.to_string()]),
        toml::Value::Array(values) => {
            let texts: Option<Vec<Vec<String>>> = values.into_iter().map(texts_of).collect();
            Some(texts?.concat())
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

/// Asks the flag itself whether it takes the values: it alone is parsed, without environment.
fn check(command: &clap::Command, key: &str, id: &str, values: &[String]) -> Result<(), String> {
    let Some(flag) = command.get_arguments().find(|flag| flag.get_id() == id) else {
        return Ok(());
    };
    if matches!(flag.get_action(), ArgAction::SetTrue) {
        return match values {
            [value] if value == "true" || value == "false" => Ok(()),
            _ => Err(format!("`{key}` is true or false")),
        };
    }
    let alone = clap::Arg::new(id.to_owned())
        .long(key.to_owned())
        .action(flag.get_action().clone())
        .value_parser(flag.get_value_parser().clone());
    let words = values.iter().map(|value| format!("--{key}={value}"));
    let parsed =
        clap::Command::new("settings").no_binary_name(true).arg(alone).try_get_matches_from(words);
    parsed.map(|_matches| ()).map_err(|error| reason_of(&error, key))
}

/// The first line of clap's message, without its decoration.
fn reason_of(error: &clap::Error, key: &str) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line.replace(&format!("--{key} <{key}>"), key).replace(&format!("--{key}"), key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, RunArguments};

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn run_with(line: &str, file: &str) -> Result<RunArguments, ConfigError> {
        let command = with_file(Arguments::command(), Path::new("agent.toml"), file, "run")?;
        match Arguments::try_parse_words(command, &words(line))?.command {
            Command::Run(run) => Ok(run),
            other => panic!("expected run, got {other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_flag_is_an_environment_variable() {
        for subcommand in Arguments::command().get_subcommands() {
            for flag in subcommand.get_arguments().filter(|flag| flag.get_long().is_some()) {
                if flag.get_id() == "help" || flag.get_id() == "version" {
                    continue;
                }
                let variable = flag.get_env().unwrap_or_default().to_string_lossy();
                assert!(variable.starts_with("FLAMEWATCH_"), "{} has `{variable}`", flag.get_id());
            }
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = "[run]\nfrequency = 49\nwindow = 5\nno_syscalls = true\npid = [3, 4]\n";
        let run = run_with("flamewatch-agent run --frequency 7", file).unwrap();
        assert_eq!((run.frequency, run.window), (7, 5));
        assert!(run.no_syscalls);
        assert_eq!(run.pid, [3, 4]);
        assert_eq!(run.collector, "http://127.0.0.1:7170");
    }

    #[test]
    fn a_wrong_file_is_refused_with_its_line() {
        for (file, line, why) in [
            (
                "[run]\n\ncolector = \"http://h\"\n",
                3,
                "unknown key `colector` in [run]; the keys are admin",
            ),
            ("[walk]\n", 1, "unknown table `walk`; the tables are run, capture, check"),
            ("[run]\nfrequency = 0\n", 2, "invalid value '0' for 'frequency'"),
            ("[run]\nfrequency = \"fast\"\n", 2, "invalid value 'fast' for 'frequency'"),
            ("[run]\nno_syscalls = 3\n", 2, "is true or false"),
            ("[run]\nhost = { name = 1 }\n", 2, "takes a text"),
            ("[run]\nhost = \n", 2, ""),
            ("[capture]\nfrequency = 1\n[run]\ncollector = \"host\"\n", 4, "it has no scheme"),
        ] {
            match run_with("flamewatch-agent run", file) {
                Err(ConfigError::Wrong { line: found, why: said, .. }) => {
                    assert_eq!(found, line, "{said}");
                    assert!(said.contains(why), "`{said}` should say `{why}`");
                }
                other => panic!("{file}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_table_of_another_command_does_not_count() {
        let run = run_with("flamewatch-agent run", "[capture]\nfrequency = 49\n").unwrap();
        assert_eq!(run.frequency, 19);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let error =
            read(words("flamewatch-agent run --config /nonexistent/agent.toml")).unwrap_err();
        assert!(error.to_string().contains("`/nonexistent/agent.toml`"), "{error}");
    }
}
