//! Constants without a name: their borders, their content, and their users.

use std::collections::BTreeSet;

use crate::image::{Reference, Target};
use crate::linkmap::Placed;
use crate::origin::{self, Origin};
use crate::pieces::{Owner, Span};
use crate::strings;

/// The module or crate of a constant that several of them use.
pub(crate) const SEVERAL: &str = "(several)";

/// The crate of a constant that no instruction names.
pub(crate) const UNKNOWN: &str = "(unknown)";

/// Limit for the characters of a string in a label.
const LABEL_LEN: usize = 48;

/// A constant and its users.
#[derive(Debug, PartialEq)]
pub(crate) struct Constant {
    pub(crate) name: String,
    pub(crate) origin: Origin,
    pub(crate) users: Vec<String>,
}

/// Returns the constants in a section of an object file, as (address, size): one, unless the linker merged equal ones.
pub(crate) fn elements(placed: &Placed, section_start: u64, section: &[u8]) -> Vec<(u64, u64)> {
    let start = usize::try_from(placed.address.saturating_sub(section_start)).unwrap_or(usize::MAX);
    let len = usize::try_from(placed.size).unwrap_or(usize::MAX);
    let data = section.get(start..).map_or(&[][..], |rest| &rest[..len.min(rest.len())]);
    let lens: Vec<usize> = match merged_size(placed) {
        Merged::Strings => data.split_inclusive(|byte| *byte == 0).map(<[u8]>::len).collect(),
        Merged::Numbers(size) => data.chunks(size).map(<[u8]>::len).collect(),
        Merged::No => return vec![(placed.address, placed.size)],
    };
    let mut address = placed.address;
    let advance = |len: usize| {
        let here = address;
        address += len as u64;
        (here, len as u64)
    };
    lens.into_iter().map(advance).collect()
}

enum Merged {
    No,
    Strings,
    Numbers(usize),
}

/// Parses LLVM's names of mergeable sections: `.rodata.str1.1` of strings that end with a zero byte, `.rodata.cst16` of numbers.
fn merged_size(placed: &Placed) -> Merged {
    let kind = placed.section.rsplit_once(".rodata.").filter(|_| placed.is_merged).map_or("", |(_, kind)| kind);
    let number = kind.strip_prefix("cst").and_then(|size| size.parse().ok()).filter(|size| *size > 0);
    match number {
        Some(size) => Merged::Numbers(size),
        None if kind.starts_with("str1.") => Merged::Strings,
        None => Merged::No,
    }
}

/// Returns for each span the spans with a symbol that refer to it, directly or through a table without a name.
pub(crate) fn users(spans: &[Span<'_>], references: &[Reference]) -> Vec<BTreeSet<usize>> {
    let find = |address: u64| {
        let index = spans.partition_point(|span| span.address <= address).checked_sub(1)?;
        (address - spans[index].address < spans[index].size).then_some(index)
    };
    let mut direct: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); spans.len()];
    for reference in references {
        let Some(from) = find(reference.at) else { continue };
        let address = match reference.target {
            Target::Address(address) => address,
            Target::InTable(address) => address.wrapping_sub(reference.at - spans[from].address),
        };
        if let Some(to) = find(address) {
            direct[to].insert(from);
        }
    }
    (0..spans.len()).map(|index| named_users(spans, &direct, index)).collect()
}

/// Follows the users of one span up to those with a symbol.
fn named_users(spans: &[Span<'_>], direct: &[BTreeSet<usize>], index: usize) -> BTreeSet<usize> {
    let (mut named, mut seen, mut open) = (BTreeSet::new(), BTreeSet::from([index]), vec![index]);
    while let Some(index) = open.pop() {
        for user in &direct[index] {
            if matches!(spans[*user].owner, Owner::Symbol { .. }) {
                named.insert(*user);
            } else if seen.insert(*user) {
                open.push(*user);
            }
        }
    }
    named
}

/// Names a constant of the object file's `section` by its content, and places it at its users.
pub(crate) fn describe<'a>(section: &str, data: &[u8], users: impl Iterator<Item = (&'a str, &'a Origin)>) -> Constant {
    let (names, origins): (Vec<&str>, Vec<&Origin>) = users.unzip();
    let origin = common(&origins);
    let name = table(section).or_else(|| label(data)).unwrap_or_else(|| format!("constants of {origin}"));
    Constant { name, origin, users: names.into_iter().map(str::to_owned).collect() }
}

/// Returns the place that all of `origins` share.
fn common(origins: &[&Origin]) -> Origin {
    let place = |krate: &str, module: &str| Origin { krate: krate.into(), module: module.into() };
    let Some(first) = origins.first() else { return place(UNKNOWN, "") };
    if origins.iter().any(|origin| origin.krate != first.krate) {
        place(SEVERAL, "")
    } else if origins.iter().any(|origin| origin.module != first.module) {
        place(&first.krate, SEVERAL)
    } else {
        (*first).clone()
    }
}

