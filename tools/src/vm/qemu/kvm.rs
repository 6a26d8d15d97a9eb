//! Checks whether KVM runs guests here: a /dev/kvm that can be opened may still not work.
//!
//! In a machine that is itself a guest, QEMU may abort as it sets up the first processor, or KVM may fail at a kernel's instructions. A
//! small guest is run to find out ([`firmware`]), and the answer is kept in the cache until the host boots again.

mod firmware;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

use crate::cli::temporary::Temporary;
use crate::machine::Machine;
use crate::vm::cache::{Cache, Key};

const DEVICE: &str = "/dev/kvm";
/// The QEMU that runs the guest.
const PROGRAM: &str = Machine::X86_64.qemu().name;
/// Time limit of the guest; it takes 0.1 s on an idle host.
const LIMIT: Duration = Duration::from_secs(3);
/// CPU time limit of QEMU in seconds, in case this program is killed meanwhile.
const CPU_SECONDS: u64 = 10;
/// The status that QEMU exits with after the guest's last instruction.
const STATUS: i32 = (firmware::DONE as i32) << 1 | 1;

/// Returns why QEMU cannot use KVM here, if it cannot. Checked once per process.
pub(super) fn obstacle() -> Option<&'static str> {
    static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
    OBSTACLE.get_or_init(|| find_obstacle(Path::new(DEVICE))).as_deref()
}

fn find_obstacle(device: &Path) -> Option<String> {
    let opened = OpenOptions::new().read(true).write(true).open(device).and_then(|file| file.metadata());
    match opened {
        // The guest is for x86-64.
        Ok(_) if Machine::HOST != Machine::X86_64 => None,
        Ok(metadata) => remembered(&metadata).unwrap_or_else(|| check(Command::new(PROGRAM), LIMIT)).text(),
        Err(error) => Some(format!("{}: {error}", device.display())),
    }
}

/// The outcome of the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Runs,
    /// QEMU stopped the machine by itself, as for an internal error of KVM.
    Stops,
    /// QEMU ended before the guest, as when KVM_CREATE_VCPU fails.
    Ends,
    Late,
}

impl Outcome {
    fn text(self) -> Option<String> {
        match self {
            Self::Runs => None,
            Self::Stops => Some("it stops a guest by an internal error".to_owned()),
            Self::Ends => Some("QEMU starts no machine with it".to_owned()),
            Self::Late => Some(format!("a small guest takes more than {} s", LIMIT.as_secs())),
        }
    }
}

/// Returns the outcome from the cache, or checks and stores it. `None` when it cannot be stored.
fn remembered(device: &Metadata) -> Option<Outcome> {
    let (cache, key) = (Cache::open().ok()?, key(device).ok()?);
    let mut found = None;
    let kept = cache.file("kvm", &key, |output| {
        let outcome = check(Command::new(PROGRAM), LIMIT);
        found = Some(outcome);
        // The host may be too busy, or short of memory, at the moment.
        if matches!(outcome, Outcome::Ends | Outcome::Late) {
            return Err(String::new());
        }
        let word: &[u8] = if outcome == Outcome::Runs { b"runs\n" } else { b"stops\n" };
        output.file().write_all(word).map_err(|error| error.to_string())
    });
    found.or_else(|| match fs::read(kept.ok()?).ok()?.as_slice() {
        b"runs\n" => Some(Outcome::Runs),
        b"stops\n" => Some(Outcome::Stops),
        _ => None,
    })
}

/// The key of the outcome: this boot, this device (a new one when the driver is reloaded), and this QEMU.
fn key(device: &Metadata) -> io::Result<Key> {
    let mut key = Key::new()?;
    key.add(&fs::read("/proc/sys/kernel/random/boot_id")?);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::split_paths(&path).find_map(|folder| fs::metadata(folder.join(PROGRAM)).ok());
    for file in [Some(device), program.as_ref()].into_iter().flatten() {
        for number in [file.dev() as i64, file.ino() as i64, file.ctime(), file.ctime_nsec()] {
            key.add(&number.to_le_bytes());
        }
    }
    Ok(key)
}

