//! The table of options: what the parser, the defaults, docs/configuration.md and the tools' `--help` know of each.
//!
//! What the parser needs is computed from it at compile time; the documentation does not reach the init.

use crate::features::Feature;
use crate::text::{Split, nth, split};

/// An option.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name in a record.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Its place on the kernel command line. A record may have every option.
    pub place: Place,
    /// The feature without which it is refused.
    pub feature: Option<Feature>,
    /// The form of its value, from the `=` on.
    pub form: &'static str,
    /// Its value when no source has it.
    pub default: Fallback,
    /// One line of documentation.
    pub text: &'static str,
}

/// The name of an option on the kernel command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `NAME`: the kernel knows it too, or ginit did.
    Kernel,
    /// `whit.NAME`.
    Whit,
}

/// The value of an option that no source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// There is none.
    Nothing,
    /// This value.
    Fixed(&'static str),
    /// The one that this text describes.
    Described(&'static str),
}

/// The kind of an option's value, and where the value is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of a list: read where it is used.
    List,
    /// A text.
    Text(Value),
    /// A time.
    Time(Time),
    /// A switch.
    Switch(Switch),
    /// Whether the root is read-only.
    ReadOnly(bool),
    /// A signal.
    StopSignal,
    /// One word of a list.
    Choice(Choice),
}

/// An option whose value is one word of a list: what is kept is the word's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The intervals of DHCP.
    Dhcp,
    /// Where log lines go.
    Log,
    /// Which program is PID 1.
    Pid1,
    /// How the boot treats the network, in the order of [`Net`](super::Net).
    Net,
    /// What follows the workload's exit, in the order of [`OnExit`](super::OnExit). From the second on they are also systemd's words
    /// for how a machine ends.
    OnExit,
}

impl Choice {
    /// Its words.
    pub fn words(self) -> Split<'static> {
        const WORDS: &[u8] =
            b"fast rfc,console kmsg,child exec,wait wait6 require bg off,shell poweroff reboot halt restart";
        split(nth(WORDS, self as usize), b' ')
    }
}

/// An option whose value is a text; an empty one is the same as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table describes each")]
pub enum Value {
    Root,
    RootFstype,
    RootFlags,
    Overlay,
    Workdir,
    User,
    Hostname,
    Init,
    NetDevice,
    Ip,
    Ntp,
    Notify,
    Shell,
    Caps,
}

/// An option whose value is a time: in seconds, unless its name says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table describes each")]
pub enum Time {
    RootWait,
    RootDelay,
    Grace,
    NetTimeout,
    ArpMs,
}

/// An option without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table describes each")]
pub enum Switch {
    Grow,
    Quiet,
    Timing,
    Release,
    NoNewPrivs,
}

/// How many of each are kept.
pub(super) const VALUES: usize = Value::Caps as usize + 1;
pub(super) const TIMES: usize = Time::ArpMs as usize + 1;
pub(super) const SWITCHES: usize = Switch::NoNewPrivs as usize + 1;
pub(super) const CHOICES: usize = Choice::OnExit as usize + 1;

const fn kernel(name: &'static str, kind: Kind, form: &'static str, default: Fallback, text: &'static str) -> Row {
    Row { name, kind, place: Place::Kernel, feature: None, form, default, text }
}

const fn whit(name: &'static str, kind: Kind, form: &'static str, default: Fallback, text: &'static str) -> Row {
    Row { name, kind, place: Place::Whit, feature: None, form, default, text }
}

impl Row {
    /// The same option, which belongs to a feature.
    const fn of(self, feature: Feature) -> Self {
        Self { feature: Some(feature), ..self }
    }
}

use Fallback::{Described, Fixed, Nothing};

