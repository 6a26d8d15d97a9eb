//! How a process ended, as wait4(2) tells it and as a shell and docker count it.

/// The status word of a child that ended (include/uapi/linux/wait.h; wait(2), "Status information").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It called exit with this status.
    Exited(u8),
    /// It was killed by this signal.
    Killed(u8),
}

/// The workload could not be started: something failed before its program was looked for (docker's 125).
pub const NOT_STARTED: u8 = 125;
/// The program was found and could not be run (docker's 126).
pub const NOT_EXECUTABLE: u8 = 126;
/// The program was not found (docker's 127).
pub const NOT_FOUND: u8 = 127;

impl Ending {
    /// The exit code of a shell: the status, or 128 + the signal.
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => 128u8.saturating_add(signal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_a_shell() {
        assert_eq!(Ending::Exited(7).code(), 7);
        assert_eq!(Ending::Killed(9).code(), 137);
        assert_eq!(Ending::Killed(64).code(), 192);
    }
}
