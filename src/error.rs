//! The error of every function with an effect: the kernel's error number.

use core::num::NonZeroI32;

use linux_raw_sys::errno;
use ufmt::{Formatter, uDisplay, uWrite, uwrite};

use crate::contract::{join, joined_len};
use crate::features::Feature;
use crate::text::{Text, nth};

/// An error number of the kernel, displayed by its name. It is not 0, so that a `Result<(), Errno>` fits a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub NonZeroI32);

#[allow(missing_docs, reason = "each is named as in errno(3)")]
impl Errno {
    pub const NOENT: Self = Self::of(errno::ENOENT);
    pub const SRCH: Self = Self::of(errno::ESRCH);
    pub const INTR: Self = Self::of(errno::EINTR);
    pub const NXIO: Self = Self::of(errno::ENXIO);
    pub const NOEXEC: Self = Self::of(errno::ENOEXEC);
    pub const ACCESS: Self = Self::of(errno::EACCES);
    pub const NOTBLK: Self = Self::of(errno::ENOTBLK);
    pub const BUSY: Self = Self::of(errno::EBUSY);
    pub const EXIST: Self = Self::of(errno::EEXIST);
    pub const AGAIN: Self = Self::of(errno::EAGAIN);
    pub const INPROGRESS: Self = Self::of(errno::EINPROGRESS);
    pub const NODEV: Self = Self::of(errno::ENODEV);
    pub const NOTDIR: Self = Self::of(errno::ENOTDIR);
    pub const INVAL: Self = Self::of(errno::EINVAL);
    pub const FBIG: Self = Self::of(errno::EFBIG);
    pub const ROFS: Self = Self::of(errno::EROFS);
    pub const NAMETOOLONG: Self = Self::of(errno::ENAMETOOLONG);
    pub const BADMSG: Self = Self::of(errno::EBADMSG);
    pub const NETDOWN: Self = Self::of(errno::ENETDOWN);
    pub const NOBUFS: Self = Self::of(errno::ENOBUFS);
    pub const UCLEAN: Self = Self::of(errno::EUCLEAN);
    pub const NOMEDIUM: Self = Self::of(errno::ENOMEDIUM);
    pub const LOOP: Self = Self::of(errno::ELOOP);
    pub const KEYREJECTED: Self = Self::of(errno::EKEYREJECTED);

    /// Not a number of the kernel: a file is not a regular file, and was skipped.
    pub const NOT_REGULAR: Self = Self::of(134);
    /// Not a number of the kernel: a btrfs lacks a disk.
    pub const LACKS_A_DISK: Self = Self::of(135);
    /// Not a number of the kernel: two devices have the same UUID.
    pub const TWO_DEVICES: Self = Self::of(136);
    /// The first of numbers that are not of the kernel: the device is a member of a volume.
    pub const FIRST_MEMBER: Self = Self::of(137);

    /// Returns the error for a member of a volume: 0 for md, 1 for LVM, 2 for LUKS, 3 for ZFS, 4 for bcache.
    pub(crate) const fn member(volume: u8) -> Self {
        Self::of(Self::FIRST_MEMBER.0.get().cast_unsigned() + volume as u32)
    }

    /// Whether it is about devices, and not a number of the kernel.
    pub fn is_own(self) -> bool {
        Feature::Members.is_enabled() && self.0 >= Self::LACKS_A_DISK.0
    }

    /// Whether the device is a member of a volume.
    pub fn is_member(self) -> bool {
        Feature::Members.is_enabled() && self.0 >= Self::FIRST_MEMBER.0
    }

    /// Converts a return value of 0 or a negative errno.
    pub fn check(returned: i32) -> Result<(), Self> {
        NonZeroI32::new(returned.wrapping_neg()).map_or(Ok(()), |errno| Err(Self(errno)))
    }

    /// Creates an error number from a constant; 0 does not compile.
    const fn of(number: u32) -> Self {
        match NonZeroI32::new(number.cast_signed()) {
            Some(number) => Self(number),
            None => panic!("an error number is not 0"),
        }
    }
}

impl Errno {
    /// Returns the name in errno(3); `None` for numbers that do not occur in a boot.
    pub fn name(self) -> Option<&'static [u8]> {
        let place = usize::try_from(self.0.get()).ok()?.checked_sub(1)?;
        Some(nth(NAMES, place)).filter(|name| !name.is_empty())
    }
}

