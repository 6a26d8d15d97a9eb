//! `runvm IMAGE echo hello` as a whole, beside a floor, `podman run` with whit-runtime, and virtme-ng on the same kernel.
//!
//! The floor is QEMU with the same board, processor, kernel and kernel command line, without disk and network, and an initramfs with
//! one static program that prints and powers off. Each contender runs once in every round, so that a noisy host disturbs all of them.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use rustix::process::{Pid, Signal, kill_process_group};
use whit_tools::compress::Compression;
use whit_tools::initramfs::tree::Tree;
use whit_tools::initramfs::{Packing, write};
use whit_tools::kernel::debian::Flavour;
use whit_tools::machine::Machine;
use whit_tools::programs;
use whit_tools::vm::qemu::{Accelerator, Board, CommandLine, Nic};
use whit_tools::vm::{Cache, Kernel, kernel_line};

use super::build::store;
use super::stats::Sample;
use crate::elf::program;
use crate::init::Init;
use crate::workspace;

/// What every contender prints.
const HELLO: &str = "hello";
const FLOOR: &str = "floor";
const WARM: &str = "runvm, warm";
const COLD: &str = "runvm, cold";
const PODMAN: &str = "podman, whit-runtime";
const VIRTME: &str = "virtme-ng";
/// Many times what a run takes on a busy host.
const DEADLINE: Duration = Duration::from_secs(120);
/// What the kernel may take to end killed processes.
const KILL_WAIT: Duration = Duration::from_secs(10);
/// The version of virtme-ng's package.
const VIRTME_PACKAGE: &str = "virtme-ng==1.42";

/// A static program that writes "hello" to its standard output, and powers off.
#[rustfmt::skip]
const PROGRAM: [u8; 48 + 6] = [
    0xb8, 1, 0, 0, 0,                   // mov $1, %eax: write
    0xbf, 1, 0, 0, 0,                   // mov $1, %edi
    0x48, 0x8d, 0x35, 31, 0, 0, 0,      // lea 31(%rip), %rsi
    0xba, 6, 0, 0, 0,                   // mov $6, %edx
    0x0f, 0x05,                         // syscall
    0xb8, 169, 0, 0, 0,                 // mov $169, %eax: reboot
    0xbf, 0xad, 0xde, 0xe1, 0xfe,       // mov $LINUX_REBOOT_MAGIC1, %edi
    0xbe, 0x69, 0x19, 0x12, 0x28,       // mov $LINUX_REBOOT_MAGIC2, %esi
    0xba, 0xdc, 0xfe, 0x21, 0x43,       // mov $LINUX_REBOOT_CMD_POWER_OFF, %edx
    0x0f, 0x05,                         // syscall
    0xeb, 0xfe,                         // jmp .
    b'h', b'e', b'l', b'l', b'o', b'\n',
];

/// One run: wall time, and the processor time of all its processes, in nanoseconds.
#[derive(Clone, Copy)]
struct Run {
    wall: u64,
    processor: u64,
}

/// A contender and its runs.
struct Contender {
    name: &'static str,
    command: Vec<String>,
    /// Ends what a killed run leaves outside its process group; may be empty.
    cleanup: Vec<String>,
    runs: Vec<Run>,
}

impl Contender {
    fn new(name: &'static str, command: Vec<String>) -> Self {
        Self { name, command, cleanup: Vec::new(), runs: Vec::new() }
    }
}

