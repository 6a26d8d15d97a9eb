//! Archives: written by GNU tar from a directory, or built member by member where no tar writes such a member.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::commands::run_well;

/// Two blocks of zeros.
pub const END: [u8; 1024] = [0; 1024];

/// Returns the archive that GNU tar writes of a directory's content.
pub fn of_directory(directory: &Path, options: &[&str]) -> Vec<u8> {
    run_well(Command::new("tar").arg("-cC").arg(directory).arg("--sort=name").args(options).arg("."))
}

/// Returns the archives of `golden/images`, which other programs wrote.
pub fn golden_archives() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/images");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut archives: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "zst")).collect();
    archives.sort();
    archives
}

/// Returns an archive's file name without its ends.
pub fn name_of(archive: &Path) -> String {
    archive.file_name().unwrap().to_str().unwrap().split('.').next().unwrap().to_owned()
}

/// Returns an archive of members.
pub fn of(members: &[Vec<u8>]) -> Vec<u8> {
    [&members.concat(), &END[..]].concat()
}

/// Encodes a regular file.
pub fn file(path: &str, content: &[u8]) -> Vec<u8> {
    member(path, b'0', "", content)
}

/// Encodes a directory.
pub fn directory(path: &str) -> Vec<u8> {
    member(path, b'5', "", b"")
}

/// Encodes a symbolic link.
pub fn symlink(path: &str, target: &str) -> Vec<u8> {
    member(path, b'2', target, b"")
}

/// Encodes a hard link.
pub fn hard_link(path: &str, target: &str) -> Vec<u8> {
    member(path, b'1', target, b"")
}

/// Encodes a header with its content; a name that is too long goes into a GNU header before it.
pub fn member(path: &str, kind: u8, link: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (text, kind) in [(path, b'L'), (link, b'K')] {
        if text.len() > 100 {
            bytes.extend(plain(b"././@LongLink", kind, b"", &[text.as_bytes(), b"\0"].concat()));
        }
    }
    let short = |text: &str| text.as_bytes().iter().take(100).copied().collect::<Vec<u8>>();
    bytes.extend(plain(&short(path), kind, &short(link), content));
    bytes
}

/// Encodes a header of exactly these fields, with mode 0640, owner 1:2 and time 1,000,000,000.
fn plain(path: &[u8], kind: u8, link: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    header[..path.len()].copy_from_slice(path);
    header[100..108].copy_from_slice(b"0000640\0");
    header[108..116].copy_from_slice(b"0000001\0");
    header[116..124].copy_from_slice(b"0000002\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    header[136..148].copy_from_slice(format!("{:011o}\0", 1_000_000_000).as_bytes());
    header[156] = kind;
    header[157..157 + link.len()].copy_from_slice(link);
    header[257..265].copy_from_slice(b"ustar  \0");
    seal(&mut header);
    let padding = content.len().next_multiple_of(512) - content.len();
    [&header, content, &[0; 512][..padding]].concat()
}

/// Writes the checksum of a header into it.
pub fn seal(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header[..512].iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
