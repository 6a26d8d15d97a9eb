//! No duplicates of the texts of `whit::contract`, and the table of options in docs/configuration.md.

use std::ffi::CStr;
use std::fs;
use std::path::{Path, PathBuf};

use whit::contract::{self, relative};
use whit_tools::cli::options;
use xtask::workspace;

/// Files that may have a text of the contract in a literal, or one text alone, and why.
const ALLOWED: [(&str, Option<&str>, &str); 3] = [
    ("src/contract.rs", None, "here they stand"),
    ("src/pid1/filesystems.rs", Some("/mnt"), "paths below it in one packed text"),
    ("tools/xtask/bench-dhcp/src/clients.rs", None, "a workspace of its own, which mounts below the rootfs"),
];
/// Constants of the contract that are not texts: numbers and functions.
const NO_TEXTS: [&str; 3] = ["NOT_STARTED", "NOT_EXECUTABLE", "NOT_FOUND"];
/// Texts too short to be searched for inside of a literal: the prefix of other paths, a word, a separator.
const SHORT: [&str; 7] = ["ROOT", "ROOTFS", "ROOTFS_VALUE", "SEED", "EXIT", "TIMELINE", "STAGE_SEPARATOR"];

/// Texts that are searched for inside of literals, by the names of their constants.
fn texts() -> Vec<(&'static str, String)> {
    let path = |name, path: &'static CStr| (name, relative(path).to_owned());
    let text = |name, text: &[u8]| (name, String::from_utf8(text.to_vec()).unwrap().replace('\0', "\\0"));
    vec![
        path("RECORD", contract::RECORD),
        path("IMAGE_RECORD", contract::IMAGE_RECORD),
        path("MODULE_LIST", contract::MODULE_LIST),
        path("DRIVER_INDEX", contract::DRIVER_INDEX),
        path("FULL_DRIVER_INDEX", contract::FULL_DRIVER_INDEX),
        path("ROOTFS_NEEDS", contract::ROOTFS_NEEDS),
        path("ROOTFS_END", contract::ROOTFS_END),
        path("ROOTFS_ATTRIBUTES", contract::ROOTFS_ATTRIBUTES),
        path("DEVICE_MAPPER", contract::DEVICE_MAPPER),
        path("LOOP_CONTROL", contract::LOOP_CONTROL),
        path("LOOP_DEVICE", contract::LOOP_DEVICE),
        path("NVME_FABRICS", contract::NVME_FABRICS),
        path("RUN", contract::RUN),
        path("LEASE_FILE", contract::LEASE_FILE),
        path("TIMELINE_FILE", contract::TIMELINE_FILE),
        path("SHARED_FILE", contract::SHARED_FILE),
        path("LOWER", contract::LOWER),
        path("UPPER", contract::UPPER),
        path("OVERLAY_OPTIONS", contract::OVERLAY_OPTIONS),
        text("OVERLAY_DIRECTORIES", contract::OVERLAY_DIRECTORIES),
        text("SEED_CREDENTIAL", contract::SEED_CREDENTIAL),
        text("NOTIFY_CREDENTIAL", contract::NOTIFY_CREDENTIAL),
        text("ROOTFS_OPTION", contract::ROOTFS_OPTION.as_bytes()),
        text("MARK", contract::MARK.trim_end().as_bytes()),
        text("PREFIX", contract::PREFIX.as_bytes()),
        text("WINDOW_PORT", contract::WINDOW_PORT.as_bytes()),
        text("EXIT_PORT", contract::EXIT_PORT.as_bytes()),
        text("STREAMS_PORT", contract::STREAMS_PORT.as_bytes()),
        text("NOT_BESIDE", contract::NOT_BESIDE.to_bytes()),
        text("NO_STREAMS", contract::NO_STREAMS.as_bytes()),
        text("EXIT_LINE", contract::EXIT_LINE.as_bytes()),
        text("TIMELINE_LINE", contract::TIMELINE_LINE.as_bytes()),
    ]
}

