//! What the user asked for: the kernel command line over the initramfs's run record over the image's over what docker gives
//! every container.
//!
//! The names are one set: undotted on the command line when the kernel knows them too, `whit.NAME` otherwise, and `NAME` in a
//! record. An option that is given twice counts the last time.

use crate::cmdline::{self, Word};
use crate::record::{self, Record};
use crate::text::{number, parts, position, strip_prefix};

/// Where options come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// What stands behind `--` on the kernel command line.
    Arguments,
    /// What stands before it.
    CommandLine,
    /// `/whit.conf` in the initramfs.
    Initramfs,
    /// `/etc/whit.conf` in the root.
    Image,
    /// What docker gives every container.
    Docker,
}

/// docker's PATH, when the image sets none; its settings of a network that is the container's own (moby,
/// daemon/oci_linux.go, WithSysctls): everybody may listen on every port, and ping; its limits of open files.
const DOCKERS: Record<'_> = Record::decoded(
    b"env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\0\
    sysctl net.ipv4.ip_unprivileged_port_start=0\0\
    sysctl net.ipv4.ping_group_range=0 2147483647\0\
    rlimit nofile=1024:1048576",
);

impl Source {
    /// What overrides what.
    pub const STRONGEST_FIRST: &[Self] =
        &[Self::Arguments, Self::CommandLine, Self::Initramfs, Self::Image, Self::Docker];

    /// What a message calls it. Nothing is wrong with docker's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Initramfs => "/whit.conf",
            Self::Image => "/etc/whit.conf",
            _ => "command line",
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

/// One option, as a source has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given<'a> {
    /// The line it stands on.
    pub line: u32,
    /// Its name without `whit.`; empty for a malformed line.
    pub name: &'a [u8],
    /// What is said of it.
    pub text: &'a [u8],
    /// What stood behind the `=` of an argument that follows `--`: such a one is kept as it was.
    pub behind_equals: Option<&'a [u8]>,
}

/// What [`Sources::each`] returns: one of the two has something.
#[derive(Clone, Debug)]
pub struct Each<'a> {
    words: cmdline::Words<'a>,
    /// Those behind `--` are meant, not those before it.
    arguments: bool,
    lines: record::Lines<'a>,
}

impl<'a> Iterator for Each<'a> {
    type Item = Given<'a>;

    #[inline(never)]
    fn next(&mut self) -> Option<Given<'a>> {
        for Word { key, value, is_argument } in &mut self.words {
            if is_argument != self.arguments {
                continue;
            }
            if is_argument {
                return Some(Given { line: 1, name: b"cmd", text: key, behind_equals: value });
            }
            let name = match strip_prefix(key, b"whit.") {
                Some(name) => name,
                None if position(KERNEL_WORDS, b' ', key).is_some() => key,
                None => continue, // The kernel's, or a module's.
            };
            return Some(Given { line: 1, name, text: value.unwrap_or_default(), behind_equals: None });
        }
        let line = self.lines.next()?;
        let (name, value) = line.entry.unwrap_or_default();
        Some(Given { line: line.number, name, text: value.unwrap_or_default(), behind_equals: None })
    }
}

