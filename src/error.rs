//! What failed, and why: the one error of everything that has an effect.

use linux_raw_sys::errno;
use ufmt::{Formatter, uDisplay, uWrite, uwrite};

/// An error number of the kernel, shown by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

/// The step that failed; `name` is how a message begins.
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
    pub const BADF: Self = Self(errno::EBADF as i32);
    pub const CHILD: Self = Self(errno::ECHILD as i32);
    pub const ACCESS: Self = Self(errno::EACCES as i32);
    pub const BUSY: Self = Self(errno::EBUSY as i32);
    pub const EXIST: Self = Self(errno::EEXIST as i32);
    pub const NODEV: Self = Self(errno::ENODEV as i32);
    pub const NOTDIR: Self = Self(errno::ENOTDIR as i32);
    pub const INVAL: Self = Self(errno::EINVAL as i32);
    pub const FBIG: Self = Self(errno::EFBIG as i32);
    pub const ROFS: Self = Self(errno::EROFS as i32);
    pub const NAMETOOLONG: Self = Self(errno::ENAMETOOLONG as i32);
    pub const NETDOWN: Self = Self(errno::ENETDOWN as i32);
    pub const NOBUFS: Self = Self(errno::ENOBUFS as i32);
    pub const NOMEDIUM: Self = Self(errno::ENOMEDIUM as i32);
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

impl Errno {
    /// The symbol of errno(3), for those that a boot meets.
    pub fn name(self) -> Option<&'static str> {
        let number = u32::try_from(self.0).ok()?;
        NAMES.iter().find(|(named, _)| *named == number).map(|(_, name)| *name)
    }
}

/// In the order of include/uapi/asm-generic/errno-base.h and errno.h.
const NAMES: [(u32, &str); 40] = [
    (errno::EPERM, "EPERM"),
    (errno::ENOENT, "ENOENT"),
    (errno::EIO, "EIO"),
    (errno::ENXIO, "ENXIO"),
    (errno::E2BIG, "E2BIG"),
    (errno::ENOEXEC, "ENOEXEC"),
    (errno::EBADF, "EBADF"),
    (errno::EAGAIN, "EAGAIN"),
    (errno::ENOMEM, "ENOMEM"),
    (errno::EACCES, "EACCES"),
    (errno::EFAULT, "EFAULT"),
    (errno::EBUSY, "EBUSY"),
    (errno::EEXIST, "EEXIST"),
    (errno::ENODEV, "ENODEV"),
    (errno::ENOTDIR, "ENOTDIR"),
    (errno::EISDIR, "EISDIR"),
    (errno::EINVAL, "EINVAL"),
    (errno::EMFILE, "EMFILE"),
    (errno::ENOTTY, "ENOTTY"),
    (errno::ETXTBSY, "ETXTBSY"),
    (errno::EFBIG, "EFBIG"),
    (errno::ENOSPC, "ENOSPC"),
    (errno::EROFS, "EROFS"),
    (errno::ERANGE, "ERANGE"),
    (errno::ENAMETOOLONG, "ENAMETOOLONG"),
    (errno::ENOSYS, "ENOSYS"),
    (errno::ELOOP, "ELOOP"),
    (errno::EPROTO, "EPROTO"),
    (errno::EOVERFLOW, "EOVERFLOW"),
    (errno::EMSGSIZE, "EMSGSIZE"),
    (errno::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
    (errno::EOPNOTSUPP, "EOPNOTSUPP"),
    (errno::EAFNOSUPPORT, "EAFNOSUPPORT"),
    (errno::EADDRINUSE, "EADDRINUSE"),
    (errno::ENETDOWN, "ENETDOWN"),
    (errno::ENETUNREACH, "ENETUNREACH"),
    (errno::ENOBUFS, "ENOBUFS"),
    (errno::EHOSTUNREACH, "EHOSTUNREACH"),
    (errno::EUCLEAN, "EUCLEAN"),
    (errno::ENOKEY, "ENOKEY"),
];

impl uDisplay for Errno {
    fn fmt<W: uWrite + ?Sized>(&self, f: &mut Formatter<'_, W>) -> Result<(), W::Error> {
        match self.name() {
            Some(name) => f.write_str(name),
            None => uwrite!(f, "errno {}", self.0),
        }
    }
}

impl uDisplay for Error {
    fn fmt<W: uWrite + ?Sized>(&self, f: &mut Formatter<'_, W>) -> Result<(), W::Error> {
        uwrite!(f, "{}: {}", self.step, self.errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_errno() {
        assert_eq!(Errno(16).name(), Some("EBUSY"));
        assert_eq!(Errno(117).name(), Some("EUCLEAN"));
        assert_eq!(Errno(0).name(), None);
        assert_eq!(Errno(-5).name(), None);
    }
}
