//! The user of the workload: docker's USER, looked up in the image's passwd(5) and group(5).
//!
//! `user`, `uid`, `user:group`, `uid:gid` and the mixed forms. A number is an id, even if it is also a name, and needs
//! no line; a name does. A line that is malformed is passed over.

use crate::text::{Split, nth, number, position, split, split_once};

/// Supplementary groups of an account.
pub const MAX_GROUPS: usize = 64;
/// The highest id that docker takes.
const MAX_ID: u32 = i32::MAX.cast_unsigned();

/// Supplementary groups.
pub type Groups = heapless::Vec<u32, MAX_GROUPS>;

/// What setgid(2) and setuid(2) are given, and HOME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account<'a> {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The home directory; `/` without a passwd line.
    pub home: &'a [u8],
}

/// Why a USER cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No passwd line has that name, or the number is out of range.
    User,
    /// No group line has that name, or the number is out of range.
    Group,
    /// More than [`MAX_GROUPS`].
    TooManyGroups,
}

impl Problem {
    /// Its text in a message.
    pub fn name(self) -> &'static [u8] {
        nth(b"no such user in /etc/passwd,no such group in /etc/group,in more than 64 groups", self as usize)
    }
}

/// Finds the account of a USER; an empty one is root. `groups` gets those that list the user, when USER names no group, and
/// the account's own: a program may give that up as its current one (CVE-2022-36109).
///
/// # Errors
/// [`Problem`] when a name has no line.
pub fn account<'a>(user: &[u8], passwd: &'a [u8], group: &[u8], groups: &mut Groups) -> Result<Account<'a>, Problem> {
    let (user, group_name) = split_once(user, b':').unwrap_or((user, b""));
    let user = if user.is_empty() { b"0" } else { user };
    let user_id = id(user);
    let mut account = Account { uid: 0, gid: 0, home: b"" };
    let mut name = &b""[..];
    // name:password:UID:GID:GECOS:directory:shell
    for line in split(passwd, b'\n') {
        let Some(line) = &mut fields(line) else { continue };
        let Some(gid) = id(line.fourth) else { continue };
        if user_id.map_or(line.name == user, |id| line.id == id) {
            account = Account { uid: line.id, gid, home: line.rest.nth(1).unwrap_or_default() };
            name = line.name;
            break;
        }
    }
    if name.is_empty() {
        account.uid = user_id.ok_or(Problem::User)?;
    }
    if account.home.is_empty() {
        account.home = b"/";
    }
    // group_name:password:GID:user_list
    let mut gid = id(group_name);
    for line in split(group, b'\n') {
        let Some(line) = &fields(line) else { continue };
        if group_name.is_empty() {
            if !name.is_empty() && position(line.fourth, b',', name).is_some() {
                groups.push(line.id).map_err(|_| Problem::TooManyGroups)?;
            }
        } else if gid.is_none() && line.name == group_name {
            gid = Some(line.id);
        }
    }
    if !group_name.is_empty() {
        account.gid = gid.ok_or(Problem::Group)?;
    }
    groups.push(account.gid).map_err(|_| Problem::TooManyGroups)?;
    Ok(account)
}

/// A line of passwd or group that is well formed so far.
struct Fields<'a> {
    name: &'a [u8],
    id: u32,
    fourth: &'a [u8],
    rest: Split<'a>,
}

#[inline(never)]
fn fields(line: &[u8]) -> Option<Fields<'_>> {
    let mut rest = split(line, b':');
    let name = rest.next().filter(|name| !name.is_empty())?;
    let id = id(rest.nth(1)?)?;
    Some(Fields { name, id, fourth: rest.next()?, rest })
}

fn id(text: &[u8]) -> Option<u32> {
    number(text).filter(|id| *id <= MAX_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
        broken:x:zero:0::/nowhere:/bin/sh\n\
        :x:7:7::/empty:\n\
        web:x:33:44:web:/srv/web:/bin/false\n\
        1000:x:55:66::/number:/bin/sh\n\
        homeless:x:77:77:::\n\
        short:x:88:88";
    const GROUP: &[u8] =
        b"root:x:0:\nweb:x:44:\nbroken:x:x:web\nlogs:x:4:syslog,web\nspare:x:9:web,\n70:x:71:\nlogs:x:72:\nshort:x:5";

    fn found(user: &str) -> Result<(Account<'static>, Groups), Problem> {
        let mut groups = Groups::new();
        account(user.as_bytes(), PASSWD, GROUP, &mut groups).map(|account| (account, groups))
    }

    #[test]
    fn all_six_forms_are_found() {
        for (user, uid, gid, groups, home) in [
            ("", 0, 0, &[0][..], "/root"),
            ("web", 33, 44, &[4, 9, 44], "/srv/web"),
            ("33", 33, 44, &[4, 9, 44], "/srv/web"),
            ("web:", 33, 44, &[4, 9, 44], "/srv/web"),
            ("web:logs", 33, 4, &[4], "/srv/web"),
            ("web:1234", 33, 1234, &[1234], "/srv/web"),
            ("33:logs", 33, 4, &[4], "/srv/web"),
            ("4321:1234", 4321, 1234, &[1234], "/"),
            ("4321", 4321, 0, &[0], "/"),
            // Names that are numbers: an id is meant.
            ("1000", 1000, 0, &[0], "/"),
            ("55", 55, 66, &[66], "/number"),
            ("web:70", 33, 70, &[70], "/srv/web"),
            ("homeless", 77, 77, &[77], "/"),
            ("short", 88, 88, &[88], "/"),
            (":logs", 0, 4, &[4], "/root"),
        ] {
            let (account, found_groups) = found(user).unwrap();
            assert_eq!(account, Account { uid, gid, home: home.as_bytes() }, "{user:?}");
            assert_eq!(found_groups, groups, "{user:?}");
        }
    }

    #[test]
    fn names_without_a_line_are_refused() {
        for (user, problem) in [
            ("nobody", Problem::User),
            ("broken", Problem::User),
            ("2147483648", Problem::User),
            ("-1", Problem::User),
            ("web:nogroup", Problem::Group),
            ("web:2147483648", Problem::Group),
            ("web:short", Problem::Group),
        ] {
            assert_eq!(found(user).map(|_| ()), Err(problem), "{user:?}");
        }
    }

    #[test]
    fn files_may_be_missing() {
        assert_eq!(account(b"5:6", b"", b"", &mut Groups::new()).map(|account| (account.uid, account.gid)), Ok((5, 6)));
        assert_eq!(account(b"", b"", b"", &mut Groups::new()).map(|account| account.uid), Ok(0));
    }

    #[test]
    fn more_groups_than_fit_are_an_error() {
        extern crate std;
        let groups_of_web = |count| {
            let group: std::string::String = (0..count).map(|gid| std::format!("g{gid}:x:{gid}:web\n")).collect();
            let mut groups = Groups::new();
            account(b"web", PASSWD, group.as_bytes(), &mut groups).map(|_| groups.len())
        };
        assert_eq!(groups_of_web(MAX_GROUPS - 1), Ok(MAX_GROUPS));
        assert_eq!(groups_of_web(MAX_GROUPS), Err(Problem::TooManyGroups));
        assert_eq!(groups_of_web(MAX_GROUPS + 1), Err(Problem::TooManyGroups));
    }
}