/// Measures, and returns the lines of the report. `only` has the contenders by the first words of their names; none stands for all.
///
/// # Errors
/// One line: a contender that cannot be prepared, or does not print what it should.
pub fn runvm(runs: usize, only: &[String], say: fn(&str)) -> Result<Vec<String>, String> {
    let is_named = |one: &String, name: &str| name.split(',').next() == Some(one);
    if let Some(one) = only.iter().find(|one| ![FLOOR, WARM, PODMAN, VIRTME].iter().any(|name| is_named(one, name))) {
        return Err(format!("--only {one}: not floor, runvm, podman or virtme-ng"));
    }
    let takes_part = |name: &str| only.is_empty() || only.iter().any(|one| is_named(one, name));
    let kernel = store(Machine::HOST, say)?.kernel(Flavour::Generic, None).map_err(|error| error.to_string())?;
    let busybox = store(Machine::HOST, say)?.busybox().map_err(|error| error.to_string())?;
    let init = Init::Whole.build()?;
    let [tool, runtime] = build_tools()?;
    let folder = workspace::target().join("bench/runvm");
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    let image = image(&folder, &busybox)?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let runvm = [&tool, Path::new("--kernel"), &kernel.vmlinuz, Path::new("--modules"), &kernel.modules];
    let mut runvm: Vec<String> = runvm.map(text).to_vec();
    runvm.extend(["--accel", "tcg", "--init", &text(&init), &text(&image), "echo", HELLO].map(str::to_owned));
    let (warm, cold) = (folder.join("warm"), folder.join("cold"));
    let mut contenders = vec![
        Contender::new(FLOOR, floor(&folder, &warm, &kernel.vmlinuz)?),
        Contender::new(WARM, runvm.clone()),
        Contender::new(COLD, runvm),
    ];
    let runtime = script(&folder, &warm, &[&runtime, &kernel.vmlinuz, &kernel.modules, &init])?;
    match takes_part(PODMAN).then(|| podman(&folder, &image, &runtime)) {
        None => {}
        Some(Ok([command, cleanup])) => contenders.push(Contender { cleanup, ..Contender::new(PODMAN, command) }),
        Some(Err(error)) => say(&format!("without podman: {error}")),
    }
    match takes_part(VIRTME).then(|| virtme(say)) {
        None => {}
        Some(Ok(program)) => {
            // By 9p: Debian 12 has no virtiofsd that it accepts. Without --verbose it needs a terminal.
            let mut command = vec![text(&program), "--run".to_owned(), text(&kernel.vmlinuz)];
            let rest = "--disable-kvm --force-9p --memory 512M --verbose --exec";
            command.extend(rest.split(' ').map(str::to_owned));
            command.push(format!("echo {HELLO}"));
            contenders.push(Contender::new(VIRTME, command));
        }
        Some(Err(error)) => say(&format!("without virtme-ng: {error}")),
    }
    contenders.retain(|contender| takes_part(contender.name));
    measure(&mut contenders, runs, [&warm, &cold], DEADLINE, &mut |line| say(line))?;
    Ok(report(&kernel.release, &contenders))
}

/// Runs each contender once in every round. One that has not ended at the deadline is left out, with its earlier runs.
fn measure(
    contenders: &mut Vec<Contender>,
    runs: usize,
    [warm, cold]: [&Path; 2],
    deadline: Duration,
    say: &mut dyn FnMut(&str),
) -> Result<(), String> {
    for round in 0..=runs {
        // The first round fills the cache.
        let fills = round == 0;
        if !fills {
            say(&format!("round {round} of {runs}"));
        }
        let mut place = 0;
        while let Some(contender) = contenders.get_mut(place) {
            place += 1;
            if fills && ![WARM, PODMAN].contains(&contender.name) {
                continue;
            }
            let is_cold = contender.name == COLD;
            if is_cold && cold.exists() {
                fs::remove_dir_all(cold).map_err(at(cold))?;
            }
            match run(contender, if is_cold { cold } else { warm }, deadline)? {
                Some(measured) if !fills => contender.runs.push(measured),
                Some(_) => {}
                None => {
                    say(&format!("without {}: no end after {} s", contender.name, deadline.as_secs_f32()));
                    place -= 1;
                    contenders.remove(place);
                }
            }
        }
    }
    Ok(())
}

