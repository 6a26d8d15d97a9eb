//! The table of options: the source of the parser, the defaults, docs/configuration.md and the tools' `--help`.
//!
//! The tables of the parser are computed from it at compile time. The documentation is not part of the init.

use crate::contract;
use crate::features::Feature;
use crate::text::{Split, nth, split};

/// An option.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name in a record.
    pub name: &'static str,
    /// The kind of its value.
    pub kind: Kind,
    /// The form of its name on the kernel command line. In a record the name is bare.
    pub place: Place,
    /// The feature that it belongs to. An init without the feature refuses the option.
    pub feature: Option<Feature>,
    /// The syntax of its value, from the `=` on; empty for a switch.
    pub form: &'static str,
    /// Its value if no source has it.
    pub default: Fallback,
    /// Its documentation, one line.
    pub text: &'static str,
}

/// The form of an option's name on the kernel command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `NAME`: an option that the kernel or ginit has too.
    Kernel,
    /// `whit.NAME`.
    Whit,
}

/// The default of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// No value.
    Nothing,
    /// This value.
    Fixed(&'static str),
    /// The value that this text describes.
    Described(&'static str),
}

/// The kind of an option's value, with the field that stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One value of a list, parsed where it is used.
    List,
    /// A text.
    Text(Value),
    /// A number of seconds or milliseconds.
    Time(Time),
    /// A switch.
    Switch(Switch),
    /// Whether the root is read-only.
    ReadOnly(bool),
    /// The name or number of a signal.
    StopSignal,
    /// One of several words.
    Choice(Choice),
}

/// An option whose value is one of several words. The index of the word is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The retransmission intervals of DHCP.
    Dhcp,
    /// The destination of log lines.
    Log,
    /// Whether the workload is a child of PID 1 or becomes PID 1.
    Pid1,
    /// How the boot treats the network, in the order of [`Net`](super::Net).
    Net,
    /// The action after the workload's exit, in the order of [`OnExit`](super::OnExit). From the second on, these are also the
    /// values of systemd's `X_SYSTEMD_SHUTDOWN=`.
    OnExit,
    /// What the workload's standard streams are, in the order of [`Streams`](super::Streams).
    Streams,
    /// The action after a boot that failed, in the order of [`OnExit`](super::OnExit).
    #[cfg(feature = "on-fail")]
    OnFail,
}

impl Choice {
    /// Returns its words, in the order of their indices.
    pub fn words(self) -> Split<'static> {
        const WORDS: &[u8] = &contract::join::<{ contract::joined_len(PARTS) }>(PARTS);
        const PARTS: &[&[u8]] = &[
            b"fast rfc,console kmsg,child exec,wait wait6 require bg off,shell poweroff reboot halt restart",
            if Feature::Kexec.is_enabled() { b" kexec" } else { b"" },
            b",console pipes terminal",
        ];
        let choice = if self as usize > Self::Streams as usize { Self::OnExit } else { self };
        split(nth(WORDS, choice as usize), b' ')
    }
}

/// An option whose value is a text. An empty text is the same as none.
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
    #[cfg(feature = "verity")]
    RootHash,
}

/// An option whose value is a time, in seconds unless its name ends in another unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table describes each")]
pub enum Time {
    RootWait,
    RootDelay,
    Grace,
    NetTimeout,
    ArpMs,
    #[cfg(feature = "on-fail")]
    Panic,
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
    Linger,
}

/// The number of options of each kind.
pub(super) const VALUES: usize = Value::Caps as usize + 1 + cfg!(feature = "verity") as usize;
pub(super) const TIMES: usize = Time::ArpMs as usize + 1 + cfg!(feature = "on-fail") as usize;
pub(super) const SWITCHES: usize = Switch::Linger as usize + 1;
pub(super) const CHOICES: usize = Choice::Streams as usize + 1 + cfg!(feature = "on-fail") as usize;

/// An option that has the same name on the kernel command line.
const fn kernel(name: &'static str, kind: Kind, form: &'static str, default: Fallback, text: &'static str) -> Row {
    Row { name, kind, place: Place::Kernel, feature: None, form, default, text }
}