/// The names of include/uapi/asm-generic/errno-base.h and errno.h in the order of their numbers from 1 on, ten on each line but
/// for the fifth, which has 41 to 70. Names that do not occur in a boot are empty. The last are those from [`Errno::NOT_REGULAR`] on.
const NAMES: &[u8] = &join::<{ joined_len(NAME_PARTS) }>(NAME_PARTS);
const NAME_PARTS: &[&[u8]] = &[
    KERNELS,
    if Feature::Members.is_enabled() { b",lacks a disk,on two devices,md RAID,LVM,LUKS,ZFS,bcache" } else { b"" },
];
const KERNELS: &[u8] = b"EPERM,ENOENT,ESRCH,,EIO,ENXIO,E2BIG,ENOEXEC,EBADF,,\
    EAGAIN,ENOMEM,EACCES,EFAULT,ENOTBLK,EBUSY,EEXIST,,ENODEV,ENOTDIR,\
    EISDIR,EINVAL,,EMFILE,ENOTTY,ETXTBSY,EFBIG,ENOSPC,,EROFS,\
    ,,,ERANGE,,ENAMETOOLONG,,ENOSYS,,ELOOP,\
    ,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,\
    EPROTO,,,EBADMSG,EOVERFLOW,,,,,,\
    ,,,,,,,,,EMSGSIZE,\
    ,,EPROTONOSUPPORT,,EOPNOTSUPP,,EAFNOSUPPORT,EADDRINUSE,,ENETDOWN,\
    ENETUNREACH,,,ECONNRESET,ENOBUFS,,,,,ETIMEDOUT,\
    ,,EHOSTUNREACH,,,,EUCLEAN,,,,\
    ,,ENOMEDIUM,,,ENOKEY,,,,,\
    ,,,not a regular file";

impl uDisplay for Errno {
    fn fmt<W: uWrite + ?Sized>(&self, f: &mut Formatter<'_, W>) -> Result<(), W::Error> {
        match self.name() {
            Some(name) => Text(name).fmt(f),
            None => uwrite!(f, "errno {}", u64::from(self.0.get().unsigned_abs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tests::shown;

    #[test]
    fn names_match_errno_3() {
        for (number, name) in [
            (errno::EPERM, "EPERM"),
            (errno::EBUSY, "EBUSY"),
            (errno::ENAMETOOLONG, "ENAMETOOLONG"),
            (errno::EBADMSG, "EBADMSG"),
            (errno::EOVERFLOW, "EOVERFLOW"),
            (errno::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
            (errno::ECONNRESET, "ECONNRESET"),
            (errno::ETIMEDOUT, "ETIMEDOUT"),
            (errno::EHOSTUNREACH, "EHOSTUNREACH"),
            (errno::EUCLEAN, "EUCLEAN"),
            (errno::ENOKEY, "ENOKEY"),
        ] {
            assert_eq!(Errno::of(number).name(), Some(name.as_bytes()));
        }
        assert_eq!(Errno::NOT_REGULAR.name(), Some(&b"not a regular file"[..]));
        assert!(Errno::NOT_REGULAR.0.get() > errno::EHWPOISON.try_into().unwrap(), "past the kernel's last number");
        for (errno, name) in [
            (Errno::LACKS_A_DISK, "lacks a disk"),
            (Errno::TWO_DEVICES, "on two devices"),
            (Errno::FIRST_MEMBER, "md RAID"),
            (Errno::member(4), "bcache"),
        ] {
            assert_eq!(errno.name(), Some(name.as_bytes()));
            assert_eq!(errno.is_member(), errno.0 >= Errno::FIRST_MEMBER.0);
        }
        assert_eq!(Errno::of(0x7fff_ffff).name(), None);
        assert_eq!(Errno(NonZeroI32::new(-5).unwrap()).name(), None);
    }

    #[test]
    fn an_errno_is_displayed_by_name_or_number() {
        assert_eq!(shown(&Errno::BUSY), "EBUSY");
        assert_eq!([shown(&Errno::of(44)), shown(&Errno(NonZeroI32::new(-5).unwrap()))], ["errno 44", "errno 5"]);
    }
}
