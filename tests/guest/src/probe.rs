//! The workload of a measured boot: it reports its start time and the machine's state, and powers the machine off.
//!
//! Every init starts the same file, as a child or as PID 1, in a chroot or not, with or without /proc. It makes missing files
//! itself, after it has read the clock. Its lines begin with `probe: `; `tools/xtask/src/bench/probe.rs` reads them.
#![no_std]
#![no_main]

mod kernel;
#[path = "../../../src/pid1/sys/mem.rs"]
mod mem;
mod network;
mod text;

use kernel::{clock_boottime_ns, clock_realtime_ns};
use text::{Line, lines, number, word};

/// Measures and reports; called by the entry point.
fn main() -> ! {
    let ran_ns = clock_boottime_ns();
    // The log is read later: measurements come first.
    let network = network::look();
    let answered_ns = network.router.and_then(|router| network::ping(router, network.address?));

    kernel::take_console();
    let mut line = Line::new();
    line.text("probe: ran ").number(ran_ns);
    line.text(" pid ").number(kernel::pid());
    if let Some(address) = network.address {
        line.text(" address ").address(address);
    }
    if let Some(router) = network.router {
        line.text(" router ").address(router);
    }
    if let Some(answered_ns) = answered_ns {
        line.text(" answered ").number(answered_ns);
    }
    report_status(&mut line);
    // The wall clock as the init left it: an init that sets none shows the RTC's.
    line.text(" unix ").number(clock_realtime_ns() / 1_000_000_000);
    line.print();
    report_kernel_log();
    Line::new().text("probe: end").print();
    kernel::power_off()
}

/// Reports the peak memory and the number of threads of PID 1.
fn report_status(line: &mut Line) {
    let mut buffer = [0; 4096];
    for entry in lines(kernel::read_proc(c"/proc/1/status", &mut buffer)) {
        for (name, title) in [(&b"VmHWM:"[..], " peak_kib "), (b"Threads:", " threads ")] {
            if let Some(value) = entry.strip_prefix(name).and_then(|value| number(word(value, 0)?)) {
                line.text(title).number(value);
            }
        }
    }
}

/// Reports the lines of the kernel's log that name a stage. Their times are of the scheduler's clock, which started a little before
/// CLOCK_BOOTTIME: the probe's own line in the log has both times of one moment.
fn report_kernel_log() {
    const STAGES: [&[u8]; 5] = [b"Run ", b"EXT4-fs (", b"IP-Config: Complete", b"VFS: Mounted root", b"bench: "];
    let marked_ns = kernel::mark(b"<7>bench: mark\n");
    Line::new().text("probe: marked ").number(marked_ns).print();
    let mut buffer = [0; 128 * 1024];
    for entry in lines(kernel::log(&mut buffer)) {
        // `<6>[    0.123456] Run /init as init process`
        let Some(bracket) = entry.iter().position(|byte| *byte == b']') else { continue };
        let Some((head, message)) = entry.split_at_checked(bracket) else { continue };
        let Some(message) = message.strip_prefix(b"] ") else { continue };
        let Some(time) = head.iter().position(|byte| *byte == b'[').and_then(|start| head.get(start..)) else {
            continue;
        };
        if STAGES.iter().any(|stage| message.starts_with(stage)) {
            Line::new().text("probe: log ").bytes(time.get(1..).unwrap_or_default()).text(" ").bytes(message).print();
        }
    }
}

/// Powers off. No code here panics on purpose; if it does, the missing `probe: end` shows it.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    kernel::power_off()
}
