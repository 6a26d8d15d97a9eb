//! The file as a tree for the picture: crate, module, symbol; constants without a name and headers are groups of their own.

use std::collections::BTreeMap;

use crate::origin::{self, Origin};
use crate::pieces::{HEADERS, Piece, PieceKind};

/// The crate of the file.
const OWN: &str = "whit";

/// The group of constants without a name, by the modules that use them.
const CONSTANTS: &str = "constants";

/// The kind of a group, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Own,
    Library,
    Constants,
    Headers,
}

/// A crate, or the bytes that belong to none.
#[derive(Debug, PartialEq)]
pub(crate) struct Group {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) modules: Vec<Module>,
}

/// A module, and its bytes in the file.
#[derive(Debug, PartialEq)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) leaves: Vec<Leaf>,
}

/// A symbol or constant, or several of one name.
#[derive(Debug, PartialEq)]
pub(crate) struct Leaf {
    /// Names inside its module, the best first.
    pub(crate) labels: Vec<String>,
    /// The whole name, and its users.
    pub(crate) title: String,
    pub(crate) bytes: u64,
}

impl Group {
    pub(crate) fn bytes(&self) -> u64 {
        self.modules.iter().map(Module::bytes).sum()
    }
}

impl Module {
    pub(crate) fn bytes(&self) -> u64 {
        self.leaves.iter().map(|leaf| leaf.bytes).sum()
    }
}

/// The leaves of a group, by module and name.
type Modules<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Leaf>>;

/// Returns all bytes of the file as a tree.
pub(crate) fn tree(pieces: &[Piece]) -> Vec<Group> {
    let mut groups: BTreeMap<(Kind, &str), Modules<'_>> = BTreeMap::new();
    for piece in pieces.iter().filter(|piece| piece.is_in_file()) {
        let (key, module) = place(piece);
        let leaves = groups.entry(key).or_default().entry(module).or_default();
        leaves.entry(&piece.name).or_insert_with(|| leaf(piece)).bytes += piece.size;
    }
    let module = |(name, leaves): (&str, BTreeMap<&str, Leaf>)| Module {
        name: name.to_owned(),
        leaves: leaves.into_values().collect(),
    };
    let group = |((kind, name), modules): ((Kind, &str), Modules<'_>)| Group {
        kind,
        name: name.to_owned(),
        modules: modules.into_iter().map(module).collect(),
    };
    groups.into_iter().map(group).collect()
}

fn place(piece: &Piece) -> ((Kind, &str), &str) {
    let Origin { krate, module } = &piece.origin;
    match piece.kind {
        PieceKind::Header | PieceKind::Padding => ((Kind::Headers, HEADERS), ""),
        PieceKind::Constant if krate == OWN => {
            ((Kind::Constants, CONSTANTS), if module.is_empty() { OWN } else { module })
        }
        PieceKind::Constant => ((Kind::Constants, CONSTANTS), krate),
        PieceKind::Named if krate == OWN => ((Kind::Own, krate), module),
        PieceKind::Named => ((Kind::Library, krate), module),
    }
}

/// Returns a leaf of size 0.
fn leaf(piece: &Piece) -> Leaf {
    let Piece { name, origin, users, .. } = piece;
    let labels = if piece.kind == PieceKind::Named { short_names(name, origin) } else { shorter(name) };
    let title = if users.is_empty() { name.clone() } else { format!("{name}, used by {}", users.join(", ")) };
    Leaf { labels, title, bytes: 0 }
}

/// Returns a name as used inside its own module, and without its type: `Machine::wait`, `wait`.
fn short_names(name: &str, origin: &Origin) -> Vec<String> {
    let inside = format!("{origin}::");
    let name = if origin.krate == origin::UNMANGLED { name } else { name.strip_prefix(&inside).unwrap_or(name) };
    let mut out = String::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let is_of_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
        let (path, after) = rest.split_at(rest.find(|letter| !is_of_path(letter)).unwrap_or(rest.len()));
        if path.is_empty() {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            // `>::next` continues after the bracket; inside brackets the last part of a path is enough.
            let is_inside = out.contains('<') && !path.starts_with("::");
            out.push_str(if is_inside { path.rsplit("::").next().unwrap_or(path) } else { path });
            rest = after;
        }
    }
    let name = out.replace("<_,_>", "").replace("<_>", "");
    match name.rsplit_once("::") {
        Some((_, last)) if !last.contains(['{', '>']) => vec![name.clone(), last.to_owned()],
        _ => vec![name],
    }
}

