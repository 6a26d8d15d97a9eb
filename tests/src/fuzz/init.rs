//! Targets in the init's library.

use whit::argv::{self, Strings};
use whit::arp;
use whit::cmdline;
use whit::dhcp::client::{Client, Timing};
use whit::dhcp::lease::Lease;
use whit::dhcp::wire::Message;
use whit::ipv4::{self, Address, UdpChecksum};
use whit::ipv6::NameServers;
use whit::options::Sources;
use whit::record::Record;
use whit::{
    dhcpv6, dirent, interpreter, ip, ipv6, member, modalias, notify, passwd, pnp, probe, rlimit, root, rtnetlink, sntp,
    verity, volume,
};

/// Splits the input at its first NUL.
fn halves(input: &[u8]) -> (&[u8], &[u8]) {
    let middle = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    (&input[..middle], input.get(middle + 1..).unwrap_or_default())
}

/// Calls everything that the init calls with the options of some sources.
fn use_sources(sources: &Sources<'_>) {
    let options = sources.options(&mut |source, complaint| {
        let _ = (source.name(), complaint.problem.name());
    });
    let _ = options.net();
    let (mut argv, mut env) = (<Strings>::new(), <Strings>::new());
    let _ = argv::arguments(sources, &mut argv);
    let _ = argv::variables(sources, b"host", true, &mut env);
    for text in argv.iter().chain(env.iter()) {
        assert!(!text.contains(&0), "a string of execve(2) has a NUL in it");
    }
    for given in sources.strongest_first(b"").chain(sources.weakest_first(b"")) {
        let _ = volume::parse(given.text, given.name == b"tmpfs").map(|volume| volume.spec());
        let _ = rlimit::parse(given.text);
    }
}

/// Parses the kernel command line.
pub(super) fn command_line(input: &[u8]) {
    let mut line = input.to_vec();
    let (command_line, arguments) = cmdline::decode(&mut line);
    use_sources(&Sources::new([arguments, command_line, Record::default(), Record::default()]));
}

/// Parses the run record of an image; the command line is empty.
pub(super) fn record(input: &[u8]) {
    let mut text = input.to_vec();
    let image = Record::decode(&mut text);
    let lines = input.iter().filter(|byte| **byte == b'\n').count() + 1;
    assert!(image.lines().all(|line| line.number as usize <= lines), "a line has a number past the last");
    use_sources(&Sources::new([Record::default(), Record::default(), Record::default(), image]));
}

/// Parses `root=` and the other values that name a device.
pub(super) fn root(input: &[u8]) {
    let (value, fstype) = halves(input);
    let _ = root::parse(value, fstype);
    let _ = root::device_number(value);
    let _ = root::is_written(value, 1, fstype);
    let _ = volume::parse(value, false).map(|volume| volume.spec());
}

/// Identifies the start of a disk: superblocks and partition tables.
pub(super) fn probe(input: &[u8]) {
    let mut place: probe::Place = [0; size_of::<probe::Place>()];
    let length = input.len().min(place.len());
    place[..length].copy_from_slice(&input[..length]);
    for at in [0, probe::SECOND_PLACE] {
        if let Some(format) = probe::identify(&place, at) {
            let _ = (format.uuid(&place), format.label(&place), format.disk(&place));
            let _ = verity::file_system_blocks(format, &place);
        }
    }
    for number in [0, 1, 4, u32::MAX] {
        let _ = (probe::gpt_entry(&place, 512, number), probe::msdos_uuid(&place, number));
    }
    let _ = probe::gpt_uuid(&place);
    let blocks = u64::from_le_bytes(*place[verity::DATA_BLOCKS_AT..].first_chunk().unwrap());
    assert!(verity::salt(&place, blocks).is_none_or(|salt| salt.len() <= verity::MAX_SALT));
    for size in [0, input.len() as u64, u64::MAX] {
        let _ = member::check(size, |at| {
            let bytes = usize::try_from(at).ok().and_then(|at| input.get(at..)?.first_chunk());
            bytes.copied().unwrap_or_default()
        });
    }
}

