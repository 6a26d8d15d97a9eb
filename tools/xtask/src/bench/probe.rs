//! Parses the output of the probe (tests/guest/src/probe.rs) and of whit's `whit.timing` on the console.

use std::net::Ipv4Addr;

use whit::contract::{STAGE_SEPARATOR, TIMELINE_LINE};

/// The report of a boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The start of the workload, by CLOCK_BOOTTIME in nanoseconds.
    pub ran_ns: u64,
    /// Its process number; 1 when the workload became PID 1.
    pub pid: u64,
    /// The machine's address.
    pub address: Option<Ipv4Addr>,
    /// Its default gateway.
    pub router: Option<Ipv4Addr>,
    /// The time of the router's answer to the workload's first packet.
    pub answered_ns: Option<u64>,
    /// VmHWM of PID 1.
    pub peak_kib: Option<u64>,
    /// Threads of PID 1.
    pub threads: Option<u64>,
    /// Lines of the kernel's log that name a stage, with their time by CLOCK_BOOTTIME in nanoseconds.
    pub log: Vec<(u64, String)>,
    /// whit's own stages in nanoseconds.
    pub timeline: Vec<(String, u64)>,
}

/// The line of the kernel's log that shows both clocks at one moment.
const MARK: &str = "bench: mark";
/// The last line of the probe's report.
pub(crate) const END: &str = "probe: end";

impl Report {
    /// Parses a console's output.
    ///
    /// # Errors
    /// A sentence on what is missing.
    pub fn parse(console: &str) -> Result<Self, String> {
        if !console.contains(END) {
            return Err(format!("the console does not show \"{END}\""));
        }
        let ran = after(console, "probe: ran ").next().ok_or("the console does not show when the probe ran")?;
        let mut report = Self::default();
        let mut words = ran.split_ascii_whitespace();
        report.ran_ns = number(words.next())?;
        while let Some(name) = words.next() {
            let value = words.next();
            match name {
                "pid" => report.pid = number(value)?,
                "address" => report.address = Some(address(value)?),
                "router" => report.router = Some(address(value)?),
                "answered" => report.answered_ns = Some(number(value)?),
                "peak_kib" => report.peak_kib = Some(number(value)?),
                "threads" => report.threads = Some(number(value)?),
                _ => {} // `unix`, and fields of later probes
            }
        }
        report.read_log(console)?;
        if let Some(timeline) = after(console, TIMELINE_LINE).next() {
            for stage in timeline.split(STAGE_SEPARATOR) {
                let (name, micros) = stage.split_once(' ').ok_or_else(|| format!("\"{stage}\" is not a stage"))?;
                report.timeline.push((name.to_owned(), number(Some(micros))? * 1000));
            }
        }
        Ok(report)
    }

    /// Returns a stage of whit's timeline.
    #[must_use]
    pub fn stage(&self, name: &str) -> Option<u64> {
        self.timeline.iter().find(|(stage, _)| stage == name).map(|(_, time_ns)| *time_ns)
    }

    /// Returns the time of the first `message` in the kernel's log.
    #[must_use]
    pub fn logged(&self, message: &str) -> Option<u64> {
        self.log.iter().find(|(_, text)| text.contains(message)).map(|(time_ns, _)| *time_ns)
    }

    fn read_log(&mut self, console: &str) -> Result<(), String> {
        let marked_ns = after(console, "probe: marked ").next().ok_or("the console does not show the mark")?;
        let marked_ns = number(Some(marked_ns))?;
        let mut lines = Vec::new();
        for line in after(console, "probe: log ") {
            let (time, message) =
                line.trim_start().split_once(' ').ok_or_else(|| format!("\"{line}\" is not of a log"))?;
            lines.push((micros(time).ok_or_else(|| format!("\"{time}\" is not a time"))? * 1000, message));
        }
        let mark = lines.iter().rev().find(|(_, message)| *message == MARK);
        let Some((logged_ns, _)) = mark else { return Err("the kernel's log does not show the mark".into()) };
        let (logged_ns, lines) = (*logged_ns, &lines);
        // The scheduler's clock and CLOCK_BOOTTIME have the same rate and different starts.
        let mapped = |time_ns: u64| (time_ns + marked_ns).saturating_sub(logged_ns);
        self.log = lines.iter().map(|(time_ns, message)| (mapped(*time_ns), (*message).to_owned())).collect();
        Ok(())
    }
}

