//! The exit of a process: wait4(2)'s status, and the exit code of a shell and docker.

/// The status word of a child that ended or stopped (include/uapi/linux/wait.h; wait(2)): a signal in the lowest seven bits,
/// or an exit status in the byte above; 0x7f in the lowest byte is a child that stopped, by the signal in the byte above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// The signal that stopped it; `None` when it ended.
    pub fn stopped_by(self) -> Option<u8> {
        let [lowest, signal, ..] = self.0.to_le_bytes();
        (lowest == 0x7f).then_some(signal)
    }

    /// The exit code of a shell for one that ended: the status, or 128 + the signal.
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
    fn codes_are_those_of_a_shell() {
        assert_eq!(Status(7 << 8).code(), 7);
        assert_eq!(Status(9).code(), 137);
        assert_eq!(Status(11 | 0x80).code(), 139); // with a core dump
        assert_eq!(Status(64).code(), 192);
    }

    #[test]
    fn what_stopped_did_not_end() {
        assert_eq!(Status(20 << 8 | 0x7f).stopped_by(), Some(20));
        assert_eq!(Status(20 << 8).stopped_by(), None);
        assert_eq!(Status(9).stopped_by(), None);
    }
}
