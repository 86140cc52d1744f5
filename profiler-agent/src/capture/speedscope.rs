//! The file format of speedscope: <https://www.speedscope.app/file-format-schema.json>, type "sampled".

use indexmap::IndexSet;
use serde::Serialize;

use super::form::Captured;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'c> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    shared: Shared<'c>,
    profiles: [Sampled; 1],
    name: &'c str,
    active_profile_index: usize,
    exporter: String,
}

#[derive(Serialize)]
struct Shared<'c> {
    frames: IndexSet<SharedFrame<'c>>,
}

#[derive(Serialize, PartialEq, Eq, Hash)]
struct SharedFrame<'c> {
    name: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    file: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

/// Weights are nanoseconds of CPU time.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sampled {
    r#type: &'static str,
    name: String,
    unit: &'static str,
    start_value: u64,
    end_value: u64,
    samples: Vec<Vec<usize>>,
    weights: Vec<u64>,
}

/// Writes one profile with the services as roots.
pub(super) fn render(captured: &Captured) -> anyhow::Result<Vec<u8>> {
    let mut frames = IndexSet::new();
    let (mut samples, mut weights) = (Vec::new(), Vec::new());
    for (service, stack, count) in captured.stacks() {
        let root = SharedFrame { name: service.identity.service.clone(), file: "", line: None };
        let named = stack.into_iter().map(|frame| SharedFrame {
            name: frame.folded_name(),
            file: if frame.file.is_empty() { &frame.module } else { &frame.file },
            line: (frame.line > 0).then_some(frame.line),
        });
        let stack = std::iter::once(root).chain(named);
        samples.push(stack.map(|frame| frames.insert_full(frame).0).collect());
        weights.push(count.saturating_mul(service.period_ns));
    }
    let file = File {
        schema: "https://www.speedscope.app/file-format-schema.json",
        shared: Shared { frames },
        profiles: [Sampled {
            r#type: "sampled",
            name: format!("{} ({})", captured.title, captured.subtitle()),
            unit: "nanoseconds",
            start_value: 0,
            end_value: weights.iter().sum(),
            samples,
            weights,
        }],
        name: &captured.title,
        active_profile_index: 0,
        exporter: format!("flamewatch-agent@{}", env!("CARGO_PKG_VERSION")),
    };
    Ok(serde_json::to_vec(&file)?)
}

#[cfg(test)]
mod tests {
    use super::super::form::tests::captured;
    use super::*;

    #[test]
    fn the_file_is_as_the_schema_asks() {
        let mut file: serde_json::Value =
            serde_json::from_slice(&render(&captured()).unwrap()).unwrap();
        file["exporter"] = "flamewatch-agent".into();
        insta::assert_json_snapshot!(file);
    }
}