/// The text that a literal has in it; or one of the short ones: a path that the literal begins with, a word that it is.
fn found<'a>(literal: &str, texts: &'a [(&str, String)]) -> Option<&'a str> {
    let paths = [contract::SEED, contract::ROOTFS, contract::ROOT].map(contract::path);
    let begins = |path: &&str| literal.starts_with('/') && literal.split(['/', '\\']).nth(1) == path.strip_prefix('/');
    let words = [contract::EXIT, contract::TIMELINE];
    let text = texts.iter().map(|(_, text)| text.as_str()).find(|text| literal.contains(text));
    text.or(paths.into_iter().find(begins)).or(words.into_iter().find(|word| *word == literal))
}

/// The Rust files below a directory, those of unit tests left out.
fn sources(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_str().unwrap();
        if entry.is_dir() && !matches!(name, "tests" | "target" | "fuzz") {
            sources(&entry, files);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            files.push(entry);
        }
    }
}

/// The string literals of a line of Rust.
fn literals(line: &str) -> impl Iterator<Item = String> {
    let code = if line.trim_start().starts_with("//") { "" } else { line };
    let quoted: Vec<String> = code.replace("\\\"", "'").split('"').skip(1).step_by(2).map(str::to_owned).collect();
    quoted.into_iter()
}

#[test]
fn no_text_of_the_contract_is_typed_twice() {
    let root = workspace::root();
    let mut files = Vec::new();
    for directory in ["src", "tools", "size-report/src", "tests/src"] {
        sources(&root.join(directory), &mut files);
    }
    assert!(files.len() > 100, "{} files", files.len());
    let texts = texts();
    let mut typed = Vec::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap().to_str().unwrap();
        let is_allowed =
            |text: &str| ALLOWED.iter().any(|(allowed, one, _)| *allowed == name && one.is_none_or(|one| one == text));
        let source = fs::read_to_string(&file).unwrap();
        // Unit tests, which are the end of a file, compare with literals on purpose.
        let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            for literal in literals(line) {
                if let Some(text) = found(&literal, &texts).filter(|text| !is_allowed(text)) {
                    typed.push(format!("{name}:{}: {text:?} is a constant of whit::contract", number + 1));
                }
            }
        }
    }
    assert!(typed.is_empty(), "{}", typed.join("\n"));
}

#[test]
fn every_text_of_the_contract_is_looked_for() {
    let source = fs::read_to_string(workspace::root().join("src/contract.rs")).unwrap();
    let constants = source.lines().filter_map(|line| Some(line.strip_prefix("pub const ")?.split_once(':')?.0));
    let constants: Vec<&str> = constants.filter(|name| !name.starts_with("fn ")).collect();
    assert!(constants.len() > 25, "{constants:?}");
    let texts = texts();
    let known =
        |name: &&str| texts.iter().any(|(known, _)| known == name) || [&SHORT[..], &NO_TEXTS].concat().contains(name);
    let missing: Vec<_> = constants.into_iter().filter(|name| !known(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // Control: each is found where it is typed.
    for (literal, text) in [
        ("/mnt/etc", "/mnt"),
        ("/mnt\\0", "/mnt"),
        ("/rootfs", "/rootfs"),
        ("or {} MB with root=initramfs", "root=initramfs"),
        ("the line whit: x", "whit: "),
        ("exit ", "exit "),
        ("a lowerdir=/run/whit/lower", "run/whit"),
    ] {
        assert_eq!(found(literal, &texts), Some(text), "{literal}");
    }
    for literal in ["/mntx", "exit", "whit", "below /mnt", "/seedling"] {
        assert_eq!(found(literal, &texts), None, "{literal}");
    }
}

#[test]
fn literals_are_found_and_comments_are_not() {
    let of = |line| literals(line).collect::<Vec<_>>();
    assert_eq!(of(r#"    open(c"/seed", "a\"b"); // "x""#), ["/seed", "a'b", "x"]);
    assert_eq!(of(r#"    /// Reads "/seed"."#), [""; 0]);
}

#[test]
fn the_documentation_has_the_table_of_options() {
    let page = workspace::root().join("docs/configuration.md");
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once("<!-- options: ").expect("the mark before the table");
    let (mark, rest) = rest.split_once("-->\n").expect("the end of that mark");
    let (table, after) = rest.split_once("<!-- end of options -->").expect("the mark after the table");
    let expected = options::markdown();
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(&page, format!("{before}<!-- options: {mark}-->\n{expected}<!-- end of options -->{after}")).unwrap();
    } else {
        assert_eq!(table, expected, "docs/configuration.md has another table; UPDATE=1 writes it");
    }
}
