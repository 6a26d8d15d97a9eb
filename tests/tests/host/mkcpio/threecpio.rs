//! mkcpio compared with 3cpio, an independent program that reads and writes the kernel's formats: both read the same names, modes,
//! owners, sizes and bytes from archives of mkcpio, of 3cpio and of GNU cpio.
//!
//! Only root can create the devices and owners that are compared.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use whit_tests::{tool, use_standard_umask};
use whit_tools::programs::{self, Program};
use xtask::crates::{self, THREECPIO};

/// GNU cpio, and the compressors that 3cpio starts.
const PROGRAMS: [Program; 7] = [
    Program { name: "cpio", package: "cpio" },
    Program { name: "gzip", package: "gzip" },
    Program { name: "zstd", package: "zstd" },
    Program { name: "xz", package: "xz-utils" },
    Program { name: "lz4", package: "lz4" },
    Program { name: "bzip2", package: "bzip2" },
    Program { name: "lzma", package: "xz-utils" },
];
/// The file of an early segment. The kernel's loader of microcode looks for it in the uncompressed part.
const EARLY: &str = "kernel/x86/microcode/GenuineIntel.bin";
/// The longest name of a file or directory: include/uapi/linux/limits.h, NAME_MAX.
const NAME_MAX: usize = 255;

/// The programs, and a folder with the content of both segments in `early` and `late`, and the archive `early.cpio`.
struct Bench {
    folder: TempDir,
    mkcpio: String,
    threecpio: String,
}

impl Bench {
    fn new() -> Self {
        use_standard_umask();
        let report = |line: &str| println!("{line}");
        programs::install(&PROGRAMS, report).unwrap();
        let threecpio = crates::build(&THREECPIO, report).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let microcode = folder.path().join("early").join(EARLY);
        fs::create_dir_all(microcode.parent().unwrap()).unwrap();
        fs::write(microcode, "microcode").unwrap();
        fill(&folder.path().join("late"));
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let bench = Self { folder, mkcpio: text(&tool("mkcpio")), threecpio: text(&threecpio) };
        bench.shell("find early late -exec touch --no-dereference -d @1000000001 {} +");
        bench.shell("cd early; find . -mindepth 1 | sort | cpio -oH newc --quiet > ../early.cpio");
        bench
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path()).env("LC_ALL", "C").env("TZ", "UTC");
        command.env_remove("SOURCE_DATE_EPOCH").output().unwrap()
    }

    /// Runs a program that must succeed without output on standard error; returns its standard output.
    fn print(&self, program: &str, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.run(program, arguments);
        let errors = String::from_utf8_lossy(&stderr);
        assert!(status.success() && errors.is_empty(), "{program} {arguments:?}: {errors}");
        String::from_utf8(stdout).unwrap()
    }

    fn shell(&self, script: &str) -> String {
        self.print("sh", &["-ec", script])
    }

    /// Asserts that both programs list an archive alike and unpack the same files from it; returns the list.
    fn compare(&self, archive: &str) -> Vec<String> {
        let ours = of_mkcpio(&self.print(&self.mkcpio, &["list", archive]));
        let theirs = of_threecpio(&self.print(&self.threecpio, &["--list", "--verbose", archive]));
        assert_eq!(ours, theirs, "{archive}");
        let names = self.print(&self.mkcpio, &["list", "--names", archive]);
        assert_eq!(names, self.print(&self.threecpio, &["--list", archive]), "{archive}");

        self.shell("rm -rf ours theirs; mkdir theirs");
        self.print(&self.mkcpio, &["extract", archive, "-C", "ours"]);
        self.print(&self.threecpio, &["--extract", "-C", "theirs", archive]);
        assert_eq!(self.unpacked("ours"), self.unpacked("theirs"), "{archive}");
        ours
    }

    /// Describes everything below a folder: mode, links, size, target and device, the checksum of the content, and in lines of their
    /// own the owner and the time. Sizes and links of folders are left out: they depend on the file system.
    fn unpacked(&self, folder: &str) -> String {
        let script = "find . -mindepth 1 ! -type d -printf '%P %M %n %s %l\\n' -o -printf '%P %M\\n' | sort
            find . '(' -type b -o -type c ')' -exec stat -c '%n %t:%T' {} + | sort
            find . -type f -exec sha256sum {} + | sort -k 2
            find . -mindepth 1 -printf 'owner %U:%G %Ts %P\\n' | sort";
        self.shell(&format!("cd {folder}; {script}"))
    }
}

