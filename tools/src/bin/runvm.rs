//! `runvm`: boots a kernel and an initramfs in QEMU, and ends as their workload ended.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use clap::{Parser, ValueEnum};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempPath;
use whit_tools::qemu::{self, Accelerator, Board, CommandLine, DiskInterface, Forward, Input, Machine, Nic};
use whit_tools::segment;
use whit_tools::terminal::Raw;

/// The status of a run that could not take place, or ended without a word about the workload: docker's.
const NO_STATUS: u8 = 125;
/// COMMAND_LINE_SIZE of the kernel (arch/x86/include/asm/setup.h), without its NUL.
const APPEND_MAX_BYTES: usize = 2047;

/// Boot a kernel and an initramfs in QEMU; end with the workload's exit status.
///
/// The status is 125 when the machine could not run, or ended without telling one. On a terminal, every key goes to the
/// machine; ctrl-a x ends it at once, ctrl-a c opens QEMU's monitor.
#[derive(Parser)]
#[command(
    version,
    after_help = "Example:\n  runvm --kernel vmlinuz --initrd initramfs.cpio.gz --disk disk.img -p 8080:80"
)]
struct Arguments {
    /// The kernel, as bzImage.
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,
    /// The initramfs.
    #[arg(long, value_name = "FILE")]
    initrd: PathBuf,
    /// A raw disk image; the machine writes to it.
    #[arg(long, value_name = "FILE")]
    disk: Option<PathBuf>,
    /// How the disk is attached.
    #[arg(long, value_name = "KIND", default_value = "virtio")]
    disk_interface: DiskArgument,
    /// Forward a TCP port of the host [ADDR: 127.0.0.1]; may be given several times.
    #[arg(short, long, value_name = "[ADDR:]HOST:GUEST")]
    publish: Vec<Forward>,
    /// Memory, in M or G.
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = memory_mib)]
    memory: u32,
    /// Processors.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=255))]
    cpus: u32,
    /// The network card.
    #[arg(long, value_name = "MODEL", default_value = "virtio-net")]
    nic: NicArgument,
    /// The machine's board.
    #[arg(long, value_name = "BOARD", default_value = "pc")]
    machine: BoardArgument,
    /// What executes the guest: auto is kvm where it can be used, else tcg.
    #[arg(long, value_name = "KIND", default_value = "auto")]
    accel: AcceleratorArgument,
    /// The kernel's command line [default: console=ttyS0 quiet panic=-1, and root= when there is a disk].
    #[arg(long, value_name = "WORDS")]
    append: Option<String>,
    /// Show QEMU's command line and do not run it.
    #[arg(long)]
    print: bool,
    /// The workload's arguments, in place of the image's own.
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
}

#[derive(Clone, Copy, ValueEnum)]
enum DiskArgument {
    Virtio,
    Ide,
    Nvme,
}

#[derive(Clone, Copy, ValueEnum)]
enum NicArgument {
    VirtioNet,
    E1000,
    None,
}

#[derive(Clone, Copy, ValueEnum)]
enum BoardArgument {
    Pc,
    Q35,
    Microvm,
}

#[derive(Clone, Copy, ValueEnum)]
enum AcceleratorArgument {
    Auto,
    Kvm,
    Tcg,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing is left to do when standard error is closed.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(NO_STATUS) } else { ExitCode::SUCCESS };
        }
    };
    match run(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("runvm: {error}");
            ExitCode::from(NO_STATUS)
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8, String> {
    for file in [Some(&arguments.kernel), Some(&arguments.initrd), arguments.disk.as_ref()].into_iter().flatten() {
        check_readable(file)?;
    }
    let with_arguments = initrd_with_arguments(arguments)?;
    let command = command_line(arguments, with_arguments.as_deref().unwrap_or(&arguments.initrd))?;
    if arguments.print {
        println!("{command}");
        if let Some(copy) = with_arguments {
            let kept = copy.keep().map_err(|error| error.to_string())?;
            eprintln!("runvm: the initramfs with the arguments is kept: {}", kept.display());
        }
        return Ok(0);
    }
    for forward in &arguments.publish {
        check_free(*forward)?;
    }
    boot(&command)
}

/// Boots, and waits for the machine's end.
fn boot(command: &CommandLine) -> Result<u8, String> {
    // Before the machine starts: a signal in between would leave it behind.
    let signals =
        Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|error| format!("cannot wait for signals: {error}"))?;
    let mut machine = Machine::start_with(command, show).map_err(|error| error.to_string())?;
    let signal = end_on_signal(signals, machine.terminator());
    let terminal = Raw::enter().map_err(|error| format!("cannot hand over the terminal: {error}"))?;
    let is_terminal = terminal.is_some();
    if let Some(input) = machine.take_input() {
        thread::spawn(move || copy_keyboard(input, is_terminal));
    }
    let status = machine.join().map_err(|error| error.to_string())?;
    drop(terminal);
    for line in machine.messages().lines() {
        eprintln!("runvm: {line}");
    }
    let signal = signal.load(Ordering::Relaxed);
    if signal != 0 {
        return Ok(128_u8.wrapping_add(signal as u8)); // one of three small numbers
    }
    match machine.transcript().lines().rev().find_map(qemu::exit_line) {
        Some(status) => Ok(status),
        None if status.success() => Err("the machine ended without telling the workload's status".to_owned()),
        None => Err(format!("QEMU failed ({status}); its command line: {command}")),
    }
}

