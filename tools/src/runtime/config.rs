//! The configuration of a container (config.json of the OCI runtime specification), as far as it has a meaning for a machine.
//!
//! [`Machine::of`] computes from it what the machine gets. It has no effects. What has no meaning in a machine is ignored:
//! docs/engines.md lists it. What the user asked for and a machine cannot have is refused by its name.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{
    Capabilities, Capability, Linux, LinuxNamespace, LinuxNamespaceType, LinuxResources, Mount, PosixRlimit, Process,
    Spec,
};
use serde_json::Value;
use whit::rlimit::UNLIMITED;

use crate::runrecord::RunRecord;

/// The prefix of the annotations for this runtime.
const ANNOTATION: &str = "io.whit.";
/// The memory of a machine without a limit, in MiB.
const MEMORY_MIB: u32 = 256;
/// The least memory that a kernel boots with.
const MIN_MEMORY_MIB: u32 = 64;
/// Limits of at least this stand for none. The largest multiple of a page does, in cgroups of version 1.
const NO_LIMIT: i64 = 1 << 62;
/// The most processors of a machine.
const MAX_CPUS: u32 = 255;
/// The folders that are the machine's own: what a configuration mounts there is ignored.
const SYSTEM: [&str; 3] = ["/dev", "/proc", "/sys"];

/// What has no meaning in a machine, and values in later versions that this one would refuse.
const IGNORED: [(&str, &[&str]); 2] =
    [("linux", &["seccomp", "personality", "memoryPolicy", "intelRdt"]), ("process", &["ioPriority", "scheduler"])];

/// Parses a configuration.
///
/// # Errors
/// A message of one line.
pub(super) fn read(text: &[u8]) -> Result<Spec, String> {
    // A list of all names that are known would follow the unknown one.
    let describe = |error: serde_json::Error| {
        let text = error.to_string();
        text.split_once(", expected one of").map_or(text.as_str(), |(unknown, _)| unknown).to_owned()
    };
    let mut config: Value = serde_json::from_slice(text).map_err(describe)?;
    for (part, names) in IGNORED {
        if let Some(part) = config.get_mut(part).and_then(Value::as_object_mut) {
            names.iter().for_each(|name| drop(part.remove(*name)));
        }
    }
    serde_json::from_value(config).map_err(describe)
}

/// What a machine gets from its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    /// The root folder of the host.
    pub(super) root: PathBuf,
    /// Whether it is read-only.
    pub(super) read_only: bool,
    /// The mounts in the root, in their order.
    pub(super) mounts: Vec<Shared>,
    /// The mount points of file systems in the machine's memory.
    pub(super) points: Vec<PathBuf>,
    /// The run record.
    pub(super) record: Vec<u8>,
    /// Memory, in MiB.
    pub(super) memory_mib: u32,
    /// Processors.
    pub(super) cpus: u32,
    /// Whether the workload has a terminal.
    pub(super) terminal: bool,
    /// The size of that terminal, rows and columns, if the configuration has it.
    pub(super) size: Option<[u16; 2]>,
    /// The network.
    pub(super) network: Network,
    /// The annotations for this runtime, without their prefix.
    pub(super) annotations: HashMap<String, String>,
}

/// Something that is mounted in the tree that the machine gets as its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shared {
    /// Its path in the root.
    pub(super) path: PathBuf,
    /// Its source: a folder or a file of the host; `None` for an empty folder in the host's memory.
    pub(super) source: Option<PathBuf>,
    /// The options of that memory, for mount(2).
    pub(super) data: String,
    /// Whether it is read-only.
    pub(super) read_only: bool,
}

/// The network of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// The host's: the machine has a network of QEMU's own, behind the host's address.
    Host,
    /// A namespace that the engine has made.
    Namespace(PathBuf),
    /// None.
    None,
}

