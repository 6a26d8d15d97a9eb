//! Options, from the kernel command line, the run records of the initramfs and the image, and docker's defaults.
//!
//! An earlier source overrides a later one. Within a source, the last value of an option counts. [`table`] has every option.

use self::table::{CHOICES, DEFAULT_TIMES, DISABLED, KERNEL_NAMES, KINDS, Kind, NAMES, SWITCHES, TIMES, VALUES};
use crate::cmdline;
use crate::contract::{IMAGE_RECORD, RECORD, join, joined_len};
use crate::features::Feature;
use crate::record::{self, Line, Record};
use crate::text::{nth, number, position, split, strip_prefix};

pub mod table;

pub use table::{Choice, Switch, Time, Value};

/// A source of options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The words after `--` on the kernel command line.
    Arguments,
    /// The words before `--` on the kernel command line.
    CommandLine,
    /// `/whit.conf` in the initramfs.
    Initramfs,
    /// `/etc/whit.conf` in the root.
    Image,
    /// docker's defaults for every container, built into the init.
    Docker,
}

/// docker's defaults: its PATH; its sysctls for a container with its own network (moby, daemon/oci_linux.go, WithSysctls), with
/// which every user may listen on every port and ping; its limits of open files. Unlike in docker, the workload has every
/// capability.
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
    /// The sources. Each overrides those after it.
    pub const STRONGEST_FIRST: &[Self] =
        &[Self::Arguments, Self::CommandLine, Self::Initramfs, Self::Image, Self::Docker];
    /// The sources. Each is overridden by those after it.
    const WEAKEST_FIRST: &[Self] = &[Self::Docker, Self::Image, Self::Initramfs, Self::CommandLine, Self::Arguments];

    /// Returns its name in a message. Arguments and docker's defaults have none: they cause no complaint.
    pub fn name(self) -> &'static [u8] {
        const TEXTS: &[&[u8]] = &[b",command line,", RECORD.to_bytes(), b",", IMAGE_RECORD.to_bytes()];
        nth(const { &join::<{ joined_len(TEXTS) }>(TEXTS) }, self as usize)
    }
}

/// The records of all sources. A record that is absent, or not read yet, is empty.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// A record for each [`Source`]. The arguments are one on each line.
    pub records: [Record<'a>; 5],
    /// The arguments are those of a program beside the workload: options in the form of the command line.
    pub is_beside: bool,
}

/// An option in a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given<'a> {
    /// Its source.
    pub source: Source,
    /// Its line, from 1; 1 on the command line.
    pub line: u32,
    /// Its name without `whit.`; empty for a malformed line.
    pub name: &'a [u8],
    /// Its value, without quotes and escapes; empty if it has none.
    pub text: &'a [u8],
    /// The index of its name among those that were asked for.
    pub place: u32,
}

/// Options of dracut that are reported as unknown: the machine would lack its network.
const UNKNOWN: &[u8] = if Feature::StaticIp.is_enabled() { b"bond bridge team vlan roothash" } else { ROOT_HASH };
/// An option that every init knows or reports: see [`Options::is_verified`].
const ROOT_HASH: &[u8] = b"roothash";

/// The iterator of [`Sources::named`].
#[derive(Clone, Copy, Debug)]
pub struct Each<'s, 'a> {
    sources: &'s Sources<'a>,
    /// The sources that follow.
    order: &'static [Source],
    /// The names that are asked for; empty for all.
    names: &'static [u8],
    source: Source,
    /// The source has the form of the command line.
    is_line: bool,
    lines: record::Lines<'a>,
}

impl<'a> Each<'_, 'a> {
    /// Begins with the next source; `None` after the last.
    fn advance(&mut self) -> Option<()> {
        let (source, order) = self.order.split_first()?;
        (self.source, self.order) = (*source, order);
        self.lines = self.sources.record(*source).lines();
        let is_beside = *source == Source::Arguments && Feature::Exec.is_enabled() && self.sources.is_beside;
        self.is_line = is_beside || *source == Source::CommandLine;
        Some(())
    }
}

