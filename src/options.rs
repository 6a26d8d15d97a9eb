//! What the user asked for: the kernel command line over the initramfs's run record over the image's over what docker gives
//! every container.
//!
//! The names are one set: undotted on the command line when the kernel knows them too, `whit.NAME` otherwise, and `NAME` in a
//! record. An option that is given twice counts the last time.

use crate::cmdline;
use crate::contract::{IMAGE_RECORD, RECORD, join, joined_len};
use crate::features::lacks;
use crate::record::{self, Line, Record};
use crate::text::{nth, number, position, split, strip_prefix};

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
const DOCKERS: Record<'_> = Record::decoded(if cfg!(feature = "settings") {
    b"env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\0\
    sysctl net.ipv4.ip_unprivileged_port_start=0\0\
    sysctl net.ipv4.ping_group_range=0 2147483647\0\
    rlimit nofile=1024:1048576"
} else {
    b"env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
});

impl Source {
    /// What overrides what.
    pub const STRONGEST_FIRST: &[Self] =
        &[Self::Arguments, Self::CommandLine, Self::Initramfs, Self::Image, Self::Docker];

    /// What a message calls it. Nothing is wrong with an argument, nor with docker's.
    pub fn name(self) -> &'static [u8] {
        const TEXTS: &[&[u8]] = &[b",command line,", RECORD.to_bytes(), b",", IMAGE_RECORD.to_bytes()];
        nth(const { &join::<{ joined_len(TEXTS) }>(TEXTS) }, self as usize)
    }
}

/// The records of all sources; one that is not there (yet) is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// What stands behind `--` on the kernel command line, a word a line.
    pub arguments: Record<'a>,
    /// The rest of it.
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
    /// What is said of it.
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
                    None if position(KERNEL_WORDS, b' ', name).is_some() => {}
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

    /// Reads the options of all sources; gives what cannot be understood to `complain`.
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
    /// It belongs to a feature that this init was built without.
    Disabled,
}

impl Problem {
    /// What a message says of it.
    pub fn name(self) -> &'static [u8] {
        nth(b"malformed line,unknown option,bad value,not in this init", self as usize)
    }
}

/// What follows the workload's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// The shell; power off where there is none.
    Shell,
    /// The machine goes off.
    PowerOff,
    /// It starts again.
    Reboot,
    /// It stands still.
    Halt,
    /// The workload starts again, so many times at most; then as for [`OnExit::Shell`].
    Restart(u32),
}

/// How the boot goes with the network.
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
    /// The network is somebody else's business.
    Off,
}

/// An option whose value is a text; the empty one is as good as none.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// The root device.
    Root,
    /// File system types to try, separated by commas; else every one the kernel has.
    RootFstype,
    /// Mount options for the root.
    RootFlags,
    /// What is laid over a root that stays as it is.
    Overlay,
    /// The directory that the workload starts in; else `/`.
    Workdir,
    /// The user that the workload runs as; else root.
    User,
    /// The name of the machine.
    Hostname,
    /// What becomes PID 1 in the place of whit.
    Init,
    /// The one network interface that is used, by its name or hardware address; else every one.
    NetDevice,
    /// The kernel's `ip=`.
    Ip,
    /// Who is asked for the time: addresses, or `dhcp`.
    Ntp,
    /// Where the host hears of the workload.
    Notify,
    /// The terminal that has a shell beside the workload.
    Shell,
}

/// An option whose value is a time: in seconds, but for those that are named otherwise.
#[derive(Clone, Copy, Debug)]
pub enum Time {
    /// How long the root device is waited for.
    RootWait,
    /// How long nothing is tried before.
    RootDelay,
    /// How long the workload has to end.
    Grace,
    /// How long a lease is waited for.
    NetTimeout,
    /// How long the link is asked for somebody who has the address that was leased, in milliseconds.
    ArpMs,
}

/// An option that is there or not.
#[derive(Clone, Copy, Debug)]
pub enum Switch {
    /// The root grows to the size of its device.
    Grow,
    /// Only errors are said.
    Quiet,
    /// The time of each stage is shown.
    Timing,
    /// Leases are given back at the machine's end.
    Release,
}

/// A time that does not end: 136 years.
const FOR_EVER_S: u32 = u32::MAX;

