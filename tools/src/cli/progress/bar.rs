//! A progress bar on standard error, where that is a terminal.

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::Progress;

/// What is over before this shows no bar.
const FIRST: Duration = Duration::from_millis(150);
const REFRESH: Duration = Duration::from_millis(100);

const WITH_TOTAL: &str = "{bar:30} {binary_bytes} of {binary_total_bytes}, {files}, {binary_bytes_per_sec}, {eta} left";
const WITHOUT_TOTAL: &str = "{spinner} {binary_bytes}, {files}, {binary_bytes_per_sec}";

/// A bar that a thread draws until it is dropped.
pub struct Bar {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    /// Starts to show how far the work is, of so many bytes if that is known. Without a terminal nothing is shown.
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
            // It only draws: if it panicked there is nothing to do about it.
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
        // It goes to a string; were it to fail, the bar would be shorter.
        let _ = write!(text, "{} files", progress.files());
    };
    // The templates are ours; instead of one that is malformed, indicatif's own would be shown.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.with_key("files", files)),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_templates() {
        for template in [WITH_TOTAL, WITHOUT_TOTAL] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
