//! ELF files: checks that a program is static, reads a section of a module, and looks for a kernel's PVH entry.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use object::Endianness;
use object::elf;
use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};
use object::read::{Object, ObjectSection};

use crate::machine::Machine;

/// Why a program cannot run in an initramfs without libraries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Not a well-formed 64-bit ELF file.
    #[error("is not a 64-bit ELF program ({0})")]
    NotElf(String),
    /// For a machine without an init.
    #[error("is for machine {0} (ELF e_machine), not for one of x86_64, aarch64 and riscv64")]
    Machine(u16),
    /// For another machine than the init.
    #[error("is for {found}, but the init is for {wanted}")]
    OtherMachine {
        /// The program's.
        found: Machine,
        /// The init's.
        wanted: Machine,
    },
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

/// Returns e_machine of a 64-bit little-endian ELF file whose start is `bytes`.
#[must_use]
pub fn machine(bytes: &[u8]) -> Option<u16> {
    const E_MACHINE: usize = 18;
    let number = bytes.get(E_MACHINE..E_MACHINE + 2)?;
    bytes.starts_with(b"\x7fELF\x02\x01").then(|| number.iter().rev().fold(0, |all, byte| all << 8 | u16::from(*byte)))
}

/// Checks that the program `bytes` needs only a kernel: ET_EXEC or static-pie, without a loader or libraries. Returns its machine.
///
/// # Errors
/// The first problem found.
pub fn check_static_program(bytes: &[u8]) -> Result<Machine, Unfit> {
    let not_elf = |error: object::read::Error| Unfit::NotElf(error.to_string());
    let header = elf::FileHeader64::<Endianness>::parse(bytes).map_err(not_elf)?;
    let endian = header.endian().map_err(not_elf)?;
    let machine = header.e_machine(endian);
    let machine = Machine::of_elf(machine).ok_or(Unfit::Machine(machine))?;
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
        elf::ET_EXEC => Ok(machine),
        elf::ET_DYN if pie => Ok(machine),
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

/// Returns the memory that the segments of an ELF file take; `None` for any other file.
#[must_use]
pub fn loaded_bytes(path: &Path) -> Option<u64> {
    let mut start = Vec::new();
    File::open(path).ok()?.take(4096).read_to_end(&mut start).ok()?;
    let header = elf::FileHeader64::<Endianness>::parse(&start[..]).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, &start[..]).ok()?.iter();
    let loaded = segments.filter(|segment| segment.p_type(endian) == elf::PT_LOAD);
    Some(loaded.fold(0, |sum: u64, segment| sum.saturating_add(segment.p_memsz(endian))))
}

/// Returns whether `bytes` is a whole x86-64 kernel that a hypervisor can enter by PVH, in protected mode and without its
/// decompressor: its ELF notes have the entry (Xen's public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY).
#[must_use]
pub fn has_pvh_entry(bytes: &[u8]) -> bool {
    find_pvh_entry(bytes).is_ok_and(|is_found| is_found)
}

fn find_pvh_entry(bytes: &[u8]) -> Result<bool, object::read::Error> {
    const OWNER: &[u8] = b"Xen";
    const ENTRY: u32 = 18;
    let header = elf::FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let mut is_found = false;
    for segment in header.program_headers(endian, bytes)? {
        if segment.p_type(endian) == elf::PT_LOAD && segment.data(endian, bytes).is_err() {
            return Ok(false);
        }
        let Some(mut notes) = segment.notes(endian, bytes)? else { continue };
        while let Some(note) = notes.next()? {
            is_found |= note.name() == OWNER && note.n_type(endian) == ENTRY;
        }
    }
    Ok(is_found && header.e_machine(endian) == elf::EM_X86_64)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns an ELF file with a segment that holds a note of this owner and type, and that note's header.
    pub(crate) fn kernel(owner: &[u8; 3], kind: u32) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        for half in [elf::ET_EXEC, elf::EM_X86_64] {
            file.extend(half.to_le_bytes());
        }
        file.extend(1_u32.to_le_bytes());
        // Entry, program headers, section headers; flags; sizes and numbers of the headers.
        for long in [0x100_0000_u64, 64, 0] {
            file.extend(long.to_le_bytes());
        }
        file.extend([0; 4]);
        for half in [64_u16, 56, 2, 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        for kind in [elf::PT_LOAD, elf::PT_NOTE] {
            file.extend(kind.to_le_bytes());
            file.extend([0; 4]);
            // Offset, virtual and physical address, sizes in the file and in memory, alignment.
            for long in [176_u64, 0x100_0000, 0x100_0000, 20, 20, 4] {
                file.extend(long.to_le_bytes());
            }
        }
        for word in [4, 4, kind] {
            file.extend(word.to_le_bytes());
        }
        file.extend(owner);
        file.push(0);
        file.extend(0x100_0a30_u32.to_le_bytes());
        file
    }

    #[test]
    fn a_kernel_with_a_pvh_note_is_found() {
        let whole = kernel(b"Xen", 18);
        assert!(has_pvh_entry(&whole));
        assert!(has_pvh_entry(&[&whole[..], b"relocations"].concat()));
        for (owner, kind) in [(b"Xen", 1), (b"GNU", 18)] {
            assert!(!has_pvh_entry(&kernel(owner, kind)), "{kind}");
        }
        for length in 0..whole.len() {
            assert!(!has_pvh_entry(&whole[..length]), "{length}");
        }
        const E_MACHINE: usize = 18;
        let mut other = whole;
        other[E_MACHINE] = 183;
        assert!(!has_pvh_entry(&other));
    }

    fn check(path: &str) -> Result<Machine, Unfit> {
        check_static_program(&std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    #[test]
    fn a_static_program_passes_and_the_error_for_a_dynamic_one_has_its_loader() {
        assert_eq!(check("/bin/busybox"), Ok(Machine::HOST), "busybox-static must be installed");
        assert_eq!(check("/sbin/ldconfig"), Ok(Machine::HOST), "libc-bin's is static-pie");
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
        assert_eq!(with(E_MACHINE, 183), Ok(Machine::Aarch64));
        assert_eq!(with(E_MACHINE, 40), Err(Unfit::Machine(40)));
    }

    #[test]
    fn every_truncated_header_is_an_error() {
        let busybox = std::fs::read("/bin/busybox").unwrap();
        for length in 0..512 {
            assert!(check_static_program(&busybox[..length]).is_err(), "{length}");
        }
    }
}
