//! Folded text: one line for each stack, the service as its root.

use profiler_common::profile::write_folded;

use super::form::Captured;

/// Writes folded text, sorted, so that equal captures give equal files.
pub(super) fn render(captured: &Captured) -> anyhow::Result<Vec<u8>> {
    let mut stacks: Vec<(Vec<String>, u64)> = captured.folded().collect();
    stacks.sort_unstable();
    let mut text = Vec::new();
    for (frames, count) in stacks {
        write_folded(&mut text, frames, count)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::form::tests::captured;
    use super::*;

    #[test]
    fn each_stack_is_a_line_under_its_service() {
        let text = String::from_utf8(render(&captured()).unwrap()).unwrap();
        assert_eq!(text, "shop;main;sum<int>_[i];libz.so+0x1f0 3\nshop;main;vfs_fsync_[k] 2\n");
    }
}