/// Runs the guest with KVM.
fn check(qemu: Command, limit: Duration) -> Outcome {
    // Without a control socket QEMU cannot be started.
    run(qemu, limit).unwrap_or(Outcome::Ends)
}

fn run(mut qemu: Command, limit: Duration) -> io::Result<Outcome> {
    let folder = Temporary::for_sockets()?;
    let rom = folder.path().join("rom");
    File::create(&rom)?.write_all(&firmware::rom())?;
    qemu.args(["-accel", "kvm", "-cpu", "max", "-m", "16M", "-nodefaults", "-display", "none", "-no-reboot", "-S"]);
    qemu.args(["-qmp", "stdio", "-device", &format!("isa-debug-exit,iobase={},iosize=1", firmware::EXIT_PORT)]);
    let child = qemu.arg("-bios").arg(&rom).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = Killed(child?);
    let limits = Rlimit { current: Some(CPU_SECONDS), maximum: Some(CPU_SECONDS) };
    // It has ended already, then.
    let _ = prlimit(Some(Pid::from_child(&child.0)), Resource::Cpu, limits);
    let (sender, receiver) = channel();
    if let Some(output) = child.0.stdout.take() {
        // The receiver is gone when the time is over.
        thread::spawn(move || sender.send(stops(output)).unwrap_or_default());
    }
    let mut input = child.0.stdin.take();
    if let Some(input) = &mut input {
        // Events are reported from the first command on. The status of a QEMU that has ended is read below.
        let _ = input.write_all(b"{\"execute\": \"qmp_capabilities\"}\n{\"execute\": \"cont\"}\n");
    }
    Ok(match receiver.recv_timeout(limit) {
        Ok(true) => Outcome::Stops,
        Ok(false) if child.0.wait()?.code() == Some(STATUS) => Outcome::Runs,
        Ok(false) => Outcome::Ends,
        Err(_) => Outcome::Late,
    })
}

/// Reads what QEMU reports, up to its end or to a machine that stops.
fn stops(output: impl Read) -> bool {
    let is_stop = |line: &String| {
        serde_json::from_str::<Value>(line).is_ok_and(|message| message.get("event") == Some(&Value::from("STOP")))
    };
    BufReader::new(output).lines().map_while(Result::ok).any(|line| is_stop(&line))
}

/// A process that is killed when it is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only when it has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_decides() {
        let played = |script: &str, limit| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]);
            check(shell, limit)
        };
        let patient = Duration::from_secs(60);
        for (script, expected) in [
            ("read ask && read go && test \"$go\" = '{\"execute\": \"cont\"}' && exit 85", Outcome::Runs),
            // -no-reboot: a triple fault.
            ("exit 0", Outcome::Ends),
            ("exit 1", Outcome::Ends),
            ("kill -ABRT $$", Outcome::Ends),
            ("echo '{\"QMP\": {}}'; echo '{\"event\": \"RESUME\"}'; exit 85", Outcome::Runs),
            ("echo '{\"event\": \"RESUME\"}'; echo '{\"event\": \"STOP\"}'; exec sleep 1000", Outcome::Stops),
        ] {
            assert_eq!(played(script, patient), expected, "{script}");
        }
        assert_eq!(played("exec sleep 1000", Duration::from_millis(10)), Outcome::Late);
        let missing = tempfile::tempdir().unwrap().path().join("missing");
        assert_eq!(check(Command::new(&missing), patient), Outcome::Ends);
        let text = find_obstacle(&missing).unwrap();
        assert!(text.ends_with("missing: No such file or directory (os error 2)"), "{text}");
    }

    #[test]
    fn the_firmware_starts_at_the_reset_vector() {
        let rom = firmware::rom();
        assert_eq!(rom.len(), 64 << 10);
        let jump = i16::from_le_bytes([rom[0xfff1], rom[0xfff2]]);
        assert_eq!((rom[0xfff0], 0xfff3 + i32::from(jump), rom[0xfe00]), (0xe9, 0xfe00, 0xfc));
    }
}
