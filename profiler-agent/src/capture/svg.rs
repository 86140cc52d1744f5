//! A flame graph as a picture that zooms and searches in any browser, drawn by inferno.

use anyhow::Context as _;
use inferno::flamegraph::{self, Options, TextTruncateDirection};

use super::folded;
use super::form::Captured;

/// Narrowest frame in percent of the width: a fifth of a pixel on a wide screen.
const WIDTH_PERCENT_MIN: f64 = 0.01;

/// Draws the flame graph.
pub(super) fn render(captured: &Captured) -> anyhow::Result<Vec<u8>> {
    let text = String::from_utf8(folded::render(captured)?)?;
    let mut options = Options::default();
    options.title = format!("Flamewatch: {}", captured.title);
    options.subtitle = Some(captured.subtitle());
    options.count_name = "samples".to_owned();
    options.deterministic = true;
    options.min_width = WIDTH_PERCENT_MIN;
    options.text_truncate_direction = TextTruncateDirection::Right;
    let mut svg = Vec::new();
    if text.is_empty() {
        // inferno calls an empty profile an error; an idle target is none.
        let idle = "no samples: nothing ran on a CPU 1";
        flamegraph::from_lines(&mut options, [idle], &mut svg)
    } else {
        flamegraph::from_lines(&mut options, text.lines(), &mut svg)
    }
    .context("failed to draw the flame graph")?;
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::super::form::tests::captured;
    use super::*;

    #[test]
    fn title_losses_and_names_stand_escaped_in_the_picture() {
        let svg = String::from_utf8(render(&captured()).unwrap()).unwrap();
        for text in ["shop &lt;test&gt;", "5 samples, 1 lost", "sum&lt;int&gt;", "vfs_fsync"] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn a_capture_of_an_idle_target_is_a_picture_too() {
        let mut idle = captured();
        idle.window.services.clear();
        let svg = String::from_utf8(render(&idle).unwrap()).unwrap();
        assert!(svg.contains("nothing ran on a CPU"));
    }
}
