//! The report as a picture: a panel for each machine, with a group for each init and a lane for each stage.
//!
//! Self-contained (SVG 1.1, no scripts, no fonts of its own): a README shows it as an image, and its colours follow the
//! reader's light or dark page by a media query. Time is logarithmic: the times of inits differ by a factor of up to a thousand,
//! and all must be readable.

use super::run::Measured;
use super::stages::Stage;
use super::table::millis;

const WIDTH: f64 = 900.0;
/// The place of time 0; names are to the left of it.
const ORIGIN: f64 = 230.0;
/// Room for figures to the right of the longest bar.
const FIGURES: f64 = 110.0;
const LANE: f64 = 15.0;
const GAP: f64 = 9.0;
const TITLE: f64 = 30.0;

/// The start of the logarithmic scale, in nanoseconds: shorter times have the shortest bar.
const SHORTEST_NS: f64 = 1e5;

/// The lanes of an init; all begin at the init's start.
const LANES: [Stage; 4] = [Stage::Root, Stage::Lease, Stage::Entrypoint, Stage::Answer];

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600;font-size:13px}.note{fill:#59636e;font-size:11px}
.axis{stroke:#d1d9e0}.page{fill:#ffffff}.root{fill:#8250df}.lease{fill:#1a7f37}.entrypoint{fill:#0969da}.answer{fill:#bc4c00}
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.note{fill:#9198a1}.axis{stroke:#3d444d}.page{fill:#0d1117}
.root{fill:#ab7df8}.lease{fill:#3fb950}.entrypoint{fill:#4493f8}.answer{fill:#db6d28}}";

/// Draws the medians.
#[must_use]
pub fn svg(head: &[String], measured: &[Measured]) -> String {
    let mut panels: Vec<(String, Vec<&Measured>)> = Vec::new();
    for one in measured.iter().filter(|one| !one.boots.is_empty()) {
        let title = one.cell.machine();
        match panels.iter_mut().find(|(known, _)| *known == title) {
            Some((_, panel)) => panel.push(one),
            None => panels.push((title, vec![one])),
        }
    }
    let mut body = String::new();
    let mut y = 8.0;
    for (title, panel) in &panels {
        y = draw_panel(&mut body, y, title, panel);
    }
    for line in head {
        y += LANE;
        body.push_str(&text(10.0, y, "note", line));
    }
    let height = y + 12.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"Boot stages\">\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n{body}</svg>\n"
    )
}

/// Draws one panel from `top` on; returns its end.
fn draw_panel(body: &mut String, top: f64, title: &str, panel: &[&Measured]) -> f64 {
    let lanes = |one: &Measured| -> Vec<(Stage, u64)> {
        LANES.into_iter().filter_map(|stage| Some((stage, one.sample(stage)?.median()))).collect()
    };
    let longest = panel.iter().flat_map(|one| lanes(one)).map(|(_, time)| time).max().unwrap_or(1).max(1);
    let decades = (longest as f64 / SHORTEST_NS).log10().max(1.0);
    let scale = |time_ns: f64| (time_ns / SHORTEST_NS).log10().max(0.0) / decades * (WIDTH - ORIGIN - FIGURES);
    let mut y = top + TITLE - 10.0;
    body.push_str(&text(
        10.0,
        y,
        "title",
        &format!("{title}: milliseconds since the init's start, on a logarithmic scale"),
    ));
    y += 10.0;
    let axis_top = y;
    for one in panel {
        let kernel = one.sample(Stage::Kernel).map_or_else(String::new, |sample| millis(sample.median()));
        body.push_str(&text(10.0, y + LANE - 3.0, "title", &one.cell.contender));
        body.push_str(&text(10.0, y + 2.0 * LANE - 3.0, "note", &format!("kernel {kernel}")));
        let lanes = lanes(one);
        for (index, (stage, time)) in lanes.iter().enumerate() {
            let (top, length) = (y + index as f64 * LANE, scale(*time as f64).max(1.0));
            body.push_str(&format!(
                "<text x=\"{}\" y=\"{}\" class=\"note\" text-anchor=\"end\">{}</text>\n",
                ORIGIN - 6.0,
                top + LANE - 4.0,
                stage.name()
            ));
            body.push_str(&format!(
                "<rect class=\"{}\" x=\"{ORIGIN}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" rx=\"2\"/>\n",
                stage.name(),
                top + 1.5,
                LANE - 3.0
            ));
            body.push_str(&text(ORIGIN + length + 5.0, top + LANE - 4.0, "note", &millis(*time)));
        }
        y += lanes.len().max(2) as f64 * LANE + GAP;
    }
    // A line for each power of ten, from 0.1 ms on.
    for decade in 0..=decades as u32 {
        let x = ORIGIN + scale(SHORTEST_NS * 10_f64.powi(decade as i32));
        body.push_str(&format!(
            "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{axis_top}\" x2=\"{x:.1}\" y2=\"{}\"/>\n",
            y - GAP
        ));
        let power = if decade == 0 { "0.1".to_owned() } else { 10_u64.pow(decade - 1).to_string() };
        body.push_str(&text(x - 6.0, y + 3.0, "note", &power));
    }
    y + GAP + LANE
}

fn text(x: f64, y: f64, class: &str, text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{escaped}</text>\n")
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::measured;
    use super::*;

    #[test]
    fn bars_are_to_scale_and_names_are_escaped() {
        let picture = svg(&["a <b> & c".to_owned()], &[measured("whit", &[3_000_000]), measured("x", &[30_000_000])]);
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        assert!(picture.contains("a &lt;b&gt; &amp; c") && picture.contains("prefers-color-scheme:dark"));
        let whole = WIDTH - ORIGIN - FIGURES;
        // 30 ms and 3 ms: a decade apart.
        let decade = whole / (30e6 / SHORTEST_NS).log10();
        for width in [whole, whole - decade] {
            assert!(picture.contains(&format!("width=\"{width:.1}\"")), "{width}: {picture}");
        }
        // Well-formed as far as a count can tell.
        assert_eq!(picture.matches("<text ").count(), picture.matches("</text>").count());
    }

    #[test]
    fn without_boots_only_the_head_is_drawn() {
        let picture = svg(&["head".to_owned()], &[measured("whit", &[])]);
        assert!(picture.contains("head") && !picture.contains("whit"));
    }
}
