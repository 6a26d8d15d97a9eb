//! The host and the programs of a measurement: the head of every report.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use super::kernel::BenchKernel;
use super::machine::Clock;
use super::matrix::of_machine;

/// A description of the host.
#[derive(Clone, Debug)]
pub struct Host {
    /// The model name of its processor.
    pub processor: String,
    /// The number of processors that this program may use.
    pub processors: usize,
    /// Its memory in MiB.
    pub memory_mib: u64,
    /// Its kernel.
    pub kernel: String,
    /// The first line of QEMU's version.
    pub qemu: String,
    /// The load average of the last minute, before the first boot.
    pub load: String,
}

impl Host {
    /// Reads the description; missing values are "unknown".
    #[must_use]
    pub fn look() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let memory = field(&read("/proc/meminfo"), "MemTotal").and_then(|value| value.split(' ').next()?.parse().ok());
        let qemu = Command::new("qemu-system-x86_64").arg("--version").output();
        let qemu = qemu.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let known = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("unknown").to_owned();
        Self {
            processor: known(field(&read("/proc/cpuinfo"), "model name").as_deref()),
            processors: available_parallelism().map_or(1, usize::from),
            memory_mib: memory.unwrap_or(0_u64) / 1024,
            kernel: known(read("/proc/sys/kernel/osrelease").lines().next()),
            qemu: known(qemu.lines().next()),
            load: known(read("/proc/loadavg").split(' ').next()),
        }
    }
}

/// Returns the value of a `name : value` line.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Returns the head as lines of text.
#[must_use]
pub fn header(host: &Host, kernels: &[BenchKernel], clock: Clock, command: &str) -> Vec<String> {
    let time = match clock {
        Clock::Exact => "guest time, one instruction a nanosecond (-icount shift=0,sleep=off)",
        Clock::Wall => "the host's time",
    };
    let kernels: Vec<String> = kernels
        .iter()
        .map(|kernel| format!("{} ({})", of_machine(&kernel.name, kernel.machine), kernel.version))
        .collect();
    vec![
        format!("command   {command}"),
        format!("time      {time}"),
        format!("kernels   {}", kernels.join(", ")),
        format!("qemu      {}", host.qemu),
        format!(
            "host      {} x {}, {} MiB, Linux {}, load {}",
            host.processors, host.processor, host.memory_mib, host.kernel, host.load
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_name() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: Another\n";
        assert_eq!(field(text, "model name").as_deref(), Some("Some CPU @ 2 GHz"));
        assert_eq!(field(text, "flags"), None);
    }

    #[test]
    fn this_host_is_described() {
        let host = Host::look();
        let lines = header(&host, &[], Clock::Wall, "bootbench --runs 3");
        assert_eq!(lines[0], "command   bootbench --runs 3");
        assert_eq!(lines[1], "time      the host's time");
        assert!(host.memory_mib > 0 && host.processors > 0);
    }
}
