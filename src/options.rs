//! Options: the kernel command line over the initramfs's run record over the image's over docker's defaults.
//!
//! [`table`] has them all. The last value of an option counts.

use self::table::{CHOICES, DEFAULT_TIMES, DISABLED, KERNEL_NAMES, KINDS, Kind, NAMES, SWITCHES, TIMES, VALUES};
use crate::cmdline;
use crate::contract::{IMAGE_RECORD, RECORD, join, joined_len};
use crate::record::{self, Line, Record};
use crate::text::{nth, number, position, split, strip_prefix};

pub mod table;

pub use table::{Choice, Switch, Time, Value};

/// Where options come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The words after `--` on the kernel command line.
    Arguments,
    /// The words before it.
    CommandLine,
    /// `/whit.conf` in the initramfs.
    Initramfs,
    /// `/etc/whit.conf` in the root.
    Image,
    /// docker's defaults for every container.
    Docker,
}

/// docker's PATH, when the image sets none; its settings of a network that is the container's own (moby,
/// daemon/oci_linux.go, WithSysctls): every user may listen on every port, and ping; its limits of open files.
const DOCKERS: Record<'_> = Record::decoded(if cfg!(feature = "settings") {
    b"env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\0\
    sysctl net.ipv4.ip_unprivileged_port_start=0\0\
    sysctl net.ipv4.ping_group_range=0 2147483647\0\
    rlimit nofile=1024:1048576"
} else {
    b"env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
});

impl Source {
    /// The sources, each of which overrides those after it.
    pub const STRONGEST_FIRST: &[Self] =
        &[Self::Arguments, Self::CommandLine, Self::Initramfs, Self::Image, Self::Docker];

    /// Its name in a message; an argument and docker's defaults are never wrong.
    pub fn name(self) -> &'static [u8] {
        const TEXTS: &[&[u8]] = &[b",command line,", RECORD.to_bytes(), b",", IMAGE_RECORD.to_bytes()];
        nth(const { &join::<{ joined_len(TEXTS) }>(TEXTS) }, self as usize)
    }
}

/// The records of all sources; one that is not there (yet) is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// The words after `--` on the kernel command line, one a line.
    pub arguments: Record<'a>,
    /// The words before it.
    pub command_line: Record<'a>,
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
    /// Its value.
    pub text: &'a [u8],
}

/// What [`Sources::each`] returns.
#[derive(Clone, Copy, Debug)]
pub struct Each<'a> {
    source: Source,
    lines: record::Lines<'a>,
}

impl<'a> Iterator for Each<'a> {
    type Item = Given<'a>;

    #[inline(never)]
    fn next(&mut self) -> Option<Given<'a>> {
        if self.source == Source::Arguments {
            return Some(Given { line: 1, name: b"cmd", text: self.lines.whole()? });
        }
        loop {
            let Line { number, key: name, value } = self.lines.next()?;
            let mut given = Given { line: number, name, text: value };
            if self.source == Source::CommandLine {
                given.line = 1;
                match strip_prefix(name, b"whit.") {
                    Some(name) => given.name = name,
                    None if position(KERNEL_NAMES, b' ', name).is_some() => {}
                    None => continue, // The kernel's, or a module's.
                }
            }
            return Some(given);
        }
    }
}

impl<'a> Sources<'a> {
    /// The options of a source, in order.
    pub fn each(&self, source: Source) -> Each<'a> {
        let record = match source {
            Source::Arguments => self.arguments,
            Source::CommandLine => self.command_line,
            Source::Initramfs => self.initramfs,
            Source::Image => self.image,
            Source::Docker => DOCKERS,
        };
        Each { source, lines: record.lines() }
    }

    /// Whether any source has one of these options, whose names have a space between them.
    pub fn any_has(&self, names: &[u8]) -> bool {
        let has = |source: &Source| self.each(*source).any(|given| position(names, b' ', given.name).is_some());
        Source::STRONGEST_FIRST.iter().any(has)
    }

    /// Parses the options of all sources; passes those that are not taken to `complain`.
    pub fn options(&self, complain: &mut dyn FnMut(Source, Complaint<'a>)) -> Options<'a> {
        let mut options = Options::default();
        for &source in Source::STRONGEST_FIRST.iter().rev() {
            for Given { line, name, text } in self.each(source) {
                if let Err(problem) = options.set(name, text) {
                    complain(source, Complaint { line, name, problem });
                }
            }
        }
        options
    }
}

/// An option that was not taken, and its place.
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
    /// It belongs to a feature that this init was built without.
    Disabled,
}

impl Problem {
    /// Its text in a message.
    pub fn name(self) -> &'static [u8] {
        nth(b"malformed line,unknown option,bad value,not in this init", self as usize)
    }
}

/// What follows the workload's exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// The shell; power off without one.
    Shell,
    /// Power off.
    PowerOff,
    /// Reboot.
    Reboot,
    /// Halt.
    Halt,
    /// The workload starts again, [`Options::restarts`] times at most; then as for [`OnExit::Shell`].
    Restart,
}

/// How the boot treats the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// The workload starts with a lease, or when the time for one is over.
    Wait,
    /// The same, but for a global address of IPv6 that the network's routers give, instead of a lease.
    Wait6,
    /// As [`Net::Wait`], but without a lease there is no workload.
    Require,
    /// The workload starts at once.
    Background,
    /// The network is left alone.
    Off,
}

/// A time without an end: 136 years.
const FOR_EVER_S: u32 = u32::MAX;

