//! The linker's map, which lld writes with `-Map`.
//!
//! Constants have no symbols (a compiler's names `.Lanon…` are only in the object file), but each is a section of the object
//! file, and the map lists these sections with address and size. Strings and numbers that many places share are merged
//! into sections of the linker's own, `<internal>`.

use std::path::Path;

use crate::image::Image;

/// The columns of lld's map (lld/ELF/MapFile.cpp): an output section is below `Out`, its parts are below `In`.
const HEADER: [&str; 7] = ["VMA", "LMA", "Size", "Align", "Out", "In", "Symbol"];

/// Sections of object files, in the order of the map.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct LinkMap {
    pub(crate) outputs: Vec<Placed>,
    pub(crate) inputs: Vec<Placed>,
}

/// A section and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Placed {
    pub(crate) address: u64,
    pub(crate) size: u64,
    /// The compiler's name for it: `.rodata..Lanon.d329c8da.2`, `.rodata.str1.1`.
    pub(crate) section: String,
    /// Whether the linker merged sections with equal content into it.
    pub(crate) is_merged: bool,
}

impl LinkMap {
    /// Reads the map that belongs to `image`.
    pub(crate) fn read(path: &Path, image: &Image) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let map = Self::parse(&text).map_err(|error| format!("{}:{error}", path.display()))?;
        match image.loaded_sections().find(|(address, section)| !map.has(*address, section.size, &section.name)) {
            None => Ok(map),
            Some((_, section)) => {
                let (map, name, image) = (path.display(), &section.name, image.path.display());
                Err(format!("{map}: has another {name} than {image}: remove both, they are built again"))
            }
        }
    }

    /// Parses a map; an error begins with the line's number.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate();
        if !lines.next().is_some_and(|(_, line)| line.split_whitespace().eq(HEADER)) {
            return Err("1: not a map of lld, rustc's linker".into());
        }
        let mut map = Self::default();
        for (index, line) in lines {
            let fields = numbers(line);
            let (address, size, rest) =
                fields.ok_or_else(|| format!("{}: not `VMA LMA Size Align name`", index + 1))?;
            let name = rest.trim_start();
            match rest.len() - name.len() {
                1 => map.outputs.push(Placed { address, size, section: name.to_owned(), is_merged: false }),
                9 => map.inputs.extend(input(address, size, name)),
                _ => {} // a symbol: the ELF file has more about it
            }
        }
        Ok(map)
    }

    fn has(&self, address: u64, size: u64, section: &str) -> bool {
        self.outputs
            .iter()
            .any(|output| (output.address, output.size, output.section.as_str()) == (address, size, section))
    }
}

/// Parses address and size; returns them with the rest after the four numbers, indentation included.
fn numbers(line: &str) -> Option<(u64, u64, &str)> {
    let mut rest = line;
    let mut fields = [""; 4];
    for field in &mut fields {
        let text = rest.trim_start();
        let end = text.find(' ')?;
        (*field, rest) = text.split_at(end);
    }
    let [vma, _, size, _] = fields;
    Some((u64::from_str_radix(vma, 16).ok()?, u64::from_str_radix(size, 16).ok()?, rest))
}

/// Parses `path/of/file.o:(.section)`; other lines, such as an assignment of the linker script, place no section.
fn input(address: u64, size: u64, name: &str) -> Option<Placed> {
    let (file, section) = name.strip_suffix(')')?.rsplit_once(":(")?;
    Some(Placed { address, size, section: section.to_owned(), is_merged: file == "<internal>" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image;

    /// From the map of an init, paths shortened.
    const MAP: &str = "             VMA              LMA     Size Align Out     In      Symbol
               0                0   4000e8     1 . = 0x400000 + SIZEOF_HEADERS
          400000           400000       18     4 .text
          400000           400000        c     4         /t/whit.o:(.text._start)
          400000           400000        c     1                 _start
          40000c           40000c        c     1         /t/whit (old).o:(.text._ZN4whit4main17h9f97841614e8d977E)
          40000c           40000c        c     1                 whit::main::h9f97841614e8d977
          400018           400018       20     8 .rodata
          400018           400018       14     1         <internal>:(.rodata.str1.1)
          40002c           40002c        c     1         /t/whit.o:(.rodata..Lanon.d329c8da.2)
";

    fn placed(address: u64, size: u64, section: &str, is_merged: bool) -> Placed {
        Placed { address, size, section: section.into(), is_merged }
    }

    #[test]
    fn sections_of_object_files_have_their_places() {
        let expected = [
            placed(0x40_0000, 12, ".text._start", false),
            placed(0x40_000c, 12, ".text._ZN4whit4main17h9f97841614e8d977E", false),
            placed(0x40_0018, 20, ".rodata.str1.1", true),
            placed(0x40_002c, 12, ".rodata..Lanon.d329c8da.2", false),
        ];
        assert_eq!(LinkMap::parse(MAP).unwrap().inputs, expected);
    }

    #[test]
    fn the_map_of_another_program_is_detected() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("map");
        std::fs::write(&path, MAP).unwrap();
        let image = |text: usize| image::tests::image(&[(".text", &[0; 99][..text]), (".rodata", &[0; 32])]);
        assert!(LinkMap::read(&path, &image(24)).is_ok());
        let message = LinkMap::read(&path, &image(25)).unwrap_err();
        assert!(message.ends_with("map: has another .text than whit: remove both, they are built again"), "{message}");
    }

    #[test]
    fn an_error_names_the_line() {
        for (text, message) in [
            ("", "1: not a map of lld, rustc's linker"),
            ("Archive member included\n", "1: not a map of lld, rustc's linker"),
            (&MAP.replace("      18     4 .text", "      1x     4 .text"), "3: not `VMA LMA Size Align name`"),
            (&MAP.replace("      18     4 .text", "      18"), "3: not `VMA LMA Size Align name`"),
        ] {
            assert_eq!(LinkMap::parse(text), Err(message.into()));
        }
    }

    #[test]
    fn every_truncation_is_handled() {
        for length in 0..MAP.len() {
            let _ = LinkMap::parse(&MAP[..length]);
        }
    }
}