/// Fills a tree with all that an archive can hold.
fn fill(tree: &Path) {
    let at = |name: &str| tree.join(name);
    let long = "d".repeat(NAME_MAX);
    for folder in ["sub/deep", "empty", &long] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    // Each length modulo four, for the padding; and a file larger than a buffer.
    for length in 0..5_usize {
        fs::write(at(&format!("sub/{length}")), &b"1234"[..length.min(4)]).unwrap();
    }
    fs::write(at("big"), (0..300_000_u32).map(|index| (index / 7) as u8).collect::<Vec<_>>()).unwrap();
    fs::write(at(&format!("{long}/{}", "n".repeat(NAME_MAX))), "of a long name").unwrap();
    // The first, a middle and the last name in sorted order.
    fs::write(at("a-first"), "one file of three names").unwrap();
    fs::hard_link(at("a-first"), at("sub/deep/second")).unwrap();
    fs::hard_link(at("a-first"), at("z-last")).unwrap();
    fs::write(at("none-1"), "").unwrap();
    fs::hard_link(at("none-1"), at("none-2")).unwrap();
    symlink("../big", at("sub/link")).unwrap();
    symlink(format!("{long}/nothing of this name"), at("dangling")).unwrap();
    fs::write(at("name with\u{e4} space"), "UTF-8").unwrap();
    let script = "mknod null c 1 3; mknod disk b 259 1048575; mknod pipe p";
    assert!(Command::new("sh").args(["-ec", script]).current_dir(tree).status().unwrap().success());
    chown(at("big"), Some(12345), Some(54321)).unwrap();
    for (name, mode) in [("sub/3", 0o4751), ("sub", 0o1777), ("empty", 0o2700), ("null", 0o666), ("z-last", 0o604)] {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// Converts mkcpio's list to lines of `mode links user:group size name`, with a device's numbers as its size.
fn of_mkcpio(list: &str) -> Vec<String> {
    let entries = list.lines().filter(|line| !line.starts_with("segment "));
    let entry = |line: &str| {
        let ([mode, links, owner, size, _date, _time], name) = columns(line);
        format!("{mode} {links} {owner} {size} {name}")
    };
    entries.map(entry).collect()
}

/// Converts 3cpio's list to the same form. It has names of owners, and a blank between a device's numbers.
fn of_threecpio(list: &str) -> Vec<String> {
    let number = |owner: &str| if owner == "root" { "0".to_owned() } else { owner.to_owned() };
    let entry = |line: &str| {
        let ([mode, links, user, group, size], rest) = columns(line);
        let is_device = size.ends_with(',');
        let ([minor], after) = if is_device { columns(rest) } else { ([""], rest) };
        let ([_month, _day, _time], name) = columns(after);
        format!("{mode} {links} {}:{} {size}{minor} {name}", number(user), number(group))
    };
    list.lines().map(entry).collect()
}

/// Splits a line into its first words and the rest after the next blank.
fn columns<const COUNT: usize>(line: &str) -> ([&str; COUNT], &str) {
    let mut rest = line;
    let words = std::array::from_fn(|_| {
        let (word, more) = rest.trim_start().split_once(' ').unwrap_or_else(|| panic!("{line}"));
        rest = more;
        word
    });
    (words, rest)
}

#[test]
#[ignore = "needs root and builds 3cpio: cargo selftest runs it"]
fn archives_of_mkcpio_are_read_alike() {
    let bench = Bench::new();
    for compression in ["none", "gzip", "zstd", "xz", "lz4"] {
        let archive = format!("mkcpio.{compression}");
        let words = ["-o", &archive, "--init", "/bin/busybox", "--prepend", "early.cpio", "--add", "late:/"];
        let owner = ["--add", "late/big:/big:12345:54321", "--compress", compression];
        bench.print(&bench.mkcpio, &[&words[..], &owner].concat());
        let list = bench.compare(&archive);
        for entry in [
            &format!("-rw-r--r-- 1 0:0 9 {EARLY}"),
            "crw-rw-rw- 1 0:0 1,3 null",
            "brw-r--r-- 1 0:0 259,1048575 disk",
            "-rw-r--r-- 1 12345:54321 300000 big",
            "-rw----r-- 3 0:0 23 z-last",
            "drwxrwxrwt 2 0:0 0 sub",
            "-rwsr-x--x 1 0:0 3 sub/3",
        ] {
            assert!(list.iter().any(|line| line == entry), "{archive} has no \"{entry}\":\n{}", list.join("\n"));
        }
        // The unpacked files are the inputs; owners and times are the requested ones.
        let (late, out) = (bench.unpacked("late"), bench.unpacked("ours"));
        for line in late.lines().filter(|line| !line.starts_with("owner ")) {
            assert!(out.lines().any(|other| other == line), "{archive}: {line}\n{out}");
        }
    }
}

#[test]
#[ignore = "needs root and builds 3cpio: cargo selftest runs it"]
fn archives_of_gnu_cpio_are_read_alike() {
    let bench = Bench::new();
    // Only newc: 3cpio refuses the checksums of 070702, which GNU cpio verifies in looking.rs.
    for compressor in ["cat", "gzip", "zstd -q", "xz --check=crc32", "lz4 -lq", "bzip2", "lzma"] {
        let cpio = "find . -mindepth 1 | sort | cpio -oH newc --quiet";
        bench.shell(&format!("cp early.cpio archive; cd late; {cpio} | {compressor} >> ../archive"));
        let list = bench.compare("archive");
        // GNU cpio writes a file with several names last: its last name has the content.
        assert!(list.iter().any(|line| line == "-rw----r-- 3 0:0 23 z-last"), "{compressor}: {list:?}");
        bench.shell("rm -r ours/kernel");
        assert_eq!(bench.unpacked("ours"), bench.unpacked("late"), "{compressor}");
    }
}

#[test]
#[ignore = "needs root and builds 3cpio: cargo selftest runs it"]
fn archives_of_3cpio_are_read_alike() {
    let bench = Bench::new();
    for compressor in ["", ": gzip -9", ": zstd -3", ": xz -6", ": lz4 -9", ": bzip2", ": lzma"] {
        // A segment whose fields come from a manifest, then one of files of the host.
        let manifest = format!(
            "#cpio\n-\tkernel\tdir\t750\t12001\t12002\t1000000001\n../early/{EARLY}\tcode\tfile\t640\t12003\t12004\t1000000002\n\
             -\tconsole\tchar\t600\t0\t0\t1000000003\t5\t1\n-\tback\tlink\t777\t0\t0\t1000000004\tkernel\n#cpio{compressor}\n"
        );
        fs::write(bench.folder.path().join("manifest"), manifest).unwrap();
        let names = "find . -mindepth 1 | sort";
        bench.shell(&format!("cd late; {names} | cat ../manifest - | {} --create ../archive", bench.threecpio));
        let list = bench.compare("archive");
        let first =
            ["drwxr-x--- 2 12001:12002 0 kernel", "-rw-r----- 1 12003:12004 9 code", "crw------- 1 0:0 5,1 console"];
        assert_eq!(list[..3], first, "{compressor}");
        bench.shell("cd ours; rm -r kernel code console back");
        // 3cpio writes each name of an empty file as a file of its own.
        let late = bench.unpacked("late").replace(" -rw-r--r-- 2 0 ", " -rw-r--r-- 1 0 ");
        assert_eq!(bench.unpacked("ours"), late, "{compressor}");
    }
}
