//! `notify=`: the host's address for notifications of the workload's start and of the machine's end.
//!
//! | text | receiver |
//! |---|---|
//! | `vsock:CID:PORT`, `vsock-stream:…`, `vsock-dgram:…`, `vsock-seqpacket:…` | a receiver of sd_notify(3) messages, such as systemd-vmspawn |
//! | `isa:0xPORT` | QEMU's isa-debug-exit |
//!
//! The vsock forms are those of systemd's credential `vmm.notify_socket` (systemd.system-credentials(7)).

use crate::text::{hexadecimal, number, position, split, strip_prefix};

/// The host's address for notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The I/O port of QEMU's isa-debug-exit. Writing N to it ends QEMU with status 2N+1.
    DebugExit(u32),
    /// A socket of vsock(7).
    Vsock {
        /// Its SOCK_* type.
        kind: u32,
        /// Its CID; 2 is the host.
        cid: u32,
        /// Its port.
        port: u32,
    },
}

/// The types of sockets, indexed by their SOCK_* numbers (include/linux/net.h); a dash is a type that vsock does not have.
const KINDS: &[u8] = b"vsock vsock-stream vsock-dgram - - vsock-seqpacket";
/// SOCK_SEQPACKET, systemd's default type: the vsock transports to a host have no datagrams.
const SEQPACKET: u32 = 5;

/// Parses the value of `notify=`. Returns `None` if it has none of the forms.
pub fn parse(text: &[u8]) -> Option<Host> {
    if let Some(port) = strip_prefix(text, b"isa:0x") {
        return Some(Host::DebugExit(hexadecimal(port)?.get() as u32)); // The kernel refuses ports of more than 16 bits.
    }
    let mut fields = split(text, b':');
    let kind = match position(KINDS, b' ', fields.next()?)? {
        0 => SEQPACKET,
        kind => kind,
    };
    Some(Host::Vsock { kind, cid: number(fields.next()?)?, port: number(fields.rest())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_the_forms_of_systemd_and_qemu() {
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
    fn malformed_addresses_are_refused() {
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
