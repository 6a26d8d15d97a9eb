//! Parses a list of files in the form of the kernel's usr/gen_init_cpio.c (CONFIG_INITRAMFS_SOURCE). A line is one of
//!
//! ```text
//! # a comment
//! file NAME LOCATION MODE UID GID [NAME…]     more names are hard links
//! dir NAME MODE UID GID
//! nod NAME MODE UID GID c|b MAJOR MINOR
//! slink NAME TARGET MODE UID GID
//! pipe NAME MODE UID GID
//! sock NAME MODE UID GID
//! ```
//!
//! Modes are octal; `${NAME}` in a LOCATION is replaced by the environment variable. A relative LOCATION starts at the
//! working directory, as in gen_init_cpio.

use std::io;
use std::path::{Path, PathBuf};

use super::Error;
use super::input::parse_id;
use crate::archive::newc::{Kind, Meta};
use crate::initramfs::tree::{self, Tree};

/// Adds the files of the manifest `path`.
pub(super) fn add(tree: &mut Tree, path: &Path) -> Result<(), Error> {
    let text = crate::cli::input::open(path)
        .and_then(io::read_to_string)
        .map_err(|error| Error::File { path: path.to_owned(), what: error.to_string() })?;
    for (index, line) in text.lines().enumerate() {
        add_line(tree, line).map_err(|problem| Error::Manifest {
            path: path.to_owned(),
            number: index + 1,
            problem,
        })?;
    }
    Ok(())
}

fn add_line(tree: &mut Tree, line: &str) -> Result<(), String> {
    let mut words = line.split_whitespace();
    let kind = match words.next() {
        None => return Ok(()),
        Some(word) if word.starts_with('#') => return Ok(()),
        Some(word) => word,
    };
    let words: Vec<&str> = words.collect();
    let text = |error: tree::Error| error.to_string();
    match (kind, words.as_slice()) {
        ("file", [name, location, mode, uid, gid, links @ ..]) => {
            let names: Vec<&[u8]> = [name].into_iter().chain(links).map(|name| name.as_bytes()).collect();
            let location = PathBuf::from(expanded(location)?);
            tree.linked_file(&names, meta(mode, uid, gid)?, &location).map_err(text)
        }
        ("dir", [name, mode, uid, gid]) => {
            tree.node(name.as_bytes(), meta(mode, uid, gid)?, Kind::Directory).map_err(text)
        }
        ("nod", [name, mode, uid, gid, kind, major, minor]) => {
            let number = |text: &str| text.parse().map_err(|_| format!("\"{text}\" is not a device number"));
            let device = match *kind {
                "c" => Kind::Character(number(major)?, number(minor)?),
                "b" => Kind::Block(number(major)?, number(minor)?),
                other => return Err(format!("a device is c or b, not \"{other}\"")),
            };
            tree.node(name.as_bytes(), meta(mode, uid, gid)?, device).map_err(text)
        }
        ("slink", [name, target, mode, uid, gid]) => {
            let target = Kind::Symlink(target.as_bytes().to_owned());
            tree.node(name.as_bytes(), meta(mode, uid, gid)?, target).map_err(text)
        }
        ("pipe", [name, mode, uid, gid]) => tree.node(name.as_bytes(), meta(mode, uid, gid)?, Kind::Fifo).map_err(text),
        ("sock", [name, mode, uid, gid]) => {
            tree.node(name.as_bytes(), meta(mode, uid, gid)?, Kind::Socket).map_err(text)
        }
        (kind, _) => Err(match form(kind) {
            Some(form) => format!("a line of this kind is: {kind} {form}"),
            None => format!("\"{kind}\" is not one of file, dir, nod, slink, pipe, sock"),
        }),
    }
}

fn form(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "file" => "NAME LOCATION MODE UID GID [NAME…]",
        "dir" | "pipe" | "sock" => "NAME MODE UID GID",
        "nod" => "NAME MODE UID GID c|b MAJOR MINOR",
        "slink" => "NAME TARGET MODE UID GID",
        _ => return None,
    })
}

