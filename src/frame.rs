//! The frames of the port for the workload's streams ([`STREAMS_PORT`](crate::contract::STREAMS_PORT)), in both directions.
//!
//! A frame is a header of eight bytes and its data, as on docker's attach connection (moby, stdcopy): the kind, three zeros, the length
//! of the data as a big-endian number. The host sends input only when the init requests it, so that signals never wait behind input
//! that the workload does not read.

/// Bytes of a header.
pub const HEADER_BYTES: usize = 8;
/// The most bytes of data in a frame.
pub const MAX_DATA: usize = 4088;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// From the host: standard input, one frame for each request; without data, its end. To the host: a request, without data.
    Input,
    /// To the host: standard output. From the host, without data: its reader is gone, and the workload's writes fail with EPIPE.
    Output,
    /// The same for standard error.
    Error,
    /// From the host: a signal for the workload, its number in one byte; or one of systemd's shutdown signals to PID 1.
    Signal,
    /// From the host: the size of the terminal, a `struct winsize`.
    Window,
    /// To the host: the exit code of the workload, one byte, after all of its output. From the host: the acknowledgement, without data.
    Exit,
}

/// The kinds, by their numbers.
const KINDS: [Kind; 6] = [Kind::Input, Kind::Output, Kind::Error, Kind::Signal, Kind::Window, Kind::Exit];

/// Returns the header of a frame with `length` bytes of data.
pub const fn header(kind: Kind, length: usize) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = (length as u32).to_be_bytes();
    [kind as u8, 0, 0, 0, a, b, c, d]
}

/// Parses a header; `None` if the kind is unknown, or the data too long.
pub fn parse([kind, _, _, _, a, b, c, d]: [u8; HEADER_BYTES]) -> Option<(Kind, usize)> {
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    KINDS.get(usize::from(kind)).filter(|_| length <= MAX_DATA).map(|kind| (*kind, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_parsed_as_it_was_made() {
        for kind in KINDS {
            for length in [0, 1, 255, 256, MAX_DATA] {
                assert_eq!(parse(header(kind, length)), Some((kind, length)));
            }
        }
        assert_eq!(header(Kind::Error, 0x1234), [2, 0, 0, 0, 0, 0, 0x12, 0x34]);
    }

    #[test]
    fn unknown_kinds_and_lengths_are_refused() {
        assert_eq!(parse([6, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(parse(header(Kind::Input, MAX_DATA + 1)), None);
        assert_eq!(parse([0xff; HEADER_BYTES]), None);
    }
}
