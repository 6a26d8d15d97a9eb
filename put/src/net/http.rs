//! One HTTP/1.1 request on one connection (RFC 9112): the response's head by httparse, its body with a length, in chunks or to the
//! end of the connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::tls::{self, Stream};
use super::url::Url;
use super::{Error, Net, resolve};

/// Limits for a response's head, and for a line that begins a chunk.
const MAX_HEAD: usize = 16 << 10;
const MAX_FIELDS: usize = 64;
const MAX_CHUNK_LINE: u64 = 1 << 10;
/// Bytes of a connection's buffer.
const BUFFER: usize = 64 << 10;

/// A request. The method is POST with a body, GET without.
#[derive(Default)]
pub struct Request<'a> {
    /// The first byte that is wanted.
    pub from: u64,
    /// An ETag or a date: the server sends a part only of the same file.
    pub if_range: Option<&'a str>,
    /// A JSON document.
    pub body: Option<&'a [u8]>,
}

/// A response, whose body is still to be read.
pub struct Response {
    /// The status code.
    pub status: u16,
    fields: Vec<(String, String)>,
    /// The content.
    pub body: Body,
}

/// The end of a body.
enum Framing {
    /// Bytes that are left.
    Length(u64),
    /// Bytes that are left of the chunk; `None` after the last one.
    Chunks(Option<u64>),
    Close,
}

/// The content of a response. A read fails when the connection ends too early.
pub struct Body {
    stream: BufReader<Stream>,
    framing: Framing,
    is_first: bool,
}

impl Response {
    /// Returns the first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Returns the body's length, if the server states it.
    pub fn length(&self) -> Option<u64> {
        if let Framing::Length(length) = self.body.framing { Some(length) } else { None }
    }

    /// Returns whether a cut body is noticed: it has a length, or chunks.
    pub fn has_end(&self) -> bool {
        !matches!(self.body.framing, Framing::Close)
    }

    /// Returns start and total of a Content-Range field; the total may be unknown.
    pub fn range(&self) -> Option<(u64, Option<u64>)> {
        let (range, total) = self.field("content-range")?.strip_prefix("bytes ")?.split_once('/')?;
        Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
    }
}

/// Connects to the server, sends the request, and reads the head of the response.
///
/// # Errors
/// One line without the address.
pub fn send(net: &Net, url: &Url, request: &Request<'_>) -> Result<Response, Error> {
    let stream = connect(net, url)?;
    let stream = if url.is_tls { tls::start(net, &url.host, stream)? } else { Stream::Plain(stream) };
    let mut stream = BufReader::with_capacity(BUFFER, stream);
    let failed = |error: &io::Error| failure(net, error);
    stream.get_mut().write_all(&head(url, request)).map_err(|error| failed(&error))?;
    stream.get_mut().flush().map_err(|error| failed(&error))?;
    loop {
        let head = read_head(&mut stream).map_err(|error| failed(&error))?;
        let (status, fields) = parse(&head).map_err(Error::Permanent)?;
        if (100..200).contains(&status) {
            continue;
        }
        let framing = framing(status, &fields).map_err(Error::Permanent)?;
        return Ok(Response { status, fields, body: Body { stream, framing, is_first: true } });
    }
}

fn connect(net: &Net, url: &Url) -> Result<TcpStream, Error> {
    let mut last = String::from("no address");
    for address in resolve::addresses(&url.host).map_err(Error::Temporary)? {
        let address = SocketAddr::new(address, url.port);
        match TcpStream::connect_timeout(&address, net.timeout) {
            Ok(stream) => {
                let set = stream.set_read_timeout(Some(net.timeout));
                set.and(stream.set_write_timeout(Some(net.timeout))).map_err(|error| failure(net, &error))?;
                return Ok(stream);
            }
            Err(error) => last = format!("no connection to {address}: {error}"),
        }
    }
    Err(Error::Temporary(last))
}

/// Classifies an error of a connection. rustls reports a refused certificate as invalid data.
pub(super) fn failure(net: &Net, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Error::Temporary(format!("the server sends nothing for {} s", net.timeout.as_secs()))
        }
        io::ErrorKind::InvalidData => Error::Permanent(error.to_string()),
        _ => Error::Temporary(error.to_string()),
    }
}

fn head(url: &Url, request: &Request<'_>) -> Vec<u8> {
    let method = if request.body.is_some() { "POST" } else { "GET" };
    let mut head = format!(
        "{method} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: whit-put/{}\r\nAccept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n",
        url.path,
        url.authority(),
        env!("CARGO_PKG_VERSION"),
    );
    if request.from > 0 {
        head += &format!("Range: bytes={}-\r\n", request.from);
        if let Some(validator) = request.if_range {
            head += &format!("If-Range: {validator}\r\n");
        }
    }
    if let Some(body) = request.body {
        head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    head += "\r\n";
    [head.as_bytes(), request.body.unwrap_or_default()].concat()
}

/// Reads up to the empty line.
fn read_head(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        let count = stream.by_ref().take((MAX_HEAD - before) as u64).read_until(b'\n', &mut head)?;
        if count == 0 {
            return Err(if before == MAX_HEAD { invalid("the head of the response has no end") } else { ended() });
        }
        if before > 0 && matches!(&head[before..], b"\n" | b"\r\n") {
            return Ok(head);
        }
    }
}

