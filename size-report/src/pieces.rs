//! Every byte of the file and of the memory that it requests, each in one piece: a symbol, a constant, a header, padding.
//!
//! Symbols come first, then the sections of object files that the linker's map lists; bytes of neither are padding.

use crate::constants::{self, Constant};
use crate::image::{Image, Section};
use crate::linkmap::{LinkMap, Placed};
use crate::origin::{self, Origin};

/// Bytes that belong together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece {
    /// Readable, without a compiler's hash; several pieces may have the same.
    pub(crate) name: String,
    /// The place of its source; of a constant, the place of its users.
    pub(crate) origin: Origin,
    /// The section that holds it, `padding` between sections, or the name of a header.
    pub(crate) section: String,
    pub(crate) kind: PieceKind,
    pub(crate) size: u64,
    /// Its place in memory, if it is loaded.
    pub(crate) address: Option<u64>,
    /// Its place in the file; nothing for `.bss`.
    pub(crate) offset: Option<u64>,
    /// The content of a constant or variable.
    pub(crate) data: Vec<u8>,
    /// The symbols that name a constant, directly or through a table.
    pub(crate) users: Vec<String>,
}

/// Kinds of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceKind {
    /// A function or variable with a symbol.
    Named,
    /// A message, number or table that its source gave no name.
    Constant,
    /// Bytes that only the loader or tools read.
    Header,
    Padding,
}

impl Piece {
    /// Returns whether its bytes are in the file; those of `.bss` are only in memory.
    pub(crate) fn is_in_file(&self) -> bool {
        self.offset.is_some()
    }
}

/// The crate of bytes that come from no source.
pub(crate) const HEADERS: &str = "headers and padding";

/// The section of bytes between sections.
pub(crate) const BETWEEN: &str = "padding";

/// Takes the shipped file apart by the symbols of the same program in `named`: the file in its order, then `.bss`.
pub(crate) fn pieces(shipped: &Image, named: &Image, map: &LinkMap) -> Vec<Piece> {
    let spans: Vec<Span<'_>> =
        named.loaded_sections().flat_map(|(start, section)| spans(named, map, start, section)).collect();
    let users = constants::users(&spans, &named.references);
    let mut pieces: Vec<Piece> = Vec::new();
    for (span, users) in spans.iter().zip(users) {
        let users: Vec<&Owner<'_>> =
            users.into_iter().filter_map(|user| spans.get(user)).map(|span| &span.owner).collect();
        pieces.push(loaded(shipped, span, &users));
    }
    pieces.extend(around(shipped, &pieces));
    pieces.sort_by_key(|piece| (piece.offset.is_none(), piece.offset, piece.address));
    pieces
}

/// A run of loaded bytes and its owner.
pub(crate) struct Span<'a> {
    pub(crate) address: u64,
    pub(crate) size: u64,
    pub(crate) section: &'a Section,
    pub(crate) owner: Owner<'a>,
}

/// The owner of bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Owner<'a> {
    Symbol { name: String, origin: Origin },
    Constant(&'a Placed),
    Unclaimed,
}

impl Span<'_> {
    /// Returns its bytes in the file; none for `.bss`.
    pub(crate) fn data(&self) -> &[u8] {
        let range = || {
            let start = usize::try_from(self.address.checked_sub(self.section.address?)?).ok()?;
            self.section.data.get(start..start.checked_add(usize::try_from(self.size).ok()?)?)
        };
        range().unwrap_or_default()
    }
}

