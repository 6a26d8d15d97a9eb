//! The user of the workload: docker's USER, looked up in the image's passwd(5) and group(5).
//!
//! The forms are `user`, `uid`, `user:group`, `uid:gid` and the mixed ones, and with more groups `uid:gid:gid,…`, as a container engine
//! knows them. A number is an id, even if it is also a name, and needs no line in the files; a name needs one. Malformed lines are
//! skipped. The files are read by lines, and may have any size.

use crate::features::Feature;
use crate::text::{Split, cut, nth, number, position, split, split_once};

/// The limit of supplementary groups of an account.
pub const MAX_GROUPS: usize = 64;
/// The highest id that docker accepts.
const MAX_ID: u32 = i32::MAX.cast_unsigned();

/// Supplementary groups, by their ids.
pub type Groups = crate::bounded::Vec<u32, MAX_GROUPS>;

/// An account: the arguments of setuid(2) and setgid(2), and HOME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account<'a> {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The home directory; `/` if passwd has none.
    pub home: &'a [u8],
}

/// The lines of passwd or group, from a file of any size.
pub trait Lines {
    /// Advances to the next line, or to the next part of a long line. A part ends at the end of the line or after a member of a
    /// list. Returns `false` after the last line; [`Lines::line`] is empty then.
    fn advance(&mut self) -> bool;
    /// Returns the line, or its part.
    fn line(&self) -> &[u8];
    /// Whether this is a further part of a line, not its first.
    fn continues(&self) -> bool;
}

/// The reason why a USER cannot be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No passwd line has that name, or the number is out of range.
    User,
    /// No group line has that name, or the number is out of range.
    Group,
    /// The user is in more than [`MAX_GROUPS`] groups.
    TooManyGroups,
}

impl Problem {
    /// Returns its text in a message.
    pub fn name(self) -> &'static [u8] {
        nth(b"no such user in /etc/passwd,no such group in /etc/group,in more than 64 groups", self as usize)
    }
}

/// Finds the account of a USER; an empty one is root. Appends to `groups` the groups that list the user, unless USER names a
/// group, and the account's primary group: a process may drop that as its effective group (CVE-2022-36109).
///
/// # Errors
/// [`Problem`] if a name has no line, an id is out of range, or `groups` is full.
pub fn account<'a, L: Lines>(
    user: &[u8],
    passwd: &'a mut L,
    group: &mut L,
    groups: &mut Groups,
) -> Result<Account<'a>, Problem> {
    let (user, group_name) = cut(user, b':');
    let user = if user.is_empty() { b"0" } else { user };
    let user_id = id(user);
    let is_wanted =
        |line: &Fields<'_>| id(line.fourth).is_some() && user_id.map_or(line.name == user, |id| line.id == id);
    while passwd.advance() && (passwd.continues() || !fields(passwd.line()).is_some_and(|line| is_wanted(&line))) {}
    let mut account = Account { uid: 0, gid: 0, home: b"" };
    let mut name = &b""[..];
    match &mut fields(passwd.line()) {
        // name:password:UID:GID:GECOS:directory:shell
        Some(line) => {
            account = Account {
                uid: line.id,
                gid: id(line.fourth).unwrap_or_default(),
                home: line.rest.nth(1).unwrap_or_default(),
            };
            name = line.name;
        }
        None => account.uid = user_id.ok_or(Problem::User)?,
    }
    if account.home.is_empty() {
        account.home = b"/";
    }
    let mut group_name = group_name;
    if Feature::Streams.is_enabled()
        && let Some((name, more)) = split_once(group_name, b':')
    {
        group_name = name;
        for more in split(more, b',') {
            groups.push(id(more).ok_or(Problem::Group)?).map_err(|_| Problem::TooManyGroups)?;
        }
    }
    let mut gid = id(group_name);
    let mut listed = None;
    while group.advance() {
        let mut members = group.line();
        if !group.continues() {
            // group_name:password:GID:user_list
            let line = fields(members);
            listed = line.as_ref().map(|line| line.id);
            let Some(line) = line else { continue };
            members = line.fourth;
            if gid.is_none() && line.name == group_name {
                gid = listed;
            }
        }
        if group_name.is_empty()
            && !name.is_empty()
            && position(members, b',', name).is_some()
            && let Some(gid) = listed.take()
        {
            groups.push(gid).map_err(|_| Problem::TooManyGroups)?;
        }
    }
    if !group_name.is_empty() {
        account.gid = gid.ok_or(Problem::Group)?;
    }
    groups.push(account.gid).map_err(|_| Problem::TooManyGroups)?;
    Ok(account)
}

/// The fields of a line of passwd or group, of which the first four are well formed.
struct Fields<'a> {
    name: &'a [u8],
    id: u32,
    fourth: &'a [u8],
    rest: Split<'a>,
}

/// Splits a line; `None` if it is malformed.
#[inline(never)]
fn fields(line: &[u8]) -> Option<Fields<'_>> {
    let mut rest = split(line, b':');
    let name = rest.next().filter(|name| !name.is_empty())?;
    let id = id(rest.nth(1)?)?;
    Some(Fields { name, id, fourth: rest.next()?, rest })
}