impl<'a> Iterator for Each<'_, 'a> {
    type Item = Given<'a>;

    #[inline(never)]
    fn next(&mut self) -> Option<Given<'a>> {
        loop {
            let source = self.source;
            let mut given = Given { source, line: 1, name: b"cmd", text: b"", place: 0 };
            if source == Source::Arguments && !self.is_line {
                let Some(text) = self.lines.whole() else {
                    self.advance()?;
                    continue;
                };
                given.text = text;
            } else {
                let Some(Line { number, key: name, value }) = self.lines.next() else {
                    self.advance()?;
                    continue;
                };
                (given.name, given.text) = (name, value);
                if !self.is_line {
                    given.line = number;
                } else if let Some(name) = strip_prefix(name, b"whit.") {
                    given.name = name;
                } else if position(KERNEL_NAMES, b' ', name).is_none() && position(UNKNOWN, b' ', name).is_none() {
                    continue; // an option of the kernel or of a module
                }
            }
            if let Some(place) = position(self.names, b' ', given.name) {
                given.place = place;
            } else if !self.names.is_empty() {
                continue;
            }
            return Some(given);
        }
    }
}

impl<'a> Sources<'a> {
    /// The sources with these records, from that of [`Source::Arguments`] to that of [`Source::Image`], and docker's defaults.
    pub const fn new([arguments, command_line, initramfs, image]: [Record<'a>; 4]) -> Self {
        Self { records: [arguments, command_line, initramfs, image, DOCKERS], is_beside: false }
    }

    /// Returns the record of a source.
    pub const fn record(&self, source: Source) -> Record<'a> {
        self.records[source as usize]
    }

    /// Returns the options of all sources that have one of these names ([`Sources::named`]), those of the strongest source first.
    #[inline(never)]
    pub fn strongest_first(&self, names: &'static [u8]) -> Each<'_, 'a> {
        self.named(names, Source::STRONGEST_FIRST)
    }

    /// Returns the options of all sources that have one of these names ([`Sources::named`]), those of the weakest source first.
    #[inline(never)]
    pub fn weakest_first(&self, names: &'static [u8]) -> Each<'_, 'a> {
        self.named(names, Source::WEAKEST_FIRST)
    }

    /// Returns the options that have one of these names, which are separated by spaces, or all if there is no name; the sources are in this
    /// order.
    #[inline(never)]
    pub fn named(&self, names: &'static [u8], order: &'static [Source]) -> Each<'_, 'a> {
        let (source, lines) = (Source::Image, Record::default().lines());
        Each { sources: self, order, names, source, is_line: false, lines }
    }

    /// Whether any source has one of these options. `names` is separated by spaces.
    pub fn any_has(&self, names: &[u8]) -> bool {
        let is_one = |name: &[u8]| split(names, b' ').any(|known| cmdline::same_name(known, name));
        self.strongest_first(b"").any(|given| is_one(given.name))
    }

    /// Parses the options of all sources. Passes each refused option to `complain`.
    pub fn options(&self, complain: &mut dyn FnMut(Source, Complaint<'a>)) -> Options<'a> {
        let mut options = Options::default();
        for Given { source, line, name, text, .. } in self.weakest_first(b"") {
            options.is_verified |= name == ROOT_HASH;
            if let Err(problem) = options.set(name, text) {
                complain(source, Complaint { line, name, problem });
            }
        }
        options
    }
}

/// A refused option, and its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint<'a> {
    /// The line, from 1.
    pub line: u32,
    /// The name of the option; empty for a malformed line.
    pub name: &'a [u8],
    /// The reason.
    pub problem: Problem,
}

/// The reason why an option was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The line is not `key value`, has an escape that is neither `\n` nor `\\`, or a NUL.
    Malformed,
    /// There is no such option.
    Unknown,
    /// The value is invalid.
    Value,
    /// The option belongs to a disabled feature.
    Disabled,
}

impl Problem {
    /// Returns its text in a message.
    pub fn name(self) -> &'static [u8] {
        nth(b"malformed line,unknown option,bad value,not in this init", self as usize)
    }
}

/// The action after the workload's exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// Run the shell; power off if there is none.
    Shell,
    /// Power off.
    PowerOff,
    /// Reboot.
    Reboot,
    /// Halt.
    Halt,
    /// Start the loaded kernel (kexec); reboot if there is none.
    Kexec,
    /// Restart the workload, at most [`Options::restarts`] times; then act as for [`OnExit::Shell`].
    Restart,
}

impl OnExit {
    /// Returns the action of a word's index.
    fn of(choice: u8) -> Self {
        match choice {
            0 => Self::Shell,
            1 => Self::PowerOff,
            2 => Self::Reboot,
            3 => Self::Halt,
            4 => Self::Restart,
            _ => Self::Kexec,
        }
    }
}