/// The options, those with a name of the kernel's first.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    kernel("root", Kind::Text(Value::Root), "=SOURCE", Described("the rootfs in the initramfs"),
        "the root: `/dev/NAME`, `MAJOR:MINOR`, `UUID=`, `LABEL=`, `PARTUUID=`, `PARTLABEL=`, `SERIAL=`, `virtiofs:TAG` or `9p:TAG`"),
    kernel("rootfstype", Kind::Text(Value::RootFstype), "=TYPE,…", Described("found by probing"),
        "file system types to try"),
    kernel("rootflags", Kind::Text(Value::RootFlags), "=OPTION,…", Nothing,
        "mount options of the root"),
    kernel("rootwait", Kind::Time(Time::RootWait), "[=S]", Fixed("30"),
        "wait so many seconds for devices; without a value for ever"),
    kernel("rootdelay", Kind::Time(Time::RootDelay), "=S", Fixed("0"),
        "wait so many seconds before the first try"),
    kernel("ro", Kind::ReadOnly(true), "", Nothing,
        "mount the root read-only"),
    kernel("rw", Kind::ReadOnly(false), "", Described("yes"),
        "mount the root writable"),
    kernel("init", Kind::Text(Value::Init), "=PROGRAM", Nothing,
        "hand PID 1 to this program of the image").of(Feature::Handover),
    kernel("quiet", Kind::Switch(Switch::Quiet), "", Nothing,
        "log only errors"),
    kernel("entrypoint", Kind::List, "=\"PROGRAM ARG…\"", Described("the image's ENTRYPOINT"),
        "the program to run, split at spaces; overrides the image's CMD too. In a record one element a line"),
    kernel("BOOTIF", Kind::Text(Value::NetDevice), "=01-MAC", Described("every interface"),
        "the same as `whit.net.dev`, as boot loaders pass it").of(Feature::Choice),
    kernel("ip", Kind::Text(Value::Ip), "=ADDRESS::GATEWAY:MASK:NAME:DEVICE:off|dhcp|off", Fixed("dhcp"),
        "a static address in the kernel's form, such as `10.0.0.5::10.0.0.1:255.255.255.0:name:eth0:off:10.0.0.2`; DHCP; or no network").of(Feature::Dhcp),
    kernel("nameserver", Kind::List, "=ADDRESS", Nothing,
        "a DNS server, asked before those of the network; repeatable").of(Feature::Etc),
    whit("cmd", Kind::List, "=ARG", Described("the image's CMD"),
        "an argument, as mkraw writes CMD to the record; repeatable"),
    whit("arg", Kind::List, "=ARG", Nothing,
        "an argument, in place of the image's CMD, as the words after `--` are; repeatable"),
    whit("env", Kind::List, "=NAME=VALUE", Described("the image's ENV, docker's PATH"),
        "a variable of the environment; repeatable"),
    whit("mount", Kind::List, "=SOURCE:/PATH[:TYPE[:OPTION,…]]", Nothing,
        "a volume: the source in a form of `root=`; with the option `nofail` the boot goes on without it; repeatable").of(Feature::Volumes),
    whit("tmpfs", Kind::List, "=/PATH[:OPTION,…]", Nothing,
        "a tmpfs, as docker's `--tmpfs`; repeatable").of(Feature::Volumes),
    whit("rlimit", Kind::List, "=NAME=SOFT[:HARD]", Described("docker's"),
        "a resource limit, as docker's `--ulimit`; repeatable").of(Feature::Settings),
    whit("sysctl", Kind::List, "=NAME=VALUE", Described("docker's"),
        "a kernel setting, as docker's `--sysctl`; repeatable").of(Feature::Settings),
    whit("caps", Kind::Text(Value::Caps), "=[+|-]NAME,…", Fixed("all"),
        "the capabilities that the workload may have: names as docker's `--cap-add` has them, `default` for docker's set, `all` or `none`; `-` takes out, as in `default,NET_ADMIN,-MKNOD`").of(Feature::Caps),
    whit("no_new_privs", Kind::Switch(Switch::NoNewPrivs), "", Nothing,
        "neither setuid programs nor file capabilities give privileges, as docker's `--security-opt no-new-privileges`").of(Feature::Caps),
    whit("overlay", Kind::Text(Value::Overlay), "=tmpfs[:OPTION,…]|SOURCE", Nothing,
        "the upper layer of an overlay: all writes go there, the root is not changed").of(Feature::Overlay),
    whit("grow", Kind::Switch(Switch::Grow), "", Nothing,
        "grow an ext4 root to the size of its device").of(Feature::Grow),
    whit("workdir", Kind::Text(Value::Workdir), "=/PATH", Fixed("/"),
        "the working directory, created when it is missing"),
    whit("user", Kind::Text(Value::User), "=USER[:GROUP]", Described("root"),
        "the user of the workload, by names or numbers"),
    whit("hostname", Kind::Text(Value::Hostname), "=NAME", Described("DHCP's, or `whit`"),
        "the host name"),
    whit("stopsignal", Kind::StopSignal, "=SIGNAL", Fixed("TERM"),
        "the signal that asks the workload to exit"),
    whit("grace", Kind::Time(Time::Grace), "=S", Fixed("10"),
        "how many seconds the workload has to exit before SIGKILL"),
    whit("on_exit", Kind::Choice(Choice::OnExit), "=shell|poweroff|reboot|halt|restart[:N]", Described("`shell`, or `poweroff` without one"),
        "what follows the workload's exit; it is restarted after 0.1 s, doubled each time up to a minute, at most N times"),
    whit("net", Kind::Choice(Choice::Net), "=wait|wait6|require|bg|off", Described("`wait`, or `off` with `whit.pid1=exec`"),
        "start with a lease, with a global IPv6 address, only with a lease, at once, or without network").of(Feature::Dhcp),
    whit("net.dev", Kind::Text(Value::NetDevice), "=NAME|MAC", Described("every interface"),
        "the one network interface to use").of(Feature::Choice),
    whit("net.timeout", Kind::Time(Time::NetTimeout), "=S", Fixed("10"),
        "wait so many seconds for a lease; then the boot goes on").of(Feature::Dhcp),
    whit("dhcp", Kind::Choice(Choice::Dhcp), "=fast|rfc", Fixed("fast"),
        "the second DHCP message after 0.25 s, or after RFC 2131's 4 s").of(Feature::Dhcp),
    whit("dhcp.arp", Kind::Time(Time::ArpMs), "=MS", Fixed("0"),
        "probe the link so many milliseconds for another host with the address, which is declined then").of(Feature::Arp),
    whit("dhcp.release", Kind::Switch(Switch::Release), "", Nothing,
        "release the lease at shutdown").of(Feature::Release),
    whit("ntp", Kind::Text(Value::Ntp), "=ADDRESS,…|dhcp", Nothing,
        "ask these time servers, or the network's, once before the workload starts").of(Feature::Clock),
    whit("time", Kind::List, "=S", Described("the image's time, from `mkraw --config`"),
        "the clock is at least this many seconds after 1970"),
    whit("pid1", Kind::Choice(Choice::Pid1), "=child|exec", Fixed("child"),
        "`exec` hands PID 1 to the image: its entrypoint, or /sbin/init (systemd, s6, busybox)").of(Feature::Handover),
    whit("timing", Kind::Switch(Switch::Timing), "", Nothing,
        "log when each stage of the boot was reached").of(Feature::Timeline),
    whit("notify", Kind::Text(Value::Notify), "=vsock-stream:CID:PORT|isa:0xPORT", Described("systemd's credential `vmm.notify_socket`"),
        "notify the host: `READY=1`, `X_SYSTEMD_SHUTDOWN=` and `EXIT_STATUS=N` as sd_notify(3) over vsock (also `vsock:`, `vsock-seqpacket:`, `vsock-dgram:`); or QEMU's isa-debug-exit, which exits with 2N+1 unless N is 0").of(Feature::Notify),
    whit("shell", Kind::Text(Value::Shell), "=TTY", Nothing,
        "run the initramfs's shell on this terminal, beside the workload, whose root is below /mnt").of(Feature::Terminal),
    whit("log", Kind::Choice(Choice::Log), "=console|kmsg", Fixed("console"),
        "log to every console, or to the kernel's log, which filters by level (`loglevel`)"),
];