/// The options that are single values. Those of one kind are an array: what reads them is one piece of code, and not one for
/// each. What is small stands first: the code that reaches it is shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Options<'a> {
    times: [u32; Time::ArpMs as usize + 1],
    switches: [bool; Switch::Release as usize + 1],
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
    /// How the boot goes with the network; `None` was not said.
    net: Option<Net>,
    /// What follows the workload's end.
    pub on_exit: OnExit,
    values: [&'a [u8]; Value::Shell as usize + 1],
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            values: [b""; _],
            times: [30, 0, 10, 10, 0], // RootWait, RootDelay, Grace, NetTimeout, ArpMs
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

    /// Whether a switch is there.
    pub fn has(&self, switch: Switch) -> bool {
        self.switches[switch as usize]
    }

    /// How the boot goes with the network: that of an image with an init of its own is left to it, unless it is said.
    pub fn net(&self) -> Net {
        let is_off = self.hand_over || matches!(self.value(Value::Ip), b"off" | b"none");
        self.net.unwrap_or(if is_off { Net::Off } else { Net::Wait })
    }

    #[inline(never)] // What it changes stays in memory; inlined, every option is a variable of its own that is copied.
    fn set(&mut self, name: &[u8], text: &'a [u8]) -> Result<(), Problem> {
        if name.is_empty() {
            return Err(Problem::Malformed);
        }
        let known = split(NAMES, b' ').position(|known| cmdline::same_name(known, name));
        let known = known.and_then(|position| Name::IN_ORDER.get(position)).ok_or(Problem::Unknown)?;
        match *known {
            Name::List => {} // read where it is used
            Name::Text(value) => {
                self.values[value as usize] = text;
                self.hand_over |= matches!(value, Value::Init);
            }
            Name::Time(Time::RootWait) if text.is_empty() => self.times[Time::RootWait as usize] = FOR_EVER_S,
            Name::Time(time) => self.times[time as usize] = number(text).ok_or(Problem::Value)?,
            Name::Switch(switch) => self.switches[switch as usize] = true,
            Name::ReadOnly(read_only) => self.read_only = read_only,
            Name::StopSignal => self.stop_signal = signal(text).ok_or(Problem::Value)?,
            Name::Net => {
                let choice = position(b"wait wait6 require bg off", b' ', text);
                let choices = [Net::Wait, Net::Wait6, Net::Require, Net::Background, Net::Off];
                self.net = Some(*choice.and_then(|choice| choices.get(choice)).ok_or(Problem::Value)?);
            }
            Name::OnExit => self.on_exit = on_exit(text).ok_or(Problem::Value)?,
            Name::Dhcp => self.classic_dhcp = position(b"fast rfc", b' ', text).ok_or(Problem::Value)? > 0,
            Name::Log => self.kernel_log = position(b"console kmsg", b' ', text).ok_or(Problem::Value)? > 0,
            Name::Pid1 => self.hand_over = position(b"child exec", b' ', text).ok_or(Problem::Value)? > 0,
        }
        // Kept all the same: by its value what stands in for the part refuses to go on without it.
        if lacks(name) { Err(Problem::Disabled) } else { Ok(()) }
    }
}

/// Every name, in the order of [`Name::IN_ORDER`]: one text is less than a table of them.
const NAMES: &[u8] =
    b"root rootfstype rootflags rootwait rootdelay ro rw init quiet entrypoint BOOTIF ip nameserver cmd arg env mount tmpfs rlimit sysctl \
    overlay grow workdir user hostname stopsignal grace on_exit net net.dev net.timeout dhcp dhcp.arp dhcp.release ntp time pid1 timing notify shell log";

/// The kernel's own words that mean something to us as well, and the one that ginit brought: the first of the names.
const KERNEL_WORDS: &[u8] = NAMES
    .split_at(b"root rootfstype rootflags rootwait rootdelay ro rw init quiet entrypoint BOOTIF ip nameserver".len())
    .0;

/// What an option is.
#[derive(Clone, Copy)]
enum Name {
    List,
    Text(Value),
    Time(Time),
    Switch(Switch),
    ReadOnly(bool),
    StopSignal,
    Net,
    OnExit,
    Dhcp,
    Pid1,
    Log,
}

impl Name {
    const IN_ORDER: &[Self] = &[
        Self::Text(Value::Root),
        Self::Text(Value::RootFstype),
        Self::Text(Value::RootFlags),
        Self::Time(Time::RootWait),
        Self::Time(Time::RootDelay),
        Self::ReadOnly(true),
        Self::ReadOnly(false),
        Self::Text(Value::Init),
        Self::Switch(Switch::Quiet),
        Self::List,
        Self::Text(Value::NetDevice),
        Self::Text(Value::Ip),
        Self::List,
        Self::List,
        Self::List,
        Self::List,
        Self::List,
        Self::List,
        Self::List,
        Self::List,
        Self::Text(Value::Overlay),
        Self::Switch(Switch::Grow),
        Self::Text(Value::Workdir),
        Self::Text(Value::User),
        Self::Text(Value::Hostname),
        Self::StopSignal,
        Self::Time(Time::Grace),
        Self::OnExit,
        Self::Net,
        Self::Text(Value::NetDevice),
        Self::Time(Time::NetTimeout),
        Self::Dhcp,
        Self::Time(Time::ArpMs),
        Self::Switch(Switch::Release),
        Self::Text(Value::Ntp),
        Self::List,
        Self::Pid1,
        Self::Switch(Switch::Timing),
        Self::Text(Value::Notify),
        Self::Text(Value::Shell),
        Self::Log,
    ];
}

/// What may follow the workload's end; the words from the second on are systemd's for how a machine ends, too.
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
