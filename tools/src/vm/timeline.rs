//! The timeline of a boot: the stages that the init logs, and the first answer that the host received.

use std::time::Duration;

use whit::contract::{STAGE_SEPARATOR, TIMELINE_LINE};

/// The stages with their times since the kernel's start.
#[derive(Debug, PartialEq)]
pub struct Timeline(Vec<(String, Duration)>);

impl Timeline {
    /// Parses `whit: timeline init 812345, root 823456, …` (microseconds).
    ///
    /// It is the first line of a quiet boot, so the boot loader's last dot may precede it.
    pub fn parse(line: &str) -> Option<Self> {
        let stages = line.get(line.find(TIMELINE_LINE)? + TIMELINE_LINE.len()..)?.trim_end().split(STAGE_SEPARATOR);
        let stage = |stage: &str| {
            let (name, micros) = stage.split_once(' ')?;
            Some((name.to_owned(), Duration::from_micros(micros.parse().ok()?)))
        };
        stages.map(stage).collect::<Option<_>>().map(Self)
    }

    /// Adds the first answer, which the host received `after` the line.
    pub fn answered(&mut self, after: Duration) {
        let printed = self.0.last().map_or(Duration::ZERO, |(_, time)| *time);
        self.0.push(("answer".to_owned(), printed + after));
    }

    /// Returns one line per stage, sorted by time: its name, milliseconds since the kernel's start and since the previous stage.
    pub fn lines(&self) -> Vec<String> {
        let mut stages = vec![("kernel", Duration::ZERO)];
        stages.extend(self.0.iter().map(|(name, time)| (name.as_str(), *time)));
        stages.sort_by_key(|(_, time)| *time);
        let before = std::iter::once(Duration::ZERO).chain(stages.iter().map(|(_, time)| *time));
        let line = |((name, time), before): (&(&str, Duration), Duration)| {
            format!("{:<19}{:>9.1} ms{:>+10.1}", title(name), millis(*time), millis(time.saturating_sub(before)))
        };
        stages.iter().zip(before).map(line).collect()
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn title(stage: &str) -> &str {
    match stage {
        "kernel" => "kernel starts",
        "init" => "init starts",
        "modules" => "modules loaded",
        "link" => "network link up",
        "root" => "root mounted",
        "lease" => "lease bound",
        "entrypoint" => "entrypoint running",
        "answer" => "first answer",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeline_includes_the_answer() {
        let line = "whit: timeline init 812345, root 823456, lease 830001, entrypoint 831000\r\n";
        let mut timeline = Timeline::parse(line).unwrap();
        timeline.answered(Duration::from_millis(120));
        let expected = [
            "kernel starts            0.0 ms      +0.0",
            "init starts            812.3 ms    +812.3",
            "root mounted           823.5 ms     +11.1",
            "lease bound            830.0 ms      +6.5",
            "entrypoint running     831.0 ms      +1.0",
            "first answer           951.0 ms    +120.0",
        ];
        assert_eq!(timeline.lines(), expected);
    }

    #[test]
    fn stages_are_sorted_by_time() {
        let timeline = Timeline::parse("whit: timeline init 2000, root 9000, lease 5000, entrypoint 9500").unwrap();
        let order: Vec<String> = timeline.lines().iter().map(|line| line[..6].trim_end().to_owned()).collect();
        assert_eq!(order, ["kernel", "init s", "lease", "root m", "entryp"]);
    }

    #[test]
    fn stages_may_be_missing_but_not_invalid() {
        let timeline = Timeline::parse(".whit: timeline init 5").unwrap();
        assert_eq!(timeline.lines().len(), 2);
        for line in ["", "whit: exit 0", "whit: timeline ", "whit: timeline init", "whit: timeline init 5, root x"] {
            assert_eq!(Timeline::parse(line), None, "{line}");
        }
    }
}