/// Parses an id up to [`MAX_ID`].
fn id(text: &[u8]) -> Option<u32> {
    number(text).filter(|id| *id <= MAX_ID)
}

#[cfg(test)]
mod tests {
    extern crate std;
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

    /// The lines of a text. Longer lines are read in parts of at most that many bytes.
    struct Parts<'a>(Split<'a>, usize, &'a [u8], &'a [u8], bool);

    fn parts(text: &[u8], longest: usize) -> Parts<'_> {
        Parts(split(text, b'\n'), longest, b"", b"", false)
    }

    impl Lines for Parts<'_> {
        fn advance(&mut self) -> bool {
            let Self(lines, longest, line, rest, continues) = self;
            *continues = !rest.is_empty();
            if !*continues {
                *rest = lines.next().unwrap_or_default();
            }
            let comma = rest.iter().take(*longest).rposition(|byte| *byte == b',').filter(|_| rest.len() > *longest);
            (*line, *rest) = comma.map_or((*rest, &b""[..]), |comma| (&rest[..comma], &rest[comma + 1..]));
            *continues || !lines.is_done() || !line.is_empty()
        }

        fn line(&self) -> &[u8] {
            self.2
        }

        fn continues(&self) -> bool {
            self.4
        }
    }

    type Found = (u32, u32, std::vec::Vec<u8>, Groups);

    fn read(user: &[u8], passwd: &[u8], group: &[u8], longest: usize) -> Result<Found, Problem> {
        let (mut passwd, mut groups) = (parts(passwd, usize::MAX), Groups::new());
        let account = account(user, &mut passwd, &mut parts(group, longest), &mut groups)?;
        Ok((account.uid, account.gid, account.home.to_vec(), groups))
    }

    fn found(user: &str) -> Result<Found, Problem> {
        read(user.as_bytes(), PASSWD, GROUP, usize::MAX)
    }

    #[test]
    fn all_forms_of_a_user_are_found() {
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
            // Numbers that are also names are ids.
            ("1000", 1000, 0, &[0], "/"),
            ("55", 55, 66, &[66], "/number"),
            ("web:70", 33, 70, &[70], "/srv/web"),
            ("homeless", 77, 77, &[77], "/"),
            ("short", 88, 88, &[88], "/"),
            (":logs", 0, 4, &[4], "/root"),
            ("33:44:50,60", 33, 44, &[50, 60, 44], "/srv/web"),
            ("7:8:9", 7, 8, &[9, 8], "/"),
            ("web::7", 33, 44, &[7, 4, 9, 44], "/srv/web"),
        ] {
            let groups = Groups::from_slice(groups).unwrap();
            assert_eq!(found(user), Ok((uid, gid, home.as_bytes().to_vec(), groups)), "{user:?}");
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
            ("1:2:3,", Problem::Group),
            ("1:2:web", Problem::Group),
        ] {
            assert_eq!(found(user).map(|_| ()), Err(problem), "{user:?}");
        }
    }

    #[test]
    fn files_may_be_missing() {
        let ids = |user| read(user, b"", b"", 0).map(|(uid, gid, ..)| (uid, gid));
        assert_eq!(ids(b"5:6"), Ok((5, 6)));
        assert_eq!(ids(b""), Ok((0, 0)));
    }

    #[test]
    fn a_list_of_members_may_be_read_in_parts() {
        let group =
            b"long:x:50:a,b,c,web,d,e,webb,f\nbroken,x:y,web\nother:x:51:a,b,c,d,e,f,g,web\nno:x:52:a,b,c,we,b,d,e,f";
        for longest in 11..group.len() {
            assert_eq!(read(b"web", PASSWD, group, longest).unwrap().3, [50, 51, 44], "{longest}");
            assert_eq!(read(b"web:other", PASSWD, group, longest).unwrap().1, 51, "{longest}");
        }
    }

    #[test]
    fn more_groups_than_fit_are_an_error() {
        let groups_of_web = |count| {
            let group: std::string::String = (0..count).map(|gid| std::format!("g{gid}:x:{gid}:web\n")).collect();
            read(b"web", PASSWD, group.as_bytes(), usize::MAX).map(|(.., groups)| groups.len())
        };
        assert_eq!(groups_of_web(MAX_GROUPS - 1), Ok(MAX_GROUPS));
        assert_eq!(groups_of_web(MAX_GROUPS), Err(Problem::TooManyGroups));
        assert_eq!(groups_of_web(MAX_GROUPS + 1), Err(Problem::TooManyGroups));
    }

    #[test]
    fn each_problem_has_a_text() {
        for (problem, name) in [
            (Problem::User, "no such user in /etc/passwd"),
            (Problem::Group, "no such group in /etc/group"),
            (Problem::TooManyGroups, "in more than 64 groups"),
        ] {
            assert_eq!(problem.name(), name.as_bytes());
        }
        assert_eq!(MAX_GROUPS, 64);
    }
}