/// Finds the interpreter of a program.
pub(super) fn interpreter(input: &[u8]) {
    let start = &input[..input.len().min(interpreter::START)];
    if let Some(name) = interpreter::interpreter(start) {
        assert!(start.windows(name.len().max(1)).any(|window| window == name) || name.is_empty());
    }
}

/// Looks up a user. The input is USER, a NUL, passwd, a NUL, group.
pub(super) fn passwd(input: &[u8]) {
    let (user, files) = halves(input);
    let (accounts, group) = halves(files);
    let mut groups = passwd::Groups::new();
    if let Ok(account) = passwd::account(user, &mut Parts::of(accounts), &mut Parts::of(group), &mut groups) {
        assert!(account.uid <= i32::MAX.cast_unsigned() && account.gid <= i32::MAX.cast_unsigned());
    }
}

/// The lines of an account file, cut after each comma.
struct Parts<'a> {
    /// Each with true if it continues the previous one.
    parts: Vec<(&'a [u8], bool)>,
    next: usize,
}

impl<'a> Parts<'a> {
    fn of(text: &'a [u8]) -> Self {
        let lines = text.split(|byte| *byte == b'\n');
        let parts = lines.flat_map(|line| line.split(|byte| *byte == b',').enumerate());
        Self { parts: parts.map(|(place, part)| (part, place > 0)).collect(), next: 0 }
    }

    fn part(&self) -> (&'a [u8], bool) {
        self.next.checked_sub(1).and_then(|place| self.parts.get(place)).copied().unwrap_or_default()
    }
}

impl passwd::Lines for Parts<'_> {
    fn advance(&mut self) -> bool {
        self.next += 1;
        self.next <= self.parts.len()
    }

    fn line(&self) -> &[u8] {
        self.part().0
    }

    fn continues(&self) -> bool {
        self.part().1
    }
}

/// Parses the values of options that have a grammar of their own.
pub(super) fn option_values(input: &[u8]) {
    let _ = notify::parse(input);
    let _ = rlimit::parse(input);
    let _ = ipv4::parse(input);
    let mut lease = Lease::default();
    ip::parse(input).add_to(&mut lease);
    assert!(lease.prefix_length <= 32);
    let _ = ipv6::parse(input);
    let (text, _) = halves(input);
    for word in text.split(|byte| *byte == b',') {
        let _ = volume::mount_option(word);
    }
}

/// Parses a packet from the link: ARP, or UDP over IPv4.
pub(super) fn datagram(input: &[u8]) {
    let _ = arp::claim(input);
    for checksum in [UdpChecksum::Verify, UdpChecksum::NotComputed] {
        if let Some(datagram) = ipv4::datagram(input, checksum) {
            assert!(datagram.payload.len() <= input.len());
        }
    }
}

/// Parses a DHCP message, and makes a lease of it.
pub(super) fn dhcp_message(input: &[u8]) {
    let Some(message) = Message::parse(input) else { return };
    let _ = (message.xid(), message.yiaddr(), message.chaddr(), message.sum());
    for code in 0..=u8::MAX {
        let _ = (message.option(code), message.address(code), message.number(code), message.seconds(code));
    }
    let mut lease = Lease::default();
    if lease.take_address(&message, Address([10, 0, 0, 1])).is_some() {
        let _ = lease.take_rest(&message);
        assert!(lease.address.is_host() && (1..=32).contains(&lease.prefix_length), "{lease:?}");
        assert!(lease.name_servers.iter().chain(&lease.time_servers).all(|server| server.is_host()), "{lease:?}");
    }
}

/// Passes a server's messages to a client. For each message the input has a byte of time in units of 16 ms, two bytes of length, and
/// that many bytes of message; its xid is replaced by the client's.
pub(super) fn dhcp_client(input: &[u8]) {
    let timing = Timing { ipv6_only: true, first_gap_ms: 250, probe_ms: 0 };
    let mut client = Client::new(&[2, 0, 0, 0, 0, 1], 1, timing, 0);
    let (mut now_ms, mut rest) = (0u64, input);
    client.link(0, true);
    while let [wait, low, high, tail @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (message, tail) = tail.split_at(length);
        rest = tail;
        now_ms += u64::from(*wait) * 16;
        client.timeout(now_ms);
        let mut message = message.to_vec();
        if let Some(place) = message.get_mut(4..8) {
            place.copy_from_slice(&client.query().xid.to_be_bytes());
        }
        if let Some(message) = Message::parse(&message) {
            client.receive(now_ms, &message, Address([10, 0, 0, 1]));
        }
        let _ = (client.state(), client.deadline_ms());
        if let Some(lease) = client.lease() {
            assert!(lease.address.is_host(), "{lease:?}");
        }
    }
    let _ = client.release();
}

