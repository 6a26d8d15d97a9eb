//! `runvm`: `docker run` for virtual machines. Runs an image as a machine in QEMU, which ends with its workload.
#![forbid(unsafe_code)]

mod arguments;
mod artefacts;
mod check;
mod console;
mod exec;
mod image;
mod print;
mod record;
mod refused;
mod session;
mod signals;
mod window;

mod words;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::ExitCode;

use whit::contract::NOT_STARTED;
use whit_tools::cli::{documents, output, temporary};
use whit_tools::initramfs::is_init_name;
use whit_tools::kernel::elf;
use whit_tools::machine::Machine;
use whit_tools::runtime::Named;
use whit_tools::vm::qemu::{Board, CommandLine, DiskInterface, Forward, Nic, Protocol, Share};
use whit_tools::vm::{Cache, Daemon, Link, ShareKind, Volume, check_line, kernel_line};

use arguments::{Arguments, DiskArgument, Printed};
use artefacts::{Artefacts, artefacts};
use session::Session;

/// The status if the machine could not run, or did not report the workload's status. It is the same as docker's.
const NO_STATUS: u8 = NOT_STARTED;

fn main() -> ExitCode {
    let command = documents::command::<Arguments>();
    let given: Vec<OsString> = std::env::args_os().skip(1).collect();
    if given.first().is_some_and(|word| word == "exec") {
        return exec::run(given);
    }
    let ordered = match words::ordered(&command, &given) {
        Ok(ordered) => ordered,
        Err(error) => {
            output::say(format_args!("runvm: {error}"));
            return ExitCode::from(NO_STATUS);
        }
    };
    let program = OsString::from(command.get_name());
    let arguments = match documents::try_parse_words::<Arguments>(command, std::iter::once(program).chain(ordered)) {
        Ok(arguments) => arguments,
        Err(error) => {
            // An error of printing is ignored: standard error is closed.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(NO_STATUS) } else { ExitCode::SUCCESS };
        }
    };
    match run(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            output::say(format_args!("runvm: {error}"));
            ExitCode::from(NO_STATUS)
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8, String> {
    temporary::sweep(&std::env::temp_dir());
    temporary::sweep(Path::new("/tmp"));
    if arguments.volume.iter().any(Volume::is_file)
        && let Ok(cache) = Cache::open()
    {
        temporary::sweep(&cache.folder(""));
    }
    let append = kernel_words(arguments)?;
    check_board(arguments)?;
    check_init(arguments)?;
    print::check(arguments)?;
    let artefacts = artefacts(arguments, &append)?;
    let Shares { shares, daemons, links: _links } = shares(arguments, &artefacts)?;
    let command = command_line(arguments, &artefacts, &append, shares);
    if let Some(kind) = arguments.print.filter(|kind| *kind != Printed::Qemu) {
        print::write(arguments, kind, &artefacts, &command, &append)?;
        return Ok(0);
    }
    if arguments.print.is_some() {
        if !daemons.is_empty() {
            output::say(format_args!(
                "runvm: this command needs a running virtiofsd for each folder; --share 9p needs none"
            ));
        }
        output::print(|out| writeln!(out, "{command}"))?;
        if let Some(copy) = artefacts.temporary {
            // Not the mode of a file that only this run needs: a later run leaves it.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o400);
            std::fs::set_permissions(copy.path(), mode).map_err(|error| error.to_string())?;
            output::say(format_args!("runvm: the initramfs for this run is {}", copy.keep().display()));
        }
        return Ok(0);
    }
    check_memory(&artefacts)?;
    check_ports(&arguments.publish)?;
    if arguments.debug {
        output::say(format_args!("runvm: {command}"));
    }
    if let Some(why) = command.kvm_obstacle() {
        output::say(format_args!("runvm: KVM cannot be used here: {why}; the machine is emulated, and slower"));
    }
    let name = match &arguments.name {
        Some(name) if !artefacts.has_exec => {
            return Err(format!(
                "--name {name}: the init has no feature \"exec\", or the kernel no virtio ports; whole has it"
            ));
        }
        Some(name) => Some(Named::take(name)?),
        None => None,
    };
    let (attach, interactive, tty) = (&arguments.attach, arguments.interactive, arguments.tty);
    let session = Session {
        daemons,
        tty,
        streams: artefacts.has_streams.then(|| session::attached(attach, interactive, tty)),
        has_shell: arguments.initrd.is_some(),
        timeline: arguments.timeline,
        has_button: artefacts.has_button,
        memory_mib: artefacts.memory_mib,
        console: match &arguments.console {
            Some(path) => Some(File::create(path).map_err(|error| format!("{}: {error}", path.display()))?),
            None => None,
        },
        stop_timeout: artefacts.grace,
        name,
    };
    session.run(command)
}

/// Checks that a microvm, which has no PCI bus, has only virtio devices.
fn check_board(arguments: &Arguments) -> Result<(), String> {
    let board = arguments.board();
    let is_virtio = DiskInterface::from(arguments.disk_interface) == DiskInterface::Virtio
        && Nic::from(arguments.nic()) != Nic::E1000;
    if let Some(platform) = &arguments.platform {
        let machine = platform.machine().filter(|machine| *machine != Machine::Riscv64);
        let Some(machine) = machine else {
            return Err(format!("--platform {platform}: there are machines for linux/amd64 and linux/arm64"));
        };
        if board.machine() != machine {
            return Err(format!("--platform {platform}: the board of --machine is for {}", board.machine()));
        }
    }
    if board == Board::Virt && matches!(arguments.disk_interface, DiskArgument::Ide) {
        return Err("--disk-interface ide: the board virt has no such controller; use virtio or nvme".to_owned());
    }
    if board == Board::Microvm && !is_virtio {
        return Err(
            "--machine microvm has only virtio devices: no --disk-interface ide or nvme, no --nic e1000".to_owned()
        );
    }
    Ok(())
}

/// Refuses an init that is no program: docker's `--init` has no value, and takes the next word.
fn check_init(arguments: &Arguments) -> Result<(), String> {
    let Some(init) = &arguments.init else { return Ok(()) };
    let name = init.display();
    let mut start = Vec::new();
    let read = File::open(init).and_then(|file| file.take(64).read_to_end(&mut start));
    match read {
        _ if init.to_str().is_some_and(is_init_name) || elf::machine(&start).is_some() => return Ok(()),
        Err(error) if init.components().count() > 1 => return Err(format!("--init {name}: {error}")),
        _ => {}
    }
    Err(format!("--init {name}: no program; docker's --init, which has no value, is not needed: PID 1 reaps already"))
}

/// Refuses less memory than the kernel and the initramfs take: some such machines would hang in the firmware, without a message.
fn check_memory(artefacts: &Artefacts) -> Result<(), String> {
    let bytes = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
    // Debug information and symbols of an ELF kernel are not loaded.
    let kernel = elf::loaded_bytes(&artefacts.kernel).unwrap_or_else(|| bytes(&artefacts.kernel));
    let needed_mib = (kernel + bytes(&artefacts.initramfs)).div_ceil(1 << 20);
    if u64::from(artefacts.memory_mib) > needed_mib {
        return Ok(());
    }
    let memory_mib = artefacts.memory_mib;
    Err(format!(
        "the machine has {memory_mib}M of memory, but its kernel and initramfs take {needed_mib}M; -m gives it more"
    ))
}

/// Returns the kernel's command line.
fn kernel_words(arguments: &Arguments) -> Result<String, String> {
    let mut words = kernel_line(arguments.board().machine(), arguments.append.as_deref().unwrap_or_default());
    if arguments.image.is_some() && !arguments.no_disk || arguments.disk.is_some() {
        words.push_str(&format!(" root={}", DiskInterface::from(arguments.disk_interface).first_device()));
    }
    for (is_wanted, word) in [(arguments.read_only, " ro"), (arguments.timeline, " whit.timing")] {
        words.push_str(if is_wanted { word } else { "" });
    }
    let chosen = arguments.append.as_deref().unwrap_or_default();
    if arguments.print == Some(Printed::Firecracker) {
        words.push_str(&format!(" {}", print::FIRECRACKER));
        if !chosen.contains("whit.on_exit=") {
            words.push_str(" whit.on_exit=reboot");
        }
    }
    if let Some(more) = &arguments.append {
        words.push(' ');
        words.push_str(more);
    }
    check_line(&words, "--append")?;
    Ok(words)
}

/// The shared folders and files.
#[derive(Default)]
struct Shares {
    /// Those for QEMU's command line.
    shares: Vec<Share>,
    /// The daemons that some of them need.
    daemons: Vec<Daemon>,
    /// The folders of single files, for 9p.
    links: Vec<Link>,
}

/// Prepares the shares.
fn shares(arguments: &Arguments, artefacts: &Artefacts) -> Result<Shares, String> {
    let Shares { mut shares, mut daemons, mut links } = Shares::default();
    for (volume, kind) in arguments.volume.iter().zip(&artefacts.shares) {
        if arguments.print.is_some() && volume.is_file() {
            let file = volume.folder.display();
            return Err(format!(
                "-v {file}: a single file is shared only while runvm runs; with --print share its folder"
            ));
        }
        shares.push(match kind {
            ShareKind::Plan9 => {
                let mut folder = volume.folder.clone();
                if volume.is_file() {
                    let link = Link::make(&folder)?;
                    folder = link.folder();
                    links.push(link);
                }
                Share::Plan9 { folder, read_only: volume.read_only }
            }
            ShareKind::Virtiofs => {
                let daemon = Daemon::listen(volume)?;
                let share = daemon.share();
                daemons.push(daemon);
                share
            }
        });
    }
    Ok(Shares { shares, daemons, links })
}

fn command_line(arguments: &Arguments, artefacts: &Artefacts, append: &str, shares: Vec<Share>) -> CommandLine {
    let mut command = CommandLine::new(&artefacts.kernel)
        .initrd(&artefacts.initramfs)
        .append(append)
        .memory_mib(artefacts.memory_mib)
        .cpus(arguments.cpus)
        .board(arguments.board())
        .nic(arguments.nic().into())
        .accelerator(arguments.accel.into());
    if let Some((disk, is_kept)) = &artefacts.disk {
        command = command.disk(arguments.disk_interface.into(), disk);
        command = if *is_kept { command } else { command.snapshot() };
    }
    for forward in &arguments.publish {
        command = command.forward(*forward);
    }
    shares.into_iter().fold(command, CommandLine::share)
}

/// Refuses a port of the host that is in use, or given twice.
fn check_ports(forwards: &[Forward]) -> Result<(), String> {
    for (number, forward) in forwards.iter().enumerate() {
        check_free(*forward)?;
        let is_same = |other: &&Forward| (other.protocol, other.host) == (forward.protocol, forward.host);
        if let Some(other) = forwards[..number].iter().find(is_same)
            && (other.address == forward.address || other.address.is_unspecified() || forward.address.is_unspecified())
        {
            return Err(format!("-p: the host's port {} is given twice", forward.host));
        }
    }
    Ok(())
}

/// Checks that a port is free. QEMU would only report "Could not set up host forwarding rule", without the cause.
fn check_free(forward: Forward) -> Result<(), String> {
    let address = SocketAddr::from((forward.address, forward.host));
    let bound = match forward.protocol {
        Protocol::Tcp => TcpListener::bind(address).map(drop),
        Protocol::Udp => UdpSocket::bind(address).map(drop),
    };
    bound.map_err(|error| format!("-p: cannot listen on {address}: {error}"))
}
