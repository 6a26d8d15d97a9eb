//! Options: the kernel command line over the initramfs's run record over the image's over docker's defaults.
//!
//! [`table`] has them all. The last value of an option counts.

use self::table::{DEFAULT_TIMES, DISABLED, KERNEL_NAMES, KINDS, Kind, NAMES, SWITCHES, TIMES, VALUES};
use crate::cmdline;
use crate::contract::{IMAGE_RECORD, RECORD, join, joined_len};
use crate::features::Feature;
use crate::record::{self, Line, Record};
use crate::text::{nth, number, position, split, strip_prefix};

pub mod table;

pub use table::{Switch, Time, Value};

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
/// daemon/oci_linux.go, WithSysctls): every user may listen on every port, and ping; its limits of open files. Not docker's: a
/// machine's root has every capability.
const DOCKERS: Record<'_> = Record::decoded(&join::<{ joined_len(DOCKERS_PARTS) }>(DOCKERS_PARTS));
const DOCKERS_PARTS: &[&[u8]] = &[
    b"env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    if cfg!(feature = "caps") { b"\0caps all" } else { b"" },
    if cfg!(feature = "settings") {
        b"\0sysctl net.ipv4.ip_unprivileged_port_start=0\0\
        sysctl net.ipv4.ping_group_range=0 2147483647\0\
        rlimit nofile=1024:1048576"
    } else {
        b""
    },
];

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
            let Line { number, entry } = self.lines.next()?;
            let (name, value) = entry.unwrap_or_default();
            let mut given = Given { line: number, name, text: value.unwrap_or_default() };
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
    /// The workload starts again, so many times at most; then as for [`OnExit::Shell`].
    Restart(u32),
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
    switches: [bool; SWITCHES],
    /// Whether the root is mounted read-only.
    pub read_only: bool,
    /// Whether the image's own init becomes PID 1.
    pub hand_over: bool,
    /// Whether messages go to the kernel's log, and not to the console.
    pub kernel_log: bool,
    /// Whether DHCP's messages are repeated as slowly as in RFC 2131's example.
    pub classic_dhcp: bool,
    /// The signal that asks the workload to end.
    pub stop_signal: u8,
    /// How the boot treats the network; `None` when it is not given.
    net: Option<Net>,
    /// What follows the workload's exit.
    pub on_exit: OnExit,
    values: [&'a [u8]; VALUES],
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            values: [b""; _],
            times: DEFAULT_TIMES,
            switches: [false; _],
            read_only: false,
            hand_over: false,
            kernel_log: false,
            classic_dhcp: false,
            stop_signal: SIGTERM,
            net: None,
            on_exit: OnExit::Shell,
        }
    }
}

const SIGTERM: u8 = 15;

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
        let is_off = self.hand_over || matches!(self.value(Value::Ip), b"off" | b"none");
        self.net.unwrap_or(if is_off { Net::Off } else { Net::Wait })
    }

    #[inline(never)] // Its result stays in memory; inlined, every option is a variable of its own that is copied.
    fn set(&mut self, name: &[u8], text: &'a [u8]) -> Result<(), Problem> {
        if name.is_empty() {
            return Err(Problem::Malformed);
        }
        let place = split(NAMES, b' ').position(|known| cmdline::same_name(known, name)).ok_or(Problem::Unknown)?;
        match *KINDS.get(place).ok_or(Problem::Unknown)? {
            Kind::List => {} // read where it is used
            Kind::Text(Value::Ip)
                if !Feature::StaticIp.is_enabled() && position(WITHOUT_ADDRESS, b' ', text).is_none() =>
            {
                return Err(Problem::Disabled);
            }
            Kind::Text(value) => {
                self.values[value as usize] = text;
                self.hand_over |= matches!(value, Value::Init);
            }
            Kind::Time(Time::RootWait) if text.is_empty() => self.times[Time::RootWait as usize] = FOR_EVER_S,
            Kind::Time(time) => self.times[time as usize] = number(text).ok_or(Problem::Value)?,
            Kind::Switch(switch) => self.switches[switch as usize] = true,
            Kind::ReadOnly(read_only) => self.read_only = read_only,
            Kind::StopSignal => self.stop_signal = signal(text).ok_or(Problem::Value)?,
            Kind::Net => {
                let choice = position(b"wait wait6 require bg off", b' ', text);
                let choices = [Net::Wait, Net::Wait6, Net::Require, Net::Background, Net::Off];
                self.net = Some(*choice.and_then(|choice| choices.get(choice)).ok_or(Problem::Value)?);
                if !Feature::Ipv6.is_enabled() && self.net == Some(Net::Wait6) {
                    self.net = Some(Net::Wait);
                    return Err(Problem::Disabled);
                }
            }
            Kind::OnExit => self.on_exit = on_exit(text).ok_or(Problem::Value)?,
            Kind::Dhcp => self.classic_dhcp = position(b"fast rfc", b' ', text).ok_or(Problem::Value)? > 0,
            Kind::Log => self.kernel_log = position(b"console kmsg", b' ', text).ok_or(Problem::Value)? > 0,
            Kind::Pid1 => self.hand_over = position(b"child exec", b' ', text).ok_or(Problem::Value)? > 0,
        }
        // The value is kept all the same: the stub of the feature refuses to go on when there is one.
        if DISABLED.wrapping_shr(place as u32) & 1 == 1 { Err(Problem::Disabled) } else { Ok(()) }
    }
}

/// The values of `ip` that an init without static addresses understands.
const WITHOUT_ADDRESS: &[u8] = b"dhcp on any both off none";

/// The values of `on_exit`; those from the second on are also systemd's words for how a machine ends.
pub const ON_EXIT: &[u8] = b"shell,poweroff,reboot,halt,restart";

fn on_exit(text: &[u8]) -> Option<OnExit> {
    let mut words = split(text, b':');
    let place = position(ON_EXIT, b',', words.next()?)?;
    let most = words.next();
    if let (Some(most), 4) = (most, place) {
        return number(most).map(OnExit::Restart);
    }
    let choice = [OnExit::Shell, OnExit::PowerOff, OnExit::Reboot, OnExit::Halt, OnExit::Restart(u32::MAX)];
    choice.get(place).copied().filter(|_| most.is_none())
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
mod tests;
