//! The file of a kernel, in any of its formats: its machine, its release and its unpacked content.
//!
//! x86-64 has bzImage. arm64 and riscv64 have Image (Documentation/arch/arm64/booting.rst), its gzip, and "EFI zboot": a program for
//! EFI that holds a compressed Image (drivers/firmware/efi/libstub/zboot-header.S).

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{bzimage, elf};
use crate::cli::input;
use crate::compress::{Decoder, Method};
use crate::machine::Machine;

/// The largest unpacked kernel.
const KERNEL_MAX_BYTES: u64 = 512 << 20;
/// Bytes at the start that show the format.
const START: usize = 0x250;
/// The magic of an Image, at [`IMAGE_MAGIC`].
const IMAGES: [(&[u8; 4], Machine); 2] = [(b"ARM\x64", Machine::Aarch64), (b"RSC\x05", Machine::Riscv64)];
const IMAGE_MAGIC: usize = 0x38;
/// The text in a kernel that its first line on the console is made of (init/version.c, linux_banner).
const BANNER: &[u8] = b"Linux version ";

/// A kernel's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    BzImage,
    /// Image, for this machine.
    Image(Machine),
    /// The EFI zboot form of an Image.
    Zboot,
    /// A compressed Image.
    Compressed(Method),
    /// Another file: a configuration, an ELF file.
    Other,
}

impl Format {
    fn of(start: &[u8]) -> Self {
        const BZIMAGE: (usize, &[u8]) = (0x202, b"HdrS");
        const ZBOOT: (usize, &[u8]) = (4, b"zimg");
        let has = |(at, magic): (usize, &[u8])| start.get(at..at + magic.len()) == Some(magic);
        if has(BZIMAGE) {
            return Self::BzImage;
        }
        if start.starts_with(b"MZ") && has(ZBOOT) {
            return Self::Zboot;
        }
        if let Some((_, machine)) = IMAGES.iter().find(|(magic, _)| has((IMAGE_MAGIC, magic.as_slice()))) {
            return Self::Image(*machine);
        }
        Method::of(start).map_or(Self::Other, Self::Compressed)
    }
}

/// Returns the machine of a kernel; `None` for a file that is no kernel.
///
/// # Errors
/// Errors of reading.
pub fn machine(path: &Path) -> io::Result<Option<Machine>> {
    let file = input::open(path)?;
    let start = start(&file)?;
    Ok(match Format::of(&start) {
        Format::BzImage => Some(Machine::X86_64),
        Format::Image(machine) => Some(machine),
        Format::Zboot => pe_machine(&file, &start)?,
        Format::Compressed(method) => match Format::of(&unpack(method, file, START as u64)?) {
            Format::Image(machine) => Some(machine),
            _ => None,
        },
        Format::Other => elf::machine(&start).and_then(Machine::of_elf),
    })
}

/// Returns the release of a kernel, as `uname -r` prints it; `None` for a file without one.
///
/// # Errors
/// Errors of reading.
pub fn release(path: &Path) -> io::Result<Option<String>> {
    match Format::of(&start(&input::open(path)?)?) {
        Format::BzImage => bzimage::release(path),
        Format::Image(_) | Format::Zboot => Ok(banner(&content(path)?)),
        Format::Compressed(_) if machine(path)?.is_some() => Ok(banner(&content(path)?)),
        Format::Compressed(_) | Format::Other => Ok(None),
    }
}