/// What the workload's standard streams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// The console, or a terminal that is shown on it.
    Console,
    /// Pipes, connected to a port of the host.
    Pipes,
    /// A terminal, connected to a port of the host.
    Terminal,
}

/// How the boot treats the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// The workload starts after a lease, or after `net.timeout`.
    Wait,
    /// The workload starts after a global IPv6 address from a router advertisement, or after `net.timeout`.
    Wait6,
    /// The workload starts after a lease. Without one it does not start.
    Require,
    /// The workload starts without waiting for the network.
    Background,
    /// The init does not configure the network.
    Off,
}

/// The value of `shell=` for a machine without a shell.
pub const NO_SHELL: &[u8] = b"none";

/// A time without a limit: 136 years.
const UNLIMITED_S: u32 = u32::MAX;

/// The options that have a single value. Options of one kind are an array, which one function reads. Small fields come first: the
/// code that reaches them is shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Options<'a> {
    times: [u32; TIMES],
    /// The indices of the chosen words, or [`NOT_GIVEN`].
    choices: [u8; CHOICES],
    switches: [bool; SWITCHES],
    /// Whether the root is mounted read-only.
    pub read_only: bool,
    /// Whether the root is verified: `roothash=` was given, even if it is empty. An init that cannot do it mounts no root.
    pub is_verified: bool,
    /// The maximum number of restarts ([`OnExit::Restart`]).
    pub restarts: u32,
    /// The number of the signal that requests the workload to exit.
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
            choices: DEFAULT_CHOICES,
            read_only: false,
            is_verified: false,
            stop_signal: SIGTERM,
        }
    }
}

/// Those of Net and OnFail are not given.
const DEFAULT_CHOICES: [u8; CHOICES] = {
    let mut choices = [0; CHOICES];
    choices[Choice::Net as usize] = NOT_GIVEN;
    if cfg!(feature = "on-fail") {
        choices[CHOICES - 1] = NOT_GIVEN;
    }
    choices
};
const SIGTERM: u8 = 15;
/// The values of `ip` that an init without the feature `static-ip` accepts.
const DYNAMIC: &[u8] = b"dhcp on any both off none";
const NOT_GIVEN: u8 = u8::MAX;