/// Returns the table, and whether the goals are held.
fn report(release: &str, contenders: &[Contender]) -> Vec<String> {
    let mut lines = vec![
        format!("kernel    {release}, accelerator TCG"),
        String::new(),
        "whole run, ms   wall: median     min   processor: median     min".to_owned(),
    ];
    let millis = |nanoseconds: u64| nanoseconds / 1_000_000;
    let sample =
        |contender: &Contender, value: fn(&Run) -> u64| Sample::new(contender.runs.iter().map(value).collect());
    for contender in contenders {
        if let (Some(wall), Some(processor)) =
            (sample(contender, |run| run.wall), sample(contender, |run| run.processor))
        {
            let [a, b] = [wall.median(), wall.min()].map(millis);
            let [c, d] = [processor.median(), processor.min()].map(|value| match contender.name {
                PODMAN => "-".to_owned(),
                _ => millis(value).to_string(),
            });
            lines.push(format!("  {:<20}{a:>6}{b:>8}{c:>20}{d:>8}", contender.name));
        }
    }
    lines.push(String::new());
    lines.push("goals, by the median of the rounds' ratios".to_owned());
    for (one, peer, limit) in [(WARM, FLOOR, 1250), (WARM, VIRTME, 200), (PODMAN, WARM, 1300)] {
        let find = |name: &str| contenders.iter().find(|contender| contender.name == name);
        let (Some(one), Some(peer)) = (find(one), find(peer)) else { continue };
        for (kind, value) in [("wall", (|run| run.wall) as fn(&Run) -> u64), ("processor", |run| run.processor)] {
            if one.name == PODMAN && kind == "processor" {
                // The machine's processes are children of conmon, for which this process does not wait.
                continue;
            }
            let ratio = |(one, other): (&Run, &Run)| value(one) * 1000 / value(other).max(1);
            let Some(ratio) = Sample::new(one.runs.iter().zip(&peer.runs).map(ratio).collect()) else { continue };
            let held = if ratio.median() <= limit { "held" } else { "NOT HELD" };
            let [ratio, limit] = [ratio.median(), limit].map(|value| format!("{}.{:03}", value / 1000, value % 1000));
            lines.push(format!("  {held:<8}  {} / {}, {kind} time: {ratio} of {limit}", one.name, peer.name));
        }
    }
    lines
}

/// Runs a contender with this cache; `None` if it had not ended at the deadline.
fn run(contender: &Contender, cache: &Path, deadline: Duration) -> Result<Option<Run>, String> {
    let (program, arguments) = contender.command.split_first().ok_or("no command")?;
    let mut command = Command::new(program);
    command.args(arguments).env("WHIT_CACHE", cache).stdin(Stdio::null());
    // virtme-ng starts virtme-run, which is beside it.
    if let Some(folder) = Path::new(program).parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", folder.display()));
    }
    let (before, start) = (processor_time()?, Instant::now());
    let Some(output) = output_within(&mut command, deadline).map_err(|error| format!("{program}: {error}"))? else {
        if let Some((program, arguments)) = contender.cleanup.split_first() {
            // The deadline is the error that counts.
            let _ = Command::new(program).args(arguments).stdin(Stdio::null()).output();
        }
        return Ok(None);
    };
    let wall = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let processor = processor_time()? - before;
    let (shown, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // virtme-ng returns the status by a port that its init does not find here.
    let has_ended = output.status.success() || contender.name == VIRTME;
    if !has_ended || !shown.lines().chain(errors.lines()).any(|line| line.trim_end().ends_with(HELLO)) {
        let last = shown.lines().chain(errors.lines()).last().unwrap_or_default().to_owned();
        return Err(format!("{}: {}: {last}", contender.name, output.status));
    }
    Ok(Some(Run { wall, processor }))
}

/// [`Command::output`] with a deadline, at which the process group of the program is killed; `None` then.
fn output_within(command: &mut Command, deadline: Duration) -> io::Result<Option<Output>> {
    let child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let group = Pid::from_child(&child);
    let (sender, ended) = channel();
    // Not joined: a process that has left the group may keep the pipes open.
    thread::spawn(move || {
        let _ = sender.send(child.wait_with_output()); // the receiver has given up
    });
    if let Ok(output) = ended.recv_timeout(deadline) {
        return output.map(Some);
    }
    let _ = kill_process_group(group, Signal::KILL); // it may have ended just now
    let _ = ended.recv_timeout(KILL_WAIT); // its processor time is not the next contender's
    Ok(None)
}

