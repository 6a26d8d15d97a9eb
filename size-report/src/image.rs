//! The init as an ELF file: its sections, its symbols, its sizes.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SymbolKind};

use crate::origin::{self, Origin};

/// A section of the running program.
struct Section {
    name: String,
    address: u64,
    size: u64,
    /// Its bytes in the file; none for `.bss`.
    data: Vec<u8>,
}

/// A file read whole, its tables parsed.
pub(crate) struct Image {
    path: PathBuf,
    file: Vec<u8>,
    sections: Vec<Section>,
    symbols: Vec<Symbol>,
}

/// A function or variable of the init.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Symbol {
    /// Readable, without its hash.
    pub(crate) name: String,
    pub(crate) origin: Origin,
    /// The section that holds it; several symbols may have the same name.
    pub(crate) section: String,
    pub(crate) size: u64,
}

impl Symbol {
    /// Whether its bytes are in the file; those of `.bss` are memory alone.
    pub(crate) fn is_in_file(&self) -> bool {
        !self.section.starts_with(".bss")
    }
}

/// The sizes that `budget.txt` limits, in its order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Totals(pub(crate) Vec<(&'static str, u64)>);

impl Image {
    /// Reads an ELF file for a 64-bit little-endian machine.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let file = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let (sections, symbols) = parse(&file).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path: path.to_owned(), file, sections, symbols })
    }

    /// Fails unless both files hold the same program: then what this one's symbols say is true of the other.
    pub(crate) fn agrees_with(&self, shipped: &Self) -> Result<(), String> {
        let same = self.sections.len() == shipped.sections.len()
            && self.sections.iter().zip(&shipped.sections).all(|(ours, theirs)| {
                (&ours.name, ours.address, ours.size, &ours.data)
                    == (&theirs.name, theirs.address, theirs.size, &theirs.data)
            });
        let (ours, theirs) = (self.path.display(), shipped.path.display());
        if same {
            Ok(())
        } else {
            Err(format!("{ours} and {theirs} hold different programs: the sizes of symbols would be another program's"))
        }
    }

    /// The sizes under limit.
    pub(crate) fn totals(&self) -> Totals {
        let file = u64::try_from(self.file.len()).unwrap_or(u64::MAX);
        Totals(vec![
            ("file", file),
            ("gzip", gzip_len(&self.file)),
            ("text", self.section_size(".text")),
            ("rodata", self.section_size(".rodata")),
            ("data", self.section_size(".data")),
            ("bss", self.section_size(".bss")),
        ])
    }

    /// Functions and variables, largest first.
    pub(crate) fn symbols(&self) -> Vec<Symbol> {
        self.symbols.clone()
    }

    /// The constants: messages, tables, and what a panic would say.
    pub(crate) fn rodata(&self) -> &[u8] {
        self.sections.iter().find(|section| section.name == ".rodata").map_or(&[], |section| &section.data)
    }

    /// All sections whose name is `name` or starts with it and a dot: the linker keeps both forms.
    fn section_size(&self, name: &str) -> u64 {
        let belongs =
            |other: &str| other.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.sections.iter().filter(|section| belongs(&section.name)).map(|section| section.size).sum()
    }
}

fn parse(file: &[u8]) -> object::Result<(Vec<Section>, Vec<Symbol>)> {
    let elf = ElfFile64::<object::Endianness>::parse(file)?;
    let mut sections = Vec::new();
    for section in elf.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        if sh_flags & u64::from(object::elf::SHF_ALLOC) != 0 {
            let (name, data) = (section.name()?.to_owned(), section.data()?.to_vec());
            sections.push(Section { name, address: section.address(), size: section.size(), data });
        }
    }
    let mut found = Vec::new();
    for symbol in elf.symbols() {
        let Some(index) = symbol.section_index() else { continue };
        if symbol.size() > 0 && matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data | SymbolKind::Unknown) {
            let section = elf.section_by_index(index)?.name()?;
            found.push((symbol.address(), symbol.size(), symbol.name()?, section));
        }
    }
    Ok((sections, distinct(found)))
}

