//! The frames of the port for the workload's streams ([`STREAMS_PORT`](crate::contract::STREAMS_PORT)), in both directions.
//!
//! A frame is a header of eight bytes and its data, as on docker's attach connection (moby, stdcopy): the kind, the session, two zeros,
//! and a big-endian number, the length of the data. Frames of other kinds than input, output and exec have no data, and a number of
//! their own. Session 0 is the workload's. The host opens the others, each for a program beside the workload.
//! The host sends input only when the init requests it, so that signals never wait behind input that the workload does not read.

/// Bytes of a header.
pub const HEADER_BYTES: usize = 8;
/// The most bytes of data in a frame.
pub const MAX_DATA: usize = 4088;

/// The sessions: the workload's, and at most eight others.
pub const SESSIONS: usize = 9;
/// The numbers of [`Kind::Output`] from the host: outputs of the session are not sent from now on, or are again.
pub const PAUSE: u32 = 1;
/// See [`PAUSE`].
pub const RESUME: u32 = 2;

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
    /// From the host: a signal for the workload, or one of systemd's shutdown signals to PID 1; its number.
    Signal,
    /// From the host: the size of its terminal; columns in the upper half of the number, rows in the lower.
    Window,
    /// To the host: the exit code of the workload, after all of its output. From the host: the acknowledgement.
    Exit,
    /// From the host: starts the program of a session. The data are options as on the kernel command line, each `NAME VALUE` and a NUL.
    Exec,
}

/// The kinds, by their numbers.
const KINDS: [Kind; 7] = [Kind::Input, Kind::Output, Kind::Error, Kind::Signal, Kind::Window, Kind::Exit, Kind::Exec];

impl Kind {
    /// Whether the number is the length of data.
    pub const fn has_data(self) -> bool {
        matches!(self, Self::Input | Self::Output | Self::Error | Self::Exec)
    }
}

/// Returns the header of a frame.
pub const fn header(kind: Kind, session: u8, number: u32) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = number.to_be_bytes();
    [kind as u8, session, 0, 0, a, b, c, d]
}

/// Parses a header: kind, session and number; `None` if the kind is unknown.
pub fn parse([kind, session, _, _, a, b, c, d]: [u8; HEADER_BYTES]) -> Option<(Kind, u8, u32)> {
    KINDS.get(usize::from(kind)).map(|kind| (*kind, session, u32::from_be_bytes([a, b, c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_parsed_as_it_was_made() {
        for kind in KINDS {
            for number in [0, 1, 255, 256, u32::MAX] {
                for session in [0, 8, 255] {
                    assert_eq!(parse(header(kind, session, number)), Some((kind, session, number)));
                }
            }
        }
        assert_eq!(header(Kind::Error, 5, 0x1234), [2, 5, 0, 0, 0, 0, 0x12, 0x34]);
        assert_eq!(KINDS.map(Kind::has_data), [true, true, true, false, false, false, true]);
    }

    #[test]
    fn unknown_kinds_are_refused() {
        assert_eq!(parse([7, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(parse([0xff; HEADER_BYTES]), None);
    }
}
