//! What the user asked for: the kernel command line over the initramfs's run record over the image's.
//!
//! The names are one set: undotted on the command line when the kernel knows them too, `whit.NAME` otherwise, and `NAME` in a
//! record. An option that is given twice counts the last time.

use crate::argv::Full;
use crate::cmdline::{self, Word};
use crate::record::Record;
use crate::text::number;

/// Where options come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The kernel command line.
    CommandLine,
    /// `/whit.conf` in the initramfs.
    Initramfs,
    /// `/etc/whit.conf` in the root.
    Image,
}

impl Source {
    /// What overrides what.
    pub const STRONGEST_FIRST: [Self; 3] = [Self::CommandLine, Self::Initramfs, Self::Image];

    /// What a message calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::CommandLine => "command line",
            Self::Initramfs => "/whit.conf",
            Self::Image => "/etc/whit.conf",
        }
    }
}

/// The texts of all sources; one that is not there (yet) is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// As /proc/cmdline has it.
    pub command_line: &'a [u8],
    /// `/whit.conf`.
    pub initramfs: Record<'a>,
    /// `/etc/whit.conf`.
    pub image: Record<'a>,
}

/// Options that are lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// ENTRYPOINT.
    Entrypoint,
    /// CMD.
    Command,
    /// ENV.
    Variables,
}

impl List {
    fn key(self) -> &'static [u8] {
        match self {
            Self::Entrypoint => b"entrypoint",
            Self::Command => b"cmd",
            Self::Variables => b"env",
        }
    }
}

/// Where the parts of each element of a list go.
type Push<'p> = &'p mut dyn FnMut(&[&[u8]]) -> Result<(), Full>;

impl<'a> Sources<'a> {
    /// Gives each element of a list, in parts, to `push`, and returns whether the source has that list.
    ///
    /// # Errors
    /// What `push` returns.
    pub fn each(&self, source: Source, list: List, push: Push<'_>) -> Result<bool, Full> {
        match source {
            Source::CommandLine => self.each_on_command_line(list, push),
            Source::Initramfs => each_in_record(self.initramfs, list, push),
            Source::Image => each_in_record(self.image, list, push),
        }
    }

    fn each_on_command_line(&self, list: List, push: Push<'_>) -> Result<bool, Full> {
        let words = || cmdline::words(self.command_line);
        let values = |name: &'static [u8]| {
            words().filter(move |word| cmdline::same_name(word.key, name)).filter_map(|word| word.value)
        };
        let mut found = false;
        match list {
            List::Entrypoint => {
                let Some(entrypoint) = values(b"entrypoint").last() else { return Ok(false) };
                found = true;
                for word in entrypoint.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
                    push(&[word])?;
                }
            }
            List::Command => {
                for Word { key, value } in cmdline::arguments(self.command_line) {
                    found = true;
                    match value {
                        Some(value) => push(&[key, b"=", value])?,
                        None => push(&[key])?,
                    }
                }
                if !found {
                    for value in values(b"whit.arg") {
                        found = true;
                        push(&[value])?;
                    }
                }
            }
            List::Variables => {
                for value in values(b"whit.env") {
                    found = true;
                    push(&[value])?;
                }
            }
        }
        Ok(found)
    }

    /// Reads the options of all sources; gives what cannot be understood to `complain`.
    pub fn options(&self, complain: &mut dyn FnMut(Source, Complaint<'a>)) -> Options<'a> {
        let mut options = Options::default();
        for (source, record) in [(Source::Image, self.image), (Source::Initramfs, self.initramfs)] {
            for line in record.lines() {
                let problem = match line.entry {
                    Some((name, value)) => options.set(name, value).err().map(|problem| (name, problem)),
                    None => Some((&b""[..], Problem::Malformed)),
                };
                if let Some((name, problem)) = problem {
                    complain(source, Complaint { line: line.number, name, problem });
                }
            }
        }
        for Word { key, value } in cmdline::words(self.command_line) {
            let name = match key.strip_prefix(b"whit.") {
                Some(name) => name,
                None if KERNEL_WORDS.contains(&key) => key,
                None => continue, // The kernel's, or a module's.
            };
            if let Err(problem) = options.set(name, value) {
                complain(Source::CommandLine, Complaint { line: 1, name: key, problem });
            }
        }
        options
    }
}

fn each_in_record(record: Record<'_>, list: List, push: Push<'_>) -> Result<bool, Full> {
    let mut found = false;
    for value in record.values(list.key()) {
        found = true;
        push(&[value])?;
    }
    Ok(found)
}

/// The kernel's own words that mean something to us as well.
const KERNEL_WORDS: [&[u8]; 8] =
    [b"root", b"rootfstype", b"rootflags", b"rootwait", b"ro", b"rw", b"quiet", b"entrypoint"];

/// What could not be understood, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint<'a> {
    /// The line, from 1.
    pub line: u32,
    /// The name of the option; empty for a malformed line.
    pub name: &'a [u8],
    /// Why.
    pub problem: Problem,
}

