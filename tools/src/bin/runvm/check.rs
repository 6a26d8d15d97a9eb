//! Checks before a boot what the init would refuse after one: the stop signal, the user, the size of arguments and environment.

use std::path::Path;
use std::time::Duration;

use whit::argv::{self, MAX_BYTES, MAX_STRINGS, Strings};
use whit::cmdline;
use whit::contract::IMAGE_RECORD;
use whit::options::{Problem, Source, Sources, Time, Value};
use whit::passwd::{self, Groups, Lines};
use whit::record::{MAX_RECORD, Record};
use whit_tools::disk::inspect::{self, Disk};

/// More than the init adds to the environment after this check: HOSTNAME, TERM and HOME.
const ADDED: &[u8] = &[b'x'; 256];

/// The files of the image's root that a check reads; empty where it has none.
#[derive(Default)]
pub(crate) struct Files {
    record: Vec<u8>,
    passwd: Vec<u8>,
    group: Vec<u8>,
    /// Whether the files are known: they are not for a given initramfs, and for a disk with another file system.
    are_known: bool,
}

impl Files {
    /// Reads the files of a disk.
    pub(crate) fn of_disk(path: &Path) -> Self {
        Self::read(path).unwrap_or_default()
    }

    fn read(path: &Path) -> Result<Self, inspect::Error> {
        let disk = Disk::open(path)?;
        let read = |name: &[u8]| {
            let mut content = Vec::new();
            match disk.cat(name, &mut content) {
                // The init takes a missing file as an empty one.
                Err(error) if !error.is_not_found() => Err(error),
                _ => Ok(content),
            }
        };
        let mut record = read(IMAGE_RECORD.to_bytes())?;
        record.truncate(MAX_RECORD);
        Ok(Self { record, passwd: read(b"/etc/passwd")?, group: read(b"/etc/group")?, are_known: true })
    }
}

/// Checks the kernel's command line and the run record. Returns the time that the init waits from the stop signal to SIGKILL: of all
/// sources the one that it obeys.
///
/// # Errors
/// A message of one line: what is refused, and why.
pub(crate) fn check(append: &str, record: &[u8], files: &Files) -> Result<Duration, String> {
    let (mut words, mut record, mut image) = (append.as_bytes().to_vec(), record.to_vec(), files.record.clone());
    let (command_line, arguments) = cmdline::decode(&mut words);
    let sources = Sources::new([arguments, command_line, Record::decode(&mut record), Record::decode(&mut image)]);
    let (mut argv, mut env) = (<Strings>::new(), <Strings>::new());
    let fits = |filled: Result<(), argv::Full>, what: &str| {
        filled.map_err(|_| {
            format!("{what}: more than {MAX_STRINGS} strings or {MAX_BYTES} bytes, which the init can pass on")
        })
    };
    fits(argv::arguments(&sources, &mut argv), "the command and its arguments")?;
    let filled = argv::variables(&sources, ADDED, true, &mut env).and_then(|()| env.push(b""));
    fits(filled, "the environment")?;
    let mut refused = None;
    let options = sources.options(&mut |source, complaint| {
        // The init logs a bad word of --append, and goes on; a record is this program's own.
        let is_ours = source == Source::Initramfs || complaint.name == b"stopsignal";
        if complaint.problem == Problem::Value && is_ours && refused.is_none() {
            refused = Some(complaint);
        }
    });
    if let Some(complaint) = refused {
        let name = String::from_utf8_lossy(complaint.name);
        let given = sources.strongest_first(b"");
        let text =
            given.filter(|given| given.name == complaint.name).map(|given| given.text).next().unwrap_or_default();
        return Err(format!("{name} \"{}\": not a value that the init understands", String::from_utf8_lossy(text)));
    }
    // The image's own init does not run as this user.
    if !options.hand_over() {
        check_user(options.value(Value::User), files)?;
    }
    Ok(Duration::from_secs(options.time(Time::Grace).into()))
}

