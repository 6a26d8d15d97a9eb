//! The output of a program, read while it runs. Every wait is for a text or for the end, has a deadline, and shows the whole
//! output on failure.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};

/// Limit for waits that take milliseconds on a quiet host.
const DEADLINE: Duration = Duration::from_secs(30);

/// The output of one program, up to now.
pub struct Transcript {
    source: OwnedFd,
    name: String,
    text: String,
    /// Bytes of `text` up to the end of the last text waited for.
    seen: usize,
    ended: bool,
}

impl Transcript {
    /// Reads from a pipe or a terminal; `name` is for messages.
    pub fn new(name: impl Into<String>, source: impl Into<OwnedFd>) -> Self {
        Self { source: source.into(), name: name.into(), text: String::new(), seen: 0, ended: false }
    }

    /// Returns the output so far, with `\n` as the end of a line.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Drops the output so far.
    pub fn forget(&mut self) {
        self.text.clear();
        self.seen = 0;
    }

    /// Waits for a text after the last one waited for; returns the output between the two.
    #[track_caller]
    pub fn wait_for(&mut self, marker: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let rest = &self.text[self.seen..];
            if let Some(position) = rest.find(marker) {
                let before = rest[..position].to_owned();
                self.seen += position + marker.len();
                return before;
            }
            assert!(!self.ended, "{}: ended without {marker:?}:\n{}", self.name, self.text);
            assert!(self.read_more(deadline), "{}: no {marker:?} in {DEADLINE:?}:\n{}", self.name, self.text);
        }
    }

    /// Waits for the end of the output.
    #[track_caller]
    pub fn wait_for_end(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        while !self.ended {
            assert!(self.read_more(deadline), "{}: no end in {DEADLINE:?}:\n{}", self.name, self.text);
        }
    }

    /// Waits for the end of the output; `false` when it has none within `limit`.
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.ended && self.read_more(deadline) {}
        self.ended
    }

    /// Waits for output; `false` at the deadline.
    fn read_more(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&self.source, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => panic!("{}: poll: {error}", self.name),
        }
        let mut buffer = [0; 4096];
        match read(&self.source, &mut buffer) {
            // A terminal reads as EIO when all descriptors of its other side are closed.
            Ok(0) | Err(Errno::IO) => self.ended = true,
            // A terminal ends lines by \r\n. A read may cut a character in two; no marker has one of several bytes.
            Ok(length) => self.text += &String::from_utf8_lossy(&buffer[..length]).replace('\r', ""),
            Err(error) => panic!("{}: read: {error}", self.name),
        }
        true
    }
}