impl Machine {
    /// Computes what a machine gets. Annotations for this runtime are refused unless `may_annotate`.
    ///
    /// # Errors
    /// A message of one line: what a machine cannot have, and why.
    pub(super) fn of(spec: &Spec, bundle: &Path, may_annotate: bool) -> Result<Self, String> {
        let root = spec.root().as_ref().ok_or("root: the configuration has none")?;
        let process = spec.process().as_ref().ok_or("process: the configuration has none")?;
        let linux = spec.linux().as_ref();
        linux.map_or(Ok(()), |linux| check(linux, spec))?;
        let (mounts, tmpfs) = mounts(spec.mounts().as_deref().unwrap_or_default(), bundle)?;
        let path = |tmpfs: &String| tmpfs.split(':').next().map(PathBuf::from);
        let points = tmpfs.iter().filter_map(path).collect();
        let mut record = RunRecord { tmpfs, ..record(process)? };
        record.hostname = spec.hostname().clone().filter(|name| !name.is_empty());
        let settings = linux.and_then(|linux| linux.sysctl().as_ref()).into_iter().flatten();
        record.sysctl = settings.map(|(name, value)| format!("{name}={value}")).collect();
        record.sysctl.sort_unstable();
        let mut lines = record.encode().map_err(|error| error.to_string())?;
        lines.push_str(&privileges(process));
        let terminal = process.terminal().unwrap_or_default();
        lines.push_str(if terminal { "streams terminal\n" } else { "streams pipes\n" });
        let annotations = annotations(spec, may_annotate)?;
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        Ok(Self {
            root: bundle.join(root.path()),
            read_only: root.readonly().unwrap_or_default(),
            mounts,
            points,
            record: lines.into_bytes(),
            memory_mib: match annotations.get("memory") {
                Some(text) => mib(text).ok_or_else(|| format!("{ANNOTATION}memory \"{text}\": not a size as 256M"))?,
                None => memory_mib(resources)?,
            },
            cpus: cpus(resources),
            terminal,
            size: process.console_size().map(|size| [size.height(), size.width()].map(|side| side as u16)),
            network: network(linux),
            annotations,
        })
    }
}

/// Refuses what a machine cannot have.
fn check(linux: &Linux, spec: &Spec) -> Result<(), String> {
    // Of a privileged container, these are all devices of the host.
    let is_privileged = spec.annotations().as_ref().is_some_and(|annotations| {
        annotations.iter().any(|(name, value)| name.ends_with(".privileged") && value.eq_ignore_ascii_case("true"))
    });
    if let Some(device) = linux.devices().iter().flatten().next().filter(|_| !is_privileged) {
        let path = device.path().display();
        return Err(format!("device {path}: a machine has no devices of its host; remove --device"));
    }
    let is_mapped = |mapping: &oci_spec::runtime::LinuxIdMapping| mapping.host_id() != mapping.container_id();
    let maps = [linux.uid_mappings(), linux.gid_mappings()];
    if maps.into_iter().flatten().flatten().any(is_mapped) {
        return Err("user namespace: the users of a machine are those of its root's files; remove --userns".to_owned());
    }
    if find(linux, LinuxNamespaceType::Pid).is_some_and(|namespace| namespace_path(namespace).is_some()) {
        return Err("pid namespace: a machine has processes of its own; remove --pid container:NAME".to_owned());
    }
    Ok(())
}

