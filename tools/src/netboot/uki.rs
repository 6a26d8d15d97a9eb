//! A unified kernel image: systemd-stub with the kernel, the initramfs and the command line as further sections of its PE file
//! (systemd-stub(7), UAPI.5). Firmware starts it as any EFI program, also by HTTP boot.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Where a PE file has its parts (Microsoft's PE format).
const PE_OFFSET: usize = 0x3c;
const PE_MAGIC: &[u8] = b"PE\0\0";
/// From the PE magic on: of the COFF header.
const SECTION_COUNT: usize = 6;
const OPTIONAL_SIZE: usize = 20;
const OPTIONAL: usize = 24;
/// From the optional header on.
const SECTION_ALIGNMENT: usize = 32;
const FILE_ALIGNMENT: usize = 36;
const SIZE_OF_IMAGE: usize = 56;
const SIZE_OF_HEADERS: usize = 60;
const CHECKSUM: usize = 64;
/// A section header.
const SECTION: usize = 40;
const VIRTUAL_SIZE: usize = 8;
const VIRTUAL_ADDRESS: usize = 12;
/// IMAGE_SCN_CNT_INITIALIZED_DATA and IMAGE_SCN_MEM_READ.
const READ_ONLY_DATA: u32 = 0x4000_0040;
/// The least distance of sections in memory: a page. The kernel in place is started in it.
const PAGE: u32 = 4096;

/// The parts of a unified kernel image.
pub(super) struct Parts<'a> {
    pub(super) stub: &'a [u8],
    pub(super) release: &'a str,
    pub(super) words: &'a str,
    pub(super) kernel: &'a File,
    pub(super) initramfs: &'a File,
}

/// Where the content of a section comes from.
enum Content<'a> {
    Bytes(Vec<u8>),
    File(&'a File),
}

/// Why a file is not extended.
const NO_STUB: &str = "is not systemd-stub, a PE file for EFI; Debian's package systemd-boot-efi has it";

/// Returns whether a file is a program for EFI, as a kernel with CONFIG_EFI_STUB is.
pub(super) fn is_efi(start: &[u8]) -> bool {
    start.starts_with(b"MZ") && pe(start).is_some()
}

/// Writes the image to an empty file.
///
/// # Errors
/// A stub that is none, or has no room for more section headers; parts of more than 4 GiB; errors of reading and writing.
pub(super) fn write(parts: &Parts<'_>, out: &mut File) -> Result<(), String> {
    let release = format!("ID=whit\nNAME=whit\nVERSION_ID=\"{}\"\n", env!("CARGO_PKG_VERSION"));
    // The kernel is last: one that is decompressed in place writes to what follows it.
    let sections = [
        (".osrel", Content::Bytes(release.into_bytes())),
        (".uname", Content::Bytes(parts.release.as_bytes().to_vec())),
        (".cmdline", Content::Bytes(parts.words.as_bytes().to_vec())),
        (".initrd", Content::File(parts.initramfs)),
        (".linux", Content::File(parts.kernel)),
    ];
    let stub = parts.stub;
    let pe = pe(stub).ok_or(NO_STUB)?;
    let optional = pe + OPTIONAL;
    let number = |at| u32_at(stub, at).ok_or(NO_STUB);
    let count = usize::from(u16_at(stub, pe + SECTION_COUNT).ok_or(NO_STUB)?);
    let table = optional + usize::from(u16_at(stub, pe + OPTIONAL_SIZE).ok_or(NO_STUB)?);
    let file_alignment = number(optional + FILE_ALIGNMENT)?.max(1);
    let alignment = number(optional + SECTION_ALIGNMENT)?.max(PAGE);
    let first = table + count * SECTION;
    let after = first + sections.len() * SECTION;
    let headers = number(optional + SIZE_OF_HEADERS)?;
    if after > headers as usize || stub.get(first..after).is_none_or(|room| room.iter().any(|byte| *byte != 0)) {
        return Err("has no room for five more section headers".into());
    }
    let mut address = 0;
    for at in (table..first).step_by(SECTION) {
        let end = number(at + VIRTUAL_ADDRESS)?.checked_add(number(at + VIRTUAL_SIZE)?).ok_or(NO_STUB)?;
        address = address.max(end);
    }
    let too_large = || "the image would be larger than 4 GiB".to_owned();
    let up = |value: u32, to: u32| value.checked_next_multiple_of(to).ok_or_else(too_large);
    let mut head = stub.to_vec();
    let mut place = up(u32::try_from(stub.len()).map_err(|_| too_large())?, file_alignment)?;
    for (at, (name, content)) in (first..).step_by(SECTION).zip(&sections) {
        let bytes = u32::try_from(content.length().map_err(|error| error.to_string())?).map_err(|_| too_large())?;
        let in_memory = if *name == ".linux" { bytes.max(in_memory(parts.kernel)) } else { bytes };
        let in_file = up(bytes, file_alignment)?;
        address = up(address, alignment)?;
        head[at..at + name.len()].copy_from_slice(name.as_bytes());
        for (field, value) in [(8, in_memory), (12, address), (16, in_file), (20, place), (36, READ_ONLY_DATA)] {
            put(&mut head, at + field, value);
        }
        address = address.checked_add(in_memory).ok_or_else(too_large)?;
        place = place.checked_add(in_file).ok_or_else(too_large)?;
    }
    let total = u16::try_from(count + sections.len()).map_err(|_| NO_STUB)?;
    head[pe + SECTION_COUNT..][..2].copy_from_slice(&total.to_le_bytes());
    put(&mut head, optional + SIZE_OF_IMAGE, up(address, number(optional + SECTION_ALIGNMENT)?.max(1))?);
    put(&mut head, optional + CHECKSUM, 0); // UEFI does not check it.
    let written = (|| {
        out.write_all(&head)?;
        for (_, content) in &sections {
            pad(out, file_alignment)?;
            content.copy_to(out)?;
        }
        pad(out, file_alignment)
    })();
    written.map_err(|error: io::Error| error.to_string())
}

impl Content<'_> {
    fn length(&self) -> io::Result<u64> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::File(file) => file.metadata().map(|metadata| metadata.len()),
        }
    }

    fn copy_to(&self, out: &mut File) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => out.write_all(bytes),
            Self::File(file) => {
                let mut file = *file;
                file.seek(SeekFrom::Start(0))?;
                io::copy(&mut file, out).map(drop)
            }
        }
    }
}

/// Writes zeros up to the next multiple of `alignment`.
fn pad(out: &mut File, alignment: u32) -> io::Result<()> {
    let length = out.stream_position()?;
    let zeros = length.next_multiple_of(u64::from(alignment)) - length;
    io::copy(&mut io::repeat(0).take(zeros), out).map(drop)
}

/// Returns the bytes that a kernel needs from its start on, decompressed; 0 if its header does not say it.
fn in_memory(kernel: &File) -> u32 {
    let mut start = [0; 4096];
    let read = std::os::unix::fs::FileExt::read_at(kernel, &mut start, 0);
    let start = &start[..read.unwrap_or_default()];
    pe(start).and_then(|pe| u32_at(start, pe + OPTIONAL + SIZE_OF_IMAGE)).unwrap_or_default()
}

/// Returns the place of the PE header.
fn pe(file: &[u8]) -> Option<usize> {
    let at = u32_at(file, PE_OFFSET)? as usize;
    (file.get(at..at.checked_add(PE_MAGIC.len())?)? == PE_MAGIC).then_some(at)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Reads a stub.
///
/// # Errors
/// Errors of reading.
pub(super) fn read_stub(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path)
}
