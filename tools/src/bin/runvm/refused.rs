//! The options of `docker run` that runvm does not have: each is refused by its name, with the nearest way.

/// An option of docker's.
pub(crate) struct Refused {
    /// Its name, without the dashes.
    pub(crate) name: &'static str,
    /// Its letter, if it has one.
    pub(crate) letter: Option<char>,
    /// What to do instead.
    pub(crate) instead: &'static str,
}

const fn named(name: &'static str, instead: &'static str) -> Refused {
    Refused { name, letter: None, instead }
}

const fn lettered(name: &'static str, letter: char, instead: &'static str) -> Refused {
    Refused { name, letter: Some(letter), instead }
}

const CAPABILITIES: &str = "--append whit.caps=default,NET_ADMIN,-MKNOD sets the workload's capabilities";
const CONTAINER: &str = "a machine has a kernel of its own, and shares no namespaces or cgroups with the host";
const CPU: &str =
    "--cpus sets the number of processors; systemd-run -p CPUWeight= or -p CPUQuota= limits runvm on the host";
const DAEMON: &str = "there is no daemon; podman, docker or skopeo fetch an image with their own settings";
const DEVICE: &str = "a machine has QEMU's devices; --disk adds a disk and -v a folder of the host";
const DEVICE_RATE: &str = "systemd-run -p IOWeight= or -p IOReadBandwidthMax= limits runvm on the host";
const HEALTH: &str = "run the check from outside, through a port of -p";
const LABEL: &str = "a machine has no labels; systemd-run --description= describes it";
const LOG: &str = "the output goes to runvm's; systemd-run logs it to the journal";
const MEMORY: &str = "-m sets the machine's memory; it has no swap";
const NETWORK: &str = "the machine has a network of its own; -p forwards ports, --append ip= sets the address";
const DNS: &str = "--append nameserver=ADDRESS sets a DNS server; /etc/resolv.conf can also be in the image";
const VOLUME: &str = "-v SOURCE:/PATH shares a folder or a file of the host";
const WINDOWS: &str = "it is for Windows; --cpus and -m set processors and memory";

