//! The table of extended attributes, which cpio cannot store and the init sets; `whit::rootfs` defines its format.

use std::collections::HashSet;
use std::convert::Infallible;

use whit::rootfs::{BLOCK, Record};

use super::Problem;
use super::names::Names;
use super::nodes::{NameId, Nodes};
use super::write::inside;
use crate::archive::budget::Spent;
use crate::archive::paths;

/// Counts of the table's attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Attributes that are set at boot.
    pub restored: u64,
    /// Files of these that have capabilities.
    pub capabilities: u64,
    /// Attributes that a tmpfs does not support, and ACLs as text.
    pub left_out: u64,
}

/// The longest text for the init's log, whose lines have at most 512 bytes.
const MAX_TEXT: usize = 400;
const CAPABILITY: &[u8] = b"security.capability";

/// One attribute of a file.
struct Found<'a> {
    path: NameId,
    name: &'a [u8],
    value: &'a [u8],
}

/// Encodes the table; empty if there are no attributes.
pub(super) fn table(names: &mut Names, summary: &mut Attributes) -> Result<Vec<u8>, (Vec<u8>, Problem)> {
    let (nodes, budget) = names.parts();
    // A tmpfs supports user.* since Linux 6.6 and the others for long: an older kernel refuses only the second half.
    let (mut system, mut user) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    let shown: Result<(), Infallible> = nodes.visit(|_, path, node| {
        let attributes = nodes.attributes(node);
        if !attributes.is_empty() && seen.insert(node) {
            for (name, value) in attributes {
                if !is_known(name) {
                    summary.left_out += 1;
                    continue;
                }
                summary.restored += 1;
                summary.capabilities += u64::from(name == CAPABILITY);
                let half = if name.starts_with(b"user.") { &mut user } else { &mut system };
                half.push(Found { path, name, value });
            }
        }
        Ok(())
    });
    let Ok(()) = shown;
    let mut table = Vec::new();
    for (half, text) in [(&system, lost(nodes, &system)), (&user, lost_of_user(&user))] {
        let mut text = text.as_bytes();
        for &Found { path, name, value } in half {
            let path = nodes.path(path);
            let full = [b"/", inside(&path).as_slice()].concat();
            let encoded = |text| Record { path: &full, name, text, value }.encode().map(Iterator::collect::<Vec<u8>>);
            let with_text = encoded(text).inspect(|_| text = b"");
            let Some(record) = with_text.or_else(|| encoded(b"")) else {
                return Err((path, Problem::AttributeTooLong));
            };
            let end = table.len();
            if table.len() % BLOCK + record.len() >= BLOCK {
                table.resize(table.len().next_multiple_of(BLOCK), 0);
            }
            table.extend(record);
            // The path in each record may be far longer than the attribute.
            budget.keep(table.len() - end).map_err(|Spent| (path, paths::Problem::TooLarge.into()))?;
        }
    }
    if !table.is_empty() {
        table.push(0);
    }
    Ok(table)
}

/// Returns whether a tmpfs may support an attribute (mm/shmem.c, shmem_xattr_handlers).
fn is_known(name: &[u8]) -> bool {
    let has_prefix = [&b"security."[..], b"trusted.", b"user."].iter().any(|prefix| {
        name.strip_prefix(*prefix).is_some_and(|rest| !rest.is_empty() && !rest.contains(&0) && name.len() <= 255)
    });
    has_prefix || matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default")
}