/// Shows the console as it comes.
fn show(bytes: &[u8]) {
    let mut stdout = io::stdout();
    // Whoever closed standard output does not want to see more; the machine's work goes on.
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// Copies standard input to the machine until either ends.
fn copy_keyboard(mut input: Input, is_terminal: bool) {
    let mut buffer = [0; 1024];
    loop {
        let bytes = match io::stdin().read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => &buffer[..count],
        };
        let sent = if is_terminal { input.send_keys(bytes) } else { input.send(bytes) };
        if sent.is_err() {
            break;
        }
    }
}

/// Ends QEMU when this program is asked to end; tells by which signal.
fn end_on_signal(mut signals: Signals, terminate: impl Fn() + Send + 'static) -> Arc<AtomicI32> {
    let received = Arc::new(AtomicI32::new(0));
    thread::spawn({
        let received = Arc::clone(&received);
        move || {
            for signal in signals.forever() {
                received.store(signal, Ordering::Relaxed);
                terminate();
            }
        }
    });
    received
}

fn command_line(arguments: &Arguments, initrd: &Path) -> Result<CommandLine, String> {
    let interface = match arguments.disk_interface {
        DiskArgument::Virtio => DiskInterface::Virtio,
        DiskArgument::Ide => DiskInterface::Ide,
        DiskArgument::Nvme => DiskInterface::Nvme,
    };
    let append = arguments.append.clone().unwrap_or_else(|| {
        let root = arguments.disk.as_ref().map(|_| format!(" root={}", interface.first_device()));
        format!("console=ttyS0 quiet panic=-1{}", root.unwrap_or_default())
    });
    if append.len() > APPEND_MAX_BYTES {
        return Err(format!("--append: {} bytes, and the kernel takes {APPEND_MAX_BYTES}", append.len()));
    }
    let mut command = CommandLine::new(&arguments.kernel)
        .initrd(initrd)
        .append(&append)
        .memory_mib(arguments.memory)
        .cpus(arguments.cpus)
        .board(match arguments.machine {
            BoardArgument::Pc => Board::Pc,
            BoardArgument::Q35 => Board::Q35,
            BoardArgument::Microvm => Board::Microvm,
        })
        .nic(match arguments.nic {
            NicArgument::VirtioNet => Nic::VirtioNet,
            NicArgument::E1000 => Nic::E1000,
            NicArgument::None => Nic::None,
        })
        .accelerator(match arguments.accel {
            AcceleratorArgument::Auto => Accelerator::Auto,
            AcceleratorArgument::Kvm => Accelerator::Kvm,
            AcceleratorArgument::Tcg => Accelerator::Tcg,
        });
    if let Some(disk) = &arguments.disk {
        command = command.disk(interface, disk);
    }
    for forward in &arguments.publish {
        command = command.forward(*forward);
    }
    Ok(command)
}

/// The workload's arguments travel in the run record: the kernel panics past 32 words behind `--`.
fn initrd_with_arguments(arguments: &Arguments) -> Result<Option<TempPath>, String> {
    if arguments.arguments.is_empty() {
        return Ok(None);
    }
    let words: Vec<Vec<u8>> = arguments.arguments.iter().map(|word| word.clone().into_vec()).collect();
    let copy = segment::with_arguments(&arguments.initrd, &words).map_err(|error| error.to_string())?;
    Ok(Some(copy.into_temp_path()))
}

fn check_readable(path: &Path) -> Result<(), String> {
    let failure = |error: String| format!("{}: {error}", path.display());
    let metadata = File::open(path).and_then(|file| file.metadata()).map_err(|error| failure(error.to_string()))?;
    if metadata.is_dir() { Err(failure("is a directory".to_owned())) } else { Ok(()) }
}

/// QEMU would say "Could not set up host forwarding rule" and not why.
fn check_free(forward: Forward) -> Result<(), String> {
    let address = SocketAddr::from((forward.address, forward.host));
    TcpListener::bind(address).map(drop).map_err(|error| format!("-p: cannot listen on {address}: {error}"))
}

fn memory_mib(text: &str) -> Result<u32, String> {
    let wrong = || format!("\"{text}\" is not a size as 256M or 1G");
    let (number, mib) = match text.strip_suffix(['M', 'm']) {
        Some(number) => (number, 1),
        None => (text.strip_suffix(['G', 'g']).ok_or_else(wrong)?, 1024),
    };
    number.parse::<u32>().ok().and_then(|number| number.checked_mul(mib)).filter(|mib| *mib > 0).ok_or_else(wrong)
}
