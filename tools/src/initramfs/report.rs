//! The sizes of each input in an initramfs.

use super::archive::measure;
use super::{Error, Packing};
use crate::initramfs::tree::Tree;

/// Returns a table with a line for each input: its names, its bytes in the archive, and its size compressed alone. The
/// compressed sum differs from the file: common content is compressed once there.
///
/// # Errors
/// Errors of reading the inputs.
pub fn report(tree: &Tree, packing: &Packing) -> Result<String, Error> {
    let mut lines = vec![("input".to_owned(), "names".to_owned(), "bytes".to_owned(), packing.compression.to_string())];
    let (before, after) = tree.archives();
    let copied = |archive: &crate::initramfs::tree::Archive| {
        let name = format!("archive {}", archive.path.display());
        (name, archive.entries.to_string(), archive.content_bytes.to_string(), archive.bytes.to_string())
    };
    lines.extend(before.iter().map(copied));
    for (number, name) in tree.origins().iter().enumerate() {
        let measured = measure(tree, number, packing)?;
        let (names, bytes, packed) = (measured.entries, measured.archive_bytes, measured.file_bytes);
        lines.push((name.clone(), names.to_string(), bytes.to_string(), packed.to_string()));
    }
    lines.extend(after.iter().map(copied));
    let width = lines.iter().map(|line| line.0.chars().count()).max().unwrap_or(0);
    Ok(lines
        .iter()
        .map(|(name, names, bytes, packed)| format!("{name:<width$}{names:>8}{bytes:>13}{packed:>13}\n"))
        .collect())
}
