//! The disk of the demo, after the machine's end.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// The offset of the superblock in an ext4 file system; the offsets of its fields follow (Documentation/filesystems/ext4/super.rst).
const SUPERBLOCK: u64 = 1024;
const S_STATE: u64 = 0x3a;
const S_FEATURE_INCOMPAT: u64 = 0x60;
/// In `s_state`: cleanly unmounted.
const EXT4_VALID_FS: u16 = 0x0001;
/// In `s_feature_incompat`: the journal has to be replayed.
const INCOMPAT_RECOVER: u32 = 0x0004;

/// Returns whether the guest unmounted the file system, or made it read-only, before it ended.
pub(crate) fn is_clean(image: &Path) -> Result<bool, String> {
    let describe = |error| format!("{}: {error}", image.display());
    let file = File::open(image).map_err(describe)?;
    let mut state = [0; 2];
    file.read_exact_at(&mut state, SUPERBLOCK + S_STATE).map_err(describe)?;
    let mut features = [0; 4];
    file.read_exact_at(&mut features, SUPERBLOCK + S_FEATURE_INCOMPAT).map_err(describe)?;
    let is_valid = u16::from_le_bytes(state) & EXT4_VALID_FS != 0;
    Ok(is_valid && u32::from_le_bytes(features) & INCOMPAT_RECOVER == 0)
}

/// Returns the size of a file, and the space that it takes on the disk: images have holes.
pub(crate) fn sizes(path: &Path) -> Result<(u64, u64), String> {
    const BLOCK_BYTES: u64 = 512; // the unit of st_blocks on every file system
    let metadata = path.metadata().map_err(|error| format!("{}: {error}", path.display()))?;
    Ok((metadata.len(), metadata.blocks() * BLOCK_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_is_valid_and_without_a_journal_to_replay() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        for (state, features, expected) in [(1, 0x2c2, true), (1, 0x2c6, false), (0, 0x2c2, false), (3, 0x2c2, true)] {
            let mut bytes = vec![0u8; 2048];
            bytes[1024 + 0x3a] = state;
            bytes[1024 + 0x60..1024 + 0x64].copy_from_slice(&u32::to_le_bytes(features));
            std::fs::write(&image, bytes).unwrap();
            assert_eq!(is_clean(&image), Ok(expected), "{state} {features:#x}");
        }
        std::fs::write(&image, [0; 1100]).unwrap();
        assert!(is_clean(&image).is_err());
    }
}
