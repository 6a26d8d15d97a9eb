//! Names to addresses: /etc/hosts, then DNS (RFC 1035, RFC 3596) with the servers of /etc/resolv.conf.
//!
//! A static program has no NSS: glibc's resolver would add 170 kB, and loads libraries that an initramfs lacks. Left out: TCP,
//! DNSSEC, `options` and `sortlist`.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom as _, SystemRandom};

/// Servers that are asked, as in resolv.conf(5).
const MAX_SERVERS: usize = 3;
/// Search domains that are tried.
const MAX_DOMAINS: usize = 6;
/// Records of an answer that are looked at.
const MAX_RECORDS: usize = 64;
/// Rounds over all servers, and the time for each answer.
const ROUNDS: u32 = 3;
const ANSWER_TIME: Duration = Duration::from_secs(2);
const A: u16 = 1;
const AAAA: u16 = 28;
const IN: u16 = 1;
const HEADER: usize = 12;

/// Returns the addresses of a host in the order in which they are to be tried.
///
/// # Errors
/// One line.
pub fn addresses(host: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let listed = in_hosts(&read("/etc/hosts"), host);
    if !listed.is_empty() {
        return Ok(listed);
    }
    let configuration = read("/etc/resolv.conf");
    let servers = words(&configuration, "nameserver").filter_map(|word| word.parse().ok()).take(MAX_SERVERS);
    let servers: Vec<IpAddr> = servers.collect();
    if servers.is_empty() {
        return Err(format!("{host}: no name server in /etc/resolv.conf"));
    }
    let mut last = format!("{host}: no such name");
    for name in candidates(host, &configuration) {
        match ask(&name, &servers) {
            Ok(found) if !found.is_empty() => return Ok(found),
            Ok(_) => {}
            Err(error) => last = format!("{host}: {error}"),
        }
    }
    Err(last)
}

/// Returns the addresses of a name in the text of /etc/hosts.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let line = |line: &str| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
    };
    text.lines().filter_map(line).collect()
}

/// Returns the words after `key` in the lines that begin with it.
fn words<'a>(text: &'a str, key: &'static str) -> impl Iterator<Item = &'a str> {
    let lines = text.lines().map(str::split_ascii_whitespace);
    lines.filter_map(move |mut words| (words.next() == Some(key)).then_some(words)).flatten()
}

/// Returns the full names to ask for: with the search domains for a name without a dot.
fn candidates(host: &str, configuration: &str) -> Vec<String> {
    let domains = words(configuration, "search").take(MAX_DOMAINS).filter(|_| !host.contains('.'));
    domains.map(|domain| format!("{host}.{domain}")).chain([host.to_owned()]).collect()
}

/// Asks the servers in turn, for both kinds of addresses.
fn ask(name: &str, servers: &[IpAddr]) -> Result<Vec<IpAddr>, String> {
    let mut last = String::new();
    for _ in 0..ROUNDS {
        for server in servers {
            match [A, AAAA].map(|kind| exchange(name, kind, *server)) {
                // A server may have no answer for one of the two.
                [Ok(mut four), six] => {
                    four.extend(six.unwrap_or_default());
                    return Ok(four);
                }
                [Err(_), Ok(six)] if !six.is_empty() => return Ok(six),
                [Err(error), _] => last = format!("name server {server}: {error}"),
            }
        }
    }
    Err(last)
}

/// Sends one query and waits for its answer.
fn exchange(name: &str, kind: u16, server: IpAddr) -> Result<Vec<IpAddr>, String> {
    let mut id = [0; 2];
    SystemRandom::new().fill(&mut id).map_err(|_| "no random numbers".to_owned())?;
    let query = query(u16::from_ne_bytes(id), name, kind).ok_or("the name has a part of more than 63 characters")?;
    let receive = || -> io::Result<Result<Vec<IpAddr>, &'static str>> {
        let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(SocketAddr::new(server, 53))?;
        socket.send(&query)?;
        let deadline = Instant::now() + ANSWER_TIME;
        let mut buffer = [0; 1500];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            socket.set_read_timeout(Some(left))?;
            let length = socket.recv(&mut buffer)?;
            if let Some(answer) = answer(&buffer[..length], &query, kind) {
                return Ok(answer);
            }
        }
    };
    match receive() {
        Ok(answer) => Ok(answer?),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Err("no answer".into())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Encodes a query (RFC 1035, section 4.1); `None` for a name that cannot be encoded.
pub fn query(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]); // RD; one question
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend([kind.to_be_bytes(), IN.to_be_bytes()].concat());
    (bytes.len() <= HEADER + 255 + 4).then_some(bytes)
}

