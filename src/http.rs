//! HTTP/1 as far as the download of a root needs it: the parts of a URL, and the header of an answer (RFC 9110, RFC 9112).

use crate::ipv4::{self, Address};
use crate::root::address_and_port;
use crate::text::{cut, long_number, number, strip_prefix, value_in};

/// The parts of `http://ADDRESS[:PORT][/PATH]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Url<'a> {
    /// The server's address.
    pub address: Address,
    /// The server's port.
    pub port: u16,
    /// Address and port as they are written.
    pub authority: &'a [u8],
    /// The path without its first slash, with the query.
    pub path: &'a [u8],
}

/// The longest URL that is accepted: a request and a message have room for it.
const MAX_URL: usize = 512;

/// Parses a URL with an IPv4 address; the default port is 80. Returns `None` for any other text, a longer one, and one with a byte that a
/// request must not have (RFC 3986 section 2).
pub fn parse(url: &[u8]) -> Option<Url<'_>> {
    let (authority, path) = cut(strip_prefix(url, b"http://")?, b'/');
    let (address, port) = address_and_port(authority, b"80");
    let port = number(port)?.try_into().ok()?;
    let is_sendable = url.len() <= MAX_URL && path.iter().all(u8::is_ascii_graphic);
    ipv4::parse(address).filter(|_| is_sendable).map(|address| Url { address, port, authority, path })
}

/// Returns the bytes of the body that a header announces: `None` for a status other than 200, and without a valid Content-Length. The header
/// is changed to lower case, since names of fields have any.
pub fn body_bytes(header: &mut [u8]) -> Option<u64> {
    header.make_ascii_lowercase();
    // HTTP/1.1 200 OK
    strip_prefix(strip_prefix(header, b"http/1.")?.get(1..)?, b" 200 ")?;
    long_number(value_in(header, b'\n', b"content-length:")?.trim_ascii())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn a_url_has_an_address_and_a_path() {
        for (url, address, port, authority, path) in [
            ("http://10.0.0.1/root.img", [10, 0, 0, 1], 80, "10.0.0.1", "root.img"),
            ("http://10.0.0.1:8080/a/b?c=d:e", [10, 0, 0, 1], 8080, "10.0.0.1:8080", "a/b?c=d:e"),
            ("http://192.168.7.1/", [192, 168, 7, 1], 80, "192.168.7.1", ""),
            ("http://192.168.7.1", [192, 168, 7, 1], 80, "192.168.7.1", ""),
            ("http://10.0.0.1:/x", [10, 0, 0, 1], 80, "10.0.0.1:", "x"),
        ] {
            let (authority, path) = (authority.as_bytes(), path.as_bytes());
            assert_eq!(parse(url.as_bytes()), Some(Url { address: Address(address), port, authority, path }), "{url}");
        }
        for url in [
            "http://",
            "http://host/root.img",
            "http://10.0.0.1:65536/x",
            "http://10.0.0.1:x/x",
            "http:///x",
            "https://10.0.0.1/x",
            "http://user@10.0.0.1/x",
            "http://[::1]/x",
            "HTTP://10.0.0.1/x",
        ] {
            assert_eq!(parse(url.as_bytes()), None, "{url}");
        }
    }

    #[test]
    fn a_url_fits_a_request() {
        let url = |length: usize| std::format!("{:x<length$}", "http://10.0.0.1/");
        assert!(parse(url(MAX_URL).as_bytes()).is_some() && parse(url(MAX_URL + 1).as_bytes()).is_none());
        for url in
            ["http://10.0.0.1/two words", "http://10.0.0.1/r\u{f6}ot", "http://10.0.0.1/\r\nX: y", "http://10.0.0.1/\0"]
        {
            assert_eq!(parse(url.as_bytes()), None, "{url:?}");
        }
    }

    #[test]
    fn an_answer_has_the_status_200_and_a_length() {
        for (header, length) in [
            ("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 4096\r\n\r\n", Some(4096)),
            ("HTTP/1.0 200 OK\r\ncontent-length:4294967296\r\n\r\n", Some(1 << 32)),
            ("HTTP/1.1 200 \r\nCONTENT-LENGTH: \t0 \r\n\r\n", Some(0)),
            ("HTTP/1.1 200 OK\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\nX-Content-Length: 1\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
            ("HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\n", None),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\n", None),
            ("HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/x: 200 \r\nContent-Length: 1\r\n\r\n", None),
            ("HTTP/1.12200 OK\r\nContent-Length: 1\r\n\r\n", None),
            ("HTTP/2 200 OK\r\nContent-Length: 1\r\n\r\n", None),
            ("HTTP/1.", None),
            ("", None),
        ] {
            assert_eq!(body_bytes(&mut header.as_bytes().to_vec()), length, "{header:?}");
        }
    }

    #[test]
    fn a_cut_url_or_header_is_refused() {
        let url = b"http://10.0.0.1:8080/path";
        for end in 0..b"http://10.0.0.1".len() {
            assert_eq!(parse(&url[..end]), None);
        }
        let header = b"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n";
        let digits = header.iter().position(|byte| *byte == b'4').unwrap();
        for end in 0..=digits {
            assert_eq!(body_bytes(&mut header[..end].to_vec()), None);
        }
    }
}
