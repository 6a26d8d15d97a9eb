//! Removes the parts of a program's file that the kernel does not read: the section headers, and the names of the sections.

use object::LittleEndian as LE;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

/// Returns the file up to the end of its last segment, without section headers. fs/binfmt_elf.c, load_elf_binary() reads the ELF
/// header, the program headers and the segments.
///
/// # Errors
/// One phrase.
pub(super) fn without_section_headers(file: &[u8]) -> Result<Vec<u8>, String> {
    let header = FileHeader64::<LE>::parse(file).map_err(|error| error.to_string())?;
    let segments = header.program_headers(LE, file).map_err(|error| error.to_string())?;
    let ends = segments.iter().filter(|segment| segment.p_type(LE) == PT_LOAD).map(|segment| {
        let (offset, size) = segment.file_range(LE);
        offset.checked_add(size).and_then(|end| usize::try_from(end).ok())
    });
    let end = ends.max().flatten().ok_or("no segment to load")?;
    let mut cut = file.get(..end).ok_or("a segment ends after the file")?.to_vec();
    // e_shoff, then e_shentsize, e_shnum and e_shstrndx (elf(5)): zero for a file without section headers.
    for field in [40..48, 58..64] {
        cut.get_mut(field).ok_or("no ELF header")?.fill(0);
    }
    Ok(cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    #[test]
    fn a_program_without_section_headers_still_runs() {
        let folder = tempfile::tempdir().unwrap();
        let (source, program) = (folder.path().join("exit.s"), folder.path().join("exit"));
        std::fs::write(&source, ".globl _start\n_start: mov $60, %eax\n mov $7, %edi\n syscall\n").unwrap();
        let linked =
            Command::new("cc").args(["-nostdlib", "-static", "-o"]).arg(&program).arg(&source).status().unwrap();
        assert!(linked.success());
        let whole = std::fs::read(&program).unwrap();
        let cut = without_section_headers(&whole).unwrap();
        assert!(cut.len() < whole.len());
        let parsed = FileHeader64::<LE>::parse(&*cut).unwrap();
        assert!(parsed.section_headers(LE, &*cut).unwrap().is_empty());
        std::fs::write(&program, &cut).unwrap();
        assert_eq!(run(&program), Some(7));
        // A second cut changes nothing.
        assert_eq!(without_section_headers(&cut).unwrap(), cut);
    }

    fn run(program: &Path) -> Option<i32> {
        Command::new(program).status().unwrap().code()
    }

    #[test]
    fn every_cut_of_a_program_is_an_error_or_a_program() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        for length in (0..64).chain([100, 4096]) {
            assert!(without_section_headers(whole.get(..length).unwrap()).is_err(), "{length}");
        }
    }
}
