//! When each stage of the boot was reached.

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
    /// The first stage was reached then.
    pub(crate) fn new(init_ns: u64) -> Self {
        let mut times = [0; _];
        times[Stage::Init as usize] = init_ns;
        Self(times)
    }

    /// Keeps the first time that a stage is reached.
    pub(crate) fn reach(&mut self, stage: Stage) {
        if let Some(time @ 0) = self.0.get_mut(stage as usize) {
            *time = sys::boot_time_ns();
        }
    }

    /// `whit: timeline init 812345, root 823456`: microseconds.
    pub(crate) fn print(&self) {
        self.write(TIMELINE, STAGE_SEPARATOR);
        console::print();
    }

    /// Writes it to /run/whit/timeline, where there is a /run/whit: a stage a line.
    pub(crate) fn write_file(&self) {
        if own_files::has_run_whit() {
            self.write(MARK, "\n");
            let _ = Line.write_str("\n");
            own_files::write(TIMELINE_FILE);
        }
    }

    #[inline(never)]
    fn write(&self, mut before: &str, between: &'static str) {
        for (name, time) in split(NAMES, b' ').zip(&self.0).filter(|(_, time)| **time > 0) {
            let _ = Line.write_str(before); // may be a line's end
            part!("{} {}", Text(name), time / 1000);
            before = between;
        }
    }
}
