//! What a run found: sections of tables, plots and figures with the goal of each.

use std::fmt::Write as _;

use crate::plot::Plot;

/// One part of the report.
#[derive(Debug, Default)]
pub(crate) struct Section {
    /// The word that `--only` takes.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Paragraphs above the tables.
    pub(crate) text: Vec<String>,
    pub(crate) tables: Vec<Table>,
    pub(crate) plots: Vec<Plot>,
    pub(crate) figures: Vec<Figure>,
}

/// Rows under a head.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) caption: String,
    pub(crate) head: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// A number with what it should be.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) value: f64,
    /// What we want to reach: shown, and said when missed.
    pub(crate) goal: Limit,
    /// What must hold, or the run fails: a little beyond what was reached when it was committed.
    pub(crate) bound: Limit,
}

/// A bound on a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
    /// Nothing is asked.
    Free,
}

impl Limit {
    /// Whether a value is within; what could not be measured is not.
    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
            Self::Free => true,
        }
    }

    fn shown(self) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {}", short(most)),
            Self::AtLeast(least) => format!("≥ {}", short(least)),
            Self::Free => "-".to_owned(),
        }
    }
}

impl Section {
    /// A section without content.
    pub(crate) fn new(name: &'static str, title: &'static str) -> Self {
        Self { name, title, ..Self::default() }
    }

    /// Adds a number with its goal and the bound of the short run.
    pub(crate) fn figure(&mut self, what: impl Into<String>, value: f64, limits: [Limit; 2]) {
        let [goal, bound] = limits;
        self.figures.push(Figure { what: what.into(), value, goal, bound });
    }

    /// As Markdown; `folder` is where the plots lie, seen from the document.
    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("## {}\n\n", self.title);
        for paragraph in &self.text {
            let _ = writeln!(out, "{paragraph}\n");
        }
        if !self.figures.is_empty() {
            out += &figures(&self.figures).markdown();
        }
        for table in &self.tables {
            out += &table.markdown();
        }
        for plot in &self.plots {
            let _ = writeln!(out, "![{}]({}.svg)\n", plot.title, plot.file);
        }
        out
    }
}

impl Table {
    /// An empty table.
    pub(crate) fn new(caption: impl Into<String>, head: &[&'static str]) -> Self {
        Self { caption: caption.into(), head: head.to_vec(), rows: Vec::new() }
    }

    /// As Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        if !self.caption.is_empty() {
            let _ = writeln!(out, "{}\n", self.caption);
        }
        let _ = writeln!(out, "| {} |", self.head.join(" | "));
        let _ = writeln!(out, "|{}", " --- |".repeat(self.head.len()));
        for row in &self.rows {
            let _ = writeln!(out, "| {} |", row.join(" | "));
        }
        out.push('\n');
        out
    }
}

/// The figures of sections as one table.
pub(crate) fn figures<'f>(figures: impl IntoIterator<Item = &'f Figure>) -> Table {
    let mut table = Table::new("", &["figure", "measured", "goal", "met"]);
    for figure in figures {
        let met = match (figure.goal, figure.goal.holds(figure.value)) {
            (Limit::Free, _) => "",
            (_, true) => "yes",
            (_, false) => "**no**",
        };
        table.rows.push(vec![
            figure.what.clone(),
            short(figure.value),
            figure.goal.shown(),
            met.to_owned(),
        ]);
    }
    table
}

/// A number with three digits that count.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    if value.is_nan() {
        "not reached".to_owned()
    } else if size < 1e-9 {
        "0".to_owned()
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else if size >= 1e-3 {
        format!("{value:.3}")
    } else {
        format!("{value:.1e}")
    }
}

/// A part of a whole in percent.
pub(crate) fn percent(part: f64) -> String {
    if part.is_nan() { "-".to_owned() } else { format!("{} %", short(100.0 * part)) }
}