fn meta(mode: &str, uid: &str, gid: &str) -> Result<Meta, String> {
    let bits = u32::from_str_radix(mode, 8).ok().filter(|bits| *bits <= 0o7777);
    let mode = bits.ok_or_else(|| format!("mode \"{mode}\" is not octal, up to 7777"))?;
    Ok(Meta { uid: parse_id(uid)?, gid: parse_id(gid)?, ..Meta::root(mode) })
}

/// Replaces environment variables in a location.
fn expanded(location: &str) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = location;
    while let Some((before, variable)) = rest.split_once("${") {
        let (name, after) =
            variable.split_once('}').ok_or_else(|| format!("\"{location}\" has \"${{\" without \"}}\""))?;
        text.push_str(before);
        text.push_str(&std::env::var(name).map_err(|_| format!("the environment has no {name} for \"{location}\""))?);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::newc::{Header, Writer};
    use crate::archive::segment::{Member, entries};
    use std::fs;

    fn listing(text: &str) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let (list, data) = (folder.path().join("list"), folder.path().join("data"));
        fs::write(&data, "text").unwrap();
        fs::write(&list, text.replace("DATA", data.to_str().unwrap())).unwrap();
        let mut tree = Tree::default();
        add(&mut tree, &list).map_err(|error| error.to_string())?;
        let mut writer = Writer::new(Vec::new(), 0);
        tree.write(&mut writer).unwrap();
        let archive = writer.finish().unwrap().out;
        let line = |(member, data): &(Member, Vec<u8>)| {
            let (name, data) = (String::from_utf8_lossy(&member.name), String::from_utf8_lossy(data));
            let Header { mode, uid, gid, nlink, rdev: (major, minor), .. } = member.header;
            format!("{name} {mode:o} {uid}:{gid} {nlink} {major}:{minor} {data}")
        };
        Ok(entries(&archive).unwrap().iter().map(line).collect())
    }

    #[test]
    fn each_kind_of_line_of_gen_init_cpio_is_parsed() {
        let text = "# a comment\n\n dir /dev 755 0 0\nnod /dev/console 0600 0 5 c 5 1\nnod /dev/vda 660 0 6 b 254 16\n\
                    slink /bin /usr/bin 777 1 2\nfile /etc/a DATA 4644 3 4 /b /usr/c\npipe /p 600 0 0\nsock /s 600 0 0\n";
        let expected = [
            "b 104644 3:4 3 0:0 ",
            "bin 120777 1:2 1 0:0 /usr/bin",
            "dev 40755 0:0 2 0:0 ",
            "dev/console 20600 0:5 1 5:1 ",
            "dev/vda 60660 0:6 1 254:16 ",
            "etc 40755 0:0 2 0:0 ",
            "etc/a 104644 3:4 3 0:0 ",
            "p 10600 0:0 1 0:0 ",
            "s 140600 0:0 1 0:0 ",
            "usr 40755 0:0 2 0:0 ",
            "usr/c 104644 3:4 3 0:0 text",
        ];
        let mut lines = listing(text).unwrap();
        lines.sort();
        assert_eq!(lines, expected);
    }

    #[test]
    fn errors_have_the_line_number() {
        for (line, message) in [
            ("file /a DATA 0x755 0 0", "list:2: mode \"0x755\" is not octal"),
            ("file /a DATA 10000 0 0", "mode \"10000\""),
            ("file /a DATA 755 0", "file NAME LOCATION MODE UID GID"),
            ("file /a DATA.absent 755 0 0", "data.absent: No such file"),
            ("file /a ${WHIT_ABSENT}/x 755 0 0", "no WHIT_ABSENT"),
            ("file /a ${x 755 0 0", "without \"}\""),
            ("dir /a/../../b 755 0 0", "cannot contain \"..\""),
            ("dir /a 755 root 0", "\"root\" is not a user or group id"),
            ("nod /a 755 0 0 p 1 2", "c or b"),
            ("nod /a 755 0 0 c x 2", "\"x\" is not a device number"),
            ("link /a /b", "not one of file, dir"),
        ] {
            let error = listing(&format!("dir /x 755 0 0\n{line}\n")).unwrap_err();
            assert!(error.contains("list:2: ") && error.contains(message), "{line}: {error}");
        }
    }
}