/// An option with the prefix `whit.` on the kernel command line.
const fn whit(name: &'static str, kind: Kind, form: &'static str, default: Fallback, text: &'static str) -> Row {
    Row { name, kind, place: Place::Whit, feature: None, form, default, text }
}

impl Row {
    /// Sets the feature that the option belongs to.
    const fn of(self, feature: Feature) -> Self {
        Self { feature: Some(feature), ..self }
    }
}

use Fallback::{Described, Fixed, Nothing};

/// The options, those without the prefix `whit.` first.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    kernel("root", Kind::Text(Value::Root), "=SOURCE", Described("the rootfs in the initramfs"),
        "the root: `/dev/NAME`, `MAJOR:MINOR`, `UUID=`, `LABEL=`, `PARTUUID=`, `PARTLABEL=`, `SERIAL=`, `virtiofs:TAG` or `9p:TAG`; in the init `fleet` also `nvme-tcp:ADDRESS[:PORT]/NQN` and, with `roothash=`, `http://ADDRESS[:PORT]/PATH`"),
    kernel("rootfstype", Kind::Text(Value::RootFstype), "=TYPE,…", Described("found by probing"),
        "file system types to try"),
    kernel("rootflags", Kind::Text(Value::RootFlags), "=OPTION,…", Nothing,
        "mount options of the root"),
    #[cfg(feature = "verity")]
    kernel("roothash", Kind::Text(Value::RootHash), "=HEX", Nothing,
        "the root hash of dm-verity: every block of the root is verified; implies `ro`").of(Feature::Verity),
    kernel("rootwait", Kind::Time(Time::RootWait), "[=S]", Fixed("30"),
        "the number of seconds to wait for devices; without a value, no limit"),
    kernel("rootdelay", Kind::Time(Time::RootDelay), "=S", Fixed("0"),
        "the number of seconds to wait before the first attempt"),
    kernel("ro", Kind::ReadOnly(true), "", Nothing,
        "mount the root read-only"),
    kernel("rw", Kind::ReadOnly(false), "", Described("yes"),
        "mount the root writable"),
    kernel("init", Kind::Text(Value::Init), "=PROGRAM", Nothing,
        "run this program of the image as PID 1").of(Feature::Handover),
    kernel("quiet", Kind::Switch(Switch::Quiet), "", Nothing,
        "log only errors"),
    kernel("entrypoint", Kind::List, "=\"PROGRAM ARG…\"", Described("the image's ENTRYPOINT"),
        "the program to run, split at spaces; overrides the image's CMD too. In a record, one line for each element"),
    kernel("BOOTIF", Kind::Text(Value::NetDevice), "=01-MAC", Described("every interface"),
        "the same as `whit.net.dev`, as boot loaders pass it").of(Feature::Choice),
    kernel("ip", Kind::Text(Value::Ip), "=ADDRESS::GATEWAY:MASK:NAME:DEVICE:off|dhcp|off", Fixed("dhcp"),
        "a static address in the kernel's form, such as `10.0.0.5::10.0.0.1:255.255.255.0:name:eth0:off:10.0.0.2`; DHCP; or no network; repeatable").of(Feature::Dhcp),
    #[cfg(feature = "vlan")]
    kernel("vlan", Kind::List, "=NAME:DEVICE", Nothing,
        "an 802.1Q interface on another one; its number is at the end of its name; repeatable").of(Feature::Vlan),
    kernel("nameserver", Kind::List, "=ADDRESS", Nothing,
        "a DNS server, of IPv4 or IPv6, queried before those of the network; repeatable").of(Feature::Etc),
    #[cfg(feature = "on-fail")]
    kernel("panic", Kind::Time(Time::Panic), "=S", Fixed("0"),
        "the number of seconds before a boot that failed powers off, reboots or halts").of(Feature::OnFail),
    whit("cmd", Kind::List, "=ARG", Described("the image's CMD"),
        "an argument of the image's CMD, as mkraw writes it to the record; repeatable"),
    whit("arg", Kind::List, "=ARG", Nothing,
        "an argument that replaces the image's CMD, as the words after `--` do; repeatable"),
    whit("env", Kind::List, "=NAME=VALUE", Described("the image's ENV, docker's PATH"),
        "an environment variable; repeatable"),
    whit("mount", Kind::List, "=SOURCE:/PATH[:TYPE[:OPTION,…]]", Nothing,
        "a volume, its source in a form of `root=`; with the option `nofail` the boot continues without it; with the type `file` it is the file `file` of a share; repeatable").of(Feature::Volumes),
    whit("tmpfs", Kind::List, "=/PATH[:OPTION,…]", Nothing,
        "a tmpfs, as docker's `--tmpfs`; repeatable").of(Feature::Volumes),
    whit("rlimit", Kind::List, "=NAME=SOFT[:HARD]", Described("docker's"),
        "a resource limit, as docker's `--ulimit`; repeatable").of(Feature::Settings),
    whit("sysctl", Kind::List, "=NAME=VALUE", Described("docker's"),
        "a kernel setting, as docker's `--sysctl`; repeatable").of(Feature::Settings),
    whit("caps", Kind::Text(Value::Caps), "=[+|-]NAME,…", Fixed("all"),
        "the capabilities that the workload may have: names as in docker's `--cap-add`, `default` for docker's set, `all` or `none`; `-` removes, as in `default,NET_ADMIN,-MKNOD`").of(Feature::Caps),
    whit("no_new_privs", Kind::Switch(Switch::NoNewPrivs), "", Nothing,
        "setuid programs and file capabilities give no privileges, as with docker's `--security-opt no-new-privileges`").of(Feature::Caps),
    whit("overlay", Kind::Text(Value::Overlay), "=tmpfs[:OPTION,…]|SOURCE", Nothing,
        "the upper layer of an overlay, which receives all writes; the root stays unchanged").of(Feature::Overlay),
    whit("grow", Kind::Switch(Switch::Grow), "", Nothing,
        "grow an ext4 root to the size of its device").of(Feature::Grow),
    whit("workdir", Kind::Text(Value::Workdir), "=/PATH", Fixed("/"),
        "the working directory, created if it is missing"),
    whit("user", Kind::Text(Value::User), "=USER[:GROUP[:GID,…]]", Described("root"),
        "the user of the workload, by names or numbers, and further groups by numbers"),
    whit("hostname", Kind::Text(Value::Hostname), "=NAME", Described("DHCP's, or `whit`"),
        "the host name"),
    whit("stopsignal", Kind::StopSignal, "=SIGNAL", Fixed("TERM"),
        "the signal that requests the workload to exit"),
    whit("grace", Kind::Time(Time::Grace), "=S", Fixed("10"),
        "the number of seconds from that signal to SIGKILL"),
    whit("on_exit", Kind::Choice(Choice::OnExit), "=shell|poweroff|reboot|halt|kexec|restart[:N]", Described("`shell`, or `poweroff` without one"),
        "the action after the workload's exit; `kexec` starts the kernel that the workload has loaded, or reboots without one; `restart` follows after 0.1 s, doubled each time up to a minute, at most N times"),
    #[cfg(feature = "on-fail")]
    whit("on_fail", Kind::Choice(Choice::OnFail), "=shell|poweroff|reboot|halt", Described("the action of `whit.on_exit`"),
        "the action after a boot that failed").of(Feature::OnFail),
    whit("streams", Kind::Choice(Choice::Streams), "=console|pipes|terminal", Fixed("console"),
        "the workload's standard streams: the console; or pipes or a terminal, connected to a virtio port of the host. With a port the machine ends with its workload, as a container does").of(Feature::Streams),
    whit("linger", Kind::Switch(Switch::Linger), "", Nothing,
        "with `whit.streams=`, a workload that exits with status 0 leaves its daemons running").of(Feature::Streams),
    whit("net", Kind::Choice(Choice::Net), "=wait|wait6|require|bg|off", Described("`wait`, or `off` with `whit.pid1=exec`"),
        "wait for a lease, wait for a global IPv6 address, require a lease, do not wait, or use no network").of(Feature::Dhcp),
    whit("net.dev", Kind::Text(Value::NetDevice), "=NAME|MAC", Described("every interface"),
        "the only network interface to use").of(Feature::Choice),
    whit("net.timeout", Kind::Time(Time::NetTimeout), "=S", Fixed("10"),
        "the number of seconds to wait for a lease before the boot continues").of(Feature::Dhcp),
    whit("dhcp", Kind::Choice(Choice::Dhcp), "=fast|rfc", Fixed("fast"),
        "the first DHCP retransmission after 0.25 s, or after RFC 2131's 4 s").of(Feature::Dhcp),
    whit("dhcp.arp", Kind::Time(Time::ArpMs), "=MS", Fixed("0"),
        "the number of milliseconds to probe the link for another host with the address; an address in use is declined").of(Feature::Arp),
    whit("dhcp.release", Kind::Switch(Switch::Release), "", Nothing,
        "release the lease at shutdown").of(Feature::Release),
    whit("ntp", Kind::Text(Value::Ntp), "=ADDRESS,…|dhcp", Nothing,
        "query these NTP servers, or those from DHCP, once before the workload starts").of(Feature::Clock),
    whit("time", Kind::List, "=S", Described("the image's time, from `mkraw --config`"),
        "the earliest time of the clock, in seconds since 1970"),
    whit("pid1", Kind::Choice(Choice::Pid1), "=child|exec", Fixed("child"),
        "`exec` hands PID 1 to the image: its entrypoint, or /sbin/init (systemd, s6, busybox)").of(Feature::Handover),
    whit("timing", Kind::Switch(Switch::Timing), "", Nothing,
        "log when each stage of the boot was reached").of(Feature::Timeline),
    whit("notify", Kind::Text(Value::Notify), "=vsock-stream:CID:PORT|isa:0xPORT", Described("systemd's credential `vmm.notify_socket`"),
        "notify the host: `READY=1`, `X_SYSTEMD_SHUTDOWN=` and `EXIT_STATUS=N` as sd_notify(3) over vsock (also `vsock:`, `vsock-seqpacket:`, `vsock-dgram:`); or QEMU's isa-debug-exit, which exits with 2N+1 unless N is 0").of(Feature::Notify),
    whit("shell", Kind::Text(Value::Shell), "=TTY|none", Nothing,
        "run the initramfs's shell on this terminal, in parallel with the workload, whose root is at /mnt; with `none`, run no shell, also not after the workload or a boot that failed").of(Feature::Terminal),
    whit("log", Kind::Choice(Choice::Log), "=console|kmsg", Fixed("console"),
        "log to every console, or to the kernel's log, which filters by level (`loglevel`)"),
];

