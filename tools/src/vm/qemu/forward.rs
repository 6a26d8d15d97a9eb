//! Forwarded ports, in the form of `docker run -p`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// The protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the host that is forwarded to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The protocol.
    pub protocol: Protocol,
    /// The host's listening address.
    pub address: Ipv4Addr,
    /// The host's port.
    pub host: u16,
    /// The guest's port.
    pub guest: u16,
}

impl FromStr for Forward {
    type Err = String;

    /// Parses `[ADDR:]HOST:GUEST[/tcp|/udp]`; the default address is 127.0.0.1.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ports, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some((_, other)) => return Err(format!("\"{other}\" is neither tcp nor udp")),
        };
        let port = |text: &str| match text.parse() {
            _ if text.trim_start_matches('-').contains('-') => {
                Err(format!("\"{text}\" is a range: give each port with its own -p"))
            }
            Ok(0) | Err(_) => Err(format!("\"{text}\" is not a port from 1 to 65535, as in 8080:80")),
            Ok(port) => Ok(port),
        };
        let parts: Vec<&str> = ports.split(':').collect();
        let (address, host, guest) = match parts[..] {
            [host, guest] => (Ipv4Addr::LOCALHOST, host, guest),
            [address, host, guest] => {
                let parsed = address.parse().map_err(|_| format!("\"{address}\" is not an IPv4 address"))?;
                (parsed, host, guest)
            }
            [guest] if !guest.is_empty() => {
                return Err(format!("the host's port is missing: as in 8080:{guest}"));
            }
            _ => return Err("not HOST:GUEST or ADDR:HOST:GUEST, as in 8080:80; an address is IPv4".to_owned()),
        };
        Ok(Self { protocol, address, host: port(host)?, guest: port(guest)? })
    }
}

/// Formats a forward for QEMU's `hostfwd=`.
impl fmt::Display for Forward {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, address, host, guest } = self;
        let protocol = match protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        write!(formatter, "{protocol}:{address}:{host}-:{guest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_checked() {
        let forward =
            |protocol, host, guest, address: [u8; 4]| Ok(Forward { protocol, address: address.into(), host, guest });
        assert_eq!("8080:80".parse(), forward(Protocol::Tcp, 8080, 80, [127, 0, 0, 1]));
        assert_eq!("10.0.0.1:1:65535/tcp".parse(), forward(Protocol::Tcp, 1, 65535, [10, 0, 0, 1]));
        for (text, reason) in [
            ("80", "the host's port is missing: as in 8080:80"),
            ("127.0.0.1::80", "\"\" is not a port from 1 to 65535, as in 8080:80"),
            ("8000-8010:80", "\"8000-8010\" is a range: give each port with its own -p"),
            ("[::1]:8080:80", "not HOST:GUEST or ADDR:HOST:GUEST, as in 8080:80; an address is IPv4"),
        ] {
            assert_eq!(text.parse::<Forward>(), Err(reason.to_owned()));
        }
        assert_eq!("53:53/udp".parse(), forward(Protocol::Udp, 53, 53, [127, 0, 0, 1]));
        for (text, word) in [
            ("", "HOST:GUEST"),
            ("1:2:3:4", "HOST:GUEST"),
            ("0:80", "\"0\" is not a port"),
            ("80:65536", "\"65536\" is not a port"),
            ("80:", "\"\" is not a port"),
            ("-1:80", "\"-1\" is not a port"),
            ("localhost:80:80", "\"localhost\" is not an IPv4 address"),
            ("256.0.0.1:80:80", "is not an IPv4 address"),
            ("80:80/sctp", "\"sctp\" is neither tcp nor udp"),
        ] {
            let error = text.parse::<Forward>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_forward_has_the_format_of_qemu() {
        let forward: Forward = "0.0.0.0:5353:53/udp".parse().unwrap();
        assert_eq!(forward.to_string(), "udp:0.0.0.0:5353-:53");
    }
}
