//! The .rpm of Fedora, RHEL, openSUSE and Amazon: a lead, two headers and a payload, which is a compressed cpio archive
//! (rpm's docs/manual/format_v4.md and format_v6.md).
//!
//! The lead only identifies the file. The first header has signatures, padded to a multiple of 8; neither these nor the
//! digests are verified. Payloads with aligned content (rpm 6.2) are refused.

mod header;
mod stripped;

use std::io::{self, Read};

use super::folder::Folder;
use crate::archive::newc;
use crate::archive::segment::{ReadError, Reader};
use header::{Header, Tag, Type};

/// The start of the lead.
pub(super) const MAGIC: &[u8] = b"\xed\xab\xee\xdb";
const LEAD_BYTES: u64 = 96;
const SIGNATURE_ALIGNMENT: u64 = 8;

/// The rpm features that a package requires. A reader without support for content at multiples of 4096 misreads it.
const REQUIRENAME: Tag = Tag(1049, "REQUIRENAME", Type::Strings);
const ALIGNED: &[u8] = b"rpmlib(PayloadAlignment)";

/// Unpacks modules and firmware of a package.
pub(super) fn unpack(mut input: impl Read + Send, folder: &mut Folder) -> io::Result<()> {
    header::take(&mut input, LEAD_BYTES, "lead")?;
    let signature = Header::read(&mut input, "signature")?;
    header::take(&mut input, newc::padding(signature.bytes(), SIGNATURE_ALIGNMENT), "signature")?;
    let header = Header::read(&mut input, "header")?;
    if header.has(REQUIRENAME) && header.strings(REQUIRENAME)?.contains(&ALIGNED) {
        return Err(io::Error::other("an .rpm with aligned content: unpack it with rpm2archive, and give the folder"));
    }
    if header.has(stripped::LONGFILESIZES) {
        stripped::unpack(input, &header, folder)
    } else {
        unpack_archive(input, folder)
    }
}

/// Unpacks a payload that is an ordinary cpio archive.
fn unpack_archive(input: impl Read, folder: &mut Folder) -> io::Result<()> {
    let mut reader = Reader::new(input);
    while let Some(member) = reader.next_entry().map_err(io_error)? {
        if !member.is_file() {
            continue;
        }
        let newc::Header { dev: (major, minor), ino, nlink, filesize, .. } = member.header;
        let read = |target: &mut [u8]| reader.read_data(target).map_err(io_error);
        if nlink > 1 {
            let device = u64::from(major) << 32 | u64::from(minor);
            folder.linked_file(&member.name, (device, ino.into()), filesize > 0, read)?;
        } else {
            folder.file(&member.name, read)?;
        }
    }
    if reader.segments().is_empty() { Err(io::Error::other("the .rpm ends before its payload")) } else { Ok(()) }
}

/// Converts an error of a payload.
fn io_error(error: ReadError) -> io::Error {
    match error {
        ReadError::Read(error) => error,
        ReadError::Unknown(_) => {
            io::Error::other("the .rpm's payload is not a cpio archive, or its compression is not supported")
        }
        error => io::Error::other(format!("the .rpm's payload: {error}")),
    }
}

#[cfg(test)]
mod tests;
