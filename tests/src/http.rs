//! An HTTP server for tests, whose answers the test writes byte by byte: servers that cut, stall and lie.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The start of a Range field.
    pub from: Option<usize>,
    /// The content of a POST.
    pub body: String,
    /// How many requests came before.
    pub number: usize,
}

/// A server on a port of its own, until the test ends.
pub struct Server {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server; `answer` writes the whole response. The connection is closed when it returns.
    ///
    /// # Panics
    /// When there is no port.
    pub fn start(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer, count) = (Arc::clone(&requests), Arc::new(answer), Arc::new(AtomicUsize::new(0)));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let (kept, answer, count) = (Arc::clone(&kept), Arc::clone(&answer), Arc::clone(&count));
                thread::spawn(move || {
                    if let Some(mut request) = read(&stream) {
                        request.number = count.fetch_add(1, Ordering::SeqCst);
                        kept.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
                        answer(&request, &mut stream);
                    }
                });
            }
        });
        Self { url, requests }
    }

    /// Starts a server with one file at every path, and with ranges.
    pub fn of_file(content: Vec<u8>) -> Self {
        Self::start(move |request, stream| send_file(request, stream, &content, content.len()))
    }

    /// Returns the requests so far.
    ///
    /// # Panics
    /// Never.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sends at most `limit` bytes of a file, from the start of the range. The head promises the rest too. A client that has gone is
/// no failure.
pub fn send_file(request: &Request, stream: &mut TcpStream, content: &[u8], limit: usize) {
    let (from, total) = (request.from.unwrap_or_default().min(content.len()), content.len());
    let status = match request.from {
        Some(from) => format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{total}", total - 1),
        None => "200 OK".into(),
    };
    let length = total - from;
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nETag: \"one\"\r\n\r\n");
    let sent = &content[from..][..limit.min(length)];
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent));
}

/// Sends a response without a body.
pub fn send_status(stream: &mut TcpStream, status_and_fields: &str) {
    let _ = stream.write_all(format!("HTTP/1.1 {status_and_fields}\r\nContent-Length: 0\r\n\r\n").as_bytes());
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut text = String::new();
        reader.read_line(&mut text).ok()?;
        Some(text.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ').map(str::to_owned);
    let mut request = Request { method: words.next()?, path: words.next()?, ..Request::default() };
    let mut length = 0;
    loop {
        let field = line()?.to_ascii_lowercase();
        if field.is_empty() {
            break;
        }
        if let Some(range) = field.strip_prefix("range: bytes=") {
            request.from = range.trim_end_matches('-').parse().ok();
        }
        if let Some(value) = field.strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
    }
    reader.take(length).read_to_string(&mut request.body).ok()?;
    Some(request)
}