/// Returns what is mounted in the tree that the machine shares, and the file systems in the machine's memory.
fn mounts(mounts: &[Mount], bundle: &Path) -> Result<(Vec<Shared>, Vec<String>), String> {
    let (mut shared, mut tmpfs) = (Vec::new(), Vec::new());
    for (place, mount) in mounts.iter().enumerate() {
        let path = &absolute(mount.destination());
        if path.parent().is_none() {
            return Err("mount /: the root is no mount point".to_owned());
        }
        if SYSTEM.iter().any(|system| path.starts_with(system)) {
            continue;
        }
        let options = mount.options().as_deref().unwrap_or_default();
        let has = |name: &str| options.iter().any(|option| option == name);
        let read_only = has("ro") || has("rro");
        let typ = mount.typ().as_deref().unwrap_or_default();
        match (typ, mount.source()) {
            _ if has("bind") || has("rbind") || typ == "bind" => {
                let source = mount.source().as_ref().ok_or_else(|| format!("mount {}: no source", path.display()))?;
                let source = Some(bundle.join(source));
                shared.push(Shared { path: path.clone(), source, data: String::new(), read_only });
            }
            ("tmpfs", _) => {
                let is_below = |other: &Mount| absolute(other.destination()).starts_with(path);
                let data = options.iter().filter(|option| is_for_tmpfs(option)).cloned().collect::<Vec<_>>();
                if mounts[place + 1..].iter().any(is_below) {
                    // Another mount is below it, which the machine would cover: it is in the host's memory.
                    let data = data.into_iter().filter(|option| option.contains('=')).collect::<Vec<_>>().join(",");
                    shared.push(Shared { path: path.clone(), source: None, data, read_only });
                } else {
                    let path = path.to_str().ok_or("mount: a path that is not UTF-8")?;
                    if path.contains(':') {
                        return Err(format!("mount {path}: a path with a colon is ambiguous with an option"));
                    }
                    tmpfs.push(format!("{path}:{}", data.join(",")));
                }
            }
            (typ, _) => {
                let path = path.display();
                return Err(format!("mount {path}: a machine cannot have a mount of type \"{typ}\" there"));
            }
        }
    }
    Ok((shared, tmpfs))
}

/// Returns a path as it is below the root: relative ones begin there, and `..` does not lead out of it.
fn absolute(path: &Path) -> PathBuf {
    let mut absolute = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => absolute.push(name),
            Component::ParentDir => drop(absolute.pop()),
            _ => {}
        }
    }
    absolute
}

/// Whether an option is the kernel's, not one of a runtime about propagation or copying.
fn is_for_tmpfs(option: &str) -> bool {
    const OTHERS: [&str; 10] = [
        "private",
        "rprivate",
        "shared",
        "rshared",
        "slave",
        "rslave",
        "unbindable",
        "runbindable",
        "tmpcopyup",
        "strictatime",
    ];
    !OTHERS.contains(&option) && !option.starts_with("x-")
}

/// Returns the record of a process.
fn record(process: &Process) -> Result<RunRecord, String> {
    let args = process.args().clone().unwrap_or_default();
    check_args(&args).map_err(|error| format!("process.args{error}"))?;
    Ok(RunRecord {
        entrypoint: args,
        // An element without `=` is no variable.
        env: process.env().iter().flatten().filter(|variable| variable.contains('=')).cloned().collect(),
        workdir: process.cwd().to_str().filter(|cwd| !cwd.is_empty()).map(str::to_owned),
        user: Some(user(process)),
        rlimit: process.rlimits().iter().flatten().map(rlimit).collect(),
        ..RunRecord::default()
    })
}

/// Refuses arguments without a program, which the init would read otherwise.
pub(super) fn check_args(args: &[String]) -> Result<(), &'static str> {
    match args.first().map(String::as_str) {
        None => Err(": nothing to run"),
        // podman looks for this text.
        Some("") => Err(" \"\": executable file not found in $PATH"),
        Some(_) => Ok(()),
    }
}

/// Returns the user of a process in the form of `user=`: `UID:GID:GROUP,…`.
pub(super) fn user(process: &Process) -> String {
    let user = process.user();
    // podman lists the group itself, too.
    let groups = user.additional_gids().iter().flatten().filter(|gid| **gid != user.gid());
    let groups: Vec<String> = groups.map(u32::to_string).collect();
    let end = if groups.is_empty() { String::new() } else { format!(":{}", groups.join(",")) };
    format!("{}:{}{end}", user.uid(), user.gid())
}

fn rlimit(limit: &PosixRlimit) -> String {
    let name = limit.typ().to_string().to_lowercase().replace("rlimit_", "").replace("rlimit", "");
    let value = |number: u64| if number == UNLIMITED { "-1".to_owned() } else { number.to_string() };
    format!("{name}={}:{}", value(limit.soft()), value(limit.hard()))
}