impl<'a> Options<'a> {
    /// Returns the value of a text option; empty if it is not given.
    pub fn value(&self, value: Value) -> &'a [u8] {
        self.values[value as usize]
    }

    /// Returns the value of a time option, in the unit of [`Time`].
    pub fn time(&self, time: Time) -> u32 {
        self.times[time as usize]
    }

    /// Whether a switch is given.
    pub fn has(&self, switch: Switch) -> bool {
        self.switches[switch as usize]
    }

    /// Returns how the boot treats the network. Without `net=`, it is [`Net::Off`] if the image's init becomes PID 1, which
    /// configures the network itself.
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

    /// Returns the action after the workload's exit.
    pub fn on_exit(&self) -> OnExit {
        OnExit::of(self.choices[Choice::OnExit as usize])
    }

    /// Returns the action after a boot that failed: `on_fail=`, else that after the workload's exit.
    pub fn on_fail(&self) -> OnExit {
        match self.choices[CHOICES - 1] {
            given if Feature::OnFail.is_enabled() && given != NOT_GIVEN => OnExit::of(given),
            _ => self.on_exit(),
        }
    }

    /// Returns the number of seconds before a boot that failed ends the machine.
    pub fn fail_delay_s(&self) -> u32 {
        if Feature::OnFail.is_enabled() { self.times[TIMES - 1] } else { 0 }
    }

    /// Whether the image's own init becomes PID 1.
    pub fn hand_over(&self) -> bool {
        self.choices[Choice::Pid1 as usize] > 0
    }

    /// Returns what the workload's standard streams are.
    pub fn streams(&self) -> Streams {
        match self.choices[Choice::Streams as usize] {
            0 => Streams::Console,
            1 => Streams::Pipes,
            _ => Streams::Terminal,
        }
    }

    /// Whether messages go to the kernel's log instead of the console.
    pub fn kernel_log(&self) -> bool {
        self.choices[Choice::Log as usize] > 0
    }

    /// Whether DHCP retransmits at the intervals of RFC 2131's example (`dhcp=rfc`).
    pub fn classic_dhcp(&self) -> bool {
        self.choices[Choice::Dhcp as usize] > 0
    }

    /// Sets an option by its name.
    #[inline(never)] // Inlined, every option becomes a variable that is copied.
    fn set(&mut self, name: &[u8], text: &'a [u8]) -> Result<(), Problem> {
        if name.is_empty() {
            return Err(Problem::Malformed);
        }
        let place = split(NAMES, b' ').position(|known| cmdline::same_name(known, name)).ok_or(Problem::Unknown)?;
        let kind = *KINDS.get(place).ok_or(Problem::Unknown)?;
        self.store(kind, text).ok_or(Problem::Value)?;
        // The value is stored nevertheless: the stub of the feature stops the boot if it has one.
        let is_disabled = DISABLED.wrapping_shr(place as u32) & 1 == 1
            || !Feature::StaticIp.is_enabled()
                && kind == Kind::Text(Value::Ip)
                && position(DYNAMIC, b' ', text).is_none()
            || !Feature::Restart.is_enabled()
                && kind == Kind::Choice(Choice::OnExit)
                && self.on_exit() == OnExit::Restart
            || !Feature::Ipv6.is_enabled() && kind == Kind::Choice(Choice::Net) && self.net() == Net::Wait6;
        if is_disabled { Err(Problem::Disabled) } else { Ok(()) }
    }

    /// Stores a value. Returns `None` if it is invalid.
    #[inline(never)] // Inlined, each comparison of a kind becomes one of its index with a set.
    fn store(&mut self, kind: Kind, text: &'a [u8]) -> Option<()> {
        match kind {
            Kind::List => {} // parsed where it is used
            Kind::Text(value) => {
                *self.values.get_mut(value as usize)? = text;
                if matches!(value, Value::Init) {
                    self.choices[Choice::Pid1 as usize] = 1;
                }
            }
            Kind::Time(Time::RootWait) if text.is_empty() => self.times[Time::RootWait as usize] = UNLIMITED_S,
            #[cfg(feature = "on-fail")]
            // 0 and negative numbers are the kernel's alone.
            Kind::Time(Time::Panic) => self.times[Time::Panic as usize] = number(text).unwrap_or_default(),
            Kind::Time(time) => *self.times.get_mut(time as usize)? = number(text)?,
            Kind::Switch(switch) => *self.switches.get_mut(switch as usize)? = true,
            Kind::ReadOnly(read_only) => self.read_only = read_only,
            Kind::StopSignal => self.stop_signal = signal(text)?,
            Kind::Choice(choice) => {
                let (mut word, mut restarts) = (text, u32::MAX);
                if let (Choice::OnExit, Some(most)) = (choice, strip_prefix(text, b"restart:")) {
                    (word, restarts) = (b"restart", number(most)?);
                }
                let place = choice.words().position(|known| known == word)? as u8;
                #[cfg(feature = "on-fail")]
                if matches!(choice, Choice::OnFail) && matches!(OnExit::of(place), OnExit::Restart | OnExit::Kexec) {
                    return None;
                }
                *self.choices.get_mut(choice as usize)? = place;
                if matches!(choice, Choice::OnExit) {
                    self.restarts = restarts;
                }
            }
        }
        Some(())
    }
}

/// Returns the number of a signal in the forms of docker's STOPSIGNAL: `SIGQUIT`, `QUIT`, `3`, `RTMIN+3`.
fn signal(name: &[u8]) -> Option<u8> {
    // In the order of their numbers, from 1 (signal(7)). The two before RTMIN have no names: C libraries reserve them.
    const NAMED: &[u8] =
        b"HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP \
        TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS 32 33 RTMIN";
    // The first real-time signal that C libraries leave to programs, and the last one (signal(7)).
    const RTMIN: u32 = 34;
    const LAST: u8 = 64;
    let name = strip_prefix(name, b"SIG").unwrap_or(name);
    let signal = match (position(NAMED, b' ', name), strip_prefix(name, b"RTMIN+")) {
        (Some(place), _) => place + 1,
        (_, Some(offset)) => RTMIN.saturating_add(number(offset)?),
        _ => number(name)?,
    };
    u8::try_from(signal).ok().filter(|signal| signal.wrapping_sub(1) < LAST)
}

#[cfg(test)]
mod tests;