/// Returns the text after `marker` on each line that has it; the firmware's last message may be on the same line.
fn after<'a>(console: &'a str, marker: &'a str) -> impl Iterator<Item = &'a str> {
    console.lines().filter_map(move |line| line.find(marker).map(|at| line[at + marker.len()..].trim_end()))
}

fn number(word: Option<&str>) -> Result<u64, String> {
    let word = word.unwrap_or_default().trim();
    word.parse().map_err(|_| format!("\"{word}\" is not a number"))
}

fn address(word: Option<&str>) -> Result<Ipv4Addr, String> {
    let word = word.unwrap_or_default();
    word.parse().map_err(|_| format!("\"{word}\" is not an address"))
}

/// Parses the kernel's `seconds.micros` as microseconds.
fn micros(time: &str) -> Option<u64> {
    let (seconds, micros) = time.split_once('.')?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The console of a boot of whit.
    pub(crate) const CONSOLE: &str = "\
Booting from ROM..probe: ran 667841084 pid 46 address 10.0.2.15 router 10.0.2.2 answered 667938015 peak_kib 112 threads 1 unix 1767225601\r
probe: marked 668083121\r
probe: log     0.652509 Run /init as init process\r
probe: log     0.654998 EXT4-fs (vda): mounted filesystem 45f8de3f r/w with ordered data mode. Quota mode: disabled.\r
probe: log     0.656347 bench: mark\r
probe: end\r
whit: timeline init 664417, modules 666224, link 666888, root 666753, lease 666989, entrypoint 667346\r
";

    #[test]
    fn a_console_becomes_times_of_one_clock() {
        let report = Report::parse(CONSOLE).unwrap();
        assert_eq!((report.ran_ns, report.pid, report.peak_kib, report.threads), (667_841_084, 46, Some(112), Some(1)));
        assert_eq!((report.address, report.router), (Some([10, 0, 2, 15].into()), Some([10, 0, 2, 2].into())));
        assert_eq!(report.answered_ns, Some(667_938_015));
        // 652509 µs, 11736121 ns later by the other clock.
        assert_eq!(report.logged("Run /init"), Some(664_245_121));
        assert_eq!(report.stage("lease"), Some(666_989_000));
        assert_eq!(report.stage("nothing"), None);
    }

    #[test]
    fn a_console_without_one_of_its_parts_is_refused() {
        for (part, word) in [
            ("probe: ran ", "when the probe ran"),
            ("probe: marked ", "show the mark"),
            ("probe: log     0.656347 bench: mark", "log does not show the mark"),
            ("probe: end", "\"probe: end\""),
            ("667841084", "\"pid\" is not a number"),
            ("10.0.2.2 ", "\"answered\" is not an address"),
            ("0.652509", "\"Run\" is not a time"),
        ] {
            let console = CONSOLE.replace(part, "");
            let error = Report::parse(&console).unwrap_err();
            assert!(error.contains(word), "{part}: {error}");
        }
    }

    #[test]
    fn a_boot_without_network_and_of_another_init_has_less() {
        let console = "probe: ran 5000 pid 1\nprobe: marked 9000\nprobe: log 0.000004 bench: mark\nprobe: end\n";
        let expected =
            Report { ran_ns: 5000, pid: 1, log: vec![(9000, "bench: mark".to_owned())], ..Report::default() };
        assert_eq!(Report::parse(console), Ok(expected));
    }
}