/// Returns the text that the init logs on a ramfs.
fn lost(nodes: &Nodes, attributes: &[Found<'_>]) -> String {
    let mut text = "a ramfs keeps no attributes, rootfstype=tmpfs does; lost: ".to_owned();
    let start = text.len();
    let capable: Vec<_> = attributes.iter().filter(|found| found.name == CAPABILITY).map(|found| found.path).collect();
    for (index, path) in capable.iter().enumerate() {
        let path = format!("/{}", nodes.path(*path).escape_ascii());
        if text.len() + path.len() > MAX_TEXT {
            text.push_str(&format!(" and {} more", capable.len() - index));
            break;
        }
        text.push_str(if index == 0 { "capabilities of " } else { ", " });
        text.push_str(&path);
    }
    let others = attributes.len() - capable.len();
    if others > 0 {
        let separator = if text.len() == start { "" } else { "; " };
        text.push_str(&format!("{separator}{others} attributes beside capabilities"));
    }
    text
}

/// Returns the text that the init logs on a ramfs, or on a tmpfs before Linux 6.6.
fn lost_of_user(attributes: &[Found<'_>]) -> String {
    format!("lost: {} attributes user.*, which a tmpfs has since Linux 6.6", attributes.len())
}

#[cfg(test)]
mod tests {
    use super::super::nodes::{Data, Inode};
    use super::*;
    use crate::archive::newc::Meta;
    use std::ffi::CStr;
    use whit::rootfs::take_value;

    /// A path, and the names and values of its attributes.
    type Listed<'a> = (&'a str, &'a [(&'a str, &'a [u8])]);

    fn names(files: &[Listed<'_>]) -> Names {
        let mut names = Names::new();
        for (path, attributes) in files {
            let attributes =
                attributes.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
            let inode = Inode { meta: Meta::root(0o755), data: Data::Bytes(Vec::new()), attributes };
            names.enter(path.as_bytes(), inode).unwrap();
        }
        names
    }

    /// Returns the records as the init reads them, block by block.
    fn read(table: &[u8]) -> Vec<(String, String, String, Vec<u8>)> {
        let mut found = Vec::new();
        for mut rest in table.chunks(BLOCK) {
            assert_eq!(rest.last(), Some(&0));
            loop {
                let mut text = || {
                    let text = CStr::from_bytes_until_nul(rest).unwrap_or_default();
                    rest = rest.get(text.count_bytes() + 1..).unwrap_or_default();
                    text.to_str().unwrap().to_owned()
                };
                let (path, name, text) = (text(), text(), text());
                let Some(value) = take_value(&mut rest).filter(|_| !path.is_empty()) else { break };
                found.push((path, name, text, value.to_vec()));
            }
        }
        found
    }

    #[test]
    fn capabilities_precede_attributes_that_only_a_new_tmpfs_supports() {
        let mut names = names(&[
            ("bin/ping", &[("user.note", b"\0x\n"), ("security.capability", b"\x01\0\0\x02")]),
            ("a", &[("security.selinux", b"label\0"), ("system.nfs4_acl", b"x"), ("user.", b"y"), ("other.x", b"z")]),
        ]);
        names.hard_link(b"bin/ping6", b"bin/ping").unwrap();
        let mut summary = Attributes::default();
        let table = table(&mut names, &mut summary).unwrap();
        assert_eq!(summary, Attributes { restored: 3, capabilities: 1, left_out: 3 });
        let lost = "a ramfs keeps no attributes, rootfstype=tmpfs does; lost: capabilities of /bin/ping; 1 attributes \
                    beside capabilities";
        let expected = [
            ("/rootfs/a", "security.selinux", lost, &b"label\0"[..]),
            ("/rootfs/bin/ping", "security.capability", "", b"\x01\0\0\x02"),
            ("/rootfs/bin/ping", "user.note", "lost: 1 attributes user.*, which a tmpfs has since Linux 6.6", b"\0x\n"),
        ];
        let expected = expected
            .map(|(path, name, text, value)| (path.to_owned(), name.to_owned(), text.to_owned(), value.to_vec()));
        assert_eq!(read(&table), expected);
        assert_eq!(super::table(&mut Names::new(), &mut summary), Ok(Vec::new()));
    }

    #[test]
    fn no_record_crosses_a_block_and_a_long_text_is_shortened() {
        let files: Vec<(String, Vec<u8>)> =
            (0..100_usize).map(|number| (format!("{number:03}"), vec![7; number * 37 % 900])).collect();
        let attributes: Vec<_> = files.iter().map(|(_, value)| [("security.capability", value.as_slice())]).collect();
        let all: Vec<Listed<'_>> =
            files.iter().zip(&attributes).map(|((path, _), attributes)| (path.as_str(), &attributes[..])).collect();
        let table = table(&mut names(&all), &mut Attributes::default()).unwrap();
        let records = read(&table);
        assert!(table.len() > 5 * BLOCK && records.len() == 100);
        for ((path, value), record) in files.iter().zip(&records) {
            assert_eq!((&record.0, &record.3), (&format!("/rootfs/{path}"), value));
        }
        assert!(records[0].2.len() < 420 && records[0].2.ends_with(" and 45 more"), "{}", records[0].2);
        assert!(records[1..].iter().all(|record| record.2.is_empty()));
    }

    #[test]
    fn a_value_larger_than_a_block_is_refused() {
        let room = BLOCK - 1 - "/rootfs/f".len() - "trusted.x".len() - 3 - 2;
        let value = vec![1; room + 1];
        let mut fitting = names(&[("f", &[("trusted.x", &value[..room])])]);
        let table_of = |names: &mut Names| table(names, &mut Attributes::default());
        assert_eq!(table_of(&mut fitting).unwrap().len(), BLOCK);
        let refused = table_of(&mut names(&[("f", &[("trusted.x", &value)])]));
        assert_eq!(refused, Err((b"f".to_vec(), Problem::AttributeTooLong)));
    }
}
