//! The host name, the files resolv.conf, hosts and hostname in the root's /etc, and the lease in /run/whit/net.env for scripts, if
//! there is a /run/whit.

use rustix::system::uname;
use ufmt::uWrite;
use whit::contract::{LEASE_FILE, MARK};
use whit::dhcp::lease::Lease;
use whit::dhcp::names::{self, MAX_SEARCH, Search};
use whit::features::Feature;
use whit::ipv4::{self, Address};
use whit::ipv6;
use whit::options::{Given, Options, Sources, Value};
use whit::text::Text;

use crate::console::{Line, number_line};
use crate::hostname;
use crate::message::part;
use crate::network::Network;
use crate::own_files;
use crate::sys::memory::MAX_LINE;

/// The limit of DNS servers in resolv.conf: resolvers use three (resolv.conf(5), MAXNS).
const MAX_NAME_SERVERS: usize = 5;
/// The longest such line: an IPv6 address with the name of its interface.
const LONGEST: usize = "nameserver 2001:db8:1111:2222:3333:4444:5555:6666%\n".len() + 15;
// The file fits into the text buffer, whose end would be cut.
const _: () = assert!(MARK.len() + MAX_NAME_SERVERS * LONGEST + "search\n".len() + MAX_SEARCH <= MAX_LINE);

/// Returns whether there is room for another DNS server, and takes it. Without a search list there is room for all.
#[cfg_attr(feature = "names", inline(never))]
fn has_room(room: &mut usize) -> bool {
    let has_room = !Feature::Names.is_enabled() || *room > 0;
    *room = room.saturating_sub(1);
    has_room
}

/// Sets the host name and writes the files.
pub(crate) fn write(sources: &Sources<'_>, options: &Options<'_>, network: Option<&Network<'_>>) {
    let lease = network.and_then(Network::lease);
    hostname::set(options.value(Value::Hostname), lease.map_or(b"", |lease| &lease.hostname));
    // An image of one program may have no /etc, but its resolver reads these files: /etc is created.
    let uname = uname();
    let hostname = Text(uname.nodename().to_bytes());
    part!("{}\n", hostname);
    own_files::write(c"etc/hostname", false);

    let _ = Line.write_str(MARK);
    part!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    match lease {
        Some(lease) => part!("{} {}\n", lease.address, hostname),
        None => part!("127.0.1.1 {}\n", hostname),
    }
    own_files::write(c"etc/hosts", false);

    // Written without a lease too: the DNS servers of a lost lease are removed.
    let _ = Line.write_str(MARK);
    // docker replaces the image's own always, and the init as soon as there are servers.
    let mut room = MAX_NAME_SERVERS;
    for Given { mut text, .. } in sources.strongest_first(b"nameserver") {
        if Feature::StaticIp.is_enabled()
            && let [b'[', bare @ .., b']'] = text
        {
            text = bare;
        }
        if (ipv4::parse(text).is_some() || Feature::StaticIp.is_enabled() && ipv6::parse(text).is_some())
            && has_room(&mut room)
        {
            part!("nameserver {}\n", Text(text));
        }
    }
    for server in lease.map_or(&[][..], |lease| &lease.name_servers).iter().take_while(|_| has_room(&mut room)) {
        address_line("nameserver ", *server);
    }
    if let (true, Some(network)) = (Feature::Ipv6.is_enabled(), network) {
        for server in network.name_servers().iter().take_while(|_| has_room(&mut room)) {
            part!("nameserver {}", &server.address);
            if server.address.is_link_local() {
                part!("%{}", Text(network.name_of(server.interface)));
            }
            part!("\n");
        }
    }
    if Feature::Names.is_enabled() {
        let mut search = Search::new();
        if let Some(lease) = lease {
            names::domains(&lease.search, &mut search);
        }
        if let (true, Some(network)) = (Feature::Ipv6.is_enabled(), network) {
            names::domains(network.search(), &mut search);
        }
        if !search.is_empty() {
            part!("search{}\n", Text(&search));
        }
    }
    own_files::write(c"etc/resolv.conf", room < MAX_NAME_SERVERS);
    if Feature::LeaseFile.is_enabled() {
        write_lease(lease, network.and_then(Network::address6));
    }
}

/// Writes the lease as shell variables: digits, dots and colons only, no text from a server; empty after the lease is lost.
fn write_lease(lease: Option<&Lease>, address6: Option<&ipv6::Address>) {
    if !own_files::has_run_whit() {
        return;
    }
    let _ = Line.write_str(MARK);
    if let Some(lease) = lease {
        address_line("ADDRESS=", lease.address);
        number_line("PREFIX=", lease.prefix_length.into());
        if lease.server != Address::UNSPECIFIED {
            address_line("SERVER=", lease.server);
        }
        if let Some(router) = lease.router() {
            address_line("ROUTER=", router);
        }
        numbered_lines("DNS", &lease.name_servers);
        numbered_lines("NTP", &lease.time_servers);
        if let Some(times) = lease.times {
            number_line("RENEWAL=", times.renewal_s);
            number_line("REBINDING=", times.rebinding_s);
            number_line("EXPIRY=", times.expiry_s);
        }
    }
    if let (true, Some(address6)) = (Feature::Dhcpv6.is_enabled(), address6) {
        part!("ADDRESS6={}\n", address6);
    }
    own_files::write(LEASE_FILE, false);
}

/// Appends a line `KEYnumber=address` for each server.
#[inline(never)]
fn numbered_lines(key: &str, servers: &[Address]) {
    for (number, server) in (1u32..).zip(servers) {
        part!("{}{}={}\n", key, number, *server);
    }
}

fn address_line(key: &str, address: Address) {
    part!("{}{}\n", key, address);
}
