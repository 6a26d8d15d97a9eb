//! A download that is complete or fails: redirects, and continuation after a cut by Range (RFC 9110, section 14).

use std::io::{self, Read};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::http::{self, Body, Request, Response};
use super::url::Url;
use super::{Error, Net};
use crate::lines;

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 10;
/// The longest pause before another attempt.
const MAX_PAUSE: Duration = Duration::from_secs(16);
/// New bytes after which the count of attempts starts again.
const PROGRESS: u64 = 1 << 20;
/// The slowest server, in bytes a second: one that sends a byte at a time would keep a machine forever.
const MIN_RATE: u64 = 256;

/// A download in progress.
pub struct Download {
    net: Arc<Net>,
    url: Url,
    body: Option<Body>,
    position: u64,
    total: Option<u64>,
    has_end: bool,
    validator: Validator,
    has_digest: bool,
    attempts: Attempts,
    window: (Instant, u64),
}

/// What tells whether a file is still the same.
#[derive(Clone, Default, PartialEq, Eq)]
struct Validator {
    etag: Option<String>,
    modified: Option<String>,
}

/// Attempts that are left, and the pause before the next.
struct Attempts {
    left: u32,
    pause: Duration,
    progress_at: u64,
    is_verbose: bool,
}

impl Attempts {
    fn new(net: &Net, progress_at: u64) -> Self {
        let (left, pause) = (net.attempts.saturating_sub(1), net.timeout.min(Duration::from_secs(1)));
        Self { left, pause, progress_at, is_verbose: net.is_verbose }
    }

    /// Waits before another attempt; the error if there is none.
    fn again(&mut self, error: Error) -> Result<(), String> {
        match error {
            Error::Temporary(message) if self.left > 0 => {
                if self.is_verbose {
                    lines::warn(format_args!("{message}; attempts left: {}", self.left));
                }
                self.left -= 1;
                thread::sleep(self.pause);
                self.pause = (self.pause * 2).min(MAX_PAUSE);
                Ok(())
            }
            error => Err(error.into_message()),
        }
    }
}

impl Validator {
    fn of(response: &Response) -> Self {
        let field = |name| response.field(name).map(str::to_owned);
        Self { etag: field("etag"), modified: field("last-modified") }
    }

    /// Returns whether both have a field, with other values. A part may lack a field that the whole file has.
    fn contradicts(&self, other: &Self) -> bool {
        let differ = |one: &Option<String>, other: &Option<String>| one.is_some() && other.is_some() && one != other;
        differ(&self.etag, &other.etag) || differ(&self.modified, &other.modified)
    }

    /// Returns the value for If-Range: a strong ETag, or the date (RFC 9110, section 13.1.5).
    fn for_range(&self) -> Option<&str> {
        self.etag.as_deref().filter(|etag| !etag.starts_with("W/")).or(self.modified.as_deref())
    }
}

impl Download {
    /// Opens a file on a server, following redirects. With a digest of the whole file it continues after a cut although the server
    /// does not tell its versions apart.
    ///
    /// # Errors
    /// One line that names the address.
    pub fn open(net: &Arc<Net>, url: &Url, has_digest: bool) -> Result<Self, String> {
        let mut attempts = Attempts::new(net, 0);
        let (url, response) = loop {
            match follow(net, url) {
                Ok(opened) => break opened,
                Err(error) => attempts.again(error)?,
            }
        };
        Ok(Self {
            position: 0,
            total: response.length(),
            has_end: response.has_end(),
            validator: Validator::of(&response),
            has_digest,
            attempts,
            net: Arc::clone(net),
            url,
            body: Some(response.body),
            window: (Instant::now(), 0),
        })
    }

    /// Returns the length, if the server states it.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Returns whether a cut is noticed.
    pub fn has_end(&self) -> bool {
        self.has_end
    }

    /// Connects again at the position of the cut.
    fn resume(&mut self) -> Result<Body, Error> {
        if self.position > 0 && self.validator == Validator::default() && !self.has_digest {
            let why = "cut, and without ETag and Last-Modified the rest may be of another file; pass --sha256";
            return Err(Error::Permanent(why.into()));
        }
        let request = Request { from: self.position, if_range: self.validator.for_range(), body: None };
        let response = http::send(&self.net, &self.url, &request)?;
        let changed = || Error::Permanent("the file on the server changed during the download".into());
        match response.status {
            206 if self.position > 0 && Validator::of(&response).contradicts(&self.validator) => Err(changed()),
            206 if self.position > 0 => match response.range() {
                Some((start, total)) if start == self.position && (total.is_none() || total == self.total) => {
                    Ok(response.body)
                }
                _ => Err(changed()),
            },
            // Without ranges the server sends the file from its start; the same file goes on where it was cut.
            200 => {
                let validator = Validator::of(&response);
                if validator != self.validator || response.length() != self.total {
                    return Err(changed());
                }
                let mut body = response.body;
                let skipped = io::copy(&mut body.by_ref().take(self.position), &mut io::sink());
                match skipped.map_err(|error| http::failure(&self.net, &error))? {
                    count if count == self.position => Ok(body),
                    _ => Err(changed()),
                }
            }
            416 => Err(changed()),
            status => Err(refused(status)),
        }
    }

