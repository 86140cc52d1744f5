//! One page that needs nothing else: a flame graph that zooms and searches, and a summary with the losses.
//!
//! The page's own part is `page.html`; the profile stands in it as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use indexmap::IndexSet;
use serde_json::{Value, json};

use super::form::Captured;

const PAGE: &str = include_str!("page.html");

/// Deepest tree that is written; what lies deeper counts for the frame at that depth.
const DEPTH_MAX: usize = 512;

/// Writes the page.
pub(super) fn render(captured: &Captured) -> anyhow::Result<Vec<u8>> {
    let mut names = IndexSet::new();
    let mut root = Node::default();
    for (frames, count) in captured.folded() {
        let path = frames.into_iter().take(DEPTH_MAX).map(|name| names.insert_full(name).0);
        root.add(path, count);
    }
    let data = json!({
        "names": names,
        "root": root.to_json(0),
        "samples": captured.samples(),
    });
    let page = PAGE
        .replace("{{title}}", &escaped(&captured.title))
        .replace("{{subtitle}}", &escaped(&captured.subtitle()))
        .replace("{{losses}}", &losses(captured));
    // The data comes last, so that no name in it is taken for a placeholder. `<` could end the script.
    let data = serde_json::to_string(&data)?.replace('<', "\\u003c");
    Ok(page.replacen("\"{{data}}\"", &data, 1).into_bytes())
}

fn losses(captured: &Captured) -> String {
    let mut text = String::new();
    for (reason, samples) in captured.lost.iter().filter(|(_, samples)| *samples > 0) {
        let _string_takes_all = write!(text, "<li>lost {}: {samples}</li>", escaped(reason));
    }
    text
}

/// Calls below one frame, by index of the name.
#[derive(Default)]
struct Node {
    samples: u64,
    children: BTreeMap<usize, Self>,
}

impl Node {
    fn add(&mut self, path: impl Iterator<Item = usize>, count: u64) {
        self.samples += count;
        let mut node = self;
        for name in path {
            node = node.children.entry(name).or_default();
            node.samples += count;
        }
    }

    /// `[name, samples, [children…]]`
    fn to_json(&self, name: usize) -> Value {
        let children: Vec<Value> =
            self.children.iter().map(|(name, child)| child.to_json(*name)).collect();
        json!([name, self.samples, children])
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::form::tests::captured;
    use super::*;

    #[test]
    fn the_page_holds_the_whole_profile() {
        let page = String::from_utf8(render(&captured()).unwrap()).unwrap();
        let data = page.split_once("const profile = ").unwrap().1.lines().next().unwrap();
        let data: Value = serde_json::from_str(data.trim_end_matches(';')).unwrap();
        assert_eq!(data["root"][1], 5);
        assert_eq!(
            data["names"],
            json!(["shop", "main", "sum<int>_[i]", "libz.so+0x1f0", "vfs_fsync_[k]"])
        );
        assert!(page.contains("<li>lost ring_full: 1</li>"));
        assert!(!page.contains("{{"));
    }

    #[test]
    fn a_name_cannot_break_out_of_the_page() {
        let mut hostile = captured();
        hostile.title = "</title><script>".to_owned();
        hostile.window.services[0].identity.service = "</script>{{losses}}".to_owned();
        let page = String::from_utf8(render(&hostile).unwrap()).unwrap();
        assert_eq!(page.matches("</script>").count(), 1);
        assert!(!page.contains("<title></title>"));
    }
}
