//! Draws a recording as an animated picture: each row appears at its time. Without animations, all rows are shown.

use std::fmt::Write;

use super::cast::{COLUMNS, Cast};

/// The size of a character cell and of the margin, in pixels.
const CELL_WIDTH: usize = 7;
const ROW_HEIGHT: usize = 15;
const MARGIN: usize = 12;

/// Returns the picture.
pub(crate) fn draw(cast: &Cast) -> String {
    let rows: Vec<(f64, String)> = cast.rows().collect();
    let (width, height) = (COLUMNS * CELL_WIDTH + 2 * MARGIN, rows.len() * ROW_HEIGHT + 2 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <style>\n\
         text {{ font: 11.5px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #d8dee4; white-space: pre }}\n\
         @media (prefers-reduced-motion: no-preference) {{ text {{ animation: appear 1ms both }} }}\n\
         @keyframes appear {{ from {{ opacity: 0 }} to {{ opacity: 1 }} }}\n\
         </style>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#16191d\"/>\n"
    );
    for (index, (seconds, row)) in rows.iter().enumerate().filter(|(_, (_, row))| !row.is_empty()) {
        let y = MARGIN + (index + 1) * ROW_HEIGHT - 4;
        let text = row.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        // Each cell has the same width in every font.
        let length = row.chars().count() * CELL_WIDTH;
        writeln!(
            svg,
            "<text x=\"{MARGIN}\" y=\"{y}\" textLength=\"{length}\" xml:space=\"preserve\" \
             style=\"animation-delay:{seconds:.2}s\">{text}</text>"
        )
        .expect("a string grows");
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::super::cast::Line;
    use super::*;

    #[test]
    fn each_row_appears_at_its_time() {
        let line = |seconds, text: &str| Line { seconds, text: text.to_owned() };
        let svg = draw(&Cast { lines: vec![line(0.0, "$ a"), line(0.5, ""), line(1.256, "<b> & c")] });
        assert!(svg.contains("style=\"animation-delay:1.26s\">&lt;b&gt; &amp; c</text>"), "{svg}");
        assert!(svg.contains("y=\"53\" textLength=\"49\""), "{svg}");
        assert_eq!(svg.matches("<text ").count(), 2);
    }

    #[test]
    fn the_committed_picture_is_drawn_of_the_committed_recording() {
        let [cast, svg] = ["docs/demo.cast", "docs/demo.svg"]
            .map(|name| std::fs::read_to_string(xtask::workspace::root().join(name)).unwrap());
        let cast = Cast::parse(&cast).unwrap();
        assert!(draw(&cast) == svg, "run: cargo record -- --draw");
        let rows: String = cast.lines.iter().map(|line| format!("{}\n", line.text)).collect();
        for text in [
            "$ cargo demo\n",
            "\n  entrypoint running  ",
            "\n  HTTP/1.1 200 OK\n",
            "\npowered off, file system clean; ",
        ] {
            assert!(rows.contains(text), "no {text:?} in\n{rows}");
        }
    }
}
