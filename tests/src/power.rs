//! A disk whose power can fail: writes that were not flushed are in a cache that can lose them.
//!
//! It is a server of the Network Block Device protocol (NetworkBlockDevice/nbd, doc/proto.md), fixed newstyle with simple
//! replies. QEMU passes on every write, FUA bit and flush of its guest. When the power fails, each physical sector of the cache is
//! lost or kept as the caller decides: a real cache keeps no order either.
//!
//! A physical sector has 4 KiB, as on the disks of today. With sectors of 512 bytes ext4 does not survive every failure. Its
//! superblock then has two sectors: the time and the state are in the first, the checksum is in the second, and each replay of the
//! journal writes both. If the power fails between the two writes, the kernel refuses the superblock (fs/ext4/super.c,
//! ext4_superblock_csum_verify()) before the journal can restore it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// Bytes of a logical sector, the unit of requests.
const SECTOR: usize = 512;
/// Logical sectors in a physical one. A physical sector is written whole or not at all.
const PHYSICAL: usize = 8;
/// The duration of a write or a flush, as on a slow disk: most power failures then hit a request in flight.
const LATENCY: Duration = Duration::from_millis(5);
/// Limit for the length of a request; QEMU's are shorter.
const MAX_REQUEST: u32 = 32 << 20;

/// The disk.
pub struct Disk {
    state: Arc<Mutex<State>>,
    folder: TempDir,
}

/// The contents of the disk.
struct State {
    flushed: Vec<u8>,
    cache: BTreeMap<usize, [u8; SECTOR]>,
    /// Flushes and writes with FUA.
    flushes: u64,
    /// Number of power failures. A request that a machine sent before the last one is dropped.
    failures: u64,
}

impl Disk {
    /// Starts a disk with this content; it serves one machine after another.
    #[must_use]
    pub fn new(content: Vec<u8>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = Arc::new(Mutex::new(State { flushed: content, cache: BTreeMap::new(), flushes: 0, failures: 0 }));
        let disk = Self { state, folder };
        let listener = UnixListener::bind(disk.socket()).expect("a socket");
        let state = Arc::clone(&disk.state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // The connection ends with its machine.
                let _ = stream.and_then(|stream| serve(stream, &state));
            }
        });
        disk
    }

    /// Returns the path of the socket that it listens on.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Cuts the power. Keeps the physical sectors in the cache for which `survives` returns true. Returns the number of physical
    /// sectors in the cache, and of flushes so far.
    pub fn lose_power(&self, survives: impl FnMut() -> bool) -> (usize, u64) {
        lock(&self.state).lose_power(survives)
    }

    /// Writes the flushed data to a file.
    pub fn save(&self, path: &Path) {
        std::fs::write(path, &lock(&self.state).flushed).expect("room");
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// See [`Disk::lose_power`].
    fn lose_power(&mut self, mut survives: impl FnMut() -> bool) -> (usize, u64) {
        self.failures += 1;
        let cache: Vec<_> = std::mem::take(&mut self.cache).into_iter().collect();
        let physical = cache.chunk_by(|(one, _), (next, _)| one / PHYSICAL == next / PHYSICAL);
        let mut count = 0;
        for sectors in physical {
            count += 1;
            if survives() {
                sectors.iter().for_each(|(sector, bytes)| self.keep(*sector, bytes));
            }
        }
        (count, self.flushes)
    }

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

    /// Moves the cached sectors of this range to the disk.
    fn flush(&mut self, sectors: std::ops::Range<usize>) {
        self.flushes += 1;
        let kept: Vec<usize> = self.cache.range(sectors).map(|(sector, _)| *sector).collect();
        for sector in kept {
            if let Some(bytes) = self.cache.remove(&sector) {
                self.keep(sector, &bytes);
            }
        }
    }

    fn keep(&mut self, sector: usize, bytes: &[u8; SECTOR]) {
        self.flushed[sector * SECTOR..][..SECTOR].copy_from_slice(bytes);
    }

    /// Executes a request of a machine that connected after `failures` power failures; returns the bytes read. `None` ends the
    /// connection: at a disconnect, a bad request, or a power failure since.
    fn execute(&mut self, failures: u64, request: &Request) -> Option<Vec<u8>> {
        let end = request.offset.checked_add(request.length).filter(|end| *end <= self.flushed.len())?;
        if failures != self.failures {
            return None;
        }
        match request.kind {
            Request::READ => return Some(self.read(request.offset, request.length)),
            Request::WRITE => {
                self.write(request.offset, &request.data);
                if request.is_fua {
                    self.flush(request.offset / SECTOR..end / SECTOR);
                }
            }
            Request::FLUSH => self.flush(0..self.flushed.len() / SECTOR),
            _ => return None, // Disconnect; no other request was offered.
        }
        Some(Vec::new())
    }
}

/// A request of the protocol.
struct Request {
    kind: u16,
    is_fua: bool,
    cookie: [u8; 8],
    offset: usize,
    length: usize,
    /// The data of a write.
    data: Vec<u8>,
}

