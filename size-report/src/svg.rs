//! The file as a picture: a treemap whose areas are bytes.
//!
//! Self-contained (SVG 1.1, no scripts, no fonts of its own): a README shows it as an image, and its colours follow the
//! reader's light or dark page by a media query. In a browser each box shows its name and bytes as a tooltip.

use std::fmt::Write;

use crate::label::{self, Label, Line, Style};
use crate::squarify::{Rect, squarify};
use crate::totals::Totals;
use crate::treemap::{Group, Kind, Module};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 700.0;
/// Room for title and legend above the map.
const HEAD: f64 = 58.0;
const MARGIN: f64 = 10.0;

const STYLE: &str = "\
text{font:11px system-ui,sans-serif;fill:#1f2328;pointer-events:none}.small{font-size:9px}.title{font-size:14px}
.title,.module{font-weight:600}.note{fill:#59636e}.bytes{fill-opacity:.65}
.page,.tag{fill:#ffffff}.tag{fill-opacity:.7;pointer-events:none}
.leaf{stroke:#ffffff;stroke-width:.75}.frame{fill:none;stroke:#ffffff;pointer-events:none}
.whit{fill:#0969da}.library{fill:#8250df}.constants{fill:#1a7f37}.headers{fill:#59636e}
.t0{fill-opacity:.16}.t1{fill-opacity:.24}.t2{fill-opacity:.32}
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.note{fill:#9198a1}.page,.tag{fill:#0d1117}
.leaf,.frame{stroke:#0d1117}.tag{fill-opacity:.6}
.whit{fill:#4493f8}.library{fill:#ab7df8}.constants{fill:#3fb950}.headers{fill:#9198a1}
.t0{fill-opacity:.3}.t1{fill-opacity:.4}.t2{fill-opacity:.5}}";

/// The size of text beside the map.
const FONT_SIZE: f64 = 11.0;

/// Draws the tree; `head` names the compiler.
pub(crate) fn svg(head: &str, totals: &Totals, groups: &[Group]) -> String {
    let mut body = String::new();
    title(&mut body, head, totals, groups);
    let map = Rect { x: MARGIN, y: HEAD, width: WIDTH - 2.0 * MARGIN, height: HEIGHT - HEAD - MARGIN };
    let bytes: Vec<u64> = groups.iter().map(Group::bytes).collect();
    let rects = squarify(&bytes, map);
    for (group, rect) in groups.iter().zip(&rects) {
        draw_group(&mut body, group, *rect);
    }
    for rect in &rects {
        frame(&mut body, rect, 4.0);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         role=\"img\" aria-label=\"Where each byte of the init is\">\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\"/>\n{body}</svg>\n"
    )
}

/// Title and legend.
fn title(body: &mut String, head: &str, totals: &Totals, groups: &[Group]) {
    let total = |name: &str| totals.0.iter().find(|(known, _)| *known == name).map_or(0, |(_, size)| *size);
    let (file, gzip) = (label::number(total("file")), label::number(total("gzip")));
    text(body, MARGIN, 23.0, "title", &format!("The init: {file} bytes, {gzip} after gzip -9"));
    let (right, head) = (WIDTH - MARGIN, escape(head));
    let _ = writeln!(body, "<text class=\"note\" x=\"{right}\" y=\"23\" text-anchor=\"end\">{head}</text>");
    let mut x = MARGIN;
    for (kind, name) in [
        (Kind::Own, "whit"),
        (Kind::Library, "other crates"),
        (Kind::Constants, "constants without a name"),
        (Kind::Headers, "headers and padding"),
    ] {
        let bytes: u64 = groups.iter().filter(|group| group.kind == kind).map(Group::bytes).sum();
        let entry = format!("{name} {}", label::number(bytes));
        let _ = writeln!(
            body,
            "<rect class=\"{} t2\" x=\"{x:.1}\" y=\"35\" width=\"11\" height=\"11\" rx=\"2\"/>",
            class(kind)
        );
        text(body, x + 16.0, 45.0, "note", &entry);
        x += 16.0 + label::text_width(&entry, Style::Name, FONT_SIZE) + 14.0;
    }
}

fn draw_group(body: &mut String, group: &Group, rect: Rect) {
    let bytes: Vec<u64> = group.modules.iter().map(Module::bytes).collect();
    let rects = squarify(&bytes, rect);
    // A library is named as a whole: each of its modules has only a few bytes.
    let is_one = group.kind == Kind::Library;
    let tag = if is_one { tag(&group.name, rect) } else { None };
    // Neighbours are mostly next to each other in size: tints in that order differ between them.
    let mut order: Vec<usize> = (0..bytes.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(bytes[*index]));
    for (rank, index) in order.into_iter().enumerate() {
        let (module, rect) = (&group.modules[index], rects[index]);
        let class = format!("{} t{}", class(group.kind), rank % 3);
        let name = if module.name.is_empty() { &group.name } else { &module.name };
        draw_module(body, module, rect, &class, if is_one { None } else { Some(name) }, tag.as_ref());
    }
    for rect in &rects {
        frame(body, rect, 2.0);
    }
    if let Some(tag) = &tag {
        draw_tag(body, tag);
    }
}

/// Draws the boxes of a module. Its name is in the largest box, at the top left, or on a tag over several boxes.
fn draw_module(body: &mut String, module: &Module, rect: Rect, class: &str, name: Option<&str>, above: Option<&Tag>) {
    let bytes: Vec<u64> = module.leaves.iter().map(|leaf| leaf.bytes).collect();
    let rects = squarify(&bytes, rect);
    let first = (0..bytes.len()).rev().max_by_key(|index| bytes[*index]);
    let first_label = first.zip(name).and_then(|(index, name)| {
        let (leaf, Rect { width, height, .. }) = (&module.leaves[index], rects[index]);
        label::of_first(name, &leaf.labels, leaf.bytes, width, height)
    });
    let tag = if first_label.is_none() { name.and_then(|name| tag(name, rect)) } else { None };
    for (index, (leaf, rect)) in module.leaves.iter().zip(&rects).enumerate() {
        let title = escape(&format!("{}: {} bytes", leaf.title, label::number(leaf.bytes)));
        let _ = writeln!(body, "<rect class=\"leaf {class}\" {}><title>{title}</title></rect>", place(rect));
        if let Some(label) = first_label.as_ref().filter(|_| Some(index) == first) {
            draw_label(body, rect, label);
        } else {
            let free = [tag.as_ref(), above].into_iter().flatten().fold(*rect, |rect, tag| tag.below(rect));
            if let Some(label) = label::of_box(&leaf.labels, leaf.bytes, free.width, free.height) {
                draw_label(body, &free, &label);
            }
        }
    }
    if let Some(tag) = &tag {
        draw_tag(body, tag);
    }
}

/// A name with a background of its own, over the boxes of a module or crate.
struct Tag {
    label: Label,
    rect: Rect,
}

impl Tag {
    /// Returns the part of a box that the tag does not cover.
    fn below(&self, rect: Rect) -> Rect {
        let (tag, bottom) = (&self.rect, self.rect.y + self.rect.height);
        let is_clear = rect.x >= tag.x + tag.width || rect.x + rect.width <= tag.x || rect.y >= bottom;
        if is_clear || rect.y + rect.height <= tag.y {
            rect
        } else {
            Rect { y: bottom, height: (rect.y + rect.height - bottom).max(0.0), ..rect }
        }
    }
}

fn tag(name: &str, area: Rect) -> Option<Tag> {
    let label = label::of_area(name, area.width, area.height)?;
    let (width, height) = (label.width() + 2.0 * label.padding(), label.line_height() + label.padding());
    Some(Tag { label, rect: Rect { width, height, ..area } })
}

fn draw_tag(body: &mut String, tag: &Tag) {
    let _ = writeln!(body, "<rect class=\"tag\" rx=\"3\" {}/>", place(&tag.rect));
    draw_label(body, &tag.rect, &tag.label);
}

fn draw_label(body: &mut String, rect: &Rect, label: &Label) {
    let (padding, size) = (label.padding(), if label.font_size < FONT_SIZE { " small" } else { "" });
    for (index, line) in label.lines.iter().enumerate() {
        // Most letters reach less than nine tenths of their size above the baseline.
        let down = 0.6 * padding + 0.9 * label.font_size + index as f64 * label.line_height();
        let (class, text) = (format!("{}{size}", style(line)), escape(&line.text));
        let _ = if label.is_turned {
            let (x, y) = (rect.x + 0.6 * padding + 0.25 * label.font_size, rect.y + padding);
            writeln!(body, "<text class=\"{class}\" transform=\"translate({x:.1} {y:.1}) rotate(90)\">{text}</text>")
        } else {
            let (x, y) = (rect.x + padding, rect.y + down);
            writeln!(body, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>")
        };
    }
}

fn frame(body: &mut String, rect: &Rect, stroke: f64) {
    let _ = writeln!(body, "<rect class=\"frame\" stroke-width=\"{stroke}\" {}/>", place(rect));
}

fn place(Rect { x, y, width, height }: &Rect) -> String {
    format!("x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\"")
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Own => "whit",
        Kind::Library => "library",
        Kind::Constants => "constants",
        Kind::Headers => "headers",
    }
}

fn style(line: &Line) -> &'static str {
    match line.style {
        Style::Module => "module",
        Style::Name => "name",
        Style::Bytes => "bytes",
    }
}

fn text(body: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let _ = writeln!(body, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(text));
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::treemap::Leaf;

    fn leaf(name: &str, bytes: u64) -> Leaf {
        Leaf { labels: vec![name.into()], title: name.into(), bytes }
    }

    fn group(kind: Kind, name: &str, modules: Vec<(&str, Vec<Leaf>)>) -> Group {
        let modules = modules.into_iter().map(|(name, leaves)| Module { name: name.into(), leaves }).collect();
        Group { kind, name: name.into(), modules }
    }

    fn picture(groups: &[Group]) -> String {
        svg("rustc 1.95.0", &Totals(vec![("file", 32768), ("gzip", 20929)]), groups)
    }

    /// Returns the width times the height of each leaf, by title.
    fn areas(picture: &str) -> Vec<(&str, f64)> {
        let number = |line: &str, name: &str| -> f64 {
            let (_, rest) = line.split_once(&format!(" {name}=\"")).unwrap();
            rest.split_once('"').unwrap().0.parse().unwrap()
        };
        let leaves = picture.lines().filter(|line| line.starts_with("<rect class=\"leaf "));
        let title = |line| {
            let (_, rest): (&str, &str) = str::split_once(line, "<title>").unwrap();
            rest.split_once("</title>").unwrap().0
        };
        leaves.map(|line| (title(line), number(line, "width") * number(line, "height"))).collect()
    }

    #[test]
    fn areas_are_bytes_and_each_box_has_its_name() {
        let groups = [
            group(
                Kind::Own,
                "whit",
                vec![("", vec![leaf("live", 3000), leaf("main", 1000)]), ("argv", vec![leaf("set", 500)])],
            ),
            group(Kind::Library, "core", vec![("slice", vec![leaf("<impl [T]>::get & set", 250)])]),
            group(Kind::Constants, "constants", vec![("argv", vec![leaf("\"no room\"", 125)])]),
            group(Kind::Headers, "headers and padding", vec![("", vec![leaf("ELF header", 125)])]),
        ];
        let picture = picture(&groups);
        let areas = areas(&picture);
        let expected = [
            ("live: 3,000 bytes", 3000.0),
            ("main: 1,000 bytes", 1000.0),
            ("set: 500 bytes", 500.0),
            ("&lt;impl [T]&gt;::get &amp; set: 250 bytes", 250.0),
            ("\"no room\": 125 bytes", 125.0),
            ("ELF header: 125 bytes", 125.0),
        ];
        let map = (WIDTH - 2.0 * MARGIN) * (HEIGHT - HEAD - MARGIN);
        for ((title, area), (name, bytes)) in areas.iter().zip(expected) {
            let share = map * bytes / 5000.0;
            assert_eq!(*title, name);
            assert!((area / share - 1.0).abs() < 0.001, "{title}: {area}, not {share}: places have two decimals");
        }
        assert_eq!(areas.len(), expected.len());
    }

    #[test]
    fn the_picture_is_complete_and_has_both_colour_schemes() {
        let picture = picture(&[group(Kind::Own, "whit", vec![("argv", vec![leaf("set", 500)])])]);
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        assert!(picture.contains("prefers-color-scheme:dark") && picture.contains("rustc 1.95.0"));
        assert!(picture.contains("The init: 32,768 bytes, 20,929 after gzip -9"));
        assert!(picture.contains("whit 500<") && picture.contains("other crates 0<"));
        for text in ["argv", "set", "500"] {
            assert!(picture.contains(&format!(">{text}</text>")), "{text}");
        }
        // Well-formed as far as a count can tell.
        assert_eq!(picture.matches("<text ").count(), picture.matches("</text>").count());
    }

    #[test]
    fn a_file_without_bytes_has_a_head() {
        assert!(picture(&[]).contains("The init"));
    }

    #[test]
    fn boxes_under_a_tag_are_labelled_below_it() {
        let tag = tag("console", Rect { x: 10.0, y: 20.0, width: 200.0, height: 100.0 }).unwrap();
        let bottom = 20.0 + tag.rect.height;
        let free = |x, y, height| tag.below(Rect { x, y, width: 30.0, height });
        assert_eq!((free(10.0, 20.0, 50.0).y, free(10.0, 20.0, 50.0).height), (bottom, 70.0 - bottom));
        assert_eq!(free(10.0, 20.0, 5.0).height, 0.0);
        assert_eq!(free(180.0, 20.0, 50.0).y, 20.0, "beside it");
        assert_eq!(free(10.0, 60.0, 50.0).y, 60.0, "below it");
    }
}
