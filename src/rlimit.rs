//! `rlimit=`: resource limits (getrlimit(2)), in the form of docker's `--ulimit`.

use crate::text::{long_number, position, split};

/// No limit (RLIM64_INFINITY, include/uapi/linux/resource.h).
pub const UNLIMITED: u64 = u64::MAX;

/// The names in the order of their numbers, from 0 (include/uapi/asm-generic/resource.h).
const NAMES: &[u8] =
    b"cpu fsize data stack core rss nproc nofile memlock as locks sigpending msgqueue nice rtprio rttime";

/// The arguments of setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The RLIMIT_* number.
    pub resource: u32,
    /// The soft limit, which applies, and the hard limit, up to which a process may raise it.
    pub soft_hard: [u64; 2],
}

/// Parses `NAME=SOFT[:HARD]`; without HARD both limits are SOFT. `unlimited` and docker's `-1` mean no limit. Returns `None` for
/// any other text. A soft limit above the hard limit is not checked here: the kernel refuses it.
pub fn parse(text: &[u8]) -> Option<Limit> {
    let mut fields = split(text, b'=');
    let resource = position(NAMES, b' ', fields.next()?)?;
    let mut limits = split(fields.rest(), b':');
    let soft = value(limits.next()?)?;
    let hard = limits.next().map_or(Some(soft), value)?;
    let is_whole = limits.next().is_none();
    is_whole.then_some(Limit { resource, soft_hard: [soft, hard] })
}

/// Parses one limit.
fn value(text: &[u8]) -> Option<u64> {
    if position(b"unlimited -1", b' ', text).is_some() { Some(UNLIMITED) } else { long_number(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_raw_sys::general::{RLIMIT_CORE, RLIMIT_CPU, RLIMIT_MEMLOCK, RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_RTTIME};

    #[test]
    fn limits_are_parsed_as_in_docker() {
        for (text, resource, soft, hard) in [
            ("nofile=1024:1048576", RLIMIT_NOFILE, 1024, 1 << 20),
            ("nproc=5", RLIMIT_NPROC, 5, 5),
            ("core=0:-1", RLIMIT_CORE, 0, UNLIMITED),
            ("memlock=unlimited", RLIMIT_MEMLOCK, UNLIMITED, UNLIMITED),
            ("memlock=68719476736:unlimited", RLIMIT_MEMLOCK, 1 << 36, UNLIMITED),
            ("cpu=0", RLIMIT_CPU, 0, 0),
            ("rttime=1", RLIMIT_RTTIME, 1, 1),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(Limit { resource, soft_hard: [soft, hard] }), "{text}");
        }
    }

    #[test]
    fn malformed_limits_are_refused() {
        for text in [
            "",
            "nofile",
            "nofile=",
            "nofile=:",
            "nofile=5:",
            "nofile=:5",
            "nofile=5:6:7",
            "nofile=5:6:",
            "nofile=5=6",
            "nofile=-2",
            "nofile=0x10",
            "nofile=18446744073709551616",
            "NOFILE=5",
            "files=5",
            "=5",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn every_truncation_is_parsed_or_refused() {
        let text = b"nofile=10:20";
        for end in 0..text.len() {
            // "nofile=1", "nofile=10", "nofile=10:2"
            assert_eq!(parse(&text[..end]).is_some(), matches!(end, 8 | 9 | 11), "{end}");
        }
    }
}
