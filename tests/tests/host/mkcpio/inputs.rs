//! mkcpio's inputs and compressions: the order of the inputs, and each compression decompressed by the program of its name.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use whit_tests::commands::run_well;
use whit_tests::tool;

const BUSYBOX: &str = "/bin/busybox";

fn mkcpio(folder: &Path, arguments: &[&str]) -> Output {
    let arguments = [&["--init", BUSYBOX], arguments].concat();
    Command::new(tool("mkcpio")).args(arguments).current_dir(folder).env_remove("SOURCE_DATE_EPOCH").output().unwrap()
}

fn make(folder: &Path, arguments: &[&str]) -> String {
    let output = mkcpio(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn list(folder: &Path, file: &str) -> String {
    let output = Command::new(tool("mkcpio")).args(["list", file]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn shell(folder: &Path, script: &str) -> Vec<u8> {
    let output = Command::new("sh").args(["-ec", script]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tree")).unwrap();
    fs::write(folder.path().join("tree/file"), "from the tree").unwrap();
    fs::write(
        folder.path().join("list"),
        "dir /etc 700 1 2\nfile /etc/file list 600 3 4 /also\nnod /null 666 0 0 c 1 3\n",
    )
    .unwrap();
    folder
}

#[test]
fn later_inputs_replace_earlier_ones_and_have_the_given_owners() {
    let folder = folder();
    let tree = "tree:/etc:1000:33";
    make(folder.path(), &["-o", "a", "--add", tree, "--manifest", "list"]);
    make(folder.path(), &["-o", "b", "--manifest", "list", "--add", tree]);
    let line = |text: &str, name: &str| text.lines().find(|line| line.ends_with(name)).unwrap_or_default().to_owned();
    let (a, b) = (list(folder.path(), "a"), list(folder.path(), "b"));
    assert!(line(&a, " etc").starts_with("drwx------   2         1:2 "), "{a}");
    assert!(line(&a, " etc/file").starts_with("-rw-------   2         3:4 "), "{a}");
    assert!(line(&a, " null").contains("crw-rw-rw-   1         0:0         1,3 "), "{a}");
    assert!(line(&b, " etc").contains("   2     1000:33 "), "{b}");
    assert!(line(&b, " etc/file").contains("   1     1000:33          13 "), "{b}");
    if rustix::process::geteuid().is_root() {
        chown(folder.path().join("tree/file"), Some(7), Some(8)).unwrap();
        make(folder.path(), &["-o", "c", "--add", "tree:/kept:keep", "--add", "tree:/roots"]);
        let c = list(folder.path(), "c");
        assert!(
            line(&c, " kept/file").contains("         7:8 ") && line(&c, " roots/file").contains("         0:0 "),
            "{c}"
        );
    }
}

#[test]
fn prepended_and_appended_archives_are_copied_unchanged() {
    let folder = folder();
    shell(
        folder.path(),
        "cd tree; echo file | cpio -oH newc --quiet > ../first; printf x >> ../odd; \
         echo file | cpio -oH newc --quiet | gzip > ../packed; head -c -1 ../first > ../cut",
    );
    for (compress, name) in [("none", "none"), ("lz4", "lz4"), ("zstd", "zstd")] {
        make(
            folder.path(),
            &["-o", "out", "--compress", compress, "--append", "packed", "--prepend", "first", "--append", "first"],
        );
        let bytes = fs::read(folder.path().join("out")).unwrap();
        let (first, packed) =
            (fs::read(folder.path().join("first")).unwrap(), fs::read(folder.path().join("packed")).unwrap());
        assert!(bytes.starts_with(&first) && bytes.ends_with(&first), "{compress}");
        assert!(bytes.windows(packed.len()).any(|window| window == packed), "{compress}");
        let listed = list(folder.path(), "out");
        let segments: Vec<&str> = listed.lines().filter(|line| line.starts_with("segment ")).collect();
        let starts = [
            "segment 1: none, 1 entries, ",
            &format!("segment 2: {name}, "),
            "segment 3: gzip, 1 ",
            "segment 4: none, 1 ",
        ];
        assert_eq!(segments.len(), 4, "{listed}");
        assert!(segments.iter().zip(starts).all(|(segment, start)| segment.starts_with(start)), "{listed}");
    }
    let output = mkcpio(folder.path(), &["-o", "never", "--append", "odd"]);
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("mkcpio: odd: byte 0 starts neither a cpio archive"));
    assert!(!folder.path().join("never").exists());
}

#[test]
fn each_compression_is_reproducible_and_read_by_its_own_program() {
    let folder = folder();
    make(folder.path(), &["-o", "plain"]);
    for (name, program) in [("a.gz", "gzip"), ("a.zst", "zstd"), ("a.xz", "xz"), ("a.lz4", "lz4")] {
        let arguments = ["-o", name];
        make(folder.path(), &arguments);
        shell(folder.path(), &format!("{program} -dc {name} | cmp - plain"));
        let once = fs::read(folder.path().join(name)).unwrap();
        // On one processor too.
        let tool = tool("mkcpio");
        shell(folder.path(), &format!("taskset -c 0 {} --init {BUSYBOX} -o {name}", tool.display()));
        assert!(fs::read(folder.path().join(name)).unwrap() == once, "{name}");
        make(folder.path(), &[&arguments[..], &["--level", "1"]].concat());
        assert!(fs::metadata(folder.path().join(name)).unwrap().len() > once.len() as u64, "{name}");
    }
    assert!(String::from_utf8(shell(folder.path(), "xz --list -v a.xz")).unwrap().contains("CRC32"));
}

#[test]
fn the_kernels_configuration_selects_and_refuses_compressions() {
    let folder = folder();
    let with = |options: &[&str]| {
        let lines: Vec<String> = options.iter().map(|option| format!("CONFIG_{option}=y\n")).collect();
        fs::write(folder.path().join("config-9"), lines.concat()).unwrap();
    };
    for (options, kind) in [
        (&["BLK_DEV_INITRD", "RD_GZIP", "RD_ZSTD"][..], "zstd"),
        (&["BLK_DEV_INITRD", "RD_GZIP", "RD_LZ4"], "gzip"),
        (&["BLK_DEV_INITRD", "RD_LZ4", "RD_XZ"], "lz4"),
        (&["BLK_DEV_INITRD", "RD_XZ"], "xz"),
        (&["BLK_DEV_INITRD"], "none"),
    ] {
        with(options);
        fs::write(folder.path().join("vmlinuz-9"), [0; 1000]).unwrap();
        make(folder.path(), &["-o", "out", "--kernel", "vmlinuz-9"]);
        assert!(list(folder.path(), "out").contains(&format!("segment 1: {kind}, ")), "{kind}");
    }
    let errors = |arguments: &[&str]| String::from_utf8(mkcpio(folder.path(), arguments).stderr).unwrap();
    let refusal = "mkcpio: the kernel does not unpack gzip: CONFIG_RD_GZIP is not set in config-9\n";
    assert_eq!(errors(&["-o", "x.gz", "--kernel", "vmlinuz-9"]), refusal);
    assert_eq!(errors(&["-o", "x", "--compress", "gzip", "--kernel", "config-9"]), refusal);
    shell(folder.path(), "echo list | cpio -oH newc --quiet | gzip > packed");
    assert!(
        errors(&["-o", "x", "--append", "packed", "--kernel", "config-9"])
            .starts_with("mkcpio: packed: the kernel does not")
    );
    assert!(errors(&["-o", "x", "--kernel", "tree/file"]).contains("neither beside it nor in it"));
    assert!(errors(&["-o", "x", "--kernel", "absent"]).starts_with("mkcpio: absent: No such file"));
    assert!(errors(&["-o", "x.gz", "--level", "10"]).contains("--level 10: gzip has levels from 1 to 9"));
    assert!(errors(&["-o", "x", "--level", "1"]).contains("none has no level"));
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() == "x").count(),
        0
    );
}

#[test]
fn a_dry_run_lists_and_writes_nothing_and_a_report_counts() {
    let folder = folder();
    let listed = make(folder.path(), &["--dry-run", "--add", "tree:/srv", "--report"]);
    assert!(listed.contains(" srv/file\n") && listed.contains("segment 1: none, "), "{listed}");
    assert!(listed.contains("input "), "{listed}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    make(folder.path(), &["-o", "other", "--compress", "none"]);
    let report = make(folder.path(), &["-o", "out.gz", "--add", "tree:/srv", "--append", "other", "--report"]);
    let row = |name: &str| -> Vec<u64> {
        let line = report.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {report}"));
        line.split_whitespace().rev().take(3).map(|word| word.parse().unwrap()).collect()
    };
    let length = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len();
    let (tree, init, appended) = (row("add tree "), row("init /bin/busybox "), row("archive other "));
    // Two entries: headers of 110 bytes, names of 4 and 9 bytes with their padding, 13 bytes of data with its padding.
    assert_eq!((tree[2], tree[1]), (2, 116 + 120 + 16));
    assert_eq!((init[2], init[1]), (1, 116 + length(BUSYBOX).next_multiple_of(4)));
    assert_eq!((appended[2], appended[0]), (11, length("other")));
    assert!(init[0] > length(BUSYBOX) / 3 && init[0] < length(BUSYBOX), "{report}");
}

#[test]
fn every_tool_generates_its_man_page_and_completions() {
    for name in ["mkcpio", "mkraw", "runvm", "whit-runtime", "bootbench", "demo", "selftest"] {
        let generated = |kind: &str| {
            let output = Command::new(tool(name)).args(["--generate", kind]).output().unwrap();
            assert!(output.status.success(), "{name} {kind}");
            String::from_utf8(output.stdout).unwrap()
        };
        let page = generated("man");
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
        for shell in ["bash", "zsh", "fish"] {
            assert!(generated(shell).contains(name), "{name} {shell}");
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("page"), page).unwrap();
        fs::write(folder.path().join("script"), generated("bash")).unwrap();
        shell(folder.path(), "bash -n script");
        let output = Command::new(tool(name)).args(["--generate", "x"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let shown = |option: &str| String::from_utf8(run_well(Command::new(tool(name)).arg(option))).unwrap();
        for help in ["-h", "--help"] {
            assert!(shown(help).contains("--generate <KIND>"), "{name} {help}");
        }
        if ["mkcpio", "mkraw", "runvm", "whit-runtime"].contains(&name) {
            assert_eq!(shown("--version"), format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
        }
    }
}

mod long {
    use super::*;

    #[test]
    #[ignore = "takes a minute: cargo selftest -- --long runs it"]
    fn a_file_of_4_gib_is_refused_and_one_byte_less_is_accepted() {
        let folder = folder();
        let sparse = |length: u64| fs::File::create(folder.path().join("huge")).unwrap().set_len(length).unwrap();
        sparse(1 << 32);
        for arguments in [
            &["-o", "out", "--add", "huge"][..],
            &["-o", "out", "--add", "huge", "--checksum"],
            &["--dry-run", "--add", "huge"],
        ] {
            let output = mkcpio(folder.path(), arguments);
            let errors = String::from_utf8(output.stderr).unwrap();
            assert_eq!(
                errors,
                "mkcpio: \"huge\" has 4294967296 bytes; a file in a cpio archive must be smaller than 4 GiB\n"
            );
            assert!(!folder.path().join("out").exists());
        }
        sparse((1 << 32) - 1);
        assert!(
            make(folder.path(), &["--dry-run", "--add", "huge"]).contains(" 4294967295 1970-01-01 00:00:00 huge\n")
        );
    }
}