/// Why an option was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The line is not `key value`, has an escape that is neither `\n` nor `\\`, or a NUL.
    Malformed,
    /// There is no such option.
    Unknown,
    /// The option has no such value.
    Value,
}

impl Problem {
    /// What a message says of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed line",
            Self::Unknown => "unknown option",
            Self::Value => "bad value",
        }
    }
}

/// How the boot goes with the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// The workload starts with a lease, or when the time for one is over.
    Wait,
    /// The workload starts at once.
    Background,
    /// The network is somebody else's business.
    Off,
}

/// The options that are single values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    /// The root device.
    pub root: Option<&'a [u8]>,
    /// File system types to try, separated by commas; else every one the kernel has.
    pub root_fstype: Option<&'a [u8]>,
    /// Mount options for the root.
    pub root_flags: Option<&'a [u8]>,
    /// Whether the root is mounted read-only.
    pub read_only: bool,
    /// How long the root device is waited for, in seconds; `None` is for ever.
    pub root_wait_s: Option<u32>,
    /// The directory that the workload starts in.
    pub workdir: &'a [u8],
    /// The user that the workload runs as.
    pub user: Option<&'a [u8]>,
    /// The name of the machine.
    pub hostname: Option<&'a [u8]>,
    /// The signal that asks the workload to end.
    pub stop_signal: u8,
    /// How long it has to end, in seconds.
    pub grace_s: u32,
    /// How the boot goes with the network.
    pub net: Net,
    /// How long a lease is waited for, in seconds.
    pub net_timeout_s: u32,
    /// Whether only errors are said.
    pub quiet: bool,
    /// Whether the time of each stage is shown.
    pub timing: bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            root: None,
            root_fstype: None,
            root_flags: None,
            read_only: false,
            root_wait_s: Some(30),
            workdir: b"/",
            user: None,
            hostname: None,
            stop_signal: SIGTERM,
            grace_s: 10,
            net: Net::Wait,
            net_timeout_s: 10,
            quiet: false,
            timing: false,
        }
    }
}

const SIGTERM: u8 = 15;