/// Returns the processor time of all processes that this one has waited for, and of those that they have waited for (proc(5),
/// cutime and cstime, in units of 10 ms).
fn processor_time() -> Result<u64, String> {
    let stat = fs::read_to_string("/proc/self/stat").map_err(|error| format!("/proc/self/stat: {error}"))?;
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let fields: Vec<u64> = after.split_whitespace().skip(13).take(2).filter_map(|field| field.parse().ok()).collect();
    Ok(fields.iter().sum::<u64>() * 10_000_000)
}

/// Returns the command of the floor.
fn floor(folder: &Path, cache: &Path, vmlinuz: &Path) -> Result<Vec<String>, String> {
    let initramfs = folder.join("floor.cpio");
    let mut tree = Tree::default();
    let made = tree
        .directory("dev", 0o755)
        .and_then(|()| tree.character_device("dev/console", 0o600, 5, 1))
        .and_then(|()| tree.bytes("init", 0o755, program(&PROGRAM)));
    made.map_err(|error| error.to_string())?;
    write(&tree, &initramfs, &Packing::new(Compression::None)).map_err(|error| error.to_string())?;
    let kernel = Kernel::given(vmlinuz, None)?;
    let unpacked = kernel.unpacked(&Cache::at(cache).map_err(at(cache))?);
    let command = CommandLine::new(unpacked.ok_or("the kernel has no PVH entry")?)
        .initrd(&initramfs)
        .append(&kernel_line(Machine::X86_64, ""))
        .board(Board::Q35)
        .nic(Nic::None)
        .accelerator(Accelerator::Tcg);
    let arguments = command.arguments().into_iter().map(|word| word.to_string_lossy().into_owned());
    Ok(std::iter::once(programs::QEMU.name.to_owned()).chain(arguments).collect())
}

/// Makes a tar with busybox and its links.
fn image(folder: &Path, busybox: &Path) -> Result<PathBuf, String> {
    let (root, tar) = (folder.join("root"), folder.join("busybox.tar"));
    let made = Command::new("sh")
        .args([
            "-ec",
            "rm -rf \"$1\"; mkdir -p \"$1/bin\"; cp \"$2\" \"$1/bin/busybox\"; \"$2\" --install -s \"$1/bin\"
            for link in \"$1\"/bin/*; do test \"$link\" = \"$1/bin/busybox\" || ln -sf busybox \"$link\"; done
            tar -C \"$1\" -cf \"$3\" .",
            "sh",
        ])
        .args([&root, busybox, &tar])
        .status();
    match made {
        Ok(status) if status.success() => Ok(tar),
        Ok(status) => Err(format!("{}: {status}", tar.display())),
        Err(error) => Err(format!("sh: {error}")),
    }
}

/// Builds runvm and whit-runtime.
fn build_tools() -> Result<[PathBuf; 2], String> {
    const TOOLS: [&str; 2] = ["runvm", "whit-runtime"];
    let built = workspace::cargo()
        .args(["build", "--quiet", "--release", "-p", "whit-tools"])
        .args(TOOLS.into_iter().flat_map(|tool| ["--bin", tool]))
        .status();
    match built {
        Ok(status) if status.success() => Ok(TOOLS.map(|tool| workspace::target().join("release").join(tool))),
        _ => Err("runvm or whit-runtime does not build: see cargo's message above".to_owned()),
    }
}

