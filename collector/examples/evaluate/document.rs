//! Writes the report and its plots.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::Run;
use crate::report::{Section, figures};

/// Writes `README.md` and the pictures into a folder.
pub(crate) fn write(folder: &Path, run: &Run, sections: &[Section]) -> anyhow::Result<()> {
    let shown = folder.display();
    fs::create_dir_all(folder).with_context(|| format!("failed to make `{shown}`"))?;
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))
    };
    put("README.md", &markdown(run, sections))?;
    for plot in sections.iter().flat_map(|section| &section.plots) {
        put(&format!("{}.svg", plot.file), &plot.svg())?;
    }
    Ok(())
}

fn markdown(run: &Run, sections: &[Section]) -> String {
    let size = if run.full { " --full" } else { "" };
    let programs: Vec<&str> = run.programs.iter().map(|base| base.name).collect();
    let mut out = format!(
        "# How well the detector detects\n\n\
         Written by `cargo xtask evaluate{size} --seed {} --write`; the same command gives the same numbers on any machine. One \
         section alone: `--only NAME`.\n\n\
         Everything is measured on services drawn from stacks of real programs ({}), recorded with our own agent, on hosts \
         that differ as fleets do, with known changes. Parameters were chosen on other programs. What is missed is said in \
         the last column; the known methods saw the same windows, and what each follows and where it had to be adapted \
         stands at the top of its file in `collector/examples/evaluate/competitors`.{} [live.md](live.md) has the gate on \
         processes that are really sampled.\n\n",
        run.seed,
        programs.join(", "),
        if run.full { "" } else { " This is the short form: few rounds, wide intervals." },
    );
    out += "## All goals\n\n";
    for section in sections {
        let table = figures(&section.figures);
        if !table.rows.is_empty() {
            out += &format!("### {} (`--only {}`)\n\n", section.title, section.name);
            out += &table.markdown();
        }
    }
    for section in sections {
        out += &section.markdown();
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}
