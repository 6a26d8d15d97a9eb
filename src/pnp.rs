//! /proc/net/pnp: the DNS servers and domain that the kernel received when it configured the network (`ip=`;
//! net/ipv4/ipconfig.c, pnp_seq_show()).

use crate::dhcp::lease::Lease;
use crate::dhcp::names;
use crate::ipv4;
use crate::text::{split, strip_prefix};

/// Bytes of the file that are read. Its longest content is shorter: three DNS servers and a domain of 64 bytes.
pub const MAX_PNP: usize = 512;

/// Appends the file's DNS servers and domain to a lease. (`bootserver` is the TFTP server, not the DHCP server.)
pub fn parse(text: &[u8], lease: &mut Lease) {
    for line in split(text, b'\n') {
        if let Some(domains) = strip_prefix(line, b"domain ") {
            names::domains(domains, &mut lease.search);
        }
        if let Some(server) = strip_prefix(line, b"nameserver ").and_then(ipv4::parse) {
            let _ = lease.name_servers.push(server);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipv4::Address;

    #[test]
    fn dns_servers_and_domain_of_the_kernel_are_read() {
        let mut lease = Lease::default();
        parse(
            b"#PROTO: DHCP\ndomain a.test\nnameserver 10.0.2.3\nnameserver 10.0.2.4\nbootserver 10.0.2.2\n",
            &mut lease,
        );
        assert_eq!(lease.name_servers, [Address([10, 0, 2, 3]), Address([10, 0, 2, 4])]);
        assert_eq!((&lease.search[..], lease.server), (&b" a.test"[..], Address::UNSPECIFIED));
    }

    #[test]
    fn a_file_without_servers_and_malformed_lines_add_nothing() {
        let mut lease = Lease::default();
        parse(b"#MANUAL\n", &mut lease);
        assert!(lease.name_servers.is_empty() && lease.search.is_empty());
        parse(b"nameserver 10.0.2\ndomain -bad\nnameserver\n\n", &mut lease);
        assert!(lease.name_servers.is_empty() && lease.search.is_empty());
    }
}
