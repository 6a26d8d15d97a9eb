//! Device mapper: the requests on /dev/mapper/control (include/uapi/linux/dm-ioctl.h).

use rustix::fs::OFlags;
use whit::contract::DEVICE_MAPPER;
use whit::error::Errno;

use super::done;
use super::fd::{self, raw};
use super::memory::MAX_LINE;

/// `struct dm_ioctl`, and a `struct dm_target_spec` with its parameters.
#[repr(C)]
struct Request {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: u32,
    flags: u32,
    event: u32,
    padding: u32,
    device: u64,
    name: [u8; 128],
    uuid: [u8; 136],
    sector_start: u64,
    sectors: u64,
    status: u32,
    next: u32,
    target: [u8; 16],
    parameters: [u8; MAX_LINE + 8],
}

/// The offset of the target in a request.
const DATA_START: usize = 312;
const _: () = assert!(core::mem::offset_of!(Request, sector_start) == DATA_START);

/// `_IOWR(0xfd, number, struct dm_ioctl)`, with its numbers.
const REQUEST: u32 = 0xc138_fd00;
const DEV_CREATE: u32 = 3;
const DEV_SUSPEND: u32 = 6;
const TABLE_LOAD: u32 = 9;
const READ_ONLY: u32 = 1;

/// Makes the read-only device `root` of one target of that many sectors, and returns its number. `parameters` have less than [`MAX_LINE`] bytes; a longer text is cut.
///
/// # Errors
/// ENOENT without a device mapper; EINVAL without the target, and for parameters that it refuses: the kernel logs why.
pub(crate) fn make_device(target: [u8; 16], sectors: u64, parameters: &[u8]) -> Result<u32, Errno> {
    let control = fd::open(DEVICE_MAPPER, OFlags::RDWR)?;
    let mut device = 0;
    // A suspend without DM_SUSPEND_FLAG resumes the device: it has the loaded table then.
    for (number, target_count) in [(DEV_CREATE, 0), (TABLE_LOAD, 1), (DEV_SUSPEND, 0)] {
        let mut name = [0; 128];
        let (root, _) = name.split_at_mut(4);
        root.copy_from_slice(b"root");
        let mut request = Request {
            version: [4, 0, 0],
            data_size: size_of::<Request>() as u32,
            data_start: DATA_START as u32,
            target_count,
            open_count: 0,
            flags: READ_ONLY,
            event: 0,
            padding: 0,
            device: 0,
            name,
            uuid: [0; 136],
            sector_start: 0,
            sectors,
            status: 0,
            next: 0,
            target,
            parameters: [0; _],
        };
        for (place, byte) in request.parameters.iter_mut().zip(parameters) {
            *place = *byte;
        }
        // SAFETY: the struct has `data_size` bytes, and is writable over the call.
        done(unsafe { sc::syscall!(IOCTL, raw(&control), REQUEST | number, &raw mut request) })?;
        if number == DEV_CREATE {
            device = request.device as u32;
        }
    }
    Ok(device)
}
