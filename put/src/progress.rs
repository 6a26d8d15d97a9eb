//! Progress, for people on a terminal or as lines for programs.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// The time between two reports on a terminal, and between two lines.
const ON_TERMINAL: Duration = Duration::from_millis(200);
const LINES: Duration = Duration::from_secs(1);

/// The form of the reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One line that changes.
    Terminal,
    /// `progress STEP BYTES TOTAL`, each second; the total is 0 if it is not known.
    Lines,
    /// Nothing.
    None,
}

/// Counters of all threads.
#[derive(Default)]
pub struct Progress {
    /// Bytes of the source.
    pub received: AtomicU64,
    /// Bytes of the image that are on the disk.
    pub written: AtomicU64,
    /// Bytes that have been read back.
    pub checked: AtomicU64,
}

/// The reports of one run.
pub struct Reports {
    form: Form,
    last: Instant,
    start: Instant,
}

impl Form {
    /// Parses the value of `--progress`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "terminal" => Some(Self::Terminal),
            "lines" => Some(Self::Lines),
            "none" => Some(Self::None),
            _ => None,
        }
    }

    /// Returns the form for standard error.
    pub fn of_terminal() -> Self {
        if stderr().is_terminal() { Self::Terminal } else { Self::None }
    }
}

impl Reports {
    /// Starts the reports.
    pub fn new(form: Form) -> Self {
        let now = Instant::now();
        Self { form, last: now, start: now }
    }

    /// Reports a step, if it is time to.
    pub fn step(&mut self, step: &str, counter: &AtomicU64, total: Option<u64>) {
        let every = if self.form == Form::Terminal { ON_TERMINAL } else { LINES };
        if self.form != Form::None && self.last.elapsed() >= every {
            self.now(step, counter.load(Relaxed), total);
        }
    }

    fn now(&mut self, step: &str, bytes: u64, total: Option<u64>) {
        self.last = Instant::now();
        let total = total.unwrap_or_default();
        let mut stderr = stderr().lock();
        let _ = match self.form {
            Form::None => Ok(()),
            Form::Lines => writeln!(stderr, "progress {step} {bytes} {total}"),
            Form::Terminal => {
                let percent = (bytes * 100).checked_div(total).map(|percent| format!("{percent:3} %  "));
                let mebibytes = bytes >> 20;
                write!(stderr, "\r{step}  {}{mebibytes} MiB  {} s ", percent.unwrap_or_default(), self.seconds())
            }
        };
    }

    /// Ends the line on a terminal.
    pub fn end(&mut self) {
        if self.form == Form::Terminal {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }

    /// Returns the time since the start.
    pub fn seconds(&self) -> u64 {
        self.start.elapsed().as_secs()
    }
}