/// Returns the kernel that a file unpacks to; another file unchanged.
///
/// # Errors
/// Errors of reading and decompressing.
pub fn content(path: &Path) -> io::Result<Vec<u8>> {
    let file = input::open(path)?;
    let start = start(&file)?;
    match Format::of(&start) {
        Format::BzImage => return bzimage::content(path),
        Format::Zboot => {
            if let Some((at, length)) = payload(&start) {
                io::Seek::seek(&mut &file, io::SeekFrom::Start(at))?;
                let mut bytes = Vec::new();
                (&file).take(length).read_to_end(&mut bytes)?;
                if let Some(method) = Method::of(&bytes) {
                    return unpack(method, Cursor::new(bytes), KERNEL_MAX_BYTES);
                }
            }
        }
        Format::Compressed(method) => return unpack(method, file, KERNEL_MAX_BYTES),
        Format::Image(_) | Format::Other => {}
    }
    let mut bytes = Vec::new();
    let mut file = input::open(path)?.take(KERNEL_MAX_BYTES);
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns whether a file is an Image in a compressed form, which no hypervisor but QEMU and no boot loader but GRUB and U-Boot unpacks.
///
/// # Errors
/// Errors of reading.
pub fn is_packed_image(path: &Path) -> io::Result<bool> {
    let is_packed = matches!(Format::of(&start(&input::open(path)?)?), Format::Zboot | Format::Compressed(_));
    Ok(is_packed && machine(path)?.is_some())
}

fn start(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; START];
    let length = file.read_at(&mut bytes, 0)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// Returns up to `limit` bytes of a compressed content. Data after it is ignored.
fn unpack(method: Method, file: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Decoder::new(method, io::BufReader::new(file))?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// Returns offset and length of the compressed Image in an EFI zboot kernel.
fn payload(start: &[u8]) -> Option<(u64, u64)> {
    Some((number(start, 8)?.into(), number(start, 12)?.into()))
}

/// Returns the machine of a PE file: its header is at the offset in 0x3c, and begins with `PE\0\0` and the machine.
fn pe_machine(file: &File, start: &[u8]) -> io::Result<Option<Machine>> {
    let Some(at) = number(start, 0x3c) else { return Ok(None) };
    let mut header = [0; 6];
    match file.read_exact_at(&mut header, at.into()) {
        Ok(()) if header.starts_with(b"PE\0\0") => Ok(Machine::of_pe(u16::from_le_bytes([header[4], header[5]]))),
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(None),
    }
}

/// Returns the release in the first banner of a kernel whose next word is one: another text may begin like it (`%s`).
fn banner(kernel: &[u8]) -> Option<String> {
    let starts = memchr::memmem::find_iter(kernel, BANNER).map(|at| &kernel[at + BANNER.len()..]);
    let words = starts.filter_map(|rest| rest.iter().take(128).position(|byte| *byte == b' ').map(|end| &rest[..end]));
    let mut releases = words.filter(|word| word.first().is_some_and(u8::is_ascii_digit));
    releases.next().and_then(|word| String::from_utf8(word.to_vec()).ok())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::bzimage::tests::{bzimage, gzip};
    use super::*;

    /// Returns an Image for arm64 that has a banner.
    pub(crate) fn arm64(release: &str) -> Vec<u8> {
        let mut bytes = vec![0; 0x400];
        bytes[0x38..0x3c].copy_from_slice(b"ARM\x64");
        bytes.extend(b"Linux version %s\0");
        bytes.extend(format!("Linux version {release} (me) #1 SMP\n\0").bytes());
        bytes
    }

    /// Returns an EFI zboot kernel.
    fn zboot(machine: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 0x100];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[4..8].copy_from_slice(b"zimg");
        bytes[8..12].copy_from_slice(&0x100_u32.to_le_bytes());
        bytes[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes[0x3c..0x40].copy_from_slice(&0x40_u32.to_le_bytes());
        bytes[0x40..0x44].copy_from_slice(b"PE\0\0");
        bytes[0x44..0x46].copy_from_slice(&machine.to_le_bytes());
        [bytes, payload.to_vec(), b"more of the program".to_vec()].concat()
    }

    #[test]
    fn every_format_of_a_kernel_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmlinuz");
        let image = arm64("6.12.9-arm64");
        let riscv = [&image[..0x38], b"RSC\x05", &image[0x3c..]].concat();
        let zstd = zstd::encode_all(image.as_slice(), 3).unwrap();
        for (file, machine, release) in [
            (bzimage("9.8.7 (me)", b""), Some(Machine::X86_64), Some("9.8.7")),
            (image.clone(), Some(Machine::Aarch64), Some("6.12.9-arm64")),
            (riscv, Some(Machine::Riscv64), Some("6.12.9-arm64")),
            (gzip(&image), Some(Machine::Aarch64), Some("6.12.9-arm64")),
            (zboot(0xaa64, &gzip(&image)), Some(Machine::Aarch64), Some("6.12.9-arm64")),
            (zboot(0xaa64, &zstd), Some(Machine::Aarch64), Some("6.12.9-arm64")),
            (zboot(0x1234, &zstd), None, Some("6.12.9-arm64")),
            (gzip(b"no kernel"), None, None),
            (b"CONFIG_RD_GZIP=y\n".to_vec(), None, None),
            (Vec::new(), None, None),
        ] {
            std::fs::write(&path, &file).unwrap();
            let found = (super::machine(&path).unwrap(), super::release(&path).unwrap());
            assert_eq!(found, (machine, release.map(str::to_owned)), "{:?}", Format::of(&file));
        }
        for file in [gzip(&image), zboot(0xaa64, &gzip(&image)), zboot(0xaa64, &zstd), image.clone()] {
            std::fs::write(&path, &file).unwrap();
            assert_eq!(content(&path).unwrap(), image);
            assert_eq!(is_packed_image(&path).unwrap(), file != image);
        }
    }

    #[test]
    fn every_truncated_kernel_is_read_or_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmlinuz");
        let image = arm64("6.12.9-arm64");
        for whole in [zboot(0xaa64, &gzip(&image)), gzip(&image), image] {
            for length in 0..whole.len() {
                std::fs::write(&path, &whole[..length]).unwrap();
                let _ = (machine(&path), release(&path), content(&path));
            }
        }
    }
}
