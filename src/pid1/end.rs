//! How the machine ends.

/// The ways in which a machine ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    PowerOff,
    Reboot,
    Halt,
    Kexec,
}
