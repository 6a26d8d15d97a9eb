//! `put`: images of other programs onto disks, and servers that fail.

mod hostile;
mod job;
mod loops;
mod shipped;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use whit_tests::commands::run_well;
use whit_tests::tool;

/// Bytes of an end of a disk, which hold partition tables and boot sectors.
const END: usize = 1 << 20;

/// A folder with a disk: a file, full of an old system's bytes.
struct Bench {
    folder: TempDir,
    disk: PathBuf,
    size: usize,
}

impl Bench {
    fn new(size: usize) -> Self {
        // In memory: put waits for the disk several times in each run.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::tempdir_in(folder).unwrap();
        let disk = folder.path().join("disk");
        fs::write(&disk, vec![0xee; size]).unwrap();
        Self { folder, disk, size }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs put with these words after the image and the disk.
    fn put(&self, source: &str, words: &[&str]) -> Output {
        put().arg(source).arg(&self.disk).args(words).output().unwrap()
    }

    /// Asserts that put succeeds and that the disk begins with the image.
    fn assert_written(&self, source: &str, words: &[&str], image: &[u8]) {
        let output = self.put(source, words);
        assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
        self.assert_has(image);
    }

    fn assert_has(&self, image: &[u8]) {
        let disk = fs::read(&self.disk).unwrap();
        assert_eq!(disk.len(), self.size);
        assert!(disk[..image.len()] == *image, "the disk differs from the image");
    }

    /// Asserts that put fails with one line, which has this text, and leaves nothing that boots.
    fn assert_refused(&self, source: &str, words: &[&str], expected: &str) {
        let output = self.put(source, words);
        self.assert_failed(&output, expected);
    }

    /// Asserts that put fails with one line, which has this text, before it touches the disk.
    fn assert_mistake(&self, source: &str, words: &[&str], expected: &str) {
        fs::write(&self.disk, vec![0xee; self.size]).unwrap();
        let output = self.put(source, words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), errors.lines().count()), (Some(1), 1), "{errors}");
        assert!(errors.starts_with("put: ") && errors.contains(expected), "{errors}\nexpected: {expected}");
        assert!(fs::read(&self.disk).unwrap().iter().all(|byte| *byte == 0xee), "{errors}the disk has changed");
    }

    fn assert_failed(&self, output: &Output, expected: &str) {
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.starts_with("put: ") && errors.lines().count() == 1, "{errors}");
        assert!(errors.contains(expected), "{errors}\nexpected: {expected}");
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        self.assert_unbootable();
    }

    /// Asserts that no firmware finds a boot sector or a table: both ends of the disk are zeros.
    fn assert_unbootable(&self) {
        let disk = fs::File::open(&self.disk).unwrap();
        for start in [0, self.size - END] {
            let mut end = vec![1; END];
            disk.read_exact_at(&mut end, start as u64).unwrap();
            assert!(end == vec![0; END], "the disk has content at {start}");
        }
    }
}

/// Returns put without the variables of the tests' environment that it reads.
fn put() -> Command {
    let mut command = Command::new(tool("put"));
    command.env_remove("IMG_URL").env_remove("DEST_DISK").env_remove("COMPRESSED").stdin(Stdio::null());
    command
}

/// Returns an image: a boot sector, content, a run of zeros, content, and a length that is no multiple of a MiB.
fn image(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut image: Vec<u8> = (0..bytes.div_ceil(8))
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect();
    image.truncate(bytes);
    image[bytes / 3..bytes / 2].fill(0);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}

/// Compresses a file by another program.
fn compressed(image: &Path, program: &str) -> Vec<u8> {
    run_well(Command::new(program).args(["-c", "-q", "-1"]).arg(image))
}

fn sha256(content: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, content).unwrap();
    String::from_utf8(run_well(Command::new("sha256sum").arg(file))).unwrap()[..64].to_owned()
}