/// Returns a constant's text, and its beginnings of two lengths.
fn shorter(name: &str) -> Vec<String> {
    let begin = |len: usize| name.char_indices().nth(len).map(|(end, _)| format!("{}…", name[..end].trim_end()));
    let begins = [24, 12].into_iter().filter_map(|len| begin(len).filter(|_| name.starts_with('"')));
    std::iter::once(name.to_owned()).chain(begins).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constants::SEVERAL;
    use crate::pieces::tests::piece;

    #[test]
    fn the_tree_holds_every_byte_of_the_file_once() {
        let mut message = piece(PieceKind::Constant, "\"no room\"", ".rodata", 8);
        message.origin = Origin { krate: "whit".into(), module: "argv".into() };
        message.users = vec!["whit::argv::set".into()];
        let mut shared = message.clone();
        shared.origin = Origin { krate: SEVERAL.into(), module: String::new() };
        let pieces = [
            piece(PieceKind::Header, "ELF header", "ELF header", 64),
            piece(PieceKind::Named, "_ZN4whit4argv3set17hf3828d5be280a9e5E", ".text", 40),
            piece(PieceKind::Named, "_ZN4whit4argv3set17h0123456789abcdefE", ".text", 2),
            piece(PieceKind::Named, "_ZN4whit4main17hf3828d5be280a9e5E", ".text", 30),
            piece(PieceKind::Padding, "padding", ".text", 3),
            piece(PieceKind::Named, "memcpy", ".text", 5),
            message,
            shared,
            piece(PieceKind::Named, "_ZN4whit6BUFFER17hf3828d5be280a9e5E", ".bss", 99),
        ];
        let tree = tree(&pieces);
        let rows: Vec<_> = tree
            .iter()
            .flat_map(|group| group.modules.iter().map(move |module| (group, module)))
            .flat_map(|(group, module)| module.leaves.iter().map(move |leaf| (group, module, leaf)))
            .map(|(group, module, leaf)| (&*group.name, &*module.name, &*leaf.labels[0], leaf.bytes))
            .collect();
        let expected = [
            ("whit", "", "main", 30),
            ("whit", "argv", "set", 42),
            ("no_mangle", "", "memcpy", 5),
            ("constants", "(several)", "\"no room\"", 8),
            ("constants", "argv", "\"no room\"", 8),
            ("headers and padding", "", "ELF header", 64),
            ("headers and padding", "", "padding", 3),
        ];
        assert_eq!(rows, expected);
        assert_eq!(tree.iter().map(Group::bytes).sum::<u64>(), 160);
        assert_eq!(tree[2].modules[1].leaves[0].title, "\"no room\", used by whit::argv::set");
    }

    #[test]
    fn names_are_short_inside_their_module() {
        const NEXT: &str = concat!(
            "_ZN78_$LT$whit..options..Each$u20$as$u20$core..iter..traits..iterator..Iterator$GT$",
            "4next17he9771c6603d46903E",
        );
        const STRIP: &str = "_ZN4core5slice29_$LT$impl$u20$$u5b$T$u5d$$GT$12strip_suffix17h3cdd0643b66e57ecE";
        for (mangled, expected) in [
            ("_ZN4whit7machine7Machine4wait17h988c6cc0743a1468E", &["Machine::wait", "wait"][..]),
            ("_ZN4whit4live17h23f9730487ef972eE", &["live"]),
            ("_ZN4whit4argv20Strings$LT$_$C$_$GT$3set17h3bce4cb9706e53c8E", &["Strings::set", "set"]),
            (NEXT, &["<Each as Iterator>::next", "next"]),
            (STRIP, &["<impl [T]>::strip_suffix", "strip_suffix"]),
            ("_ZN4whit3etc3put28_$u7b$$u7b$closure$u7d$$u7d$17h05868a1cc989fca5E", &["put::{{closure}}"]),
            ("memcpy", &["memcpy"]),
        ] {
            let (name, origin) = origin::of(mangled);
            assert_eq!(short_names(&name, &origin), expected);
        }
    }

    #[test]
    fn texts_may_be_shortened_and_other_constants_not() {
        let cut = ["\"no such user in /etc/passwd\"", "\"no such user in /etc/pa…", "\"no such use…"];
        assert_eq!(shorter(cut[0]), cut);
        assert_eq!(shorter("\"halt\""), ["\"halt\""]);
        assert_eq!(shorter("constants of whit::argv"), ["constants of whit::argv"]);
    }
}
