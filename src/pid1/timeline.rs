//! The time at which each stage of the boot was reached.

use ufmt::uWrite;
use whit::contract::{MARK, STAGE_SEPARATOR, TIMELINE, TIMELINE_FILE};
use whit::stage::{NAMES, STAGES, Stage};
use whit::text::{Text, split};

use crate::console::{self, Line};
use crate::message::part;
use crate::{own_files, sys};

/// Nanoseconds since the kernel's start; 0 for a stage that was not reached.
pub(crate) struct Timeline([u64; STAGES]);

impl Timeline {
    /// Creates a timeline whose first stage was reached at `init_ns`.
    pub(crate) fn new(init_ns: u64) -> Self {
        let mut times = [0; _];
        times[Stage::Init as usize] = init_ns;
        Self(times)
    }

    /// Records the time of a stage, unless it was reached before.
    pub(crate) fn reach(&mut self, stage: Stage) {
        if let Some(time @ 0) = self.0.get_mut(stage as usize) {
            *time = sys::boot_time_ns();
        }
    }

    /// Logs the timeline, in microseconds: `whit: timeline init 812345, root 823456`.
    pub(crate) fn print(&self) {
        self.write(TIMELINE, STAGE_SEPARATOR);
        console::print();
    }

    /// Writes the timeline to /run/whit/timeline, one stage a line, if there is a /run/whit.
    pub(crate) fn write_file(&self) {
        if own_files::has_run_whit() {
            self.write(MARK, "\n");
            let _ = Line.write_str("\n");
            own_files::write(TIMELINE_FILE, false);
        }
    }

    #[inline(never)]
    fn write(&self, mut before: &str, between: &'static str) {
        for (name, time) in split(NAMES, b' ').zip(&self.0).filter(|(_, time)| **time > 0) {
            let _ = Line.write_str(before); // may end the line
            part!("{} {}", Text(name), time / 1000);
            before = between;
        }
    }
}