/// Names the tables that a compiler makes of a `match` (LLVM names their sections after the function), and the linker's own.
fn table(section: &str) -> Option<String> {
    if section == ".got" {
        return Some("global offset table".into());
    }
    let rest = section.strip_prefix(".rodata.")?;
    let (kind, mangled) = match rest.strip_prefix(".Lswitch.table.") {
        Some(function) => {
            let function = function.strip_suffix(".rel").unwrap_or(function);
            let number = function.rsplit_once('.').filter(|(_, number)| number.parse::<u32>().is_ok());
            ("lookup table", number.map_or(function, |(function, _)| function))
        }
        None => ("jump table", rest),
    };
    let (name, origin) = origin::of(mangled);
    (origin.krate != origin::UNMANGLED).then(|| format!("{kind} of {name}"))
}

/// Returns the text in quotes, when a constant is mostly text.
fn label(data: &[u8]) -> Option<String> {
    let (_, text) = strings::runs(data).max_by_key(|(_, text)| text.len())?;
    let end = text.char_indices().nth(LABEL_LEN).map(|(end, _)| end);
    let (shown, rest) = end.map_or((text, ""), |end| (&text[..end], "…"));
    (text.len() * 2 >= data.len()).then(|| format!("{shown:?}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Section, tests::image};

    fn placed(address: u64, size: u64, section: &str, is_merged: bool) -> Placed {
        Placed { address, size, section: section.into(), is_merged }
    }

    #[test]
    fn merged_strings_and_numbers_are_distinguished() {
        let data = b"....ab\0c\0\0d";
        let of = |placed: &Placed| elements(placed, 100, data);
        let strings = [(104, 3), (107, 2), (109, 1), (110, 1)];
        assert_eq!(of(&placed(104, 7, ".rodata.str1.1", true)), strings);
        assert_eq!(of(&placed(104, 6, ".rodata.cst4", true)), [(104, 4), (108, 2)]);
        assert_eq!(of(&placed(104, 6, ".rodata.cst0", true)), [(104, 6)]);
        assert_eq!(of(&placed(104, 7, ".rodata.str1.1", false)), [(104, 7)], "these are not merged");
        assert_eq!(of(&placed(999, 4, ".rodata.cst4", true)), [], "outside");
    }

    fn span<'a>(section: &'a Section, address: u64, size: u64, owner: Owner<'a>) -> Span<'a> {
        Span { address, size, section, owner }
    }

    fn function(name: &str) -> Owner<'static> {
        let (name, origin) = origin::of(name);
        Owner::Symbol { name, origin }
    }

    #[test]
    fn users_are_found_through_tables() {
        let image = image(&[(".rodata", &[0; 99])]);
        let (section, constant) = (&image.sections[0], placed(0, 0, ".rodata", false));
        let spans = [
            span(section, 0, 10, function("main")),
            span(section, 10, 10, function("other")),
            span(section, 20, 8, Owner::Constant(&constant)), // a table of distances
            span(section, 28, 5, Owner::Constant(&constant)),
            span(section, 33, 5, Owner::Constant(&constant)),
        ];
        let references = [
            Reference { at: 3, target: Target::Address(20) },
            Reference { at: 13, target: Target::Address(35) },
            Reference { at: 20, target: Target::InTable(28) },
            Reference { at: 24, target: Target::InTable(33 + 4) },
            Reference { at: 99, target: Target::Address(28) },
            Reference { at: 3, target: Target::Address(98) },
            Reference { at: 21, target: Target::InTable(20 + 1) }, // a table of itself
        ];
        let found = users(&spans, &references).into_iter().map(|users| users.into_iter().collect::<Vec<_>>());
        assert_eq!(found.collect::<Vec<_>>(), [vec![], vec![], vec![0], vec![0], vec![0, 1]]);
    }

    #[test]
    fn a_constant_is_named_by_its_content() {
        let origin = Origin { krate: "whit".into(), module: "argv".into() };
        let name = |section: &str, data: &[u8]| describe(section, data, [("f", &origin)].into_iter()).name;
        for (section, data, expected) in [
            (".rodata..Lanon.1", &b"no room\n\0"[..], "\"no room\\n\""),
            (".rodata..Lanon.1", b"\x01\x02PATH=", "\"PATH=\""),
            (".rodata..Lanon.1", b"\x01\x02\x03\x04\x05\x06\x07\x08PATH=", "constants of whit::argv"),
            (".rodata..Lanon.1", &[b'x'; 49], "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"…"),
            (".rodata.cst8", &[0; 8], "constants of whit::argv"),
            (".got", &[0; 8], "global offset table"),
            (".rodata._ZN4whit4argv3set17h3bce4cb9706e53c8E", b"text", "jump table of whit::argv::set"),
            (
                ".rodata..Lswitch.table._ZN4whit8complain17h24f046f4d696a880E.1.rel",
                b"text",
                "lookup table of whit::complain",
            ),
            (".rodata..Lswitch.table._ZN4whit8complain17h24f046f4d696a880E", b"", "lookup table of whit::complain"),
        ] {
            assert_eq!(name(section, data), expected);
        }
    }

    #[test]
    fn a_constant_belongs_to_the_place_of_all_its_users() {
        let origin = |krate: &str, module: &str| Origin { krate: krate.into(), module: module.into() };
        let (argv, text, core) = (origin("whit", "argv"), origin("whit", "text"), origin("core", "slice"));
        assert_eq!(common(&[&argv, &argv]), argv);
        assert_eq!(common(&[&argv, &text]), origin("whit", SEVERAL));
        assert_eq!(common(&[&argv, &core, &argv]), origin(SEVERAL, ""));
        assert_eq!(common(&[]), origin(UNKNOWN, ""));
    }
}
