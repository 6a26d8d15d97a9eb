//! Disks for machines, made by the usual tools: mkfs, mksquashfs, sfdisk.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use xtask::workspace;

include!("../golden/undump.rs");

/// Bytes of a sector, which partition tables count in.
const SECTOR: u64 = 512;

/// A temporary folder of disks.
pub struct Disks {
    directory: TempDir,
}

impl Disks {
    /// Makes an empty folder.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        let directory = tempfile::tempdir_in(workspace::target()).unwrap();
        for name in ["dev", "proc", "sys"] {
            fs::create_dir_all(directory.path().join("tree").join(name)).unwrap();
        }
        Self { directory }
    }

    /// Returns a tree of the directories that an init mounts over.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.directory.path().join("tree")
    }

    /// Makes a disk formatted by `program`, a command line to which the disk's path is appended.
    #[must_use]
    pub fn formatted(&self, name: &str, mib: u64, program: &[&str]) -> PathBuf {
        let path = self.blank(name, mib);
        run(program, [path.as_os_str()], b"");
        path
    }

    /// Makes a disk from [`Disks::tree`] by `program`, a command line in which `{disk}` and `{tree}` are replaced by
    /// their paths.
    #[must_use]
    pub fn packed(&self, name: &str, program: &[&str]) -> PathBuf {
        let path = self.path(name);
        let tree = self.tree();
        let (program, arguments) = program.split_first().unwrap();
        let arguments = arguments.iter().map(|argument| match *argument {
            "{disk}" => path.as_os_str(),
            "{tree}" => tree.as_os_str(),
            word => OsStr::new(word),
        });
        run(&[program], arguments, b"");
        path
    }

    /// Makes a disk with the partition table of an sfdisk script, and another disk's content in the partition at
    /// `first_sector`.
    #[must_use]
    pub fn partitioned(&self, name: &str, mib: u64, script: &str, content: &Path, first_sector: u64) -> PathBuf {
        let path = self.blank(name, mib);
        run(&["sfdisk", "--quiet"], [path.as_os_str()], script.as_bytes());
        let content = fs::read(content).unwrap();
        let disk = OpenOptions::new().write(true).open(&path).unwrap();
        for (block, at) in content.chunks(4096).zip((first_sector * SECTOR..).step_by(4096)) {
            if block.iter().any(|byte| *byte != 0) {
                disk.write_all_at(block, at).unwrap(); // its holes stay holes
            }
        }
        path
    }

    /// Makes a disk from the dump of one in tests/golden/disks, with the content of another disk before it: what the dump has as
    /// zeros stays that of the other.
    #[must_use]
    pub fn golden(&self, name: &str, content: Option<&Path>) -> PathBuf {
        let path = self.path(&format!("member-{name}"));
        let dump = workspace::root().join("tests/golden/disks").join(format!("{name}.hexdump"));
        let golden = undump(&fs::read_to_string(dump).unwrap());
        let length = golden.len() as u64;
        match content {
            Some(content) => drop(fs::copy(content, &path).unwrap()),
            None => drop(File::create(&path).unwrap()),
        }
        let disk = OpenOptions::new().write(true).open(&path).unwrap();
        disk.set_len(length.max(disk.metadata().unwrap().len())).unwrap();
        for (block, at) in golden.chunks(512).zip((0..).step_by(512)) {
            if block.iter().any(|byte| *byte != 0) {
                disk.write_all_at(block, at).unwrap();
            }
        }
        path
    }

    /// Makes a disk of zeros.
    #[must_use]
    pub fn blank(&self, name: &str, mib: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path).unwrap().set_len(mib << 20).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn run<'a>(program: &[&str], arguments: impl IntoIterator<Item = &'a OsStr>, input: &[u8]) {
    let (name, words) = program.split_first().unwrap();
    let mut child = Command::new(name)
        .args(words)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{name}: {error}; cargo selftest installs it"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}
