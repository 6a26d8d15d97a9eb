//! ELF files: checks that a program is static, and reads a section of a module.

use std::fmt;

use object::Endianness;
use object::elf;
use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};
use object::read::{Object, ObjectSection};

/// The architecture of the init.
const MACHINE: (u16, &str) = (elf::EM_X86_64, "x86-64");

/// Why a program cannot run in an initramfs without libraries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Not a well-formed 64-bit ELF file.
    #[error("is not a 64-bit ELF program ({0})")]
    NotElf(String),
    /// For another machine.
    #[error("is for machine {0} (ELF e_machine), not for {name}", name = MACHINE.1)]
    Machine(u16),
    /// An object file, a shared library, a core dump.
    #[error("is {0}, not a program")]
    NotProgram(NotProgram),
    /// It names a dynamic loader or libraries.
    #[error("is dynamically linked (it needs {0}), and an initramfs has no libraries: link it statically")]
    Dynamic(String),
}

/// Types of ELF files that are not programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotProgram {
    /// ET_REL, as `.o` and `.ko` files are.
    ObjectFile,
    /// ET_DYN without the mark of a static-pie program.
    SharedLibrary,
    /// Anything else.
    Other,
}

impl fmt::Display for NotProgram {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ObjectFile => "an object file",
            Self::SharedLibrary => "a shared library",
            Self::Other => "an ELF file of another type",
        })
    }
}

/// Checks that the program `bytes` needs only a kernel: ET_EXEC or static-pie, without a loader or libraries.
///
/// # Errors
/// The first problem found.
pub fn check_static_program(bytes: &[u8]) -> Result<(), Unfit> {
    let not_elf = |error: object::read::Error| Unfit::NotElf(error.to_string());
    let header = elf::FileHeader64::<Endianness>::parse(bytes).map_err(not_elf)?;
    let endian = header.endian().map_err(not_elf)?;
    let machine = header.e_machine(endian);
    if machine != MACHINE.0 {
        return Err(Unfit::Machine(machine));
    }
    let mut pie = false;
    let mut is_loadable = false;
    for segment in header.program_headers(endian, bytes).map_err(not_elf)? {
        if let Some(loader) = segment.interpreter(endian, bytes).map_err(not_elf)? {
            return Err(Unfit::Dynamic(String::from_utf8_lossy(loader).into_owned()));
        }
        if segment.p_type(endian) == elf::PT_LOAD {
            segment.data(endian, bytes).map_err(|()| Unfit::NotElf("truncated".to_owned()))?;
            is_loadable = true;
        }
        for entry in segment.dynamic(endian, bytes).map_err(not_elf)?.unwrap_or_default() {
            match entry.tag32(endian) {
                Some(elf::DT_NULL) => break,
                Some(elf::DT_NEEDED) => return Err(Unfit::Dynamic("shared libraries".to_owned())),
                Some(elf::DT_FLAGS_1) => pie = entry.d_val(endian) & u64::from(elf::DF_1_PIE) != 0,
                _ => {}
            }
        }
    }
    match header.e_type(endian) {
        elf::ET_EXEC | elf::ET_DYN if !is_loadable => Err(Unfit::NotElf("nothing to load".to_owned())),
        elf::ET_EXEC => Ok(()),
        elf::ET_DYN if pie => Ok(()),
        elf::ET_DYN => Err(Unfit::NotProgram(NotProgram::SharedLibrary)),
        elf::ET_REL => Err(Unfit::NotProgram(NotProgram::ObjectFile)),
        _ => Err(Unfit::NotProgram(NotProgram::Other)),
    }
}

/// Returns the bytes of the section `name`, if `bytes` is a 64-bit ELF file that has one.
///
/// # Errors
/// A malformed file.
pub fn section<'a>(bytes: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, object::read::Error> {
    let file = ElfFile64::<Endianness>::parse(bytes)?;
    file.section_by_name(name).map(|section| section.data()).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str) -> Result<(), Unfit> {
        check_static_program(&std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    #[test]
    fn a_static_program_passes_and_the_error_for_a_dynamic_one_has_its_loader() {
        assert_eq!(check("/bin/busybox"), Ok(()), "busybox-static must be installed");
        assert_eq!(check("/sbin/ldconfig"), Ok(()), "libc-bin's is static-pie");
        assert_eq!(check("/bin/ls"), Err(Unfit::Dynamic("/lib64/ld-linux-x86-64.so.2".to_owned())));
    }

    #[test]
    fn the_error_for_other_files_has_their_type() {
        assert!(matches!(check_static_program(b"#!/bin/sh\n"), Err(Unfit::NotElf(_))));
        assert!(matches!(check_static_program(b""), Err(Unfit::NotElf(_))));
        let busybox = std::fs::read("/bin/busybox").unwrap();
        assert_eq!(check_static_program(&busybox[..busybox.len() / 2]), Err(Unfit::NotElf("truncated".to_owned())));
        let with = |position: usize, byte: u8| {
            let mut bytes = busybox.clone();
            bytes[position] = byte;
            check_static_program(&bytes)
        };
        const E_TYPE: usize = 16;
        const E_MACHINE: usize = 18;
        assert_eq!(with(E_TYPE, 1), Err(Unfit::NotProgram(NotProgram::ObjectFile)));
        assert_eq!(with(E_TYPE, 3), Err(Unfit::NotProgram(NotProgram::SharedLibrary)));
        assert_eq!(with(E_TYPE, 4), Err(Unfit::NotProgram(NotProgram::Other)));
        const E_PHNUM: usize = 56;
        assert_eq!(with(E_PHNUM, 0), Err(Unfit::NotElf("nothing to load".to_owned())));
        assert_eq!(with(E_MACHINE, 183), Err(Unfit::Machine(183)));
    }

    #[test]
    fn every_truncated_header_is_an_error() {
        let busybox = std::fs::read("/bin/busybox").unwrap();
        for length in 0..512 {
            assert!(check_static_program(&busybox[..length]).is_err(), "{length}");
        }
    }
}
