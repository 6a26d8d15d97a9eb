//! The interpreter of a program: that of its `#!` line (execve(2)), or the loader of an ELF file (elf(5), PT_INTERP).

use crate::text::{split, strip_prefix};

/// The bytes of a program that are looked at. The kernel reads 256 of a `#!` line; a linker puts the loader's name after the program
/// headers.
pub const START: usize = 1024;

/// Returns the interpreter of a program that begins with these bytes, up to white space or a NUL. The carriage return of a line that
/// ends in CR LF is its last byte.
pub fn interpreter(start: &[u8]) -> Option<&[u8]> {
    if let Some(line) = strip_prefix(start, b"#!") {
        let line = split(line, b'\n').next()?.trim_ascii_start();
        let name = split(split(line, b' ').next()?, b'\t').next()?;
        return (!name.is_empty()).then_some(name);
    }
    strip_prefix(start, b"\x7fELF\x02")?;
    let headers = start.get(number(start, 32)?..)?; // e_phoff
    // The kernel executes no file whose headers have another size (fs/binfmt_elf.c, load_elf_phdrs()). Their number is not looked at: a
    // program that lacks its loader has the header.
    let (headers, _) = headers.as_chunks::<56>();
    let header = headers.iter().find(|header| header.starts_with(PT_INTERP))?;
    split(start.get(number(header, 8)?..)?, 0).next()
}

/// The type of the program header with the loader's name.
const PT_INTERP: &[u8] = &[3, 0, 0, 0];

/// Reads a little-endian number of 64 bits.
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?)).ok()
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_line_has_the_interpreter_before_its_argument() {
        for (start, expected) in [
            (&b"#!/bin/sh\necho"[..], Some(&b"/bin/sh"[..])),
            (b"#! \t/usr/bin/env  sh -x\n", Some(b"/usr/bin/env")),
            (b"#!/bin/sh\r\n", Some(b"/bin/sh\r")),
            (b"#!/bin/sh", Some(b"/bin/sh")),
            (b"#!\n/bin/sh", None),
            (b"#!  ", None),
            (b"#", None),
            (b"echo\n", None),
            (b"", None),
        ] {
            assert_eq!(interpreter(start), expected, "{}", start.escape_ascii());
        }
    }

    #[test]
    fn an_elf_file_has_its_loader() {
        let mut file = b"\x7fELF\x02".to_vec();
        file.resize(64 + 2 * 56, 0);
        let mut set =
            |at: usize, value: u64, size: usize| file[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
        set(32, 64, 8);
        set(54, 56, 2);
        set(56, 2, 2);
        set(64, 1, 4);
        set(64 + 56, 3, 4);
        set(64 + 56 + 8, 64 + 2 * 56, 8);
        let whole = [&file[..], b"/lib64/ld.so\0x"].concat();
        assert_eq!(interpreter(&whole), Some(&b"/lib64/ld.so"[..]));
        for length in 0..=file.len() {
            assert!(interpreter(&whole[..length]).is_none_or(<[u8]>::is_empty), "{length}");
        }
        let far: Vec<u8> =
            whole.iter().enumerate().map(|(at, byte)| if (32..40).contains(&at) { 0xff } else { *byte }).collect();
        assert_eq!(interpreter(&far), None);
        let loader = std::fs::read("/bin/ls").unwrap();
        assert_eq!(interpreter(&loader[..START]), Some(&b"/lib64/ld-linux-x86-64.so.2"[..]));
    }
}