/// Returns the lines of the record about privileges.
pub(super) fn privileges(process: &Process) -> String {
    let mut lines = String::new();
    if let Some(capabilities) = process.capabilities() {
        let bounding: &Option<Capabilities> = capabilities.bounding();
        let mut names: Vec<String> = bounding.iter().flatten().map(Capability::to_string).collect();
        names.sort_unstable();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(",") };
        lines.push_str(&format!("caps {names}\n"));
    }
    if process.no_new_privileges().unwrap_or_default() {
        lines.push_str("no_new_privs\n");
    }
    lines
}

/// Returns the annotations for this runtime; an unknown one is refused. So are all, unless they are allowed: engines copy the annotations
/// of an image to its containers, and with these an image would choose files of the host, its user and its privileges.
fn annotations(spec: &Spec, may_annotate: bool) -> Result<HashMap<String, String>, String> {
    const KNOWN: [&str; 5] = ["kernel", "modules", "memory", "append", "accel"];
    let mut found = HashMap::new();
    for (name, value) in spec.annotations().iter().flatten() {
        let Some(name) = name.strip_prefix(ANNOTATION) else { continue };
        if !KNOWN.contains(&name) {
            return Err(format!("annotation {ANNOTATION}{name}: unknown; there are {}", KNOWN.join(", ")));
        }
        if !may_annotate {
            return Err(format!("annotation {ANNOTATION}{name}: pass --runtime-flag allow-annotations"));
        }
        found.insert(name.to_owned(), value.clone());
    }
    Ok(found)
}

/// Returns the memory limit as memory of the machine, in MiB.
fn memory_mib(resources: Option<&LinuxResources>) -> Result<u32, String> {
    let memory = resources.and_then(|resources| resources.memory().as_ref());
    match memory.and_then(|memory| memory.limit()) {
        Some(bytes @ 1..NO_LIMIT) => {
            let mib = u32::try_from(bytes.unsigned_abs().div_ceil(1 << 20)).unwrap_or(u32::MAX);
            if mib < MIN_MEMORY_MIB {
                return Err(format!(
                    "memory limit {bytes}: a machine needs at least {MIN_MEMORY_MIB}M, for its kernel"
                ));
            }
            Ok(mib)
        }
        _ => Ok(MEMORY_MIB),
    }
}

/// Parses a size as `256M`.
fn mib(text: &str) -> Option<u32> {
    let bytes = crate::cli::size::parse_size(text).ok()?;
    u32::try_from(bytes.div_ceil(1 << 20)).ok().filter(|mib| *mib >= MIN_MEMORY_MIB)
}

/// Returns the processors for a quota, rounded up, or for a set.
fn cpus(resources: Option<&LinuxResources>) -> u32 {
    let Some(cpu) = resources.and_then(|resources| resources.cpu().as_ref()) else { return 1 };
    let quota = match (cpu.quota(), cpu.period()) {
        (Some(quota @ 1..), Some(period @ 1..)) => u32::try_from(quota.unsigned_abs().div_ceil(period)).ok(),
        _ => None,
    };
    let set = cpu.cpus().as_deref().and_then(set_size);
    match (quota, set) {
        (Some(quota), Some(set)) => quota.min(set),
        (quota, set) => quota.or(set).unwrap_or(1),
    }
    .clamp(1, MAX_CPUS)
}

/// Counts the processors of a list as `0-3,6`.
fn set_size(list: &str) -> Option<u32> {
    let count = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    let counts = list.split(',').filter(|part| !part.is_empty()).map(count).collect::<Option<Vec<_>>>()?;
    let sum: u32 = counts.iter().fold(0, |sum, count| sum.saturating_add(*count));
    (sum > 0).then_some(sum)
}

fn network(linux: Option<&Linux>) -> Network {
    match linux.and_then(|linux| find(linux, LinuxNamespaceType::Network)).map(namespace_path) {
        None => Network::Host,
        Some(None) => Network::None,
        Some(Some(path)) => Network::Namespace(path.clone()),
    }
}

fn find(linux: &Linux, typ: LinuxNamespaceType) -> Option<&LinuxNamespace> {
    linux.namespaces().iter().flatten().find(|namespace| namespace.typ() == typ)
}

/// Returns the path of a namespace that is there already.
fn namespace_path(namespace: &LinuxNamespace) -> Option<&PathBuf> {
    namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty())
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
