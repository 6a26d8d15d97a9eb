//! ARP packets (RFC 826) for IPv4 on Ethernet: address probes and conflicts (RFC 5227 §2.1.1).

use crate::dhcp::wire::HardwareAddress;
use crate::ipv4::Address;
use crate::text::strip_prefix;

/// The length of a packet for IPv4 on Ethernet, in bytes.
pub const PACKET: usize = 28;
/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// Encodes a request for an address. A probe has 0.0.0.0 as the sender's, so that no ARP cache changes (RFC 5227 §2.1.1). An
/// announcement has the address itself: neighbours that know it by another hardware address learn this one (§2.3).
pub fn request(own: HardwareAddress, sender: Address, address: Address) -> [u8; PACKET] {
    let [k0, k1, k2, k3, k4, k5] = KIND;
    let ([o0, o1, o2, o3, o4, o5], [s0, s1, s2, s3], [a0, a1, a2, a3]) = (own, sender.0, address.0);
    #[rustfmt::skip]
    let packet = [
        k0, k1, k2, k3, k4, k5, 0, 1, // a request
        o0, o1, o2, o3, o4, o5, s0, s1, s2, s3, // the sender: hardware address, address
        0, 0, 0, 0, 0, 0, a0, a1, a2, a3, // the target
    ];
    packet
}

/// Parses a claim to an address. Returns the hardware address of the host that uses the address or probes for it, and the
/// address. Returns `None` for anything but ARP. Bytes after the packet are Ethernet padding.
pub fn claim(packet: &[u8]) -> Option<(HardwareAddress, Address)> {
    let rest = strip_prefix(packet, &KIND)?.first_chunk::<{ PACKET - KIND.len() }>()?;
    let (_operation, rest) = rest.split_first_chunk::<2>()?;
    let (hardware, rest) = rest.split_first_chunk()?;
    let (sender, rest) = rest.split_first_chunk().map(|(sender, rest)| (Address(*sender), rest))?;
    let target = Address(*rest.get(size_of::<HardwareAddress>()..)?.first_chunk()?);
    Some((*hardware, if sender == Address::UNSPECIFIED { target } else { sender }))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    const OWN: HardwareAddress = [2, 0, 0, 0, 0, 7];
    const WANTED: Address = Address([10, 55, 0, 77]);

    #[test]
    fn a_probe_has_these_bytes() {
        let expected = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 55, 0, 77];
        assert_eq!(request(OWN, Address::UNSPECIFIED, WANTED), expected);
        assert_eq!(claim(&expected), Some((OWN, WANTED)), "a probe is a claim");
        let announcement = request(OWN, WANTED, WANTED);
        assert_eq!(announcement[14..], [10, 55, 0, 77, 0, 0, 0, 0, 0, 0, 10, 55, 0, 77]);
        assert_eq!(announcement[..14], expected[..14]);
    }

    #[test]
    fn replies_and_announcements_claim_the_sender_address() {
        let mut reply = request(OWN, Address::UNSPECIFIED, Address([10, 55, 0, 1]));
        reply[14..18].copy_from_slice(&WANTED.0);
        for operation in [1, 2] {
            reply[7] = operation;
            assert_eq!(claim(&reply), Some((OWN, WANTED)));
        }
        let padded: std::vec::Vec<u8> = reply.iter().copied().chain([0; 18]).collect();
        assert_eq!(claim(&padded), Some((OWN, WANTED)));
    }

    #[test]
    fn truncated_packets_and_other_kinds_claim_nothing() {
        let whole = request(OWN, Address::UNSPECIFIED, WANTED);
        for length in 0..whole.len() {
            assert_eq!(claim(&whole[..length]), None);
        }
        for place in 0..KIND.len() {
            let mut other = whole;
            other[place] ^= 1;
            assert_eq!(claim(&other), None);
        }
    }
}
