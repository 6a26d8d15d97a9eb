//! The first answer of a web server that is about to start (HTTP/1.0, RFC 1945).

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A page is shown by its first lines; a server that sends more than this is cut off.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// Timeout of a connection before a retry: QEMU accepts it at once, even without a server in the guest.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The time between two tries that the guest refused: no event on the host shows when its server listens.
const PAUSE: Duration = Duration::from_millis(5);

/// Requests `/` from `port` of this host, which QEMU forwards, until there is an answer, or `failure` returns a reason to stop.
pub(crate) fn fetch(port: u16, deadline: Instant, failure: impl Fn() -> Option<String>) -> Result<Vec<u8>, String> {
    loop {
        let problem = match request(port) {
            Ok(answer) if answer.starts_with(b"HTTP/") => return Ok(answer),
            Ok(answer) if answer.is_empty() => "closed without an answer".to_owned(),
            Ok(_) => return Err(format!("port {port} answers, but not as a web server does")),
            // QEMU holds the port while it runs.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Err("the machine has ended".into());
            }
            Err(error) => error.to_string(),
        };
        if let Some(reason) = failure() {
            return Err(reason);
        }
        if Instant::now() >= deadline {
            return Err(format!("no page from port {port}: {problem}"));
        }
        std::thread::sleep(PAUSE);
    }
}

fn request(port: u16) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Returns the status line, and the first lines of the body that are not empty.
pub(crate) fn first_lines(answer: &[u8], count: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.lines().next().unwrap_or_default();
    let body = body.lines().map(str::trim_end).filter(|line| !line.is_empty()).take(count);
    std::iter::once(status).chain(body).map(printable).collect()
}

/// Replaces control characters: a page must not move the terminal's cursor.
fn printable(line: &str) -> String {
    line.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Returns a server that answers its connections in turn with `answers`.
    fn server(answers: &'static [&'static [u8]]) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut received = [0; 64];
                assert!(stream.read(&mut received).unwrap() > 0);
                stream.write_all(answer).unwrap();
            }
        });
        port
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn connections_that_close_are_tried_again() {
        let port = server(&[b"", b"", b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n<html>\n\n  hello\n"]);
        let answer = fetch(port, soon(), || None).unwrap();
        assert_eq!(first_lines(&answer, 5), ["HTTP/1.1 200 OK", "<html>", "  hello"]);
    }

    #[test]
    fn the_deadline_and_a_dead_machine_end_it() {
        let port = server(&[b"", b""]);
        let error = fetch(port, Instant::now(), || None).unwrap_err();
        assert_eq!(error, format!("no page from port {port}: closed without an answer"));
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        assert_eq!(fetch(closed, soon(), || None).unwrap_err(), "the machine has ended");
    }

    #[test]
    fn a_reason_to_stop_ends_it() {
        let port = server(&[b"", b""]);
        assert_eq!(fetch(port, soon(), || Some("a reason".into())).unwrap_err(), "a reason");
    }

    #[test]
    fn another_protocol_is_an_error() {
        let port = server(&[b"SSH-2.0-OpenSSH_9.2\r\n"]);
        let error = fetch(port, soon(), || None).unwrap_err();
        assert_eq!(error, format!("port {port} answers, but not as a web server does"));
    }

    #[test]
    fn a_page_cannot_control_the_terminal() {
        assert_eq!(first_lines(b"HTTP/1.0 200 OK\x1b[2J\r\n\r\n\x07a\n\nb\nc", 2), ["HTTP/1.0 200 OK [2J", " a", "b"]);
    }
}