    /// Refuses a server that sends next to nothing for ten times the limit.
    fn check_rate(&mut self, count: usize) -> Result<(), Error> {
        let (since, bytes) = &mut self.window;
        *bytes += count as u64;
        let elapsed = since.elapsed();
        if elapsed < self.net.timeout * 10 {
            return Ok(());
        }
        let is_slow = *bytes < MIN_RATE * elapsed.as_secs();
        self.window = (Instant::now(), 0);
        if is_slow { Err(Error::Temporary("the server sends next to nothing".into())) } else { Ok(()) }
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        if self.body.is_none() {
            self.body = Some(self.resume()?);
            self.window = (Instant::now(), 0);
        }
        let body = self.body.as_mut().ok_or_else(|| Error::Permanent("no connection".into()))?;
        let count = body.read(buffer).map_err(|error| match (http::failure(&self.net, &error), self.total) {
            (Error::Temporary(message), Some(total)) => {
                Error::Temporary(format!("{message} after {} of {total} bytes", self.position))
            }
            (error, _) => error,
        })?;
        self.position += count as u64;
        self.check_rate(count)?;
        if self.position - self.attempts.progress_at >= PROGRESS {
            self.attempts = Attempts::new(&self.net, self.position);
        }
        Ok(count)
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.read_some(buffer) {
                Ok(count) => return Ok(count),
                Err(error) => {
                    self.body = None;
                    self.attempts.again(error.at(&self.url)).map_err(io::Error::other)?;
                }
            }
        }
    }
}

/// Reads a whole file of a server, of at most `limit` bytes. `Ok(None)` if there is none.
///
/// # Errors
/// One line that names the address.
pub fn small_file(net: &Arc<Net>, url: &Url, limit: u64) -> Result<Option<Vec<u8>>, String> {
    let mut attempts = Attempts::new(net, 0);
    loop {
        let read = follow(net, url).and_then(|(url, response)| {
            let mut bytes = Vec::new();
            let read = response.body.take(limit + 1).read_to_end(&mut bytes);
            read.map_err(|error| http::failure(net, &error).at(&url))?;
            Ok(bytes)
        });
        match read {
            Ok(bytes) if bytes.len() as u64 > limit => return Err(format!("{url}: more than {limit} bytes")),
            Ok(bytes) => return Ok(Some(bytes)),
            Err(Error::Permanent(message)) if message.ends_with(NOT_FOUND) => return Ok(None),
            Err(error) => attempts.again(error)?,
        }
    }
}

/// Posts a JSON document.
///
/// # Errors
/// One line that names the address.
pub fn post(net: &Net, url: &Url, document: &[u8]) -> Result<(), String> {
    let mut attempts = Attempts::new(net, 0);
    loop {
        let request = Request { body: Some(document), ..Request::default() };
        let sent = http::send(net, url, &request).and_then(|response| match response.status {
            200..300 => Ok(()),
            status => Err(refused(status)),
        });
        match sent {
            Ok(()) => return Ok(()),
            Err(error) => attempts.again(error.at(url))?,
        }
    }
}

/// Sends a request for a whole file to an address and to those that it redirects to.
fn follow(net: &Net, url: &Url) -> Result<(Url, Response), Error> {
    let mut url = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let response = http::send(net, &url, &Request::default()).map_err(|error| error.at(&url))?;
        match response.status {
            200 => return Ok((url, response)),
            301 | 302 | 303 | 307 | 308 => {
                let location = response.field("location").ok_or_else(|| refused(response.status).at(&url))?;
                let next = url.join(location).map_err(|error| Error::Permanent(error).at(&url))?;
                if url.is_tls && !next.is_tls {
                    return Err(Error::Permanent(format!("{url}: the server redirects to {next}, without TLS")));
                }
                url = next;
            }
            status => return Err(refused(status).at(&url)),
        }
    }
    Err(Error::Permanent(format!("{url}: more than {MAX_REDIRECTS} redirects")))
}

/// The message of status 404.
const NOT_FOUND: &str = "the server answers 404 Not Found";

fn refused(status: u16) -> Error {
    match status {
        404 => Error::Permanent(NOT_FOUND.into()),
        408 | 425 | 429 | 500 | 502 | 503 | 504 => Error::Temporary(format!("the server answers {status}")),
        _ => Error::Permanent(format!("the server answers {status}")),
    }
}
