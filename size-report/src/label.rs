//! The text in a box of the picture: as many lines as fit.
//!
//! The reader's fonts are not known. Widths are those of DejaVu Sans, a wide font: text that fits in it fits in others too.

/// Font sizes, the best first.
const SIZES: [f64; 2] = [11.0, 9.0];

/// The height of a line, in font sizes.
const LINE: f64 = 1.18;

/// The space between text and border, in font sizes.
const PADDING: f64 = 0.3;

/// The width of bold letters, relative to others.
const BOLD: f64 = 1.12;

/// The text of a box.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Label {
    pub(crate) lines: Vec<Line>,
    pub(crate) font_size: f64,
    /// Written downwards, in a box that is too narrow for a horizontal line.
    pub(crate) is_turned: bool,
}

/// A line of text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) style: Style,
}

/// The style of a line; each has a class in the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Module,
    Name,
    Bytes,
}

impl Label {
    pub(crate) fn line_height(&self) -> f64 {
        self.font_size * LINE
    }

    /// Returns the width of the widest line, without padding.
    pub(crate) fn width(&self) -> f64 {
        self.lines.iter().map(|line| text_width(&line.text, line.style, self.font_size)).fold(0.0, f64::max)
    }

    /// Returns the space between text and border.
    pub(crate) fn padding(&self) -> f64 {
        self.font_size * PADDING
    }

    fn fits(&self, height: f64) -> bool {
        self.lines.len() as f64 * self.line_height() + 1.2 * self.padding() <= height
    }
}

/// Returns the label of a box that also names its module. If it does not fit, the bytes are left out first, then the box's own name.
pub(crate) fn of_first(module: &str, names: &[String], bytes: u64, width: f64, height: f64) -> Option<Label> {
    let (module, bytes) = ((module, Style::Module), number(bytes));
    let of_name = |name: &String| {
        let (name, bytes) = ((name.as_str(), Style::Name), (bytes.as_str(), Style::Bytes));
        choose(&[&[module, name, bytes], &[module, name]], width, height)
    };
    names.iter().find_map(of_name).or_else(|| choose(&[&[module]], width, height))
}

/// Returns the label of a box: the first of its names that fits, with its bytes or without.
pub(crate) fn of_box(names: &[String], bytes: u64, width: f64, height: f64) -> Option<Label> {
    let bytes = number(bytes);
    let upright = |name: &String| {
        let (name, bytes) = ((name.as_str(), Style::Name), (bytes.as_str(), Style::Bytes));
        choose(&[&[name, bytes], &[name]], width, height)
    };
    let turned = |name: &String| {
        let mut label = choose(&[&[(name, Style::Name)]], height, width).filter(|label| label.lines.len() == 1)?;
        label.is_turned = true;
        Some(label)
    };
    names.iter().find_map(upright).or_else(|| names.iter().find_map(turned))
}

/// Returns the name of a module or crate in one line.
pub(crate) fn of_area(name: &str, width: f64, height: f64) -> Option<Label> {
    choose(&[&[(name, Style::Module)]], width, height).filter(|label| label.lines.len() == 1)
}

/// Returns the first of the texts that fits. A shorter text in large letters comes before a longer one in small letters.
fn choose(texts: &[&[(&str, Style)]], width: f64, height: f64) -> Option<Label> {
    let sizes = SIZES.into_iter().flat_map(|font_size| texts.iter().map(move |text| (font_size, *text)));
    let mut labels = sizes.filter_map(|(font_size, text)| {
        let lines = text.iter().map(|(text, style)| wrap(text, *style, font_size, width - 2.0 * PADDING * font_size));
        let lines = lines.collect::<Option<Vec<_>>>()?.concat();
        Some(Label { lines, font_size, is_turned: false })
    });
    labels.find(|label| label.fits(height))
}

/// Breaks a name into lines, if necessary between its words; `None` if a part is too wide for a line.
fn wrap(text: &str, style: Style, font_size: f64, width: f64) -> Option<Vec<Line>> {
    let fits = |text: &str| text_width(text.trim_end(), style, font_size) <= width;
    let lines = fill(parts(text, b" :,/="), fits).or_else(|| fill(parts(text, b" :,/=_"), fits))?;
    Some(lines.into_iter().map(|line| Line { text: line.trim_end().to_owned(), style }).collect())
}

/// Puts as many parts into each line as fit.
fn fill<'a>(parts: impl Iterator<Item = &'a str>, fits: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        let longer = lines.last().map(|line| format!("{line}{part}"));
        match longer.filter(|line| fits(line)) {
            Some(longer) => *lines.last_mut()? = longer,
            None if fits(part) => lines.push(part.to_owned()),
            None => return None,
        }
    }
    Some(lines)
}

