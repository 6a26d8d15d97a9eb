//! The names of signals, as `kill` takes them.

/// The names in the order of their numbers, from 1 (signal(7), x86 and ARM).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
/// SIGRTMIN of a C library, and the last signal.
const FIRST_REAL_TIME: u8 = 34;
const LAST: u8 = 64;

/// Parses a number, or a name in any case with or without `SIG`.
///
/// # Errors
/// A message of one line.
pub(super) fn parse(text: &str) -> Result<u8, String> {
    let invalid = || format!("signal \"{text}\": unknown; give a name as TERM or RTMIN+3, or a number up to {LAST}");
    if let Ok(number) = text.parse::<u8>() {
        return if number <= LAST { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str, sign| if rest.is_empty() { Some(0) } else { rest.strip_prefix(sign)?.parse::<u8>().ok() };
    let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => offset(rest, '+').and_then(|offset| FIRST_REAL_TIME.checked_add(offset)),
        (_, Some(rest)) => offset(rest, '-').and_then(|offset| LAST.checked_sub(offset)),
        _ => None,
    };
    let named = || NAMES.iter().position(|known| *known == name).map(|place| place as u8 + 1);
    real_time.filter(|number| (FIRST_REAL_TIME..=LAST).contains(number)).or_else(named).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use signal_hook::consts::{SIGKILL, SIGPROF, SIGSYS, SIGTERM, SIGWINCH};

    #[test]
    fn names_and_numbers_are_parsed() {
        for (text, number) in [
            ("TERM", SIGTERM),
            ("sigterm", SIGTERM),
            ("15", SIGTERM),
            ("KILL", SIGKILL),
            ("SIGWINCH", SIGWINCH),
            ("PROF", SIGPROF),
            ("SYS", SIGSYS),
            ("0", 0),
            ("SIGRTMIN+3", 37),
            ("RTMIN", 34),
            ("RTMAX", 64),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(parse(text), Ok(number as u8), "{text}");
        }
        for text in ["", "SIG", "65", "-1", "RTMIN+31", "RTMAX+1", "NOPE"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
