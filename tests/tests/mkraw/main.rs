//! mkraw against outside judges: e2fsck, the kernel, GNU tar's own extraction, ext4-view, resize2fs.

mod archive;
mod extraction;
mod folder;
mod geometry;
mod kernel;
mod layers;
mod looking;
mod machine;
mod partition;
mod program;
mod random;
mod refusals;
mod shapes;
mod snapshot;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use whit_tools::disk::image::{self, Options, Summary};

/// An image in a directory of its own, and what was said of it.
struct Image {
    directory: TempDir,
    path: PathBuf,
    summary: Summary,
}

/// Builds an image through the library, and has e2fsck look at it.
fn build(tar: &[u8], options: &Options) -> Result<Image, image::Error> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    let file = File::create_new(&path).unwrap();
    let summary = image::build(tar, &file, options)?;
    assert_clean(&path);
    Ok(Image { directory, path, summary })
}

/// e2fsck finds nothing to say but its passes and its summary.
fn assert_clean(image: &Path) {
    let output = run(Command::new("e2fsck").arg("-fn").arg(image));
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let passes =
        lines.by_ref().take(5).enumerate().all(|(index, line)| line.starts_with(&format!("Pass {}: ", index + 1)));
    let summary = lines.next().is_some_and(|line| line.contains(" files (") && line.ends_with(" blocks"));
    assert!(output.status.success() && passes && summary && lines.next().is_none(), "e2fsck -fn: {text}");
}

/// Runs a program that must be there, and gives what it printed.
fn run(command: &mut Command) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    match command.env("PATH", path).output() {
        Ok(output) => output,
        Err(error) => panic!("{name}: {error}; install e2fsprogs, tar, util-linux and mount"),
    }
}

/// Runs a program that must succeed.
fn run_well(command: &mut Command) -> Vec<u8> {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
