//! The commands `list` and `extract`.

use std::fmt::Display;
use std::fs::{File, Metadata};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::FileType;
use whit_tools::archive::segment::{self, Member, Reader, Segment};
use whit_tools::cli::listing::Entry;
use whit_tools::cli::output;
use whit_tools::cli::progress::Bar;
use whit_tools::cli::size;

/// Why a listing stops early.
pub(crate) enum Stop {
    /// The archive cannot be read.
    Read(String),
    /// The output cannot be written.
    Write(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Prints the entries as `ls -l` does, and the segments.
pub(crate) fn list(path: &Path, names: bool) -> Result<(), String> {
    let (mut reader, _bar) = watch(open(path)?, has_output_apart());
    print(|out| list_into(&mut reader, out, names).and_then(|()| not_empty(&reader))).map_err(|error| at(path, error))
}

/// Writes the content of the file `name` to standard output: that of its last entry, which the kernel keeps.
pub(crate) fn cat(path: &Path, name: &std::ffi::OsStr) -> Result<(), String> {
    let failed = |error: segment::ReadError| at(path, error);
    let wanted = trimmed(name.as_bytes());
    let mut found = None;
    let (mut reader, bar) = watch(open_file(path)?, true);
    let mut count = 0_u64;
    let mut links = None;
    while let Some(member) = reader.next_entry().map_err(failed)? {
        count += 1;
        let key = (member.archive, member.header.dev, member.header.ino);
        if trimmed(&member.name) == wanted {
            if !member.is_file() {
                return Err(at(path, format!("{} is not a regular file", wanted.escape_ascii())));
            }
            found = Some(count);
            links = (member.header.nlink > 1 && member.header.filesize == 0).then_some(key);
        } else if links == Some(key) && member.header.filesize > 0 {
            // The data follow another name of the file.
            found = Some(count);
        }
    }
    let number = found.ok_or_else(|| at(path, format!("has no {}", wanted.escape_ascii())))?;
    drop(bar);
    let (mut reader, _bar) = watch(open_file(path)?, has_output_apart());
    for _ in 0..number {
        reader.next_entry().map_err(failed)?;
    }
    print(|out| {
        let mut buffer = vec![0; 256 << 10];
        loop {
            match reader.read_data(&mut buffer).map_err(|error| Stop::Read(error.to_string()))? {
                0 => return Ok(()),
                count => out.write_all(&buffer[..count])?,
            }
        }
    })
    .map_err(|error| at(path, error))
}

/// Unpacks an initramfs, and prints a summary.
pub(crate) fn extract(path: &Path, directory: &Path) -> Result<(), String> {
    let (reader, bar) = watch(open(path)?, true);
    let extracted = segment::extract(reader, directory);
    drop(bar);
    let extracted = extracted.map_err(|error| match error {
        segment::ExtractError::Target { .. } => error.to_string(),
        _ => at(path, error),
    })?;
    let mut lines = vec![format!(
        "{}: {} files with {}, {} directories, {} others",
        directory.display(),
        extracted.files,
        size::show(extracted.content_bytes),
        extracted.directories,
        extracted.others
    )];
    if extracted.devices_left_out > 0 {
        lines.push(format!("left out: {} devices, which only root can create", extracted.devices_left_out));
    }
    // The archive is unpacked; an error of printing the summary is ignored.
    let _ = writeln!(io::stdout(), "{}", lines.join("\n"));
    Ok(())
}

/// Writes a line for each entry, and for each segment.
pub(crate) fn list_into<R: Read>(reader: &mut Reader<R>, out: &mut dyn Write, names: bool) -> Result<(), Stop> {
    while let Some(member) = reader.next_entry().map_err(|error| Stop::Read(error.to_string()))? {
        let line = if names { member.name } else { line(member).into_bytes() };
        out.write_all(&[line.as_slice(), b"\n"].concat())?;
    }
    if !names {
        for (index, segment) in reader.segments().iter().enumerate() {
            writeln!(out, "{}", segment_line(index + 1, segment))?;
        }
    }
    Ok(())
}

fn not_empty<R: Read>(reader: &Reader<R>) -> Result<(), Stop> {
    if reader.segments().is_empty() { Err(Stop::Read("contains no archive".to_owned())) } else { Ok(()) }
}

fn segment_line(number: usize, segment: &Segment) -> String {
    let Segment { start, bytes, content_bytes, entries, .. } = segment;
    let unpacked = if segment.method.is_some() { format!(", unpacked {content_bytes}") } else { String::new() };
    format!("segment {number}: {}, {entries} entries, {bytes} bytes at {start}{unpacked}", segment.method_name())
}

fn line(member: Member) -> String {
    let Member { name, header, target, .. } = member;
    let mode = header.mode as u16; // all of its 16 bits: the reader has checked the type
    let is_device = matches!(header.mode & 0o170_000, 0o020_000 | 0o060_000);
    Entry {
        path: name,
        mode,
        links: Some(u16::try_from(header.nlink).unwrap_or(u16::MAX)),
        owner: (header.uid, header.gid),
        size: header.filesize.into(),
        device: is_device.then_some(header.rdev),
        seconds: header.mtime.into(),
        target,
    }
    .line()
}

/// Removes leading slashes and `./`.
fn trimmed(mut name: &[u8]) -> &[u8] {
    while let Some(rest) = name.strip_prefix(b"/").or_else(|| name.strip_prefix(b"./")) {
        name = rest;
    }
    name
}

fn at(path: &Path, error: impl Display) -> String {
    if path == Path::new("-") { format!("standard input: {error}") } else { format!("{}: {error}", path.display()) }
}

/// An initramfs, and its length if known.
type Opened = (Box<dyn Read>, Option<u64>);

fn open(path: &Path) -> Result<Opened, String> {
    if path == Path::new("-") { Ok((Box::new(io::stdin().lock()), None)) } else { open_file(path) }
}

fn open_file(path: &Path) -> Result<Opened, String> {
    let file = File::open(path).map_err(|error| at(path, error))?;
    let length = file.metadata().ok().filter(Metadata::is_file).map(|metadata| metadata.len());
    Ok((Box::new(file), length))
}

/// Creates a reader, with a progress bar if `is_shown`.
fn watch((input, length): Opened, is_shown: bool) -> (Reader<Box<dyn Read>>, Option<Bar>) {
    let progress = Arc::default();
    let reader = Reader::watched(input, Arc::clone(&progress));
    (reader, is_shown.then(|| Bar::start(progress, length)))
}

/// Returns whether a bar cannot mix with the output: that is a file or a device other than a terminal. A pipe may lead to a
/// program that writes to the terminal.
fn has_output_apart() -> bool {
    let kind = rustix::fs::fstat(io::stdout()).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(FileType::RegularFile) => true,
        Ok(FileType::CharacterDevice) => !io::stdout().is_terminal(),
        _ => false,
    }
}

/// Calls [`output::print`], and returns errors of reading too.
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> Result<(), Stop>) -> Result<(), String> {
    let mut read = Ok(());
    output::print(|out| match write(out) {
        Err(Stop::Read(error)) => {
            read = Err(error);
            Ok(())
        }
        Err(Stop::Write(error)) => Err(error),
        Ok(()) => Ok(()),
    })?;
    read
}
