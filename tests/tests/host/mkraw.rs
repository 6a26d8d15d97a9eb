//! mkraw compared with other programs: e2fsck, the kernel, GNU tar's extraction, ext4-view, resize2fs.

mod extraction;
mod folder;
mod geometry;
mod kernel;
mod layers;
mod looking;
mod others;
mod partition;
mod program;
mod random;
mod refusals;
mod shapes;
mod verity;

use std::fs::File;
use std::path::PathBuf;

use tempfile::TempDir;
use whit_tests::commands::assert_clean;
use whit_tools::disk::image::{self, Options, Summary};

/// An image in a directory of its own, and its summary.
struct Image {
    directory: TempDir,
    path: PathBuf,
    summary: Summary,
}

/// Builds an image through the library, and checks it by e2fsck.
fn build(tar: &[u8], options: &Options) -> Result<Image, image::Error> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    let file = File::create_new(&path).unwrap();
    let summary = image::build(tar, &file, options)?;
    assert_clean(&path);
    Ok(Image { directory, path, summary })
}
