//! An ELF file: the places of its parts, its symbols, and the references between its bytes.

use std::path::{Path, PathBuf};

use object::elf::{ET_EXEC, FileHeader64, PT_LOAD, SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE};
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{
    Architecture, Endianness, Object, ObjectSection, ObjectSymbol, RelocationKind, RelocationTarget, SectionFlags,
    SymbolKind,
};

/// A file, its tables parsed.
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    pub(crate) file: Vec<u8>,
    /// The ELF header and its two tables, as runs of the file.
    pub(crate) headers: Vec<Run>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) sections: Vec<Section>,
    pub(crate) symbols: Vec<Symbol>,
    pub(crate) references: Vec<Reference>,
}

/// A named run of bytes in the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// A part that the kernel maps: PT_LOAD.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Segment {
    pub(crate) address: u64,
    pub(crate) offset: u64,
    pub(crate) file_size: u64,
    pub(crate) memory_size: u64,
}

/// A section, in memory or only in the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Section {
    pub(crate) name: String,
    /// `None` without a place in memory.
    pub(crate) address: Option<u64>,
    pub(crate) size: u64,
    /// Its bytes in the file; none for `.bss`.
    pub(crate) data: Vec<u8>,
    pub(crate) offset: u64,
    pub(crate) is_code: bool,
    pub(crate) is_writable: bool,
}

impl Section {
    /// Returns whether `address` is one of its bytes.
    pub(crate) fn contains(&self, address: u64) -> bool {
        self.address.is_some_and(|start| address.checked_sub(start).is_some_and(|distance| distance < self.size))
    }
}

/// A function or variable, by the linker's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Symbol {
    pub(crate) address: u64,
    pub(crate) size: u64,
    pub(crate) mangled: String,
}

/// Bytes that have the address of other bytes, or the distance to them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reference {
    pub(crate) at: u64,
    pub(crate) target: Target,
}

/// The target of a reference.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    Address(u64),
    /// An entry of a table of distances: as far from the table's start as this is from the entry's own address.
    InTable(u64),
}

impl Image {
    /// Reads an ELF file for a 64-bit machine.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let file = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(path, file).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn parse(path: &Path, file: Vec<u8>) -> object::Result<Self> {
        let elf = ElfFile64::<Endianness>::parse(file.as_slice())?;
        let (endian, header) = (elf.endian(), elf.elf_header());
        let load = elf.elf_program_headers().iter().filter(|segment| segment.p_type(endian) == PT_LOAD);
        let segments = load
            .map(|segment| Segment {
                address: segment.p_vaddr(endian),
                offset: segment.p_offset(endian),
                file_size: segment.p_filesz(endian),
                memory_size: segment.p_memsz(endian),
            })
            .collect();
        let is_linked = header.e_type(endian) == ET_EXEC;
        let references = if is_linked { references(&elf)? } else { Vec::new() };
        let (headers, sections, symbols) = (headers(header, endian), sections(&elf)?, symbols(&elf)?);
        Ok(Self { path: path.to_owned(), headers, segments, sections, symbols, references, file })
    }

    /// Fails unless both files hold the same program, so that the symbols of this one are valid for the other.
    pub(crate) fn agrees_with(&self, shipped: &Self) -> Result<(), String> {
        let same_bytes = self.loaded_sections().all(|(address, section)| {
            section.data.is_empty() || shipped.loaded(address, section.size) == Some(section.data.as_slice())
        });
        let (ours, theirs) = (self.path.display(), shipped.path.display());
        if self.symbols.is_empty() {
            Err(format!("{ours} has no symbols: its parts cannot be measured"))
        } else if same_bytes && self.segments == shipped.segments {
            Ok(())
        } else {
            Err(format!("{ours} and {theirs} hold different programs: the sizes of symbols would be another program's"))
        }
    }

    /// Returns the sections that are part of the running program, with their addresses.
    pub(crate) fn loaded_sections(&self) -> impl Iterator<Item = (u64, &Section)> {
        self.sections.iter().filter_map(|section| Some((section.address?, section)))
    }

    /// Returns the place in the file of the byte at `address`, unless it is only in memory.
    pub(crate) fn offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let distance = address.checked_sub(segment.address).filter(|distance| *distance < segment.file_size)?;
            segment.offset.checked_add(distance)
        })
    }

    /// Returns the address of the byte at `offset` of the file, if it is loaded.
    pub(crate) fn address(&self, offset: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let distance = offset.checked_sub(segment.offset).filter(|distance| *distance < segment.file_size)?;
            segment.address.checked_add(distance)
        })
    }

    fn loaded(&self, address: u64, size: u64) -> Option<&[u8]> {
        let start = usize::try_from(self.offset(address)?).ok()?;
        self.file.get(start..start.checked_add(usize::try_from(size).ok()?)?)
    }
}