/// Divides a section. Two symbols of one address (the linker folds equal functions) are one, the first by name.
fn spans<'a>(named: &'a Image, map: &'a LinkMap, start: u64, section: &'a Section) -> Vec<Span<'a>> {
    let symbols = named.symbols.iter().filter(|symbol| section.contains(symbol.address)).map(|symbol| {
        let (name, origin) = origin::of(&symbol.mangled);
        (symbol.address, symbol.size, Owner::Symbol { name, origin })
    });
    let placed = map.inputs.iter().filter(|placed| section.contains(placed.address));
    let elements = placed.flat_map(|placed| {
        constants::elements(placed, start, &section.data)
            .into_iter()
            .map(|(address, size)| (address, size, Owner::Constant(placed)))
    });
    let claims: Vec<(u64, u64, Owner<'a>)> = symbols.chain(elements).collect();
    let extents = claims.iter().map(|(address, size, _)| (address.saturating_sub(start), *size));
    let mut address = start;
    let mut spans = Vec::new();
    for (claim, size) in divide(section.size, extents) {
        let owner = claim.and_then(|claim| claims.get(claim)).map_or(Owner::Unclaimed, |(.., owner)| owner.clone());
        spans.push(Span { address, size, section, owner });
        address = address.saturating_add(size);
    }
    spans
}

/// Cuts `len` bytes into runs of one claim each; where claims (start, length) overlap, the first has the bytes.
fn divide(len: u64, claims: impl Iterator<Item = (u64, u64)>) -> Vec<(Option<usize>, u64)> {
    let mut owners: Vec<Option<usize>> = vec![None; usize::try_from(len).unwrap_or(0)];
    for (index, (start, size)) in claims.enumerate() {
        let clamp = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(owners.len());
        let (start, end) = (clamp(start), clamp(start.saturating_add(size)));
        for owner in owners.get_mut(start..end).into_iter().flatten() {
            owner.get_or_insert(index);
        }
    }
    owners.chunk_by(|left, right| left == right).map(|run| (run.first().copied().flatten(), run.len() as u64)).collect()
}

fn loaded(shipped: &Image, span: &Span<'_>, users: &[&Owner<'_>]) -> Piece {
    let used_by = users.iter().filter_map(|user| match user {
        Owner::Symbol { name, origin } => Some((name.as_str(), origin)),
        _ => None,
    });
    let (name, origin, kind, users) = match &span.owner {
        Owner::Symbol { name, origin } => (name.clone(), origin.clone(), PieceKind::Named, Vec::new()),
        Owner::Constant(placed) => {
            let Constant { name, origin, users } = constants::describe(&placed.section, span.data(), used_by);
            (name, origin, PieceKind::Constant, users)
        }
        Owner::Unclaimed => ("padding".into(), headers(), PieceKind::Padding, Vec::new()),
    };
    let data = if span.section.is_code { Vec::new() } else { span.data().to_vec() };
    let offset = if span.section.data.is_empty() { None } else { shipped.offset(span.address) };
    let section = span.section.name.clone();
    Piece { name, origin, section, kind, size: span.size, address: Some(span.address), offset, data, users }
}

/// Returns the rest of the file: headers, sections for tools, and the bytes between all of them.
fn around(shipped: &Image, loaded: &[Piece]) -> Vec<Piece> {
    let mut claims: Vec<(u64, u64, Option<&str>)> =
        loaded.iter().filter_map(|piece| Some((piece.offset?, piece.size, None))).collect();
    claims.extend(shipped.headers.iter().map(|run| (run.offset, run.size, Some(run.name.as_str()))));
    let for_tools = shipped.sections.iter().filter(|section| section.address.is_none() && !section.name.is_empty());
    claims.extend(for_tools.map(|section| (section.offset, section.data.len() as u64, Some(section.name.as_str()))));

    let mut offset = 0;
    let mut pieces = Vec::new();
    for (claim, size) in divide(shipped.file.len() as u64, claims.iter().map(|(offset, size, _)| (*offset, *size))) {
        let name = match claim.and_then(|claim| claims.get(claim)) {
            Some((_, _, name)) => *name,
            None => Some(BETWEEN),
        };
        if let Some(name) = name {
            let kind = if name == BETWEEN { PieceKind::Padding } else { PieceKind::Header };
            pieces.push(Piece {
                name: name.to_owned(),
                origin: headers(),
                section: name.to_owned(),
                kind,
                size,
                address: shipped.address(offset),
                offset: Some(offset),
                data: Vec::new(),
                users: Vec::new(),
            });
        }
        offset += size;
    }
    pieces
}