/// Every option of `docker run` 28 that runvm does not have.
pub(crate) const REFUSED: &[Refused] = &[
    named("add-host", "add a line to the image's /etc/hosts"),
    named("annotation", LABEL),
    named("blkio-weight", DEVICE_RATE),
    named("blkio-weight-device", DEVICE_RATE),
    named("cap-add", CAPABILITIES),
    named("cap-drop", CAPABILITIES),
    named("cgroup-parent", "systemd-run --slice= puts runvm into a cgroup of the host"),
    named("cgroupns", CONTAINER),
    named("cidfile", "a machine has no ID; systemd-run --unit=NAME names it"),
    named("cpu-count", WINDOWS),
    named("cpu-percent", WINDOWS),
    named("cpu-period", CPU),
    named("cpu-quota", CPU),
    named("cpu-rt-period", CPU),
    named("cpu-rt-runtime", CPU),
    lettered("cpu-shares", 'c', CPU),
    named("cpuset-cpus", "taskset -c LIST runvm … chooses the host's processors"),
    named("cpuset-mems", "numactl --membind=LIST runvm … chooses the host's memory"),
    lettered(
        "detach",
        'd',
        "a machine ends with runvm; systemd-run --unit=NAME runvm …, or nohup runvm … &, runs it in the background",
    ),
    named("detach-keys", "a machine ends with runvm; there is nothing to detach from"),
    named("device", DEVICE),
    named("device-cgroup-rule", DEVICE),
    named("device-read-bps", DEVICE_RATE),
    named("device-read-iops", DEVICE_RATE),
    named("device-write-bps", DEVICE_RATE),
    named("device-write-iops", DEVICE_RATE),
    named("disable-content-trust", DAEMON),
    named("dns", DNS),
    named("dns-opt", DNS),
    named("dns-option", DNS),
    named("dns-search", DNS),
    named("domainname", "--hostname NAME.DOMAIN sets both"),
    named("expose", "every port of the machine is open; -p forwards one"),
    named("gpus", DEVICE),
    named("group-add", "-u USER:GROUP sets the group; supplementary groups are those of the image's /etc/group"),
    named("health-cmd", HEALTH),
    named("health-interval", HEALTH),
    named("health-retries", HEALTH),
    named("health-start-interval", HEALTH),
    named("health-start-period", HEALTH),
    named("health-timeout", HEALTH),
    named("io-maxbandwidth", WINDOWS),
    named("io-maxiops", WINDOWS),
    named("ip", NETWORK),
    named("ip6", NETWORK),
    named("ipc", CONTAINER),
    named("isolation", "a machine is isolated by QEMU"),
    named("kernel-memory", MEMORY),
    lettered("label", 'l', LABEL),
    named("label-file", LABEL),
    named("link", NETWORK),
    named("link-local-ip", NETWORK),
    named("log-driver", LOG),
    named("log-opt", LOG),
    named("mac-address", NETWORK),
    named("memory-reservation", MEMORY),
    named("memory-swap", MEMORY),
    named("memory-swappiness", MEMORY),
    named("mount", "-v DIR:/PATH[:ro] shares a folder or a file of the host, --tmpfs /PATH mounts a tmpfs"),
    named("net-alias", NETWORK),
    named("network-alias", NETWORK),
    named("no-healthcheck", "there are no health checks"),
    named("oom-kill-disable", MEMORY),
    named("oom-score-adj", "choom -n N -- runvm … sets the host's preference"),
    named("pid", CONTAINER),
    named("pids-limit", "--ulimit nproc=N limits the processes of a user"),
    named("privileged", "a workload of root has every capability and device of its machine"),
    lettered("publish-all", 'P', "-p [ADDR:]HOST:GUEST forwards a port"),
    lettered("quiet", 'q', DAEMON),
    named("restart", "--append whit.on_exit=restart:N restarts the workload, a systemd unit with Restart= the machine"),
    named("runtime", "the runtime is QEMU"),
    named("security-opt", "--append whit.no_new_privs is no-new-privileges; the boundary is the machine"),
    named("shm-size", "--tmpfs /dev/shm:size=SIZE mounts one of this size"),
    named("sig-proxy", "signals always go to the machine"),
    named("storage-opt", "--free SIZE sets the free space of the disk"),
    named("use-api-socket", DAEMON),
    named("userns", CONTAINER),
    named("uts", CONTAINER),
    named("volume-driver", VOLUME),
    named("volumes-from", VOLUME),
];

/// Returns the error for an option by its name, if docker has it.
pub(crate) fn by_name(name: &str) -> Option<String> {
    let refused = REFUSED.iter().find(|refused| refused.name == name)?;
    Some(format!("--{name}: no option of runvm: {}", refused.instead))
}

/// Returns the error for an option by its letter, if docker has it.
pub(crate) fn by_letter(letter: char) -> Option<String> {
    let refused = REFUSED.iter().find(|refused| refused.letter == Some(letter))?;
    Some(format!("-{letter}: no option of runvm: {}", refused.instead))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Arguments;
    use clap::CommandFactory;

    /// `docker run --help` of docker 28.2.2.
    const HELP: &str = include_str!("../../../../tests/golden/docker-run-help.txt");

    #[test]
    fn every_option_of_docker_is_taken_or_refused() {
        let command = Arguments::command();
        let mut count = 0;
        for line in HELP.lines() {
            let Some((before, rest)) = line.split_once("--") else { continue };
            // `  -a, --attach list    Attach to …`; the texts of options have no dashes.
            if before.trim_matches([' ', ',']).len() > 2 {
                continue;
            }
            let name = rest.split(' ').next().unwrap();
            let letter = before.trim().strip_prefix('-').and_then(|letter| letter.chars().next());
            let taken = command.get_arguments().find(|argument| argument.get_long() == Some(name));
            let refused = REFUSED.iter().find(|refused| refused.name == name);
            let letters = match (taken, refused) {
                (Some(taken), None) => taken.get_short(),
                (None, Some(refused)) => refused.letter,
                _ => panic!("--{name}: taken {} and refused {}", taken.is_some(), refused.is_some()),
            };
            assert_eq!(letters, letter, "--{name}");
            count += 1;
        }
        assert_eq!(count, 104);
    }

    #[test]
    fn names_are_in_order() {
        assert!(REFUSED.is_sorted_by_key(|refused| refused.name));
    }
}