/// Parses the head of a response: its status and its fields.
///
/// # Errors
/// One line.
pub fn parse(head: &[u8]) -> Result<(u16, Vec<(String, String)>), String> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(head).map_err(|error| format!("no HTTP response: {error}"))?;
    let status = response.code.filter(|_| parsed.is_complete()).ok_or("no HTTP response: it is cut off")?;
    let text =
        |field: &httparse::Header<'_>| (field.name.to_owned(), String::from_utf8_lossy(field.value).trim().to_owned());
    Ok((status, response.headers.iter().map(text).collect()))
}

/// Determines how the body ends (RFC 9112, section 6.3).
fn framing(status: u16, fields: &[(String, String)]) -> Result<Framing, String> {
    let all = |name: &'static str| {
        fields.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    };
    if matches!(status, 204 | 304) {
        return Ok(Framing::Length(0));
    }
    if let Some(coding) = all("transfer-encoding").next_back() {
        return match coding.eq_ignore_ascii_case("chunked") {
            true => Ok(Framing::Chunks(Some(0))),
            false => Err(format!("transfer encoding {coding:?} is not supported")),
        };
    }
    let mut lengths = all("content-length");
    let Some(length) = lengths.next() else { return Ok(Framing::Close) };
    let is_one = lengths.all(|other| other == length) && length.bytes().all(|byte| byte.is_ascii_digit());
    match length.parse() {
        Ok(number) if is_one => Ok(Framing::Length(number)),
        _ => Err(format!("Content-Length {length:?} is no length")),
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = match &mut self.framing {
            Framing::Close => return self.stream.read(buffer),
            Framing::Length(left) => left,
            Framing::Chunks(None) => return Ok(0),
            Framing::Chunks(Some(left)) => {
                if *left == 0 {
                    *left = chunk(&mut self.stream, std::mem::take(&mut self.is_first))?;
                    if *left == 0 {
                        self.framing = Framing::Chunks(None);
                        return Ok(0);
                    }
                }
                left
            }
        };
        if *left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let limit = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
        match self.stream.read(&mut buffer[..limit])? {
            0 => Err(ended()),
            count => {
                *left -= count as u64;
                Ok(count)
            }
        }
    }
}

/// Reads the line that begins a chunk, after the end of the one before; returns its length. Trailer fields after the last one are
/// not read.
fn chunk(stream: &mut impl BufRead, is_first: bool) -> io::Result<u64> {
    let mut line = |line: &mut Vec<u8>| match stream.by_ref().take(MAX_CHUNK_LINE).read_until(b'\n', line) {
        Ok(_) if line.ends_with(b"\n") => Ok(()),
        Ok(count) => Err(if count as u64 == MAX_CHUNK_LINE { invalid("a chunk has no length") } else { ended() }),
        Err(error) => Err(error),
    };
    let mut text = Vec::new();
    if !is_first {
        line(&mut text)?;
        if !text.trim_ascii().is_empty() {
            return Err(invalid("a chunk is longer than its length"));
        }
        text.clear();
    }
    line(&mut text)?;
    let digits = text.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
    let length =
        std::str::from_utf8(digits).ok().filter(|_| is_hex).and_then(|text| u64::from_str_radix(text, 16).ok());
    length.ok_or_else(|| invalid("a chunk has no length"))
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_of(text: &str) -> Result<(u16, Vec<(String, String)>), String> {
        parse(&read_head(&mut text.as_bytes()).map_err(|error| error.to_string())?)
    }

    #[test]
    fn heads_are_read_to_the_empty_line() {
        let (status, fields) = head_of("HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\nrest").unwrap();
        assert_eq!((status, fields[0].1.as_str()), (200, "\"a\""));
        assert!(matches!(framing(status, &fields), Ok(Framing::Length(5))));
        assert!(head_of("HTTP/1.1 200 OK\r\nETag").is_err());
        assert!(head_of(&format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(MAX_HEAD))).is_err());
        assert!(head_of("SSH-2.0-x\r\n\r\n").is_err());
    }

    #[test]
    fn contradicting_lengths_are_refused() {
        let of = |values: &[&str]| {
            let fields: Vec<_> =
                values.iter().map(|value| ("Content-Length".to_owned(), (*value).to_owned())).collect();
            framing(200, &fields)
        };
        assert!(of(&["5", "6"]).is_err() && of(&["+5"]).is_err() && of(&["99999999999999999999"]).is_err());
        assert!(matches!(of(&["5", "5"]), Ok(Framing::Length(5))));
        assert!(framing(200, &[("Transfer-Encoding".into(), "gzip".into())]).is_err());
    }

    #[test]
    fn chunks_have_lengths() {
        let mut stream = &b"5;x=y\r\nhello\r\n0\r\n\r\n"[..];
        assert_eq!(chunk(&mut stream, true).unwrap(), 5);
        stream = &stream[5..];
        assert_eq!(chunk(&mut stream, false).unwrap(), 0);
        for text in ["5", "-5\r\n", "\r\n", "x\r\n", "11111111111111111\r\n", "+5\r\n"] {
            assert!(chunk(&mut text.as_bytes(), true).is_err(), "{text}");
        }
        assert!(chunk(&mut &b"more\r\n0\r\n"[..], false).is_err());
    }
}