/// Checks the user if the accounts of the image are known.
fn check_user(user: &[u8], files: &Files) -> Result<(), String> {
    if !files.are_known {
        return Ok(());
    }
    let (mut accounts, mut groups) = (Whole::of(&files.passwd), Whole::of(&files.group));
    let found = passwd::account(user, &mut accounts, &mut groups, &mut Groups::new()).map(drop);
    found.map_err(|problem| {
        format!("user {}: {}", String::from_utf8_lossy(user), String::from_utf8_lossy(problem.name()))
    })
}

/// The lines of a file that is in memory.
struct Whole<'a> {
    lines: std::slice::Split<'a, u8, fn(&u8) -> bool>,
    line: &'a [u8],
}

impl<'a> Whole<'a> {
    fn of(content: &'a [u8]) -> Self {
        let is_newline: fn(&u8) -> bool = |byte| *byte == b'\n';
        Self { lines: content.split(is_newline), line: b"" }
    }
}

impl Lines for Whole<'_> {
    fn advance(&mut self) -> bool {
        let next = self.lines.next();
        self.line = next.unwrap_or_default();
        next.is_some()
    }

    fn line(&self) -> &[u8] {
        self.line
    }

    fn continues(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(record: &str) -> Files {
        Files {
            record: record.into(),
            passwd: b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/var/www:/bin/false".to_vec(),
            group: b"root:x:0:\nwww:x:33:\n".to_vec(),
            are_known: true,
        }
    }

    #[test]
    fn users_are_looked_up_in_the_image() {
        let check = |record: &str, image: &str| check("console=ttyS0", record.as_bytes(), &files(image)).map(drop);
        for user in ["www", "33", "7:8", "www:www", "root:33", ""] {
            assert_eq!(check(&format!("user {user}\n"), ""), Ok(()), "{user}");
        }
        assert_eq!(check("", ""), Ok(()));
        for (record, image, error) in [
            ("user nope\n", "", "user nope: no such user in /etc/passwd"),
            ("user www:nope\n", "", "user www:nope: no such group in /etc/group"),
            ("user a:b:c\n", "", "user a:b:c: no such user in /etc/passwd"),
            ("user 4294967295\n", "", "user 4294967295: no such user in /etc/passwd"),
            ("", "user nope\n", "user nope: no such user in /etc/passwd"),
        ] {
            assert_eq!(check(record, image).unwrap_err(), error);
        }
        assert!(super::check("", b"user nope\n", &Files::default()).is_ok(), "there is no image to look it up in");
    }

    #[test]
    fn the_limits_of_the_init_hold_before_a_boot() {
        let check = |record: &str, image: &str| check("a -- b", record.as_bytes(), &files(image)).map(drop);
        let arguments = |count: usize| "cmd x\n".repeat(count);
        let variables = |count: usize| (0..count).map(|number| format!("env N{number}=\n")).collect::<String>();
        assert_eq!(check(&variables(MAX_STRINGS - 4), ""), Ok(()));
        let error = check(&variables(MAX_STRINGS), "").unwrap_err();
        assert!(error.starts_with("the environment: more than 256 strings"), "{error}");
        assert!(super::check("a", arguments(MAX_STRINGS).as_bytes(), &files("")).is_ok());
        let error = super::check("a", arguments(MAX_STRINGS + 1).as_bytes(), &files("")).unwrap_err();
        assert!(error.starts_with("the command and its arguments: more than 256 strings"), "{error}");
        let long = format!("entrypoint {}\n", "x".repeat(MAX_BYTES));
        assert!(check(&long, "").is_err());
        assert!(check("", &variables(MAX_STRINGS)).is_err());
    }

    #[test]
    fn the_grace_time_is_that_of_the_strongest_source() {
        let grace = |append: &str, record: &str, image: &str| {
            check(append, record.as_bytes(), &files(image)).map(|grace| grace.as_secs())
        };
        for (append, record, image, seconds) in [
            ("console=ttyS0", "", "", 10),
            ("console=ttyS0", "", "grace 300\n", 300),
            ("console=ttyS0", "grace 20\n", "grace 300\n", 20),
            ("whit.grace=400", "grace 20\n", "grace 300\n", 400),
            ("whit.grace=soon", "", "grace 300\n", 300),
            ("console=ttyS0", "grace 4294967295\n", "", 4_294_967_295),
        ] {
            assert_eq!(grace(append, record, image), Ok(seconds), "{append} {record} {image}");
        }
    }
}