fn headers(header: &FileHeader64<Endianness>, endian: Endianness) -> Vec<Run> {
    let table = |name: &str, offset: u64, count: u16, entry: u16| Run {
        name: name.to_owned(),
        offset,
        size: u64::from(count) * u64::from(entry),
    };
    let mut runs = vec![
        table("ELF header", 0, 1, header.e_ehsize(endian)),
        table("program headers", header.e_phoff(endian), header.e_phnum(endian), header.e_phentsize(endian)),
        table("section headers", header.e_shoff(endian), header.e_shnum(endian), header.e_shentsize(endian)),
    ];
    runs.retain(|run| run.size > 0);
    runs
}

fn sections(elf: &ElfFile64<'_, Endianness>) -> object::Result<Vec<Section>> {
    let mut sections = Vec::new();
    for section in elf.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        let has = |flag: u32| sh_flags & u64::from(flag) != 0;
        sections.push(Section {
            name: section.name()?.to_owned(),
            address: has(SHF_ALLOC).then_some(section.address()),
            size: section.size(),
            data: section.data()?.to_vec(),
            offset: section.file_range().map_or(0, |(offset, _)| offset),
            is_code: has(SHF_EXECINSTR),
            is_writable: has(SHF_WRITE),
        });
    }
    Ok(sections)
}

/// Returns functions and variables, by address. `.L` begins names that a compiler generates for bytes without a name.
fn symbols(elf: &ElfFile64<'_, Endianness>) -> object::Result<Vec<Symbol>> {
    let mut symbols = Vec::new();
    for symbol in elf.symbols() {
        let is_of_a_section = symbol.section_index().is_some();
        let is_of_a_kind = matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data | SymbolKind::Unknown);
        let mangled = symbol.name()?;
        if is_of_a_section && is_of_a_kind && symbol.size() > 0 && !mangled.starts_with(".L") {
            symbols.push(Symbol { address: symbol.address(), size: symbol.size(), mangled: mangled.to_owned() });
        }
    }
    symbols.sort();
    Ok(symbols)
}

/// Returns the relocations that `ld --emit-relocs` keeps. In a linked program, their places are addresses.
fn references(elf: &ElfFile64<'_, Endianness>) -> object::Result<Vec<Reference>> {
    let is_x86_64 = elf.architecture() == Architecture::X86_64;
    let mut references = Vec::new();
    for section in elf.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        let is_code = sh_flags & u64::from(SHF_EXECINSTR) != 0;
        for (at, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let target = elf.symbol_by_index(index)?.address().wrapping_add_signed(relocation.addend());
            let target = match relocation.kind() {
                RelocationKind::Absolute | RelocationKind::Unknown => Target::Address(target),
                // The linked instruction is exact where an entry of the global offset table replaces the symbol.
                _ if is_code && is_x86_64 => Target::Address(displaced(&section, at)?.unwrap_or(target)),
                _ if is_code => Target::Address(target),
                _ => Target::InTable(target),
            };
            references.push(Reference { at, target });
        }
    }
    Ok(references)
}

