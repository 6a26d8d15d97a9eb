//! The README's first command: makes a machine of an image, and shows a page that it serves.
//!
//! All fetched and built files are kept below `target/`, so that a second run takes seconds.
#![forbid(unsafe_code)]

mod disk;
mod interrupt;
mod page;
mod prepare;
mod server;

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use whit::contract::EXIT_LINE;
use whit_tools::cli::{documents, output};
use whit_tools::machine::Machine as Architecture;
use whit_tools::vm::Timeline;
use whit_tools::vm::qemu::{Accelerator, Board, CommandLine, DiskInterface, Forward, Machine, Protocol, exit_line};
use xtask::images::engine::Engine;

use interrupt::Interrupt;
use prepare::Artefacts;

/// Boots nginx, made of Debian's packages, as a machine, and shows the page that it serves
#[derive(Parser)]
#[command(
    name = "demo",
    after_help = "Examples:\n  cargo demo\n  cargo demo -- --keep\n  cargo demo -- --arch aarch64\n  cargo demo -- --docker --no-disk\n  cargo demo -- --docker --tls\n  cargo demo -- --server podman\n  docker export C > c.tar; docker inspect C > c.json
  cargo demo -- --image c.tar --config c.json --kernel vmlinuz --modules /lib/modules/VERSION"
)]
pub(crate) struct Arguments {
    /// Leave the machine running until ctrl-c
    #[arg(long)]
    keep: bool,
    /// Boot a server of containers, made of Debian's packages, and use it
    #[arg(long, value_name = "ENGINE", group = "served", conflicts_with_all = ["image", "kernel", "port", "arch"])]
    server: Option<Engine>,
    /// The same as --server docker
    #[arg(long, group = "served", conflicts_with_all = ["image", "kernel", "port", "arch"])]
    docker: bool,
    /// With --server: boot it from memory
    #[arg(long, requires = "served")]
    no_disk: bool,
    /// With --server: the machine's memory in MiB
    #[arg(long, value_name = "MIB", requires = "served")]
    memory: Option<u32>,
    /// With --server docker: TLS, by ca.pem, server-cert.pem, server-key.pem, cert.pem and key.pem of DIR; they are made if it has none
    /// [default of DIR: target/demo/docker/tls]
    #[arg(long, value_name = "DIR", num_args = 0..=1, requires = "served")]
    #[expect(clippy::option_option, reason = "clap's type for an option whose value may be left out")]
    tls: Option<Option<PathBuf>>,
    /// A tar of `docker export` to boot instead of Debian's nginx; it has to serve HTTP
    #[arg(long, value_name = "TAR")]
    image: Option<PathBuf>,
    /// The output of `docker inspect` for it; without, /usr/sbin/nginx is started
    #[arg(long, value_name = "FILE", requires = "image")]
    config: Option<PathBuf>,
    /// The port of the server in the image
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    port: u16,
    /// The machine's architecture: x86_64 or aarch64 [default: the host's]
    #[arg(long, value_name = "ARCH", value_parser = architecture, default_value_t = Architecture::HOST, hide_default_value = true)]
    arch: Architecture,
    /// A kernel to boot instead of Debian's newest cloud kernel
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The modules of the kernel; without, it needs virtio and ext4 built in
    #[arg(long, value_name = "DIR", requires = "kernel")]
    modules: Option<PathBuf>,
    /// The accelerator: auto is kvm where it runs a guest, else tcg
    #[arg(long, value_name = "KIND", default_value = "auto")]
    accel: Accel,
}

/// Parses the name of a machine that QEMU boots here.
fn architecture(name: &str) -> Result<Architecture, String> {
    let found = Architecture::named(name).filter(|machine| Board::of(*machine).is_some());
    found.ok_or_else(|| format!("{name:?} is not x86_64 or aarch64"))
}

#[derive(Clone, Copy, ValueEnum)]
enum Accel {
    Auto,
    Kvm,
    Tcg,
}

/// Limit for the time from QEMU's start to the page: a busy host that emulates is slow.
const BOOT: Duration = Duration::from_secs(180);
/// Limit for the time from the command `poweroff` to QEMU's end.
const POWER_OFF: Duration = Duration::from_secs(60);
/// The time in which a workload that daemonises has done so.
const DAEMONISED: Duration = Duration::from_secs(2);
/// The preferred port of the host: an address that a person can type.
const PREFERRED_PORT: u16 = 8080;
/// Lines of the page that are shown.
const PAGE_LINES: usize = 6;

fn main() -> ExitCode {
    let arguments = documents::parse::<Arguments>();
    let engine = arguments.server.or(arguments.docker.then_some(Engine::Docker));
    output::report("demo", engine.map_or_else(|| run(&arguments), |engine| server::run(&arguments, engine)))
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let start = Instant::now();
    let artefacts = prepare::artefacts(arguments)?;
    for line in artefacts.lines()? {
        show(&format!("  {line}"))?;
    }
    let prepared = start.elapsed();

    let port = free_port().map_err(|error| format!("no free port on 127.0.0.1: {error}"))?;
    let command = command_line(arguments, &artefacts, port);
    show(&format!("\n{command}\n"))?;
    if let Some(why) = command.kvm_obstacle() {
        show(&format!("  KVM cannot be used here: {why}; the machine is emulated, and slower"))?;
    }
    let mut machine = Machine::start(&command).map_err(|error| error.to_string())?;
    let interrupt = Interrupt::watch(machine.terminator()).map_err(|error| format!("cannot take signals: {error}"))?;
    let mut serve_and_end = || {
        serve(&mut machine, port)?;
        if arguments.keep {
            show(&format!("\nopen http://127.0.0.1:{port}/; ctrl-c powers the machine off"))?;
            interrupt.wait().map_err(|error| format!("waiting for ctrl-c: {error}"))?;
        }
        power_off(&mut machine, &artefacts)
    };
    serve_and_end()
        .map_err(|error| if interrupt.came() { "interrupted; the machine was killed".to_owned() } else { error })?;
    let (prepared, all) = (prepared.as_secs_f64(), start.elapsed().as_secs_f64());
    show(&format!("\npowered off, file system clean; {all:.1} s in all, {prepared:.1} s of it to fetch and build"))
}

