//! The source of the image, read and hashed in a thread of its own.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, Read, Seek as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use minisign_verify::{PublicKey, Signature};
use ring::digest::{Context, SHA256};

use crate::decode::{Format, LOOKED_AT};
use crate::net::Net;
use crate::net::download::Download;
use crate::net::url::Url;
use crate::progress::Progress;
use crate::write::BLOCK;

/// Bytes of a buffer, and buffers that are in use.
const BUFFER: usize = 256 << 10;
const BUFFERS: usize = 6;

/// An open source.
pub struct Source {
    reader: Box<dyn Read + Send>,
    /// The bytes that were looked at, once they were.
    front: Option<Vec<u8>>,
    /// Its name in messages.
    pub name: String,
    /// Its length, if that is known.
    pub total: Option<u64>,
    /// Whether a cut would be noticed: a file's end is its end.
    pub has_end: bool,
    /// Its properties, if it is of this machine.
    pub file: Option<Metadata>,
}

impl Source {
    /// Opens `-`, an address or a file. `has_digest` says whether the whole source is checked at its end.
    ///
    /// # Errors
    /// One line.
    pub fn open(net: &Arc<Net>, name: &str, has_digest: bool) -> Result<Self, String> {
        let name = name.to_owned();
        let front = None;
        if Url::is_one(&name) {
            let download = Download::open(net, &Url::parse(&name)?, has_digest)?;
            let (total, has_end) = (download.total(), download.has_end());
            return Ok(Self { total, has_end, reader: Box::new(download), front, name, file: None });
        }
        let (file, name) = match name.as_str() {
            "-" => (io::stdin().as_fd().try_clone_to_owned().map(File::from), "standard input".into()),
            path => (File::open(path), name),
        };
        let at = |error: io::Error| format!("{name}: {error}");
        let file = file.map_err(at)?;
        let status = file.metadata().map_err(at)?;
        if status.is_dir() {
            return Err(format!("{name}: a directory: put needs an image"));
        }
        // Standard input may be read in part.
        let start = if status.is_file() { (&file).stream_position().map_err(at)? } else { 0 };
        let total = status.is_file().then(|| status.len().saturating_sub(start));
        // The end of a pipe is also that of a program that failed.
        let has_end = status.is_file() || status.file_type().is_block_device();
        Ok(Self { reader: Box::new(file), total, has_end, front, name, file: Some(status) })
    }

    /// Returns whether it is a file or a device, whose bytes are there.
    pub fn is_file(&self) -> bool {
        self.file.as_ref().is_some_and(|status| status.is_file() || status.file_type().is_block_device())
    }

    /// Returns the first block of the image in a file that can be opened again; `None` for another source, and for a file that is cut or
    /// damaged there.
    pub fn first_block(&self, format: Format) -> Option<Vec<u8>> {
        let file = self.file.as_ref().filter(|status| status.is_file())?;
        let again = File::open(&self.name).ok()?;
        let same = again.metadata().is_ok_and(|status| (status.dev(), status.ino()) == (file.dev(), file.ino()));
        let mut image = format.reader(io::BufReader::new(again)).ok()?;
        let mut block = Vec::new();
        (same && (&mut image).take(BLOCK as u64).read_to_end(&mut block).is_ok()).then_some(block)
    }

    /// Returns the first bytes, which are read nevertheless.
    ///
    /// # Errors
    /// One line.
    pub fn look(&mut self) -> Result<Vec<u8>, String> {
        if let Some(front) = &self.front {
            return Ok(front.clone());
        }
        let mut front = Vec::new();
        let read = self.reader.by_ref().take(LOOKED_AT as u64).read_to_end(&mut front);
        read.map_err(|error| match error.to_string() {
            text if text.starts_with(&self.name) => text,
            text => format!("{}: {text}", self.name),
        })?;
        let rest = std::mem::replace(&mut self.reader, Box::new(io::empty()));
        self.reader = Box::new(io::Cursor::new(front.clone()).chain(rest));
        self.front = Some(front.clone());
        Ok(front)
    }
}

