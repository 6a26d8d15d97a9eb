//! What stands once stands once: the texts of `whit::contract`, and the table of options in docs/configuration.md.

use std::ffi::CStr;
use std::fs;
use std::path::{Path, PathBuf};

use whit::contract::{self, relative};
use whit_tools::cli::options;
use xtask::workspace;

/// Files that may have a text of the contract in a literal, and why.
const ALLOWED: [(&str, &str); 2] = [
    ("src/contract.rs", "here they stand"),
    ("tools/xtask/bench-dhcp/src/clients.rs", "a workspace of its own, which mounts below the rootfs"),
];

/// The texts, as a literal would have them.
fn texts() -> Vec<&'static str> {
    let path = |path: &'static CStr| relative(path);
    let mut texts = [
        contract::RECORD,
        contract::IMAGE_RECORD,
        contract::MODULE_LIST,
        contract::DRIVER_INDEX,
        contract::ROOTFS_NEEDS,
        contract::ROOTFS_END,
        contract::ROOTFS_ATTRIBUTES,
        contract::RUN,
        contract::LEASE_FILE,
        contract::TIMELINE_FILE,
    ]
    .map(path)
    .to_vec();
    texts.extend([
        contract::MARK.trim_end(),
        contract::WINDOW_PORT,
        contract::EXIT_PORT,
        contract::EXIT_LINE,
        contract::TIMELINE_LINE,
    ]);
    let credentials = [contract::SEED_CREDENTIAL, contract::NOTIFY_CREDENTIAL];
    texts.extend(credentials.map(|text| std::str::from_utf8(text).unwrap()));
    texts
}

/// The text that a literal has in it; or one of the two paths that are parts of others' names.
fn found(literal: &str, texts: &[&'static str]) -> Option<&'static str> {
    let short = [contract::SEED, contract::ROOTFS].map(contract::path);
    let begins = |path: &&&str| literal.starts_with('/') && literal.split('/').nth(1) == path.strip_prefix('/');
    texts.iter().find(|text| literal.contains(**text)).or(short.iter().find(begins)).copied()
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
        if ALLOWED.iter().any(|(allowed, _)| *allowed == name) {
            continue;
        }
        let source = fs::read_to_string(&file).unwrap();
        // Unit tests, which are the end of a file, compare with literals on purpose.
        let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            for literal in literals(line) {
                if let Some(text) = found(&literal, &texts) {
                    typed.push(format!("{name}:{}: {text:?} is a constant of whit::contract", number + 1));
                }
            }
        }
    }
    assert!(typed.is_empty(), "{}", typed.join("\n"));
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