impl<'a> Sources<'a> {
    /// The options of a source, in order.
    pub fn each(&self, source: Source) -> Each<'a> {
        let (command_line, record) = match source {
            Source::Arguments | Source::CommandLine => (self.command_line, Record::default()),
            Source::Initramfs => (&b""[..], self.initramfs),
            Source::Image => (&b""[..], self.image),
            Source::Docker => (&b""[..], DOCKERS),
        };
        Each { words: cmdline::words(command_line), arguments: source == Source::Arguments, lines: record.lines() }
    }

    /// Reads the options of all sources; gives what cannot be understood to `complain`.
    pub fn options(&self, complain: &mut dyn FnMut(Source, Complaint<'a>)) -> Options<'a> {
        let mut options = Options::default();
        for &source in Source::STRONGEST_FIRST.iter().rev() {
            for Given { line, name, text, .. } in self.each(source) {
                if let Err(problem) = options.set(name, text) {
                    complain(source, Complaint { line, name, problem });
                }
            }
        }
        options
    }
}

/// The kernel's own words that mean something to us as well, and the one that ginit brought.
const KERNEL_WORDS: &[u8] = b"root rootfstype rootflags rootwait rootdelay ro rw init quiet entrypoint";

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
    /// How long nothing is tried before, in seconds.
    pub root_delay_s: u32,
    /// What is laid over a root that stays as it is.
    pub overlay: Option<&'a [u8]>,
    /// Whether the root grows to the size of its device.
    pub grow: bool,
    /// The directory that the workload starts in; empty is `/`.
    pub workdir: &'a [u8],
    /// The user that the workload runs as; empty is root.
    pub user: &'a [u8],
    /// The name of the machine.
    pub hostname: Option<&'a [u8]>,
    /// The signal that asks the workload to end.
    pub stop_signal: u8,
    /// How long it has to end, in seconds.
    pub grace_s: u32,
    /// How the boot goes with the network; `None` was not said.
    net: Option<Net>,
    /// How long a lease is waited for, in seconds.
    pub net_timeout_s: u32,
    /// What becomes PID 1 in the place of whit, when that was asked for.
    pub init: Option<&'a [u8]>,
    /// Whether the image's own init becomes PID 1.
    pub hand_over: bool,
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
            root_delay_s: 0,
            overlay: None,
            grow: false,
            workdir: b"",
            user: b"",
            hostname: None,
            stop_signal: SIGTERM,
            grace_s: 10,
            net: None,
            net_timeout_s: 10,
            init: None,
            hand_over: false,
            quiet: false,
            timing: false,
        }
    }
}

const SIGTERM: u8 = 15;

impl<'a> Options<'a> {
    /// How the boot goes with the network: that of an image with an init of its own is left to it, unless it is said.
    pub fn net(&self) -> Net {
        self.net.unwrap_or(if self.hand_over { Net::Off } else { Net::Wait })
    }

    #[inline(never)] // What it changes stays in memory; inlined, every option is a variable of its own that is copied.
    fn set(&mut self, name: &[u8], text: &'a [u8]) -> Result<(), Problem> {
        if name.is_empty() {
            return Err(Problem::Malformed);
        }
        let known = parts(NAMES, b' ').position(|known| cmdline::same_name(known, name));
        let name = known.and_then(|position| Name::IN_ORDER.get(position)).ok_or(Problem::Unknown)?;
        let given = Some(text).filter(|text| !text.is_empty());
        let seconds = number(text).ok_or(Problem::Value);
        match name {
            Name::List => {} // read where it is used
            Name::Root => self.root = given,
            Name::RootFstype => self.root_fstype = given,
            Name::RootFlags => self.root_flags = given,
            Name::ReadOnly => self.read_only = true,
            Name::ReadWrite => self.read_only = false,
            Name::RootWait if text.is_empty() => self.root_wait_s = None,
            Name::RootWait => self.root_wait_s = Some(seconds?),
            Name::RootDelay => self.root_delay_s = seconds?,
            Name::Overlay => self.overlay = given,
            Name::Grow => self.grow = true,
            Name::Workdir => self.workdir = text,
            Name::User => self.user = text,
            Name::Hostname => self.hostname = given,
            Name::StopSignal => self.stop_signal = signal(text).ok_or(Problem::Value)?,
            Name::Grace => self.grace_s = seconds?,
            Name::Net => {
                self.net = match position(b"wait bg off", b' ', text) {
                    Some(0) => Some(Net::Wait),
                    Some(1) => Some(Net::Background),
                    Some(2) => Some(Net::Off),
                    _ => return Err(Problem::Value),
                }
            }
            Name::NetTimeout => self.net_timeout_s = seconds?,
            Name::Init => (self.init, self.hand_over) = (given, true),
            Name::Pid1 => {
                self.hand_over = match text {
                    b"child" => false,
                    b"exec" => true,
                    _ => return Err(Problem::Value),
                }
            }
            Name::Quiet => self.quiet = true,
            Name::Timing => self.timing = true,
        }
        Ok(())
    }
}

