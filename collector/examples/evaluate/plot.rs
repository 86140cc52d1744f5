//! Draws lines and points into SVG that reads well on a light and on a dark page.

use std::fmt::Write as _;

/// A picture of curves.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    /// Name of the file, without its ending.
    pub(crate) file: String,
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) curves: Vec<Curve>,
    /// Lines to compare with, at heights of the y axis.
    pub(crate) levels: Vec<f64>,
    /// Lines to compare with, at places of the x axis.
    pub(crate) marks: Vec<f64>,
}

/// What an axis shows.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) is_logarithmic: bool,
}

/// One line, or points where it has no line.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) has_line: bool,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 52.0;

/// Colours that differ in brightness too (Okabe and Ito 2008), so that they can be told apart without colour.
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f"];

/// Lines and letters in the colour of the page's own text.
const STYLE: &str = "<style>\
text{font:12px system-ui,sans-serif;fill:#333}\
.axis{stroke:#777;fill:none}.grid{stroke:#7773;fill:none}.level{stroke:#777;stroke-dasharray:4 4;fill:none}\
@media(prefers-color-scheme:dark){text{fill:#ddd}.axis,.level{stroke:#aaa}}\
</style>";

impl Axis {
    /// Part of the way from the low to the high end.
    fn place(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.is_logarithmic { value.max(1e-12).ln() } else { value };
        (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
    }

    fn ticks(&self) -> Vec<f64> {
        if !self.is_logarithmic {
            return (0..=5)
                .map(|k| self.low + (self.high - self.low) * f64::from(k) / 5.0)
                .collect();
        }
        let (first, last) = (self.low.log10().ceil() as i32, self.high.log10().floor() as i32);
        (first..=last).map(|power| 10_f64.powi(power)).collect()
    }
}

impl Plot {
    /// The picture.
    pub(crate) fn svg(&self) -> String {
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n{STYLE}\n\
             <title>{}</title>\n<text x=\"{LEFT}\" y=\"20\">{}</text>\n",
            escaped(&self.title),
            escaped(&self.title)
        );
        self.draw_axes(&mut out);
        for level in &self.levels {
            let y = self.y_of(*level);
            let _ = writeln!(out, "<path class=\"level\" d=\"M{LEFT} {y:.1}H{}\"/>", WIDTH - RIGHT);
        }
        for mark in &self.marks {
            let x = self.x_of(*mark);
            let _ =
                writeln!(out, "<path class=\"level\" d=\"M{x:.1} {TOP}V{}\"/>", HEIGHT - BOTTOM);
        }
        for (number, curve) in self.curves.iter().enumerate() {
            self.draw_curve(&mut out, number, curve);
        }
        out += "</svg>\n";
        out
    }

    fn draw_axes(&self, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in self.x.ticks() {
            let x = self.x_of(tick);
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/><text x=\"{x:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                label(tick)
            );
        }
        for tick in self.y.ticks() {
            let y = self.y_of(tick);
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                label(tick)
            );
        }
        let _ = writeln!(
            out,
            "<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>\n<text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\">{}</text>\n<text transform=\"translate(16 {:.1}) rotate(-90)\" \
             text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, right),
            HEIGHT - 14.0,
            escaped(self.x.label),
            f64::midpoint(TOP, bottom),
            escaped(self.y.label)
        );
    }

    fn draw_curve(&self, out: &mut String, number: usize, curve: &Curve) {
        let colour = COLOURS[number % COLOURS.len()];
        let places: Vec<(f64, f64)> =
            curve.points.iter().map(|(x, y)| (self.x_of(*x), self.y_of(*y))).collect();
        if curve.has_line {
            let line: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(
                out,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
                line.join(" ")
            );
        }
        for (x, y) in &places {
            let _ =
                writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        let y = TOP + 12.0 + 18.0 * number as f64;
        let x = WIDTH - RIGHT + 14.0;
        let _ = writeln!(
            out,
            "<circle cx=\"{x}\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"{y:.1}\">{}</text>",
            y - 4.0,
            x + 10.0,
            escaped(&curve.name)
        );
    }

    fn x_of(&self, value: f64) -> f64 {
        LEFT + self.x.place(value).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y_of(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value).clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }
}

fn label(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 {
        format!("{value:.0e}")
    } else {
        format!("{}", (value * 1e4).round() / 1e4)
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
