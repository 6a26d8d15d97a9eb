//! Pseudo-terminals.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{InputModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

/// Opens a pseudo-terminal: the controlling side and the program's side.
#[must_use]
pub fn terminal() -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags).expect("a terminal");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("its other side");
    let name = ptsname(&ours, Vec::new()).expect("its name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(name, flags, Mode::empty()).expect("its other side");
    (ours, theirs)
}

/// Sets the size of a terminal; its foreground process group gets SIGWINCH.
pub fn resize(terminal: impl AsFd, rows: u16, columns: u16) {
    tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).expect("a terminal");
}

/// Sets IUTF8 of a terminal: one character that is erased is all its bytes.
pub fn set_utf8(terminal: impl AsFd) {
    let mut settings = tcgetattr(&terminal).expect("a terminal");
    settings.input_modes |= InputModes::IUTF8;
    tcsetattr(&terminal, OptionalActions::Now, &settings).expect("a terminal");
}

/// Appends the output of a terminal to `output` until it contains `marker`.
pub fn read_until(terminal: &OwnedFd, output: &mut String, marker: &str) {
    let mut room = [0; 4096];
    while !output.contains(marker) {
        // A terminal reads as EIO when all descriptors of its other side are closed.
        let count = rustix::io::read(terminal, &mut room).unwrap_or(0);
        assert!(count > 0, "no \"{marker}\": {output}");
        output.push_str(&String::from_utf8_lossy(&room[..count]));
    }
}
