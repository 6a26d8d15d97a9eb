//! A disk whose power can fail: what was written and not flushed is in a cache that loses it.
//!
//! It is a server of the Network Block Device protocol (NetworkBlockDevice/nbd, doc/proto.md), fixed newstyle with simple
//! replies: QEMU passes every write, FUA bit and flush of its guest on. When the power fails, each sector of the cache is lost or
//! not, as the caller draws: a real cache keeps no order either.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tempfile::TempDir;

/// Bytes that are written whole or not at all.
const SECTOR: usize = 512;
/// The longest request: QEMU's are shorter.
const MAX_REQUEST: u32 = 32 << 20;

/// The disk.
pub struct Disk {
    state: Arc<Mutex<State>>,
    folder: TempDir,
}

/// What is on it.
struct State {
    flushed: Vec<u8>,
    cache: BTreeMap<usize, [u8; SECTOR]>,
    /// Flushes and writes with FUA.
    flushes: u64,
}

impl Disk {
    /// A disk with this content, which waits for its machines, one behind the other.
    ///
    /// # Panics
    /// When there is no socket to be had.
    #[must_use]
    pub fn new(content: Vec<u8>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = Arc::new(Mutex::new(State { flushed: content, cache: BTreeMap::new(), flushes: 0 }));
        let disk = Self { state, folder };
        let listener = UnixListener::bind(disk.socket()).expect("a socket");
        let state = Arc::clone(&disk.state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // Its end is that of its machine.
                let _ = stream.and_then(|stream| serve(stream, &state));
            }
        });
        disk
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// The power fails: of what was not flushed, the sectors stay for which `survives` says so. The machine is gone. Returns how
    /// many were in the cache, and how often it was flushed so far.
    pub fn lose_power(&self, mut survives: impl FnMut() -> bool) -> (usize, u64) {
        let mut state = lock(&self.state);
        let cache = std::mem::take(&mut state.cache);
        for (sector, bytes) in &cache {
            if survives() {
                state.flushed[sector * SECTOR..][..SECTOR].copy_from_slice(bytes);
            }
        }
        (cache.len(), state.flushes)
    }

    /// Writes what is flushed to a file.
    ///
    /// # Panics
    /// When there is no room.
    pub fn save(&self, path: &Path) {
        std::fs::write(path, &lock(&self.state).flushed).expect("room");
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        let mut bytes = self.flushed[offset..offset + length].to_vec();
        for (sector, cached) in self.cache.range(offset / SECTOR..(offset + length) / SECTOR) {
            bytes[sector * SECTOR - offset..][..SECTOR].copy_from_slice(cached);
        }
        bytes
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        for (sector, bytes) in (offset / SECTOR..).zip(bytes.chunks_exact(SECTOR)) {
            self.cache.insert(sector, bytes.try_into().expect("a sector"));
        }
    }

    /// Makes the sectors of the cache among these last.
    fn flush(&mut self, sectors: std::ops::Range<usize>) {
        self.flushes += 1;
        let kept: Vec<usize> = self.cache.range(sectors).map(|(sector, _)| *sector).collect();
        for sector in kept {
            if let Some(bytes) = self.cache.remove(&sector) {
                self.flushed[sector * SECTOR..][..SECTOR].copy_from_slice(&bytes);
            }
        }
    }
}

fn number<const SIZE: usize>(stream: &mut UnixStream) -> io::Result<[u8; SIZE]> {
    let mut bytes = [0; SIZE];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn serve(mut stream: UnixStream, state: &Mutex<State>) -> io::Result<()> {
    let size = lock(state).flushed.len();
    negotiate(&mut stream, size as u64)?;
    loop {
        let _magic: [u8; 4] = number(&mut stream)?;
        let flags = u16::from_be_bytes(number(&mut stream)?);
        let kind = u16::from_be_bytes(number(&mut stream)?);
        let cookie: [u8; 8] = number(&mut stream)?;
        let offset = u64::from_be_bytes(number(&mut stream)?) as usize;
        let length = u32::from_be_bytes(number(&mut stream)?);
        if kind < 2 && (length > MAX_REQUEST || offset + length as usize > size) {
            return Err(io::Error::other("a request behind the end"));
        }
        let mut answer = Vec::new();
        match kind {
            0 => answer = lock(state).read(offset, length as usize),
            1 => {
                let mut bytes = vec![0; length as usize];
                stream.read_exact(&mut bytes)?;
                let mut state = lock(state);
                state.write(offset, &bytes);
                if flags & 1 != 0 {
                    state.flush(offset / SECTOR..(offset + bytes.len()) / SECTOR);
                }
            }
            3 => lock(state).flush(0..size / SECTOR),
            _ => return Ok(()), // Disconnect; nothing else was offered.
        }
        let mut reply = [0x6744_6698u32.to_be_bytes(), [0; 4]].concat();
        reply.extend_from_slice(&cookie);
        reply.append(&mut answer);
        stream.write_all(&reply)?;
    }
}

/// Up to the option that chooses the one disk there is.
fn negotiate(stream: &mut UnixStream, size: u64) -> io::Result<()> {
    const GO: u32 = 7;
    const ACK: u32 = 1;
    const INFO: u32 = 3;
    const UNSUPPORTED: u32 = 0x8000_0001;
    /// There are flags; flushes and FUA are understood.
    const FLAGS: u16 = 1 | 4 | 8;
    stream.write_all(b"NBDMAGICIHAVEOPT\0\x03")?;
    let _flags: [u8; 4] = number(stream)?;
    loop {
        let _magic: [u8; 8] = number(stream)?;
        let option = u32::from_be_bytes(number(stream)?);
        let length = u32::from_be_bytes(number(stream)?);
        io::copy(&mut (&*stream).take(length.into()), &mut io::sink())?;
        let mut reply = |kind: u32, data: &[u8]| {
            let mut reply = 0x0003_e889_0455_65a9u64.to_be_bytes().to_vec();
            for word in [option, kind, data.len() as u32] {
                reply.extend_from_slice(&word.to_be_bytes());
            }
            reply.extend_from_slice(data);
            stream.write_all(&reply)
        };
        if option == GO {
            let export = [&[0, 0], size.to_be_bytes().as_slice(), &FLAGS.to_be_bytes()].concat();
            reply(INFO, &export)?;
            return reply(ACK, &[]);
        }
        reply(UNSUPPORTED, &[])?;
    }
}