/// Passes a server's messages to a DHCPv6 client, as [`dhcp_client`] does; a message begins with its type and its xid.
pub(super) fn dhcpv6_client(input: &[u8]) {
    let mut client = dhcpv6::client::Client::new([2, 0, 0, 0, 0, 1], 1);
    let (mut now_ms, mut rest) = (0u64, input);
    client.link(0, true);
    client.advertised(0, dhcpv6::client::MANAGED);
    while let [wait, low, high, tail @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (message, tail) = tail.split_at(length);
        rest = tail;
        now_ms += u64::from(*wait) * 16;
        client.timeout(now_ms);
        let mut query = dhcpv6::client::Encoded::new();
        client.encode(now_ms, &mut query);
        let mut message = message.to_vec();
        if let (Some(place), Some(xid)) = (message.get_mut(1..4), query.get(1..4)) {
            place.copy_from_slice(xid);
        }
        if let Some(message) = dhcpv6::wire::Message::parse(&message) {
            client.receive(now_ms, &message);
        }
        assert_eq!(*client.address() != ipv6::Address::default(), client.has_lease());
    }
    client.release(now_ms);
}

/// Parses a datagram of the kernel's rtnetlink.
pub(super) fn netlink(input: &[u8]) {
    let mut servers = NameServers::default();
    for message in rtnetlink::messages(input) {
        match message {
            rtnetlink::Message::Link(link) => {
                let _ = (link.interface(), link.carrier(), link.up(), link.name(), link.mtu(), link.ethernet());
                let _ = link.router_flags();
                let _ = (link.carrier_ups(), link.by_software(), link.is_qemu_e1000());
                let _ = link.is_meant(b"eth0", [0; 6]);
            }
            rtnetlink::Message::RouterOption(interface, option) => drop(servers.update(0, interface, option)),
            _ => {}
        }
    }
}

/// Parses options of router advertisements. The input has for each a byte of seconds, a byte of length, and that many bytes.
pub(super) fn router_advertisement(input: &[u8]) {
    let mut servers = NameServers::default();
    let (mut now_ms, mut rest) = (0u64, input);
    while let [wait, length, tail @ ..] = rest {
        let (option, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        now_ms += u64::from(*wait) * 1000;
        let _ = servers.update(now_ms, u32::from(*wait & 1), option);
        assert!(
            servers.deadline_ms() >= now_ms || servers.expire(now_ms, 0),
            "a deadline in the past at which no server expires"
        );
    }
    let _ = servers.expire(now_ms, 1);
}

/// Parses a reply to an SNTP query.
pub(super) fn sntp(input: &[u8]) {
    let _ = sntp::time_ns(input, 0);
    if let Some(nonce) = input.get(24..32).and_then(|nonce| nonce.first_chunk()) {
        let _ = sntp::time_ns(input, u64::from_be_bytes(*nonce));
    }
}

/// Matches a pattern against a device's modalias. The input is the pattern, a NUL, and the modalias.
pub(super) fn modalias(input: &[u8]) {
    let (pattern, device) = halves(input);
    if modalias::matches(pattern, device) && !pattern.iter().any(|byte| b"*?[".contains(byte)) {
        assert_eq!(pattern.len(), device.len(), "a pattern without wildcards matches only a modalias of its length");
    }
}

/// Parses tables that the kernel writes: directory entries and /proc/net/pnp.
pub(super) fn kernel_tables(input: &[u8]) {
    for name in dirent::names(input) {
        assert!(name.len() <= input.len());
    }
    pnp::parse(input, &mut Lease::default());
}
