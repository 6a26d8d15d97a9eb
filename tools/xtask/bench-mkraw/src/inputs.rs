//! The archives, in the shapes of mkraw's study. They are made here, and the same on every host except for Debian's updates.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use whit_tools::programs::{self, Program};

/// One archive.
pub(crate) struct Input {
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) write: fn(&Path, &Path) -> Result<(), String>,
    /// The goal of mkraw, if there is one.
    pub(crate) goal: Option<&'static str>,
}

/// All archives.
pub(crate) const ALL: [Input; 6] = [
    Input { name: "nginx root", file: "nginx.tar", write: write_debian, goal: Some("1.3 x cp") },
    Input { name: "50,400 small files", file: "many.tar", write: write_many, goal: Some("2.5 x cp") },
    Input { name: "1 GiB with 5 % data", file: "sparse.tar", write: write_sparse, goal: Some("0.5 x cp") },
    Input { name: "busybox root", file: "busybox.tar", write: write_busybox, goal: Some("3 ms") },
    Input {
        name: "1,000,000 empty files",
        file: "million.tar",
        write: write_million,
        goal: Some("1,400 ms and 160 MB"),
    },
    Input { name: "nginx root, gzip", file: "nginx.tar.gz", write: write_gzip, goal: None },
];

const MMDEBSTRAP: Program = Program { name: "mmdebstrap", package: "mmdebstrap" };
const BUSYBOX: Program = Program { name: "busybox", package: "busybox-static" };

/// Writes Debian's smallest system with nginx, as `docker export` would.
fn write_debian(path: &Path, _: &Path) -> Result<(), String> {
    programs::install(&[MMDEBSTRAP], |line| eprintln!("{line}"))?;
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", "--include=nginx-light", "--format=tar", "bookworm"]).arg(path);
    let status = command.status().map_err(|error| format!("mmdebstrap: {error}"))?;
    if status.success() { Ok(()) } else { Err("mmdebstrap failed: see its message above".to_owned()) }
}

fn write_gzip(path: &Path, folder: &Path) -> Result<(), String> {
    let plain = ALL[0].make(folder)?;
    let output = File::create(path).map_err(|error| error.to_string())?;
    let status = Command::new("gzip").arg("-c").arg(plain).stdout(Stdio::from(output)).status();
    if status.is_ok_and(|status| status.success()) { Ok(()) } else { Err("gzip failed".to_owned()) }
}

/// Writes 800 directories of 48 files, and one of 12,000: lengths as in /usr/share, most of a few hundred bytes to a few KiB.
fn write_many(path: &Path, _: &Path) -> Result<(), String> {
    let mut random = Random(1);
    write(path, |tar| {
        for package in 0..800 {
            tar.directory(&format!("usr/share/package{package:03}/"))?;
            for file in 0..48 {
                let content = random.bytes_of_some_length();
                tar.file(&format!("usr/share/package{package:03}/file{file:02}.dat"), &content)?;
            }
        }
        tar.directory("var/flat/")?;
        for file in 0..12_000 {
            let content = random.bytes_of_some_length();
            tar.file(&format!("var/flat/entry-{file:05}.json"), &content)?;
        }
        Ok(())
    })
}

/// Writes a file of 1 GiB with data in every twentieth piece of 64 KiB, and the zeros written out as by `docker export`.
fn write_sparse(path: &Path, _: &Path) -> Result<(), String> {
    const PIECE: usize = 64 << 10;
    const PIECES: usize = (1 << 30) / PIECE;
    let mut random = Random(2);
    write(path, |tar| {
        tar.header("disk.raw", b'0', (PIECE * PIECES) as u64, "")?;
        for piece in 0..PIECES {
            let content = if piece % 20 == 0 { random.bytes(PIECE) } else { vec![0; PIECE] };
            tar.output.write_all(&content)?;
        }
        Ok(())
    })
}

/// Writes a static busybox and a link for each of its programs.
fn write_busybox(path: &Path, _: &Path) -> Result<(), String> {
    programs::install(&[BUSYBOX], |line| eprintln!("{line}"))?;
    let program = programs::find("busybox").ok_or("busybox is not installed")?;
    let content = std::fs::read(&program).map_err(|error| error.to_string())?;
    let list = Command::new(&program).arg("--list").output().map_err(|error| error.to_string())?;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    write(path, |tar| {
        for directory in ["bin/", "dev/", "etc/", "proc/", "sys/", "tmp/"] {
            tar.directory(directory)?;
        }
        tar.file("bin/busybox", &content)?;
        for applet in list.lines().filter(|applet| *applet != "busybox") {
            tar.header(&format!("bin/{applet}"), b'2', 0, "busybox")?;
        }
        Ok(())
    })
}

fn write_million(path: &Path, _: &Path) -> Result<(), String> {
    write(path, |tar| {
        for directory in 0..1000 {
            tar.directory(&format!("d{directory:03}/"))?;
            for file in 0..1000 {
                tar.file(&format!("d{directory:03}/file{file:06}"), b"")?;
            }
        }
        Ok(())
    })
}

fn write(path: &Path, fill: impl FnOnce(&mut Tar) -> io::Result<()>) -> Result<(), String> {
    let create = || {
        let mut tar = Tar { output: BufWriter::new(File::create(path)?) };
        fill(&mut tar)?;
        tar.output.write_all(&[0; 1024])?;
        tar.output.flush()
    };
    create().map_err(|error| format!("{}: {error}", path.display()))
}

/// A writer of ustar headers with names of up to 100 bytes.
struct Tar {
    output: BufWriter<File>,
}

impl Tar {
    fn directory(&mut self, name: &str) -> io::Result<()> {
        self.header(name, b'5', 0, "")
    }

    fn file(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.header(name, b'0', content.len() as u64, "")?;
        self.output.write_all(content)?;
        self.output.write_all(&[0; 512][..content.len().next_multiple_of(512) - content.len()])
    }

    fn header(&mut self, name: &str, kind: u8, size: u64, link: &str) -> io::Result<()> {
        let mut header = [0; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, name.as_bytes());
        put(100, if kind == b'0' { b"0000644" } else { b"0000755" });
        put(108, b"0000000");
        put(116, b"0000000");
        put(124, format!("{size:011o}").as_bytes());
        put(136, format!("{:011o}", 1_700_000_000).as_bytes());
        put(148, b"        ");
        put(156, &[kind]);
        put(157, link.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.output.write_all(&header)
    }
}

/// Reproducible random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// Returns up to 48 KiB, on average 1.6 KiB: each doubling is half as likely.
    fn bytes_of_some_length(&mut self) -> Vec<u8> {
        let doublings = self.next().trailing_ones().min(6);
        let most = 512_u64 << doublings;
        let length = self.next() % most + most / 2;
        self.bytes(length as usize) // at most 48 KiB
    }
}