/// The options that are single values. Those of one kind are an array: one function reads them. Small fields come first: the code
/// that reaches them is shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Options<'a> {
    times: [u32; TIMES],
    /// How often the workload is restarted at most ([`OnExit::Restart`]).
    pub restarts: u32,
    switches: [bool; SWITCHES],
    /// The places of the words that were chosen, or [`NOT_GIVEN`].
    choices: [u8; CHOICES],
    /// Whether the root is mounted read-only.
    pub read_only: bool,
    /// The signal that asks the workload to end.
    pub stop_signal: u8,
    values: [&'a [u8]; VALUES],
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            values: [b""; _],
            times: DEFAULT_TIMES,
            restarts: u32::MAX,
            switches: [false; _],
            choices: [0, 0, 0, NOT_GIVEN, 0], // Dhcp, Log, Pid1, Net, OnExit
            read_only: false,
            stop_signal: SIGTERM,
        }
    }
}

const SIGTERM: u8 = 15;
const NOT_GIVEN: u8 = u8::MAX;

impl<'a> Options<'a> {
    /// The value of a text.
    pub fn value(&self, value: Value) -> &'a [u8] {
        self.values[value as usize]
    }

    /// The value of a time.
    pub fn time(&self, time: Time) -> u32 {
        self.times[time as usize]
    }

    /// Whether a switch is given.
    pub fn has(&self, switch: Switch) -> bool {
        self.switches[switch as usize]
    }

    /// How the boot treats the network. When it is not given, an image with an init of its own configures it itself.
    pub fn net(&self) -> Net {
        match self.choices[Choice::Net as usize] {
            NOT_GIVEN if self.hand_over() || position(b"off none", b' ', self.value(Value::Ip)).is_some() => Net::Off,
            1 => Net::Wait6,
            2 => Net::Require,
            3 => Net::Background,
            4 => Net::Off,
            _ => Net::Wait,
        }
    }

    /// What follows the workload's exit.
    pub fn on_exit(&self) -> OnExit {
        match self.choices[Choice::OnExit as usize] {
            0 => OnExit::Shell,
            1 => OnExit::PowerOff,
            2 => OnExit::Reboot,
            3 => OnExit::Halt,
            _ => OnExit::Restart,
        }
    }

    /// Whether the image's own init becomes PID 1.
    pub fn hand_over(&self) -> bool {
        self.choices[Choice::Pid1 as usize] > 0
    }

    /// Whether messages go to the kernel's log, and not to the console.
    pub fn kernel_log(&self) -> bool {
        self.choices[Choice::Log as usize] > 0
    }

    /// Whether DHCP's messages are repeated as slowly as in RFC 2131's example.
    pub fn classic_dhcp(&self) -> bool {
        self.choices[Choice::Dhcp as usize] > 0
    }

    #[inline(never)] // Its result stays in memory; inlined, every option is a variable of its own that is copied.
    fn set(&mut self, name: &[u8], text: &'a [u8]) -> Result<(), Problem> {
        if name.is_empty() {
            return Err(Problem::Malformed);
        }
        let place = split(NAMES, b' ').position(|known| cmdline::same_name(known, name)).ok_or(Problem::Unknown)?;
        self.take(*KINDS.get(place).ok_or(Problem::Unknown)?, text).ok_or(Problem::Value)?;
        // The value is kept all the same: the stub of the feature refuses to go on when there is one.
        if DISABLED.wrapping_shr(place as u32) & 1 == 1 { Err(Problem::Disabled) } else { Ok(()) }
    }

    /// Takes a value; `None` when the option has no such.
    #[inline(never)] // Inlined, each comparison of a kind is one of its place with a set of places.
    fn take(&mut self, kind: Kind, text: &'a [u8]) -> Option<()> {
        match kind {
            Kind::List => {} // read where it is used
            Kind::Text(value) => {
                *self.values.get_mut(value as usize)? = text;
                if matches!(value, Value::Init) {
                    self.choices[Choice::Pid1 as usize] = 1;
                }
            }
            Kind::Time(Time::RootWait) if text.is_empty() => self.times[Time::RootWait as usize] = FOR_EVER_S,
            Kind::Time(time) => *self.times.get_mut(time as usize)? = number(text)?,
            Kind::Switch(switch) => *self.switches.get_mut(switch as usize)? = true,
            Kind::ReadOnly(read_only) => self.read_only = read_only,
            Kind::StopSignal => self.stop_signal = signal(text)?,
            Kind::Choice(choice) => {
                let (mut word, mut restarts) = (text, u32::MAX);
                if let (Choice::OnExit, Some(most)) = (choice, strip_prefix(text, b"restart:")) {
                    (word, restarts) = (b"restart", number(most)?);
                }
                *self.choices.get_mut(choice as usize)? = choice.words().position(|known| known == word)? as u8;
                if matches!(choice, Choice::OnExit) {
                    self.restarts = restarts;
                }
            }
        }
        Some(())
    }
}

/// A signal as docker's STOPSIGNAL names it: `SIGQUIT`, `QUIT`, `3`, `RTMIN+3`.
fn signal(name: &[u8]) -> Option<u8> {
    // In the order of their numbers, from 1 (signal(7)); a C library has no name for the two before RTMIN.
    const NAMED: &[u8] =
        b"HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP \
        TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS 32 33 RTMIN";
    // The first real-time signal that a C library leaves to programs, and the last there is (signal(7)).
    const RTMIN: u32 = 34;
    const LAST: u8 = 64;
    let name = strip_prefix(name, b"SIG").unwrap_or(name);
    let signal = match (position(NAMED, b' ', name), strip_prefix(name, b"RTMIN+")) {
        (Some(place), _) => place as u32 + 1,
        (_, Some(offset)) => RTMIN.saturating_add(number(offset)?),
        _ => number(name)?,
    };
    u8::try_from(signal).ok().filter(|signal| signal.wrapping_sub(1) < LAST)
}

#[cfg(test)]
mod tests;
