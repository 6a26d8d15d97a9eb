//! What failed, and why: the one error of everything that has an effect.

use linux_raw_sys::errno;
use ufmt::{Formatter, uDisplay, uWrite, uwrite};

use crate::text::{Text, nth};

/// An error number of the kernel, shown by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

/// The step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// What was being done: a system call, and on what.
    pub step: &'static str,
    /// Why it failed.
    pub errno: Errno,
}

#[allow(missing_docs, reason = "each is named as in errno(3)")]
#[allow(clippy::cast_possible_wrap, reason = "below 4096")]
impl Errno {
    pub const NOENT: Self = Self(errno::ENOENT as i32);
    pub const INTR: Self = Self(errno::EINTR as i32);
    pub const NXIO: Self = Self(errno::ENXIO as i32);
    pub const NOEXEC: Self = Self(errno::ENOEXEC as i32);
    pub const ACCESS: Self = Self(errno::EACCES as i32);
    pub const NOTBLK: Self = Self(errno::ENOTBLK as i32);
    pub const BUSY: Self = Self(errno::EBUSY as i32);
    pub const EXIST: Self = Self(errno::EEXIST as i32);
    pub const AGAIN: Self = Self(errno::EAGAIN as i32);
    pub const NODEV: Self = Self(errno::ENODEV as i32);
    pub const NOTDIR: Self = Self(errno::ENOTDIR as i32);
    pub const INVAL: Self = Self(errno::EINVAL as i32);
    pub const FBIG: Self = Self(errno::EFBIG as i32);
    pub const ROFS: Self = Self(errno::EROFS as i32);
    pub const NAMETOOLONG: Self = Self(errno::ENAMETOOLONG as i32);
    pub const BADMSG: Self = Self(errno::EBADMSG as i32);
    pub const NETDOWN: Self = Self(errno::ENETDOWN as i32);
    pub const NOBUFS: Self = Self(errno::ENOBUFS as i32);
    pub const UCLEAN: Self = Self(errno::EUCLEAN as i32);
    pub const NOMEDIUM: Self = Self(errno::ENOMEDIUM as i32);
    pub const LOOP: Self = Self(errno::ELOOP as i32);

    /// No number of the kernel's: a file is left alone because it is no regular one.
    pub const NOT_REGULAR: Self = Self(134);
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

impl Errno {
    /// The symbol of errno(3), for those that a boot meets.
    pub fn name(self) -> Option<&'static [u8]> {
        let place = usize::try_from(self.0).ok()?.checked_sub(1)?;
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
            None => uwrite!(f, "errno {}", u64::from(self.0.unsigned_abs())),
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
            assert_eq!(Errno(number.try_into().unwrap()).name(), Some(name.as_bytes()));
        }
        assert_eq!(Errno::NOT_REGULAR.name(), Some(&b"not a regular file"[..]));
        assert!(Errno::NOT_REGULAR.0 > errno::EHWPOISON.try_into().unwrap(), "the kernel's last");
        assert_eq!(Errno(0).name(), None);
        assert_eq!(Errno(-5).name(), None);
    }

    #[test]
    fn an_errno_is_shown_by_its_name_or_its_number() {
        assert_eq!(shown(&Errno::from(rustix::io::Errno::BUSY)), "EBUSY");
        assert_eq!([shown(&Errno(44)), shown(&Errno(-5))], ["errno 44", "errno 5"]);
    }
}