/// The names, separated by spaces.
pub(super) const NAMES: &[u8] = &joined::<{ joined_len(TABLE.len()) }>();

/// The names that have no prefix `whit.` on the kernel command line: the first ones.
pub(super) const KERNEL_NAMES: &[u8] = NAMES.split_at(joined_len(kernel_rows())).0;

/// The kinds, in the order of the names.
pub(super) const KINDS: [Kind; TABLE.len()] = {
    let mut kinds = [Kind::List; TABLE.len()];
    let mut place = 0;
    while place < TABLE.len() {
        kinds[place] = TABLE[place].kind;
        place += 1;
    }
    kinds
};

/// The options of disabled features: a bit for each row.
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

/// The defaults of the times; without one, no limit.
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

/// Parses decimal digits at compile time.
const fn seconds(digits: &[u8]) -> u32 {
    let (mut value, mut place) = (0, 0);
    while place < digits.len() {
        assert!(digits[place].is_ascii_digit());
        value = value * 10 + (digits[place] - b'0') as u32;
        place += 1;
    }
    value
}

/// Returns the number of rows without the prefix `whit.`. Fails to compile unless they come first.
const fn kernel_rows() -> usize {
    let (mut rows, mut place) = (0, 0);
    while place < TABLE.len() {
        if matches!(TABLE[place].place, Place::Kernel) {
            assert!(rows == place, "rows without the prefix `whit.` come first");
            rows += 1;
        }
        place += 1;
    }
    rows
}

/// Returns the length of the first names, separated by spaces.
const fn joined_len(rows: usize) -> usize {
    let (mut length, mut place) = (rows - 1, 0);
    while place < rows {
        length += TABLE[place].name.len();
        place += 1;
    }
    length
}

/// Joins all names, separated by spaces.
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