/// Splits a name into parts that stay together: each ends with one of `ends`, and `::` is one end.
fn parts<'a>(text: &'a str, ends: &'static [u8]) -> impl Iterator<Item = &'a str> {
    let bytes = text.as_bytes();
    let is_end = |index: usize| match bytes.get(index) {
        Some(b':') => bytes.get(index + 1) != Some(&b':'),
        Some(byte) => ends.contains(byte),
        None => false,
    };
    let mut start = 0;
    let ends = (0..bytes.len()).filter(move |index| is_end(*index) || index + 1 == bytes.len());
    ends.filter_map(move |end| {
        let part = text.get(start..=end);
        start = end + 1;
        part
    })
}

/// Formats 27996 as `27,996`.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Returns the width of a line in the units of the picture.
pub(crate) fn text_width(text: &str, style: Style, font_size: f64) -> f64 {
    let bold = if style == Style::Module { BOLD } else { 1.0 };
    text.chars().map(em).sum::<f64>() * font_size * bold
}

/// Returns the width of a letter, in font sizes.
fn em(letter: char) -> f64 {
    match letter {
        'i' | 'j' | 'l' | '\'' => 0.28,
        ' ' | '.' | ',' | ':' | ';' | 'I' | '|' | '/' | '\\' => 0.34,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '-' => 0.41,
        'c' | 's' | 'z' | '"' | '_' | '?' => 0.55,
        'v' | 'x' | 'y' | 'k' | 'e' | 'o' | 'a' => 0.61,
        'm' | 'w' | 'M' | 'W' | '%' | '@' | '…' => 0.98,
        'A'..='Z' | '<' | '>' | '=' | '+' | '#' | '~' => 0.8,
        _ => 0.64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(label: Option<Label>) -> Vec<String> {
        label.into_iter().flat_map(|label| label.lines).map(|line| line.text).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn lines_that_do_not_fit_are_left_out() {
        let names = names(&["Machine::handle_network", "handle_network"]);
        let of = |width, height| texts(of_first("machine", &names, 3724, width, height));
        assert_eq!(of(200.0, 100.0), ["machine", "Machine::handle_network", "3,724"]);
        assert_eq!(of(200.0, 32.0), ["machine", "Machine::handle_network"]);
        assert_eq!(of(200.0, 20.0), ["machine"]);
        assert_eq!(of(110.0, 100.0), ["machine", "Machine::", "handle_network", "3,724"]);
        assert_eq!(of(110.0, 32.0), ["machine", "handle_network"]);
        assert_eq!(of(75.0, 100.0), ["machine", "Machine::", "handle_", "network", "3,724"]);
        assert_eq!(of(200.0, 12.0), [""; 0]);
        assert_eq!(of(20.0, 100.0), [""; 0]);
    }

    #[test]
    fn small_letters_are_tried_before_words_are_left_out() {
        let names = names(&["handle_network", "network"]);
        let label = |width, height| of_box(&names, 99, width, height).unwrap();
        assert_eq!((label(110.0, 40.0).font_size, texts(Some(label(110.0, 40.0))).len()), (11.0, 2));
        assert_eq!((label(90.0, 16.0).font_size, texts(Some(label(90.0, 16.0)))), (9.0, vec!["handle_network".into()]));
        assert_eq!((label(60.0, 18.0).font_size, texts(Some(label(60.0, 18.0)))), (11.0, vec!["network".into()]));
    }

    #[test]
    fn a_name_is_turned_rather_than_left_out() {
        let long = names(&["read_accounts"]);
        let label = of_box(&long, 131, 15.0, 120.0).unwrap();
        assert!(label.is_turned && label.font_size == 9.0);
        assert!(!of_box(&names(&["read"]), 131, 40.0, 120.0).unwrap().is_turned);
        assert_eq!(of_box(&long, 131, 20.0, 50.0), None);
        assert_eq!(of_box(&long, 131, 10.0, 200.0), None);
    }

    #[test]
    fn labels_are_no_larger_than_their_box() {
        let names = names(&["\"no root: neither root= on the command line nor a\"…", "\"no root: ne\"…"]);
        for (width, height) in (1..300).flat_map(|width| [7, 23, 51, 200].map(|height| (width.into(), height.into()))) {
            for label in [of_first("dhcp::client", &names, 83, width, height), of_box(&names, 83, width, height)] {
                let Some(label) = label else { continue };
                let (across, down) = if label.is_turned { (height, width) } else { (width, height) };
                assert!(label.width() <= across - 2.0 * label.padding(), "{label:?} in {width}");
                assert!(label.fits(down), "{label:?} in {height}");
            }
        }
    }

    #[test]
    fn parts_add_up_to_the_name() {
        for (text, expected) in [
            ("Machine::handle_network", vec!["Machine::", "handle_", "network"]),
            ("<Each as Iterator>::next", vec!["<Each ", "as ", "Iterator>::", "next"]),
            ("\"é / ü\"…", vec!["\"é ", "/", " ", "ü\"…"]),
            ("", vec![]),
        ] {
            assert_eq!(parts(text, b" :_/").collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 32768, 1_234_567].map(number), ["0", "999", "1,000", "32,768", "1,234,567"]);
    }
}