/// The public key and the signature of a source.
pub struct Signed {
    /// minisign's public key.
    pub key: PublicKey,
    /// The signature of the source as it is downloaded.
    pub signature: Signature,
}

/// Properties of the whole source.
pub struct Read256 {
    /// Its SHA-256 digest.
    pub sha256: [u8; 32],
    /// Whether its signature is right; `None` without one.
    pub is_signed: Option<bool>,
}

/// The receiving end of the thread.
pub struct Feed {
    filled: Receiver<io::Result<Vec<u8>>>,
    emptied: Sender<Vec<u8>>,
    buffer: Vec<u8>,
    at: usize,
    is_ended: bool,
    failure: Option<io::Error>,
}

impl Feed {
    /// Starts to read a source.
    pub fn start(source: Source, signed: Option<Signed>, progress: &Arc<Progress>) -> (Self, JoinHandle<Read256>) {
        let (send_filled, filled) = sync_channel(BUFFERS);
        let (emptied, receive_emptied) = channel();
        let progress = Arc::clone(progress);
        let thread = thread::spawn(move || read(source.reader, signed, &progress, &send_filled, &receive_emptied));
        (Self { filled, emptied, buffer: Vec::new(), at: 0, is_ended: false, failure: None }, thread)
    }
}

/// Reads until the end, an error, or a dropped receiver.
fn read(
    mut reader: impl Read,
    signed: Option<Signed>,
    progress: &Progress,
    filled: &SyncSender<io::Result<Vec<u8>>>,
    emptied: &Receiver<Vec<u8>>,
) -> Read256 {
    let mut digest = Context::new(&SHA256);
    let mut verifier = signed.as_ref().map(|signed| signed.key.verify_stream(&signed.signature));
    loop {
        let mut buffer = emptied.try_recv().unwrap_or_default();
        buffer.clear();
        let result = reader.by_ref().take(BUFFER as u64).read_to_end(&mut buffer);
        if !buffer.is_empty() {
            digest.update(&buffer);
            if let Some(Ok(verifier)) = &mut verifier {
                verifier.update(&buffer);
            }
            progress.received.fetch_add(buffer.len() as u64, Relaxed);
        }
        let is_last = buffer.is_empty();
        if !is_last && filled.send(Ok(buffer)).is_err() {
            break;
        }
        match result {
            Err(error) => {
                let _ = filled.send(Err(error));
                break;
            }
            Ok(_) if is_last => break,
            Ok(_) => {}
        }
    }
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest.finish().as_ref());
    let is_signed = verifier.map(|verifier| verifier.is_ok_and(|mut verifier| verifier.finalize().is_ok()));
    Read256 { sha256, is_signed }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        // A reader that goes on after an error must not take it for the end.
        if let Some(error) = &self.failure {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        if self.at == self.buffer.len() && !self.is_ended {
            match self.filled.recv() {
                Ok(Ok(buffer)) => {
                    let _ = self.emptied.send(std::mem::replace(&mut self.buffer, buffer));
                    self.at = 0;
                }
                Ok(Err(error)) => {
                    let again = io::Error::new(error.kind(), error.to_string());
                    self.failure = Some(again);
                    return Err(error);
                }
                Err(_) => self.is_ended = true,
            }
        }
        Ok(&self.buffer[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.buffer.len());
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails at once.
    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }

    #[test]
    fn an_error_is_no_end() {
        let reader = Box::new((&b"some"[..]).chain(Broken));
        let source = Source { reader, front: None, name: "x".into(), total: None, has_end: true, file: None };
        let (mut feed, thread) = Feed::start(source, None, &Arc::new(Progress::default()));
        assert_eq!(feed.fill_buf().unwrap(), b"some");
        feed.consume(4);
        for _ in 0..3 {
            assert_eq!(feed.fill_buf().unwrap_err().to_string(), "broken");
        }
        thread.join().unwrap();
    }
}
