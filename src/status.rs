//! The status of a child (wait4(2)), and its exit code for a shell and docker.

/// The status word of a child that exited or stopped (include/uapi/linux/wait.h; wait(2)). The lowest seven bits are the signal
/// that killed it; if they are 0, the next byte is the exit status. If the lowest byte is 0x7f, the next byte is the signal that
/// stopped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// Returns the signal that stopped the child; `None` if it exited or was killed.
    pub fn stopped_by(self) -> Option<u8> {
        let [lowest, signal, ..] = self.0.to_le_bytes();
        (lowest == 0x7f).then_some(signal)
    }

    /// Returns the exit code of a child that exited or was killed, as in a shell: the status, or 128 + the signal.
    pub fn code(self) -> u8 {
        let [lowest, status, ..] = self.0.to_le_bytes();
        match lowest & 0x7f {
            0 => status,
            signal => 0x80 | signal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_as_in_a_shell() {
        assert_eq!(Status(7 << 8).code(), 7);
        assert_eq!(Status(9).code(), 137);
        assert_eq!(Status(11 | 0x80).code(), 139); // with a core dump
        assert_eq!(Status(64).code(), 192);
    }

    #[test]
    fn a_stopped_child_has_not_exited() {
        assert_eq!(Status(20 << 8 | 0x7f).stopped_by(), Some(20));
        assert_eq!(Status(20 << 8).stopped_by(), None);
        assert_eq!(Status(9).stopped_by(), None);
    }
}
