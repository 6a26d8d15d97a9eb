//! One run, in the order that the library's page promises.

use std::io::{self, BufRead as _, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use minisign_verify::PublicKey;

use crate::decode::Format;
use crate::feed::{Feed, Read256, Signed};
use crate::inputs::{self, Inputs, Place};
use crate::net::Net;
use crate::options::Options;
use crate::progress::{Form, Progress, Reports};
use crate::report::Reporter;
use crate::table::Table;
use crate::target::{Choice, Target};
use crate::write::{BLOCK, Writer, Written};
use crate::{booty, ending, lines};

const TIMEOUT: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 5;

/// Writes the image, and ends the machine as requested.
///
/// # Errors
/// One line.
pub fn run(mut options: Options) -> Result<(), String> {
    let timeout = options.timeout.unwrap_or(TIMEOUT);
    let form = options.progress.unwrap_or_else(Form::of_terminal);
    let attempts = options.attempts.unwrap_or(ATTEMPTS);
    let net = Arc::new(Net::new(timeout, attempts, options.authorities.clone(), form != Form::None));
    if let Some(address) = options.booty.clone() {
        booty::fetch(&net, &address, &mut options)?;
    }
    // Mistakes that are found before the disk is touched.
    let key = options.minisign.as_deref().map(inputs::public_key).transpose()?;
    let choice = Choice::parse(&options.disk)?;
    let mut reporter = Reporter::new(options.report.as_deref(), &net, &options.source)?;
    let path = choice.find(Path::new("/sys"))?;
    let target = Arc::new(Target::open(&path)?);
    reporter.set_target(&target);
    let mut inputs = Inputs::default();
    let opened = inputs.open(Place::Here, &net, &options, key.as_ref());
    opened.and_then(|()| inputs.check_file(&options, &target)).inspect_err(|error| {
        if !options.is_dry_run {
            reporter.send("failed", [("error", error.as_str().into())]);
        }
    })?;
    if options.is_dry_run {
        lines::show(format_args!("{} would be written to {} ({} bytes)", options.source, path.display(), target.size));
        return Ok(());
    }
    reporter.send("started", []);
    let mut reports = Reports::new(form);
    let result = write(&options, &net, &target, inputs, key, &mut reports);
    reports.end();
    let summary = result.inspect_err(|error| {
        // The ends were not written, or are wrong.
        let wiped = target.wipe_ends();
        if let Err(error) = &wiped {
            lines::warn(format_args!("warning: {}: the partition tables are not wiped: {error}", path.display()));
        }
        reporter.send("failed", [("error", error.as_str().into())]);
    })?;
    let hex: String = summary.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    lines::show(format_args!("{}: {} bytes in {} s, sha256 {hex}", path.display(), summary.length, reports.seconds()));
    if let Some(number) = summary.grown {
        lines::show(format_args!("{}: partition {number} extends to the end of the disk", path.display()));
    }
    let folder = target.folder.clone();
    drop(target);
    let loaded = ending::load(&options, &path, folder.as_deref());
    let fields = [("bytes", summary.length.into()), ("sha256", hex.into()), ("seconds", reports.seconds().into())];
    reporter.send("written", fields);
    loaded?;
    ending::end(options.then)
}

/// What was written.
struct Summary {
    length: u64,
    sha256: [u8; 32],
    grown: Option<u32>,
}

fn write(
    options: &Options,
    net: &Arc<Net>,
    target: &Arc<Target>,
    mut inputs: Inputs,
    key: Option<PublicKey>,
    reports: &mut Reports,
) -> Result<Summary, String> {
    let at_disk = |error: io::Error| format!("{}: {error}", target.path.display());
    target.wipe_ends().map_err(at_disk)?;
    target.forget_partitions();
    inputs.open(Place::Server, net, options, key.as_ref())?;
    let mut source = inputs.source.ok_or("no image")?;
    let format = inputs::format(&mut source, options, target)?;
    let (name, total) = (source.name.clone(), source.total);
    let at_source = |message: &dyn std::fmt::Display| format!("{name}: {message}");
    let signed = key.zip(inputs.signature).map(|(key, signature)| Signed { key, signature });
    let progress = Arc::new(Progress::default());
    let (mut feed, thread) = Feed::start(source, signed, &progress);
    let writer = Writer::start(target, inputs.map, &progress);
    let table = {
        let mut image = format.reader(&mut feed).map_err(|error| error.to_string())?;
        let copied = copy(&mut image, &writer, options, target, || {
            reports.step("write", &progress.received, total);
        });
        match copied {
            Ok(table) => table,
            Err(Failure::Source(error)) => return Err(message(&name, format, &error)),
            Err(Failure::Image(message)) => return Err(at_source(&message)),
            Err(Failure::Disk(message)) => return Err(message),
            // The thread has the reason.
            Err(Failure::Writer) => {
                return Err(writer.finish().err().unwrap_or_else(|| "the writing thread ended".into()));
            }
        }
    };
    drain(&mut feed).map_err(|what| at_source(&what))?;
    let (written, checker) = writer.finish()?;
    let read = thread.join().map_err(|_| "the reading thread panicked")?;
    check(options, &name, &read)?;
    table.check_length(written.length).map_err(|what| at_source(&what))?;
    checker.finish(|()| reports.step("check", &progress.checked, Some(written.length)))?;
    complete(target, &written, &table)?;
    let partitions = table.partitions();
    if let Err(error) = target.announce(partitions.as_deref()) {
        lines::warn(format_args!(
            "warning: {}: the kernel does not know the new partitions: {error}",
            target.path.display()
        ));
    }
    Ok(Summary { length: written.length, sha256: read.sha256, grown: table.grown })
}

/// Where a copy failed.
enum Failure {
    Source(io::Error),
    Image(String),
    Disk(String),
    Writer,
}

/// Copies the image to the writer, block by block; returns its partition table.
fn copy(
    image: &mut dyn Read,
    writer: &Writer,
    options: &Options,
    target: &Target,
    mut report: impl FnMut(),
) -> Result<Table, Failure> {
    let (mut table, mut length) = (None, 0);
    loop {
        let mut block = writer.block();
        (&mut *image).take(BLOCK as u64).read_to_end(&mut block).map_err(Failure::Source)?;
        if table.is_none() {
            let read = inputs::table(&block, options, target).map_err(Failure::Image)?;
            table = Some(read);
        }
        let is_last = block.len() < BLOCK;
        length += block.len() as u64;
        if length > target.size {
            return Err(Failure::Disk(target.too_small("more")));
        }
        if !block.is_empty() && !writer.send(block) {
            return Err(Failure::Writer);
        }
        report();
        if is_last {
            return Ok(table.unwrap_or_default());
        }
    }
}

/// Reads what follows the compressed image: its end counts for the digest, and other data is refused.
fn drain(feed: &mut Feed) -> Result<(), String> {
    loop {
        let rest = feed.fill_buf().map_err(|error| error.to_string())?;
        if rest.is_empty() {
            return Ok(());
        }
        if rest.iter().any(|byte| *byte != 0) {
            return Err("other data follows the compressed image".into());
        }
        let count = rest.len();
        feed.consume(count);
    }
}

/// Checks the digest and the signature of the whole source.
fn check(options: &Options, name: &str, read: &Read256) -> Result<(), String> {
    let hex = |digest: &[u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if let Some(expected) = options.sha256.filter(|expected| *expected != read.sha256) {
        return Err(format!("{name}: its sha256 is {}, expected: {}", hex(&read.sha256), hex(&expected)));
    }
    if read.is_signed == Some(false) {
        return Err(format!("{name}: the signature is not one of this file by this key"));
    }
    Ok(())
}

/// Writes the ends of the disk.
fn complete(target: &Target, written: &Written, table: &Table) -> Result<(), String> {
    let mut front = written.front().to_vec();
    let has_grown = table.is_fitted;
    if has_grown {
        table.write_front(&mut front);
    }
    written.complete(target, &front, table.back().filter(|_| has_grown))
}

/// Describes a failed read: of the source, or of the decompressor.
fn message(name: &str, format: Format, error: &io::Error) -> String {
    let text = error.to_string();
    match (format, error.kind()) {
        _ if text.starts_with(name) => text,
        (Format::Raw, _) => format!("{name}: {text}"),
        (_, io::ErrorKind::UnexpectedEof) => format!("{name}: it ends in the middle"),
        (Format::Gzip, _) => format!("{name}: damaged gzip data: {text}"),
        (Format::Zstd, _) => format!("{name}: damaged zstd data: {text}"),
        (Format::Xz, _) => format!("{name}: damaged xz data: {text}"),
    }
}