/// Writes the script that podman calls as its runtime: podman passes no variables on.
fn script(folder: &Path, cache: &Path, files: &[&Path; 4]) -> Result<PathBuf, String> {
    let path = folder.join("runtime");
    let [runtime, kernel, modules, init] = files.map(|file| file.display());
    let text = format!(
        "#!/bin/sh\nexport WHIT_CACHE={}\nexec {runtime} --root {} --accel tcg --kernel {kernel} --modules {modules} --init {init} \"$@\"\n",
        cache.display(),
        folder.join("machines").display()
    );
    fs::write(&path, text).map_err(at(&path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(at(&path))?;
    Ok(path)
}

/// Returns the command of podman, with storage of its own, and the one that removes its containers. Its network is the host's: the machine's card is then that of runvm.
fn podman(folder: &Path, image: &Path, runtime: &Path) -> Result<[Vec<String>; 2], String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut command = vec!["podman".to_owned()];
    for (option, name) in [("--root", "storage"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
        command.extend([option.to_owned(), text(&folder.join("podman").join(name))]);
    }
    command.extend(["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--runtime"].map(str::to_owned));
    command.push(text(runtime));
    let output = Command::new(&command[0]).args(&command[1..]).arg("import").arg(image).arg("busybox").output();
    let output = output.map_err(|error| format!("podman: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned());
    }
    let with = |words: &[&str]| command.iter().cloned().chain(words.iter().map(|word| (*word).to_owned())).collect();
    let run = ["run", "--rm", "--network", "host", "busybox", "echo", HELLO];
    Ok([with(&run), with(&["rm", "-fa", "-t", "0"])])
}

/// Returns virtme-ng from PATH, or installs its Python package below the target folder.
fn virtme(say: fn(&str)) -> Result<PathBuf, String> {
    const PROGRAM: &str = "vng";
    if let Some(found) = programs::find(PROGRAM) {
        return Ok(found);
    }
    let folder = workspace::target().join("virtme-ng");
    let program = folder.join("bin").join(PROGRAM);
    if !program.exists() {
        say("installing virtme-ng");
        let pip = folder.join("bin/pip");
        let steps = [
            Command::new("python3").args(["-m", "venv"]).arg(&folder).status(),
            Command::new(&pip).args(["install", "--quiet", VIRTME_PACKAGE]).status(),
        ];
        if !steps.iter().all(|step| step.as_ref().is_ok_and(std::process::ExitStatus::success)) {
            return Err(format!("python3 -m venv, or pip install {VIRTME_PACKAGE}, failed"));
        }
    }
    Ok(program)
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use whit_tools::kernel::elf;
    use whit_tools::machine::Machine;

    #[test]
    fn the_floor_is_a_static_program() {
        assert_eq!(elf::check_static_program(&program(&PROGRAM)), Ok(Machine::X86_64));
        assert_eq!(PROGRAM.iter().position(|byte| *byte == b'h'), Some(48));
    }

    #[test]
    fn goals_are_ratios_of_the_same_round() {
        let contender = |name, walls: &[u64]| Contender {
            runs: walls.iter().map(|wall| Run { wall: wall * 1_000_000, processor: 1_000_000 }).collect(),
            ..Contender::new(name, Vec::new())
        };
        let lines = report("6.1", &[contender(FLOOR, &[10, 20, 30]), contender(WARM, &[12, 25, 90])]);
        assert!(
            lines.contains(
                &"  NOT HELD  runvm, warm / floor, wall time: 1.250 of 1.250".replace("NOT HELD", "held    ")
            ),
            "{lines:#?}"
        );
        assert!(
            lines.contains(&"  held      runvm, warm / floor, processor time: 1.000 of 1.250".to_owned()),
            "{lines:#?}"
        );
    }

    #[test]
    fn a_contender_that_hangs_is_ended_and_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, cleaned) = (folder.path().join("lock"), folder.path().join("cleaned"));
        let sh = |script: String| vec!["sh".to_owned(), "-c".to_owned(), script];
        // Both the shell and its child hold the lock, and both pipes.
        let hangs = sh(format!("exec 9>'{}'; flock 9; sleep 1000 & wait", lock.display()));
        let mut contenders = vec![
            Contender::new(WARM, sh("echo hello".to_owned())),
            Contender { cleanup: sh(format!(": >'{}'", cleaned.display())), ..Contender::new(VIRTME, hangs) },
            Contender::new(COLD, sh("echo hello".to_owned())),
        ];
        let mut lines = Vec::new();
        let folders = [folder.path(), &folder.path().join("cold")];
        measure(&mut contenders, 2, folders, Duration::from_millis(1500), &mut |line| lines.push(line.to_owned()))
            .unwrap();
        let runs: Vec<_> = contenders.iter().map(|contender| (contender.name, contender.runs.len())).collect();
        assert_eq!(runs, [(WARM, 2), (COLD, 2)]);
        assert_eq!(lines, ["round 1 of 2", "without virtme-ng: no end after 1.5 s", "round 2 of 2"]);
        let lock = fs::File::open(lock).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(cleaned.exists());
    }
}