impl Request {
    const READ: u16 = 0;
    const WRITE: u16 = 1;
    const FLUSH: u16 = 3;

    fn receive(stream: &mut UnixStream) -> io::Result<Self> {
        let _magic: [u8; 4] = number(stream)?;
        let is_fua = u16::from_be_bytes(number(stream)?) & 1 != 0;
        let kind = u16::from_be_bytes(number(stream)?);
        let cookie = number(stream)?;
        let offset = u64::from_be_bytes(number(stream)?) as usize;
        let length = u32::from_be_bytes(number(stream)?);
        if length > MAX_REQUEST {
            return Err(io::Error::other("a request of more than 32 MiB"));
        }
        let length = length as usize;
        let mut data = vec![0; if kind == Self::WRITE { length } else { 0 }];
        stream.read_exact(&mut data)?;
        Ok(Self { kind, is_fua, cookie, offset, length, data })
    }
}

fn number<const SIZE: usize>(stream: &mut UnixStream) -> io::Result<[u8; SIZE]> {
    let mut bytes = [0; SIZE];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn serve(mut stream: UnixStream, state: &Mutex<State>) -> io::Result<()> {
    let (size, failures) = {
        let state = lock(state);
        (state.flushed.len(), state.failures)
    };
    negotiate(&mut stream, size as u64)?;
    loop {
        let request = Request::receive(&mut stream)?;
        if request.kind != Request::READ {
            thread::sleep(LATENCY);
        }
        let Some(mut answer) = lock(state).execute(failures, &request) else { return Ok(()) };
        let mut reply = [0x6744_6698u32.to_be_bytes(), [0; 4]].concat();
        reply.extend_from_slice(&request.cookie);
        reply.append(&mut answer);
        stream.write_all(&reply)?;
    }
}

/// Negotiates options up to GO, which selects the only export.
fn negotiate(stream: &mut UnixStream, size: u64) -> io::Result<()> {
    const GO: u32 = 7;
    const ACK: u32 = 1;
    const INFO: u32 = 3;
    const UNSUPPORTED: u32 = 0x8000_0001;
    /// NBD_FLAG_HAS_FLAGS, NBD_FLAG_SEND_FLUSH, NBD_FLAG_SEND_FUA.
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

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = PHYSICAL * SECTOR;

    fn request(kind: u16, offset: usize, data: &[u8]) -> Request {
        Request { kind, is_fua: false, cookie: [0; 8], offset, length: data.len(), data: data.to_vec() }
    }

    fn disk() -> State {
        State { flushed: vec![0; 4 * BYTES], cache: BTreeMap::new(), flushes: 0, failures: 0 }
    }

    #[test]
    fn flushed_data_stays_and_a_physical_sector_is_lost_as_a_whole() {
        let mut state = disk();
        let write = request(Request::WRITE, 0, &[1; 3 * BYTES]);
        assert!(state.execute(0, &write).is_some());
        assert_eq!(state.execute(0, &request(Request::READ, SECTOR, &[0; SECTOR])), Some(vec![1; SECTOR]));
        let mut draws = [true, false, true].into_iter();
        assert_eq!(state.lose_power(|| draws.next().unwrap()), (3, 0));
        let left: Vec<u8> = state.flushed.chunks(SECTOR).map(|sector| sector[0]).collect();
        assert_eq!(left, [[1; PHYSICAL], [0; PHYSICAL], [1; PHYSICAL], [0; PHYSICAL]].concat());
        // The last logical sector of a physical one, written with FUA; then the first of another, flushed.
        let last = request(Request::WRITE, 4 * BYTES - SECTOR, &[2; SECTOR]);
        assert!(state.execute(1, &Request { is_fua: true, ..last }).is_some());
        assert!(state.execute(1, &request(Request::WRITE, BYTES, &[3; SECTOR])).is_some());
        assert!(state.execute(1, &request(Request::FLUSH, 0, &[])).is_some());
        assert_eq!(state.lose_power(|| false), (0, 2));
        assert_eq!((state.flushed[BYTES], state.flushed[4 * BYTES - 1]), (3, 2));
    }

    #[test]
    fn requests_from_before_a_power_failure_are_dropped() {
        let mut state = disk();
        let write = Request { is_fua: true, ..request(Request::WRITE, 0, &[1; SECTOR]) };
        state.lose_power(|| true);
        assert!(state.execute(0, &write).is_none());
        assert_eq!(state.flushed, disk().flushed);
        assert!(state.execute(1, &write).is_some());
        assert_ne!(state.flushed, disk().flushed);
    }

    #[test]
    fn requests_past_the_end_are_refused() {
        let mut state = disk();
        for offset in [4 * BYTES, usize::MAX] {
            for kind in [Request::READ, Request::WRITE] {
                assert!(state.execute(0, &request(kind, offset, &[0; SECTOR])).is_none());
            }
        }
    }
}
