//! What failed, and why: the one error of everything that has an effect.

use core::num::NonZeroI32;

use linux_raw_sys::errno;
use ufmt::{Formatter, uDisplay, uWrite, uwrite};

use crate::text::{Text, nth};

/// An error number of the kernel, shown by its name. It is not 0: a `Result<(), Errno>` is one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub NonZeroI32);

/// The step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// What was being done: a system call, and on what.
    pub step: &'static str,
    /// Why it failed.
    pub errno: Errno,
}

#[allow(missing_docs, reason = "each is named as in errno(3)")]
impl Errno {
    pub const NOENT: Self = Self::of(errno::ENOENT);
    pub const INTR: Self = Self::of(errno::EINTR);
    pub const NXIO: Self = Self::of(errno::ENXIO);
    pub const NOEXEC: Self = Self::of(errno::ENOEXEC);
    pub const ACCESS: Self = Self::of(errno::EACCES);
    pub const NOTBLK: Self = Self::of(errno::ENOTBLK);
    pub const BUSY: Self = Self::of(errno::EBUSY);
    pub const EXIST: Self = Self::of(errno::EEXIST);
    pub const AGAIN: Self = Self::of(errno::EAGAIN);
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

    /// No number of the kernel's: a file is left alone because it is no regular one.
    pub const NOT_REGULAR: Self = Self::of(134);

    /// The result of what returns 0, or a negative errno.
    pub fn check(returned: i32) -> Result<(), Self> {
        NonZeroI32::new(returned.wrapping_neg()).map_or(Ok(()), |errno| Err(Self(errno)))
    }

    /// A number that is known.
    const fn of(number: u32) -> Self {
        match NonZeroI32::new(number.cast_signed()) {
            Some(number) => Self(number),
            None => panic!("no error has the number 0"),
        }
    }
}

impl Errno {
    /// The symbol of errno(3), for those that a boot meets.
    pub fn name(self) -> Option<&'static [u8]> {
        let place = usize::try_from(self.0.get()).ok()?.checked_sub(1)?;
        Some(nth(NAMES, place)).filter(|name| !name.is_empty())
    }
}

/// The names of include/uapi/asm-generic/errno-base.h and errno.h in the order of their numbers from 1 on, ten a line; nothing
/// stands for those that no boot meets, and the fifth line is 41 to 70. After them, [`Errno::NOT_REGULAR`].
const NAMES: &[u8] = b"EPERM,ENOENT,,,EIO,ENXIO,E2BIG,ENOEXEC,EBADF,,\
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
    fn names_are_those_of_errno() {
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
        assert!(Errno::NOT_REGULAR.0.get() > errno::EHWPOISON.try_into().unwrap(), "the kernel's last");
        assert_eq!(Errno::of(0x7fff_ffff).name(), None);
        assert_eq!(Errno(NonZeroI32::new(-5).unwrap()).name(), None);
    }

    #[test]
    fn an_errno_is_shown_by_its_name_or_its_number() {
        assert_eq!(shown(&Errno::BUSY), "EBUSY");
        assert_eq!([shown(&Errno::of(44)), shown(&Errno(NonZeroI32::new(-5).unwrap()))], ["errno 44", "errno 5"]);
    }
}
