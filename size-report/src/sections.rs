//! The table of sections: each with its place and purpose, with headers and gaps between them, so that the sum is the file.

use std::fmt::Write;

use crate::image::Image;
use crate::pieces::{BETWEEN, Piece, PieceKind};

/// Pieces that follow each other in one section.
struct Row<'a> {
    section: &'a str,
    address: Option<u64>,
    offset: Option<u64>,
    size: u64,
    /// Bytes of padding between its symbols.
    padding: u64,
}

/// Returns the table for people. `named` has the sections with code.
pub(crate) fn table(pieces: &[Piece], named: &Image) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{:<18}{:>10}{:>8}{:>8}{:>8}  what it is", "section", "address", "offset", "file", "memory");
    let (mut in_file, mut in_memory) = (0, 0);
    for row in rows(pieces) {
        let file = row.offset.map_or(0, |_| row.size);
        let memory = row.address.map_or(0, |_| row.size);
        in_file += file;
        in_memory += memory;
        let address = row.address.map_or("-".into(), |address| format!("{address:#x}"));
        let columns = format!("{address:>10}{:>8}{:>8}{:>8}", number(row.offset), bytes(file), bytes(memory));
        let _ = writeln!(out, "{:<18}{columns}  {}", row.section, describe(&row, named));
    }
    let _ = writeln!(out, "{:<18}{:>10}{:>8}{in_file:>8}{in_memory:>8}", "sum", "", "");
    out
}

fn rows(pieces: &[Piece]) -> Vec<Row<'_>> {
    let runs = pieces.chunk_by(|left, right| left.section == right.section && left.is_in_file() == right.is_in_file());
    let row = |run: &'_ [Piece]| {
        let first = run.first()?;
        let padding = run.iter().filter(|piece| piece.kind == PieceKind::Padding).map(|piece| piece.size).sum();
        let size = run.iter().map(|piece| piece.size).sum();
        Some((first.address, first.offset, size, padding))
    };
    runs.filter_map(|run| {
        let (address, offset, size, padding) = row(run)?;
        Some(Row { section: &run.first()?.section, address, offset, size, padding })
    })
    .collect()
}

fn describe(row: &Row<'_>, named: &Image) -> String {
    let section = named.loaded_sections().find(|(_, section)| section.name == row.section).map(|(_, section)| section);
    let what = match section {
        _ if row.section == BETWEEN => return "up to the next one's alignment".into(),
        None if row.address.is_some() => return "for the kernel".into(),
        None => return "for tools, not loaded".into(),
        Some(_) if row.offset.is_none() => "variables that begin as zero: only in memory",
        Some(section) if section.is_code => "code",
        Some(section) if section.is_writable => "variables, and constants with addresses in them",
        Some(_) => "constants",
    };
    if row.padding == 0 { what.to_owned() } else { format!("{what}; {} bytes of padding", row.padding) }
}

fn number(value: Option<u64>) -> String {
    value.map_or("-".into(), |value| value.to_string())
}

fn bytes(value: u64) -> String {
    number(Some(value).filter(|value| *value > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::image;
    use crate::pieces::tests::piece;

    #[test]
    fn the_table_adds_up() {
        let named = image(&[(".text", &[0; 20]), (".rodata", &[0; 4]), (".data", &[0; 4]), (".bss", &[0; 9])]);
        let mut pieces = [
            piece(PieceKind::Header, "ELF header", "ELF header", 64),
            piece(PieceKind::Named, "_start", ".text", 12),
            piece(PieceKind::Padding, "padding", ".text", 2),
            piece(PieceKind::Named, "memcpy", ".text", 6),
            piece(PieceKind::Padding, "padding", BETWEEN, 4),
            piece(PieceKind::Constant, "\"halt\"", ".rodata", 4),
            piece(PieceKind::Constant, "constants of whit", ".data", 4),
            piece(PieceKind::Header, ".shstrtab", ".shstrtab", 36),
            piece(PieceKind::Named, "BUFFER", ".bss", 9),
        ];
        let (mut address, mut offset) = (0x40_0000, 0);
        for piece in &mut pieces {
            piece.address = (piece.name != ".shstrtab").then_some(address);
            piece.offset = piece.offset.map(|_| offset);
            address += piece.size;
            offset += piece.size;
        }
        let expected = "\
section              address  offset    file  memory  what it is
ELF header          0x400000       0      64      64  for the kernel
.text               0x400040      64      20      20  code; 2 bytes of padding
padding             0x400054      84       4       4  up to the next one's alignment
.rodata             0x400058      88       4       4  constants
.data               0x40005c      92       4       4  variables, and constants with addresses in them
.shstrtab                  -      96      36       -  for tools, not loaded
.bss                0x400084       -       -       9  variables that begin as zero: only in memory
sum                                      132     105
";
        assert_eq!(table(&pieces, &named), expected);
    }
}
