//! The sources of options: the kernel command line, the initramfs's run record, and the image's.

use core::mem::{MaybeUninit, take};

use rustix::fs::OFlags;
use whit::cmdline::{self, MAX_COMMAND_LINE};
use whit::contract::{IMAGE_RECORD, RECORD};
use whit::options::{Complaint, Net, Source, Sources, Switch};
use whit::record::{MAX_RECORD, Record};
use whit::text::Text;

use crate::console::{self, read_or_log};
use crate::files;
use crate::inside;
use crate::machine::Machine;
use crate::message::error;

/// Reads the command line and the initramfs's record. /proc is mounted.
pub(crate) fn read(
    command_line_room: &'static mut [MaybeUninit<u8>],
    record_room: &'static mut [MaybeUninit<u8>],
) -> Sources<'static> {
    let (command_line, arguments) =
        read_or_log(b"/proc/cmdline", MAX_COMMAND_LINE, files::read(c"/proc/cmdline", command_line_room))
            .map(cmdline::decode)
            .unwrap_or_default();
    let initramfs = read_or_log(RECORD.to_bytes(), MAX_RECORD, files::read(RECORD, record_room));
    let initramfs = initramfs.map(Record::decode).unwrap_or_default();
    Sources::new([arguments, command_line, initramfs, Record::default()])
}

/// Reads the image's run record, which mkraw wrote, then parses all options again: those of the image are the weakest.
pub(crate) fn read_image_record(machine: &mut Machine<'_>) {
    let file = inside::open(IMAGE_RECORD, OFlags::RDONLY);
    let text = file.and_then(|file| files::read_open(&file, take(&mut machine.image_room)));
    let Some(text) = read_or_log(Source::Image.name(), MAX_RECORD, text) else { return };
    machine.sources.records[Source::Image as usize] = Record::decode(text);
    machine.options = machine.sources.options(&mut |source, complaint| {
        // Complaints about the other sources were logged before.
        if source == Source::Image {
            log_complaint(source, complaint);
        }
    });
    console::configure(machine.options.has(Switch::Quiet), machine.options.kernel_log());
    if machine.options.net() == Net::Off {
        machine.network = None;
    }
}

/// Logs an option that was rejected: `whit: /whit.conf:3: unknown option: colour`.
pub(crate) fn log_complaint(source: Source, complaint: Complaint<'_>) {
    let (source, problem) = (Text(source.name()), Text(complaint.problem.name()));
    error!("{}:{}: {}: {}", source, u64::from(complaint.line), problem, Text(complaint.name));
}