/// The names, with a space between them.
pub(super) const NAMES: &[u8] = &joined::<{ joined_len(TABLE.len()) }>();

/// The names that stand on the kernel command line without `whit.`: the first ones.
pub(super) const KERNEL_NAMES: &[u8] = NAMES.split_at(joined_len(kernel_rows())).0;

/// The kinds, at the places of their names.
pub(super) const KINDS: [Kind; TABLE.len()] = {
    let mut kinds = [Kind::List; TABLE.len()];
    let mut place = 0;
    while place < TABLE.len() {
        kinds[place] = TABLE[place].kind;
        place += 1;
    }
    kinds
};

/// The options of features that this init was built without: a bit for each place.
pub(super) const DISABLED: u64 = {
    let (mut disabled, mut place) = (0, 0);
    while place < TABLE.len() {
        if let Some(feature) = TABLE[place].feature
            && !feature.is_enabled()
        {
            disabled |= 1 << place;
        }
        place += 1;
    }
    disabled
};

/// The times' defaults.
pub(super) const DEFAULT_TIMES: [u32; TIMES] = {
    let mut times = [u32::MAX; TIMES];
    let mut place = 0;
    while place < TABLE.len() {
        if let (Kind::Time(time), Fixed(value)) = (TABLE[place].kind, TABLE[place].default) {
            times[time as usize] = seconds(value.as_bytes());
        }
        place += 1;
    }
    times
};

/// Decimal digits as a number, at compile time.
const fn seconds(digits: &[u8]) -> u32 {
    let (mut value, mut place) = (0, 0);
    while place < digits.len() {
        assert!(digits[place].is_ascii_digit());
        value = value * 10 + (digits[place] - b'0') as u32;
        place += 1;
    }
    value
}

/// How many rows, from the first on, have a name of the kernel's; no other row has.
const fn kernel_rows() -> usize {
    let (mut rows, mut place) = (0, 0);
    while place < TABLE.len() {
        if matches!(TABLE[place].place, Place::Kernel) {
            assert!(rows == place, "names of the kernel's come first");
            rows += 1;
        }
        place += 1;
    }
    rows
}

/// The length of the first names, with a space between them.
const fn joined_len(rows: usize) -> usize {
    let (mut length, mut place) = (rows - 1, 0);
    while place < rows {
        length += TABLE[place].name.len();
        place += 1;
    }
    length
}

const fn joined<const SIZE: usize>() -> [u8; SIZE] {
    let mut joined = [b' '; SIZE];
    let (mut start, mut place) = (0, 0);
    while place < TABLE.len() {
        let name = TABLE[place].name.as_bytes();
        joined.split_at_mut(start).1.split_at_mut(name.len()).0.copy_from_slice(name);
        (start, place) = (start + name.len() + 1, place + 1);
    }
    joined
}
