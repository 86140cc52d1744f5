//! Checks that the files which documents name are there.

use std::path::Path;

use super::{
    Finding,
    files::{File, Paths},
};
use crate::workspace;

/// Folders that exist only after something ran; documents may name what will be in them.
const MADE_LATER: &[&str] = &["target", ".flamewatch"];

/// Returns every link and path in a document that leads nowhere.
pub(super) fn check(file: &File, paths: &Paths) -> Vec<Finding> {
    check_with(file, paths, &|path| workspace::root().join(path).exists())
}

fn check_with(file: &File, paths: &Paths, exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    if file.ending() != "md" {
        return Vec::new();
    }
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    let mut fenced = false;
    for (index, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        let links = links(line).filter_map(|target| resolve(folder, target));
        let named = quoted(line).filter_map(|text| named_path(text, paths));
        for target in links.chain(named) {
            if !exists(&target) {
                findings.push(Finding::new(file, index + 1, format!("there is no `{target}`")));
            }
        }
    }
    findings
}

/// The targets of `[text](target)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The texts between backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Turns a link into a path from the root; nothing for the web and for places in the same document.
fn resolve(folder: &str, target: &str) -> Option<String> {
    let path = target.split(['#', ' ']).next().unwrap_or_default();
    if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
        return None;
    }
    let path = match path.strip_prefix('/') {
        Some(from_root) => from_root.to_owned(),
        None => Path::new(folder).join(path).to_string_lossy().into_owned(),
    };
    Some(path)
}

/// Takes a quoted text as a path when it starts with a folder of the root and has no wildcard.
fn named_path(text: &str, paths: &Paths) -> Option<String> {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-".contains(character);
    let (first, _) = text.split_once('/')?;
    let is_path =
        paths.has_root_folder(first) && !MADE_LATER.contains(&first) && text.chars().all(plain);
    is_path.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_document(text: &str) -> Vec<String> {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let paths = Paths::new(&[file("collector/src/query.rs", ""), file("docs/a.md", "")]);
        let document = file("docs/a.md", text);
        check_with(&document, &paths, &|path| {
            matches!(path, "collector/src/query.rs" | "docs/glossary.md" | "docs/../README.md")
        })
        .iter()
        .map(ToString::to_string)
        .collect()
    }

    #[test]
    fn links_and_paths_that_lead_somewhere_pass() {
        let text = "[a](glossary.md#frame) [b](../README.md) [c](https://example.org/x) [d](#e)\n\
                    `collector/src/query.rs` `collector/src/*.rs` `and/or` `cargo run`\n";
        assert_eq!(check_document(text), Vec::<String>::new());
    }

    #[test]
    fn a_link_to_nothing_is_caught() {
        assert_eq!(
            check_document("x\n[a](missing.md)\n"),
            ["docs/a.md:2: there is no `docs/missing.md`"]
        );
    }

    #[test]
    fn a_path_to_nothing_is_caught() {
        assert_eq!(
            check_document("see `collector/src/gone.rs`\n"),
            ["docs/a.md:1: there is no `collector/src/gone.rs`"]
        );
    }

    #[test]
    fn an_example_in_a_fence_is_no_promise() {
        assert!(check_document("```\n[a](missing.md)\n```\n").is_empty());
    }
}
