//! `notify=`: the host's address for notifications that the workload runs, and how the machine ends.
//!
//! | text | receiver |
//! |---|---|
//! | `vsock:CID:PORT`, `vsock-stream:…`, `vsock-dgram:…`, `vsock-seqpacket:…` | a receiver of sd_notify(3) messages, such as systemd-vmspawn |
//! | `isa:0xPORT` | QEMU's isa-debug-exit |
//!
//! The first are the forms of systemd's credential `vmm.notify_socket` (systemd.system-credentials(7)).

use crate::text::{hexadecimal, number, position, split, strip_prefix};

/// The host's address for notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// An I/O port: a write there ends the machine, with that exit status.
    DebugExit(u32),
    /// A socket of vsock(7).
    Vsock {
        /// Its SOCK_* type.
        kind: u32,
        /// Its CID; 2 is the host.
        cid: u32,
        /// Its port there.
        port: u32,
    },
}

/// The kinds of sockets at the places of their numbers (include/linux/net.h); the kernel has none for a dash.
const KINDS: &[u8] = b"vsock vsock-stream vsock-dgram - - vsock-seqpacket";
/// systemd's default for a kind that is not given: the transports to a host have no datagrams.
const SEQPACKET: u32 = 5;

/// Parses the text.
pub fn parse(text: &[u8]) -> Option<Host> {
    if let Some(port) = strip_prefix(text, b"isa:0x") {
        return Some(Host::DebugExit(hexadecimal(port)?.get() as u32)); // The kernel refuses what has more than 16 bits.
    }
    let mut fields = split(text, b':');
    let kind = match position(KINDS, b' ', fields.next()?)? as u32 {
        0 => SEQPACKET,
        kind => kind,
    };
    Some(Host::Vsock { kind, cid: number(fields.next()?)?, port: number(fields.rest())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_systemds_forms_and_qemus() {
        let vsock = |kind| Some(Host::Vsock { kind, cid: 2, port: 1234 });
        for (text, host) in [
            ("vsock:2:1234", vsock(5)),
            ("vsock-stream:2:1234", vsock(1)),
            ("vsock-dgram:2:1234", vsock(2)),
            ("vsock-seqpacket:2:1234", vsock(5)),
            ("vsock:0:4294967295", Some(Host::Vsock { kind: 5, cid: 0, port: u32::MAX })),
            ("isa:0xf4", Some(Host::DebugExit(0xf4))),
            ("isa:0x501", Some(Host::DebugExit(0x501))),
            ("isa:0xFFFF", Some(Host::DebugExit(0xffff))),
        ] {
            assert_eq!(parse(text.as_bytes()), host, "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            "vsock",
            "vsock:",
            "vsock:2",
            "vsock:2:",
            "vsock::1234",
            "vsock:2:1234:5",
            "vsock:2:4294967296",
            "vsock:-1:1234",
            "vsock-raw:2:1234",
            "tcp:2:1234",
            "isa",
            "isa:",
            "isa:f4",
            "isa:244",
            "isa:0x",
            "isa:0x0",
            "isa:0xf4:4",
            "isa:0xf4 ",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