fn headers() -> Origin {
    Origin { krate: HEADERS.into(), module: String::new() }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::image::{Run, Symbol, tests::image};

    /// Returns a piece for tests.
    pub(crate) fn piece(kind: PieceKind, name: &str, section: &str, size: u64) -> Piece {
        let (name, origin) = if kind == PieceKind::Named { origin::of(name) } else { (name.to_owned(), headers()) };
        let offset = (!section.starts_with(".bss")).then_some(0);
        let (data, users) = (Vec::new(), Vec::new());
        Piece { name, origin, section: section.into(), kind, size, address: Some(0), offset, data, users }
    }

    fn symbol(address: u64, size: u64, mangled: &str) -> Symbol {
        Symbol { address, size, mangled: mangled.into() }
    }

    fn placed(address: u64, size: u64, section: &str) -> Placed {
        Placed { address, size, section: section.into(), is_merged: false }
    }

    #[test]
    fn the_file_is_its_pieces_and_nothing_else() {
        let mut named = image(&[(".text", b"ELFHcodecode"), (".rodata", b"hello\0..."), (".bss", &[0; 8])]);
        named.sections[0].address = Some(0x40_0004);
        named.sections[0].data = b"codecode".to_vec();
        named.sections[0].size = 8;
        named.symbols = vec![symbol(0x40_0004, 5, "_start"), symbol(0x40_0015, 6, "BUFFER")];
        let mut shipped = image(&[(".text", b"ELFHcodecode"), (".rodata", b"hello\0...")]);
        shipped.sections.clear();
        shipped.headers = vec![Run { name: "ELF header".into(), offset: 0, size: 4 }];
        shipped.file.extend_from_slice(b"zz");
        let map = LinkMap { inputs: vec![placed(0x40_000c, 6, ".rodata..Lanon.1")], ..LinkMap::default() };

        let pieces = pieces(&shipped, &named, &map);
        let rows: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.name.as_str(), piece.section.as_str(), piece.size, piece.offset, piece.kind))
            .collect();
        let expected = [
            ("ELF header", "ELF header", 4, Some(0), PieceKind::Header),
            ("_start", ".text", 5, Some(4), PieceKind::Named),
            ("padding", ".text", 3, Some(9), PieceKind::Padding),
            ("\"hello\"", ".rodata", 6, Some(12), PieceKind::Constant),
            ("padding", ".rodata", 3, Some(18), PieceKind::Padding),
            ("padding", "padding", 2, Some(21), PieceKind::Padding),
            ("BUFFER", ".bss", 6, None, PieceKind::Named),
            ("padding", ".bss", 2, None, PieceKind::Padding),
        ];
        assert_eq!(rows, expected);
        let in_file: u64 = pieces.iter().filter(|piece| piece.is_in_file()).map(|piece| piece.size).sum();
        assert_eq!(in_file, shipped.file.len() as u64);
        let beyond: Vec<_> = pieces.iter().map(|piece| piece.address.is_some()).collect();
        assert_eq!(beyond, [true, true, true, true, true, false, true, true], "the file's end is not loaded");
    }

    #[test]
    fn folded_functions_count_once() {
        let mut named = image(&[(".text", &[0; 17])]);
        named.symbols = vec![
            symbol(0x40_0000, 8, "_ZN4whit3one17h0000000000000000E"),
            symbol(0x40_0000, 8, "_ZN4whit3two17h0000000000000000E"),
            symbol(0x40_0008, 9, "memcpy"),
        ];
        let names: Vec<_> =
            pieces(&named, &named, &LinkMap::default()).into_iter().map(|piece| (piece.name, piece.size)).collect();
        assert_eq!(names, [("whit::one".to_owned(), 8), ("memcpy".to_owned(), 9)]);
    }

    #[test]
    fn overlapping_claims_share_nothing() {
        assert_eq!(
            divide(6, [(0, 3), (2, 2), (9, 1), (5, 9)].into_iter()),
            [(Some(0), 3), (Some(1), 1), (None, 1), (Some(3), 1)]
        );
        assert_eq!(divide(0, [(0, 3)].into_iter()), []);
        assert_eq!(divide(2, [(u64::MAX, 3)].into_iter()), [(None, 2)]);
    }
}