/// Returns the target of an instruction of x86-64 whose four bytes at `at` are a distance. The distance counts from the end of the
/// instruction, which is the end of these bytes except in the few instructions with a number after it.
fn displaced<'data>(section: &impl ObjectSection<'data>, at: u64) -> object::Result<Option<u64>> {
    let bytes = section.data_range(at, 4)?.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    Ok(bytes.map(|bytes| at.wrapping_add(4).wrapping_add_signed(i32::from_le_bytes(bytes).into())))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns an image of consecutive sections, in memory as in the file; `.bss` has no bytes in the file.
    pub(crate) fn image(sections: &[(&str, &[u8])]) -> Image {
        const START: u64 = 0x40_0000;
        let mut image = Image {
            path: "whit".into(),
            file: Vec::new(),
            headers: Vec::new(),
            segments: Vec::new(),
            sections: Vec::new(),
            symbols: Vec::new(),
            references: Vec::new(),
        };
        let mut address = START;
        for (name, data) in sections {
            let size = data.len() as u64;
            let is_in_file = !name.starts_with(".bss");
            image.sections.push(Section {
                name: (*name).into(),
                address: Some(address),
                size,
                data: if is_in_file { data.to_vec() } else { Vec::new() },
                offset: address - START,
                is_code: name.starts_with(".text"),
                is_writable: name.starts_with(".data") || !is_in_file,
            });
            image.file.extend_from_slice(if is_in_file { data } else { &[] });
            address += size;
        }
        let (file_size, memory_size) = (image.file.len() as u64, address - START);
        image.segments.push(Segment { address: START, offset: 0, file_size, memory_size });
        image.symbols.push(Symbol { address: START, size: 1, mangled: "_start".into() });
        image
    }

    #[test]
    fn another_program_of_the_same_name_is_detected() {
        let ours = image(&[(".text", &[1; 10])]);
        assert_eq!(ours.agrees_with(&image(&[(".text", &[1; 10])])), Ok(()));
        assert!(ours.agrees_with(&image(&[(".text", &[1; 11])])).is_err());
        assert!(ours.agrees_with(&image(&[(".text", &[1; 10]), (".bss", &[0])])).is_err());
        assert!(ours.agrees_with(&image(&[(".text", &[1, 1, 1, 1, 1, 1, 1, 1, 1, 2])])).is_err());
    }

    #[test]
    fn a_program_without_a_section_table_is_the_same_program() {
        let ours = image(&[(".text", &[1; 10]), (".bss", &[0; 5])]);
        let mut shipped = image(&[(".text", &[1; 10]), (".bss", &[0; 5])]);
        shipped.sections.clear();
        assert_eq!(ours.agrees_with(&shipped), Ok(()));
        shipped.file[9] = 2;
        assert!(ours.agrees_with(&shipped).is_err());
    }

    #[test]
    fn a_program_without_symbols_is_not_measured() {
        let shipped = image(&[(".text", &[1; 10])]);
        let mut ours = image(&[(".text", &[1; 10])]);
        ours.symbols.clear();
        assert_eq!(ours.agrees_with(&shipped).unwrap_err(), "whit has no symbols: its parts cannot be measured");
    }

    #[test]
    fn addresses_and_offsets_are_converted() {
        let image = image(&[(".text", &[1; 10]), (".bss", &[0; 5])]);
        assert_eq!((image.offset(0x40_0009), image.address(9)), (Some(9), Some(0x40_0009)));
        assert_eq!((image.offset(0x40_000a), image.address(10)), (None, None), "only in memory");
        assert_eq!(image.offset(0x3f_ffff), None);
    }

    #[test]
    fn a_real_elf_file_has_its_parts() {
        // This test program itself: cargo builds it for the same machine, with symbols.
        let image = Image::read(&std::env::current_exe().unwrap()).unwrap();
        let text = image.sections.iter().find(|section| section.name == ".text").unwrap();
        assert!(text.size > 100_000 && text.is_code && !text.is_writable);
        assert!(
            image.symbols.iter().any(|symbol| symbol.mangled.contains("size_report") && text.contains(symbol.address))
        );
        assert!(image.symbols.is_sorted_by_key(|symbol| symbol.address));
        let names: Vec<_> = image.headers.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(names, ["ELF header", "program headers", "section headers"]);
        assert_eq!(image.offset(text.address.unwrap()), Some(text.offset));
    }

    #[test]
    fn a_file_that_is_not_elf_is_an_error() {
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