/// Prints a line. A closed standard output ends the demo, and with it the machine.
pub(crate) fn show(line: &str) -> Result<(), String> {
    writeln!(io::stdout(), "{line}").map_err(|error| format!("standard output: {error}"))
}

/// Returns the accelerator that the user chose.
pub(crate) fn accelerator(arguments: &Arguments) -> Accelerator {
    match arguments.accel {
        Accel::Auto => Accelerator::Auto,
        Accel::Kvm => Accelerator::Kvm,
        Accel::Tcg => Accelerator::Tcg,
    }
}

fn command_line(arguments: &Arguments, artefacts: &Artefacts, port: u16) -> CommandLine {
    let disk = DiskInterface::Virtio;
    CommandLine::new(&artefacts.kernel)
        .board(Board::of(arguments.arch).unwrap_or_default())
        .accelerator(accelerator(arguments))
        .initrd(&artefacts.initramfs)
        .append(&format!(
            "console={} quiet panic=-1 root={} whit.timing",
            arguments.arch.console(),
            disk.first_device()
        ))
        .disk(disk, &artefacts.disk)
        .forward(Forward { protocol: Protocol::Tcp, address: Ipv4Addr::LOCALHOST, host: port, guest: arguments.port })
}

/// The prompt of busybox's shell for root.
const PROMPT: &str = "# ";
/// The kernel's last line (kernel/reboot.c, kernel_power_off()).
const POWERED_OFF: &str = "reboot: Power down";

/// Waits for the page; shows it and the timeline.
fn serve(machine: &mut Machine, port: u16) -> Result<(), String> {
    let deadline = Instant::now() + BOOT;
    let mut timeline = wait_for_entrypoint(machine, deadline)?;
    let entrypoint_ran = Instant::now();
    let failure = || machine.transcript().lines().find_map(exit_line).filter(|status| *status != 0).map(ended_early);
    let answer = page::fetch(port, deadline, failure).map_err(|what| machine.failed(what).to_string())?;
    timeline.answered(entrypoint_ran.elapsed());
    for line in timeline.lines() {
        show(&format!("  {line}"))?;
    }
    show(&format!("\nGET http://127.0.0.1:{port}/"))?;
    for line in page::first_lines(&answer, PAGE_LINES) {
        show(&format!("  {line}"))?;
    }
    Ok(())
}

/// Reads the console up to the init's timeline; an exit line before it is an error.
fn wait_for_entrypoint(machine: &mut Machine, deadline: Instant) -> Result<Timeline, String> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = machine.next_line(left).map_err(|error| error.to_string())?;
        if let Some(timeline) = Timeline::parse(&line) {
            return Ok(timeline);
        }
        if let Some(status) = exit_line(&line) {
            return Err(machine.failed(ended_early(status)).to_string());
        }
    }
}

fn ended_early(status: u8) -> String {
    format!("the workload ended with status {status} before it served a page")
}

/// Ends the workload if it is in the foreground, and then powers the machine off from the shell on its console.
fn power_off(machine: &mut Machine, artefacts: &Artefacts) -> Result<(), String> {
    let finish = |machine: &mut Machine| {
        if machine.wait_for(EXIT_LINE, DAEMONISED).is_err() {
            machine.send(b"\x03")?; // ctrl-c
            machine.wait_for(EXIT_LINE, POWER_OFF)?;
        }
        machine.wait_for(PROMPT, POWER_OFF)?;
        machine.send(b"poweroff\n")?;
        machine.wait(POWER_OFF)
    };
    let status = finish(machine).map_err(|error| error.to_string())?;
    let clean = disk::is_clean(&artefacts.disk)?;
    let powered_off = machine.transcript().contains(POWERED_OFF);
    if status.success() && powered_off && clean {
        return Ok(());
    }
    let what = format!("not a clean end: QEMU {status}, kernel powered off: {powered_off}, file system clean: {clean}");
    Err(machine.failed(what).to_string())
}

/// Returns 8080, or any free port when that is in use.
fn free_port() -> io::Result<u16> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    bind(PREFERRED_PORT).or_else(|_| bind(0))?.local_addr().map(|address| address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn tls_has_a_folder_or_none() {
        assert_eq!(parse("demo --docker --tls").unwrap().tls, Some(None));
        assert_eq!(parse("demo --server docker --tls keys").unwrap().tls, Some(Some("keys".into())));
        assert_eq!(parse("demo --docker").unwrap().tls, None);
    }

    #[test]
    fn a_server_is_one_and_excludes_the_options_of_nginx() {
        for line in [
            "demo --docker --server podman",
            "demo --server nerdctl",
            "demo --tls",
            "demo --memory 512",
            "demo --no-disk",
            "demo --server podman --arch aarch64",
            "demo --docker --image web.tar",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn tls_of_another_engine_is_refused_before_anything_is_fetched() {
        let arguments = parse("demo --server podman --tls").unwrap();
        let error = server::run(&arguments, Engine::Podman).unwrap_err();
        assert_eq!(error, "--tls is for --server docker: Debian's podman has no TLS");
    }
}