/// Names each byte once: two names of one address (the linker folds equal functions) are one symbol, the first by name.
fn distinct(mut found: Vec<(u64, u64, &str, &str)>) -> Vec<Symbol> {
    found.sort_unstable();
    found.dedup_by_key(|(address, ..)| *address);
    let mut symbols: Vec<Symbol> = found
        .into_iter()
        .map(|(_, size, mangled, section)| {
            let (name, origin) = origin::of(mangled);
            Symbol { name, origin, section: section.to_owned(), size }
        })
        .collect();
    symbols.sort_by(|left, right| right.size.cmp(&left.size).then_with(|| left.name.cmp(&right.name)));
    symbols
}

/// How long `file` is after `gzip -9`, as mkcpio writes it.
fn gzip_len(file: &[u8]) -> u64 {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let compressed = encoder.write_all(file).and_then(|()| encoder.finish());
    // Writing to memory cannot fail; a size over every limit is what a failure would deserve.
    compressed.map_or(u64::MAX, |bytes| bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(names: &[(&str, u64)]) -> Image {
        let section = |(name, size): &(&str, u64)| Section {
            name: (*name).into(),
            address: 0x40_0000,
            size: *size,
            data: vec![1; usize::try_from(*size).unwrap()],
        };
        Image {
            path: "whit".into(),
            file: vec![0; 100],
            sections: names.iter().map(section).collect(),
            symbols: Vec::new(),
        }
    }

    #[test]
    fn totals_add_what_the_linker_left_apart() {
        let totals = image(&[(".text", 10), (".text.unlikely", 5), (".textile", 3), (".bss", 7)]).totals();
        assert_eq!(totals.0[0], ("file", 100));
        assert!(totals.0[1].1 > 18 && totals.0[1].1 < 60, "gzip's frame is 18 bytes, a hundred zeroes are a few more");
        assert_eq!(totals.0[2..], [("text", 15), ("rodata", 0), ("data", 0), ("bss", 7)]);
    }

    #[test]
    fn folded_functions_count_once() {
        let symbols = distinct(vec![
            (16, 8, "_ZN4whit3two17h0000000000000000E", ".text"),
            (16, 8, "_ZN4whit3one17h0000000000000000E", ".text"),
            (32, 9, "memcpy", ".text"),
        ]);
        let names: Vec<_> = symbols.iter().map(|symbol| (symbol.name.as_str(), symbol.size)).collect();
        assert_eq!(names, [("memcpy", 9), ("whit::one", 8)]);
    }

    #[test]
    fn another_program_under_the_same_name_is_noticed() {
        let ours = image(&[(".text", 10)]);
        assert!(ours.agrees_with(&image(&[(".text", 10)])).is_ok());
        assert!(ours.agrees_with(&image(&[(".text", 11)])).is_err());
        assert!(ours.agrees_with(&image(&[(".text", 10), (".bss", 1)])).is_err());
        let mut other = image(&[(".text", 10)]);
        other.sections[0].data[9] = 2;
        assert!(ours.agrees_with(&other).is_err());
    }

    #[test]
    fn a_real_elf_file_has_its_sections_and_symbols() {
        // This test program itself: cargo builds it for the same machine, with symbols.
        let image = Image::read(&std::env::current_exe().unwrap()).unwrap();
        let symbols = image.symbols();
        assert!(image.section_size(".text") > 100_000);
        assert!(symbols.iter().any(|symbol| symbol.origin.krate == "size_report" && symbol.section == ".text"));
        assert!(symbols.is_sorted_by(|left, right| left.size >= right.size));
    }

    #[test]
    fn what_is_not_an_elf_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("whit");
        assert!(Image::read(&path).is_err());
        let whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for length in [0, 3, 63, 64, whole.len() / 2] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(Image::read(&path).is_err(), "{length} bytes");
        }
    }
}