/// Every name, in the order of [`Name::IN_ORDER`]: one text is less than a table of them.
const NAMES: &[u8] =
    b"entrypoint cmd arg env mount tmpfs rlimit sysctl root rootfstype rootflags ro rw rootwait rootdelay overlay grow \
    workdir user hostname stopsignal grace net net.timeout init pid1 quiet timing";

#[derive(Clone, Copy)]
enum Name {
    List,
    Root,
    RootFstype,
    RootFlags,
    ReadOnly,
    ReadWrite,
    RootWait,
    RootDelay,
    Overlay,
    Grow,
    Workdir,
    User,
    Hostname,
    StopSignal,
    Grace,
    Net,
    NetTimeout,
    Init,
    Pid1,
    Quiet,
    Timing,
}

impl Name {
    const IN_ORDER: [Self; 28] = [
        Self::List,
        Self::List,
        Self::List,
        Self::List,
        Self::List,
        Self::List,
        Self::List,
        Self::List,
        Self::Root,
        Self::RootFstype,
        Self::RootFlags,
        Self::ReadOnly,
        Self::ReadWrite,
        Self::RootWait,
        Self::RootDelay,
        Self::Overlay,
        Self::Grow,
        Self::Workdir,
        Self::User,
        Self::Hostname,
        Self::StopSignal,
        Self::Grace,
        Self::Net,
        Self::NetTimeout,
        Self::Init,
        Self::Pid1,
        Self::Quiet,
        Self::Timing,
    ];
}

/// A signal as docker's STOPSIGNAL names it: `SIGQUIT`, `QUIT`, `3`, `RTMIN+3`.
fn signal(name: &[u8]) -> Option<u8> {
    const NAMED: &[u8] =
        b"HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP \
        TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";
    // The first real-time signal that a C library leaves to programs, and the last there is (signal(7)).
    const RTMIN: u32 = 34;
    const LAST: u8 = 64;
    let name = strip_prefix(name, b"SIG").unwrap_or(name);
    // In the order of their numbers, from 1 (signal(7)).
    if let Some(place) = position(NAMED, b' ', name) {
        return u8::try_from(place).ok()?.checked_add(1);
    }
    let signal = match strip_prefix(name, b"RTMIN") {
        Some(b"") => RTMIN,
        Some(offset) => RTMIN.saturating_add(number(strip_prefix(offset, b"+")?)?),
        None => number(name)?,
    };
    u8::try_from(signal).ok().filter(|signal| signal.wrapping_sub(1) < LAST)
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
            "BOOT_IMAGE=x root=/dev/vda root=/dev/vdb ro rw rootwait rootdelay=2 whit.hostname=c whit.net.timeout=3 -- root=/dev/no",
            "hostname image\nworkdir /srv\ngrace 4\nstopsignal SIGQUIT\nentrypoint /e\n",
        );
        assert_eq!(complaints, []);
        let expected = Options {
            root: Some(b"/dev/vdb"),
            root_wait_s: None,
            root_delay_s: 2,
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
                (Source::CommandLine, complaint(1, "colour", Problem::Unknown)),
                (Source::CommandLine, complaint(1, "net", Problem::Value)),
            ]
        );
    }

    #[test]
    fn every_name_has_its_place() {
        assert_eq!(parts(NAMES, b' ').count(), Name::IN_ORDER.len());
    }

    #[test]
    fn signals_have_dockers_names() {
        for (name, number) in [
            ("SIGQUIT", Some(3)),
            ("QUIT", Some(3)),
            ("SIGTERM", Some(15)),
            ("WINCH", Some(28)),
            ("SIGSYS", Some(31)),
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
