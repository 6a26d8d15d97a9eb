//! A progress bar on standard error, where that is a terminal.

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::Progress;

/// The delay before the bar appears; shorter work shows none.
const FIRST: Duration = Duration::from_millis(150);
const REFRESH: Duration = Duration::from_millis(100);

const WITH_TOTAL: &str = "{bar:30} {binary_bytes} of {binary_total_bytes}, {files}, {binary_bytes_per_sec}, {eta} left";
const WITHOUT_TOTAL: &str = "{spinner} {binary_bytes}, {files}, {binary_bytes_per_sec}";

/// A progress bar, drawn by a thread until it is dropped.
pub struct Bar {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    /// Starts to draw the progress; `total` is the number of bytes, if known. Draws nothing without a terminal.
    pub fn start(progress: Arc<Progress>, total: Option<u64>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { end: None, thread: None };
        }
        let (end, ended) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut wait = FIRST;
            let mut bar = None;
            while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                let bar = bar.get_or_insert_with(|| new_bar(&progress, total));
                bar.set_position(progress.bytes());
                wait = REFRESH;
            }
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
        });
        Self { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // The thread only draws: a panic in it is ignored.
            let _ = thread.join();
        }
    }
}

fn new_bar(progress: &Arc<Progress>, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), WITH_TOTAL),
        None => (ProgressBar::new_spinner(), WITHOUT_TOTAL),
    };
    let progress = Arc::clone(progress);
    let files = move |_: &ProgressState, text: &mut dyn Write| {
        // Writing to a string; an error would only shorten the bar.
        let _ = write!(text, "{} files", progress.files());
    };
    // The templates are valid (see the test); for an invalid one, indicatif's default would be used.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.with_key("files", files)),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for template in [WITH_TOTAL, WITHOUT_TOTAL] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