/// Reads the answer to a query for records of `kind`; `None` if it is not one, and the wait continues. Every address record counts:
/// the server has followed the aliases.
pub fn answer(bytes: &[u8], query: &[u8], kind: u16) -> Option<Result<Vec<IpAddr>, &'static str>> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let question = query.get(HEADER..)?;
    let is_ours = header[..2] == query[..2] && header[2] & 0x80 != 0 && header[4..6] == [0, 1];
    let mut rest =
        rest.split_at_checked(question.len()).filter(|(asked, _)| is_ours && asked.eq_ignore_ascii_case(question))?.1;
    match header[3] & 0x0f {
        0 => {}
        3 => return Some(Ok(Vec::new())), // NXDOMAIN
        2 => return Some(Err("it failed to resolve the name")),
        5 => return Some(Err("it refuses to answer")),
        _ => return Some(Err("it answers with an error")),
    }
    let count = usize::from(u16::from_be_bytes([header[6], header[7]])).min(MAX_RECORDS);
    let mut found = Vec::new();
    for _ in 0..count {
        let Some((of, data, next)) = record(rest) else { break };
        rest = next;
        match (of == kind, kind, data.len()) {
            (true, A, 4) => found.extend(<[u8; 4]>::try_from(data).map(IpAddr::from)),
            (true, AAAA, 16) => found.extend(<[u8; 16]>::try_from(data).map(IpAddr::from)),
            _ => {}
        }
    }
    Some(Ok(found))
}

/// Splits off a record: its type, its data, what follows. Records of other classes have type 0.
fn record(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let mut rest = bytes;
    loop {
        let (length, after) = rest.split_first()?;
        rest = match length {
            0 => after,
            0xc0.. => after.get(1..)?, // a pointer ends the name
            1..=63 => {
                rest = after.get(usize::from(*length)..)?;
                continue;
            }
            _ => return None,
        };
        break;
    }
    let (fixed, rest) = rest.split_at_checked(10)?;
    let number = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let (data, rest) = rest.split_at_checked(number(8).into())?;
    Some((if number(2) == IN { number(0) } else { 0 }, data, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with an alias and two addresses; names are pointers to the question.
    fn reply(query: &[u8]) -> Vec<u8> {
        let mut bytes = query.to_vec();
        bytes[2] |= 0x80;
        bytes[7] = 3;
        bytes.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x01\0\x04\x01a\xc0\x0c");
        bytes.extend(b"\x01a\xc0\x0c\0\x01\0\x01\0\0\0\x01\0\x04\x0a\0\x02\x02");
        bytes.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x01\0\x04\x0a\0\x02\x03");
        bytes
    }

    #[test]
    fn addresses_after_an_alias_are_found() {
        let query = query(7, "images.example", A).unwrap();
        let expected = ["10.0.2.2", "10.0.2.3"].map(|text| text.parse().unwrap());
        assert_eq!(answer(&reply(&query), &query, A), Some(Ok(expected.to_vec())));
    }

    #[test]
    fn answers_to_other_queries_are_ignored() {
        let query = query(7, "images.example", A).unwrap();
        for at in [0, 1, 2, 13, 30] {
            let mut other = reply(&query);
            other[at] ^= 0x81;
            assert_eq!(answer(&other, &query, A), None, "{at}");
        }
        assert_eq!(answer(&query, &query, A), None, "the query itself");
    }

    #[test]
    fn every_truncated_answer_is_survived() {
        let query = query(7, "images.example", A).unwrap();
        let reply = reply(&query);
        for cut in 0..reply.len() {
            assert!(answer(&reply[..cut], &query, A).is_none_or(|found| found.unwrap().len() < 2), "{cut}");
        }
    }

    #[test]
    fn failures_of_the_server_are_named() {
        let query = query(7, "images.example", A).unwrap();
        let with = |code| {
            let mut bytes = reply(&query);
            bytes[3] = code;
            answer(&bytes, &query, A).unwrap()
        };
        assert_eq!(with(3), Ok(Vec::new()));
        assert!(with(2).is_err() && with(5).is_err() && with(1).is_err());
    }

    #[test]
    fn files_of_the_system_are_read() {
        let hosts = "127.0.0.1 localhost\n10.0.0.1 a b # c\n::1 B\n";
        assert_eq!(in_hosts(hosts, "b"), ["10.0.0.1", "::1"].map(|text| text.parse::<IpAddr>().unwrap()));
        assert!(in_hosts(hosts, "c").is_empty());
        assert_eq!(candidates("a", "search x.example y\nnameserver 1.1.1.1\n"), ["a.x.example", "a.y", "a"]);
        assert_eq!(candidates("a.b", "search x\n"), ["a.b"]);
        assert_eq!(query(1, "a..b", A), None);
        assert_eq!(query(1, &"a".repeat(64), A), None);
    }
}