impl<'a> Options<'a> {
    fn set(&mut self, name: &[u8], value: Option<&'a [u8]>) -> Result<(), Problem> {
        let (_, name) = NAMES.iter().find(|(known, _)| cmdline::same_name(known, name)).ok_or(Problem::Unknown)?;
        let text = value.unwrap_or_default();
        let given = value.filter(|value| !value.is_empty());
        match name {
            Name::List => {} // read where it is used
            Name::Root => self.root = given,
            Name::RootFstype => self.root_fstype = given,
            Name::RootFlags => self.root_flags = given,
            Name::ReadOnly => self.read_only = true,
            Name::ReadWrite => self.read_only = false,
            Name::RootWait if value.is_none() => self.root_wait_s = None,
            Name::RootWait => self.root_wait_s = Some(number(text).ok_or(Problem::Value)?),
            Name::Workdir => self.workdir = given.unwrap_or(b"/"),
            Name::User => self.user = given,
            Name::Hostname => self.hostname = given,
            Name::StopSignal => self.stop_signal = signal(text).ok_or(Problem::Value)?,
            Name::Grace => self.grace_s = number(text).ok_or(Problem::Value)?,
            Name::Net => {
                let ways = [(&b"wait"[..], Net::Wait), (b"bg", Net::Background), (b"off", Net::Off)];
                self.net = ways.iter().find(|(way, _)| *way == text).ok_or(Problem::Value)?.1;
            }
            Name::NetTimeout => self.net_timeout_s = number(text).ok_or(Problem::Value)?,
            Name::Quiet => self.quiet = true,
            Name::Timing => self.timing = true,
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Name {
    List,
    Root,
    RootFstype,
    RootFlags,
    ReadOnly,
    ReadWrite,
    RootWait,
    Workdir,
    User,
    Hostname,
    StopSignal,
    Grace,
    Net,
    NetTimeout,
    Quiet,
    Timing,
}

/// Every name; `-` and `_` are alike in them.
const NAMES: [(&[u8], Name); 19] = [
    (b"entrypoint", Name::List),
    (b"cmd", Name::List),
    (b"arg", Name::List),
    (b"env", Name::List),
    (b"root", Name::Root),
    (b"rootfstype", Name::RootFstype),
    (b"rootflags", Name::RootFlags),
    (b"ro", Name::ReadOnly),
    (b"rw", Name::ReadWrite),
    (b"rootwait", Name::RootWait),
    (b"workdir", Name::Workdir),
    (b"user", Name::User),
    (b"hostname", Name::Hostname),
    (b"stopsignal", Name::StopSignal),
    (b"grace", Name::Grace),
    (b"net", Name::Net),
    (b"net.timeout", Name::NetTimeout),
    (b"quiet", Name::Quiet),
    (b"timing", Name::Timing),
];

/// A signal as docker's STOPSIGNAL names it: `SIGQUIT`, `QUIT`, `3`, `RTMIN+3`.
fn signal(name: &[u8]) -> Option<u8> {
    const NAMED: [(&[u8], u8); 12] = [
        (b"HUP", 1),
        (b"INT", 2),
        (b"QUIT", 3),
        (b"ABRT", 6),
        (b"KILL", 9),
        (b"USR1", 10),
        (b"USR2", 12),
        (b"ALRM", 14),
        (b"TERM", SIGTERM),
        (b"CONT", 18),
        (b"WINCH", 28),
        (b"PWR", 30),
    ];
    // The first real-time signal that a C library leaves to programs, and the last there is (signal(7)).
    const RTMIN: u32 = 34;
    const LAST: u8 = 64;
    let name = name.strip_prefix(b"SIG").unwrap_or(name);
    if let Some((_, number)) = NAMED.iter().find(|(named, _)| *named == name) {
        return Some(*number);
    }
    let signal = match name.strip_prefix(b"RTMIN") {
        Some(b"") => RTMIN,
        Some(offset) => RTMIN.checked_add(number(offset.strip_prefix(b"+")?)?)?,
        None => number(name)?,
    };
    u8::try_from(signal).ok().filter(|signal| (1..=LAST).contains(signal))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn options(
        command_line: &'static str,
        image: &'static str,
    ) -> (Options<'static>, Vec<(Source, Complaint<'static>)>) {
        let image = Vec::leak(image.as_bytes().to_vec());
        let sources = Sources {
            command_line: command_line.as_bytes(),
            initramfs: Record::default(),
            image: Record::decode(image),
        };
        let mut complaints = Vec::new();
        let options = sources.options(&mut |source, complaint| complaints.push((source, complaint)));
        (options, complaints)
    }

    #[test]
    fn the_command_line_is_stronger_than_the_record_and_the_last_word_counts() {
        let (options, complaints) = options(
            "BOOT_IMAGE=x root=/dev/vda root=/dev/vdb ro rw rootwait whit.hostname=c whit.net.timeout=3 -- root=/dev/no",
            "hostname image\nworkdir /srv\ngrace 4\nstopsignal SIGQUIT\nentrypoint /e\n",
        );
        assert_eq!(complaints, []);
        let expected = Options {
            root: Some(b"/dev/vdb"),
            root_wait_s: None,
            hostname: Some(b"c"),
            workdir: b"/srv",
            grace_s: 4,
            stop_signal: 3,
            net_timeout_s: 3,
            ..Options::default()
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn what_cannot_be_understood_is_said_with_its_place() {
        let (options, complaints) =
            options("whit.colour=red whit.net=maybe colour=red", "\nusr x\n bad\ngrace soon\nworkdir /x");
        assert_eq!(options, Options { workdir: b"/x", ..Options::default() });
        let complaint = |line, name: &'static str, problem| Complaint { line, name: name.as_bytes(), problem };
        assert_eq!(
            complaints,
            [
                (Source::Image, complaint(2, "usr", Problem::Unknown)),
                (Source::Image, complaint(3, "", Problem::Malformed)),
                (Source::Image, complaint(4, "grace", Problem::Value)),
                (Source::CommandLine, complaint(1, "whit.colour", Problem::Unknown)),
                (Source::CommandLine, complaint(1, "whit.net", Problem::Value)),
            ]
        );
    }

    #[test]
    fn signals_have_dockers_names() {
        for (name, number) in [
            ("SIGQUIT", Some(3)),
            ("QUIT", Some(3)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+31", None),
            ("0", None),
            ("65", None),
            ("SIG", None),
            ("", None),
            ("SIGNOPE", None),
        ] {
            assert_eq!(signal(name.as_bytes()), number, "{name:?}");
        }
    }
}
