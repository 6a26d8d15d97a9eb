//! Converts POSIX ACLs from text (acl(5), "ACL TEXT FORMS"), which GNU tar and star store in `SCHILY.acl.*` records, to
//! the binary form of getxattr(2).
//!
//! Names of users and groups are only valid on the host that made the archive. Only numeric ids are used: those in place
//! of a name, and those that star and libarchive add after the permissions.

/// An entry: tag, permissions, and the id or `NO_ID`. The kernel wants them in this order (`posix_acl_valid`).
type AclEntry = (u16, u16, u32);

const VERSION: u32 = 2;
const NO_ID: u32 = u32::MAX;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// A parsed ACL, in binary form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Acl {
    /// Three entries, equal to the permission bits.
    Minimal(Vec<u8>),
    /// More than the permission bits.
    Extended(Vec<u8>),
}

/// Parses entries that are separated by commas or newlines. `None` if an entry is invalid, or has a name without a number.
pub(super) fn parse(text: &[u8]) -> Option<Acl> {
    let text = std::str::from_utf8(text).ok()?;
    let mut entries = Vec::new();
    for line in text.split([',', '\n']) {
        let entry = line.split('#').next()?.trim();
        if !entry.is_empty() {
            entries.push(parse_entry(entry)?);
        }
    }
    entries.sort_unstable_by_key(|(tag, _, id)| (*tag, *id));
    let count = |wanted: u16| entries.iter().filter(|(tag, ..)| *tag == wanted).count();
    let has_names = count(USER) + count(GROUP) > 0;
    let is_whole = [USER_OBJ, GROUP_OBJ, OTHER].iter().all(|tag| count(*tag) == 1);
    if !is_whole || count(MASK) > 1 || has_names && count(MASK) == 0 {
        return None;
    }
    let mut value = VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in &entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    Some(if entries.len() == 3 { Acl::Minimal(value) } else { Acl::Extended(value) })
}

fn parse_entry(entry: &str) -> Option<AclEntry> {
    let mut parts = entry.split(':').map(str::trim);
    let kind = parts.next()?;
    // `mask:rwx` and `other:rwx` may leave out the empty name.
    let (name, permissions) = match (parts.next()?, parts.next()) {
        (permissions, None) => ("", permissions),
        (name, Some(permissions)) => (name, permissions),
    };
    let number = parts.next();
    let mut bits = 0;
    for letter in permissions.chars() {
        bits |= match letter {
            'r' => 4,
            'w' => 2,
            'x' => 1,
            '-' => 0,
            _ => return None,
        };
    }
    let (own, named) = match kind {
        "user" | "u" => (USER_OBJ, Some(USER)),
        "group" | "g" => (GROUP_OBJ, Some(GROUP)),
        "mask" | "m" => (MASK, None),
        "other" | "o" => (OTHER, None),
        _ => return None,
    };
    if name.is_empty() {
        return Some((own, bits, NO_ID));
    }
    let id = number.unwrap_or(name).parse().ok().filter(|id| *id != NO_ID)?;
    Some((named?, bits, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(entries: &[AclEntry]) -> Vec<u8> {
        let mut value = vec![2, 0, 0, 0];
        for (tag, permissions, id) in entries {
            value.extend([&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat());
        }
        value
    }

    #[test]
    fn texts_of_all_writers_give_the_same_acl() {
        let expected = binary(&[
            (USER_OBJ, 6, NO_ID),
            (USER, 4, 1000),
            (USER, 7, 54_321),
            (GROUP_OBJ, 4, NO_ID),
            (GROUP, 5, 33),
            (MASK, 6, NO_ID),
            (OTHER, 0, NO_ID),
        ]);
        for text in [
            // GNU tar --acls --numeric-owner; libarchive; getfacl.
            "user::rw-,user:1000:r--,user:54321:rwx,group::r--,group:33:r-x,mask::rw-,other::---",
            "user::rw-\nuser:54321:rwx:54321\nuser:somebody:r--:1000\ngroup::r--\ngroup:www-data:r-x:33\nmask::rw-\nother::---\n",
            "u::rw, u:54321:rwx\t#effective:rw-\n g::r\n# a comment\n g:33:rx\n u:1000:r\n m:rw\n o:-\n",
        ] {
            assert_eq!(parse(text.as_bytes()), Some(Acl::Extended(expected.clone())), "{text}");
        }
        let minimal = binary(&[(USER_OBJ, 7, NO_ID), (GROUP_OBJ, 5, NO_ID), (OTHER, 1, NO_ID)]);
        assert_eq!(parse(b"user::rwx,group::r-x,other::--x"), Some(Acl::Minimal(minimal)));
    }

    #[test]
    fn invalid_texts_and_names_without_ids_are_refused() {
        for text in [
            "",
            "user::rw-,group::r--",
            "user::rw-,user:alice:r--,group::r--,mask::r--,other::---",
            "user::rw-,user:1000:r--,group::r--,other::---",
            "user::rw-,user::r--,group::r--,other::---",
            "user::rwz,group::r--,other::---",
            "owner@:rw-:allow,group@:r--:allow,everyone@:r--:allow",
            "user",
            "user::rw-,group::r--,mask:5:r--,other::---",
            "user::rw-,user:4294967295:r--,group::r--,mask::r--,other::---",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
