//! A recording in the format of asciinema, version 2 (<https://docs.asciinema.org/manual/asciicast/v2/>), of a program that writes lines
//! without escape sequences.

use serde_json::{Value, json};

/// The width of the terminal, in characters.
pub(crate) const COLUMNS: usize = 110;

/// The limit of a pause in the picture and in asciinema's player: the demo may fetch and build for minutes.
pub(crate) const IDLE_SECONDS: f64 = 3.0;

/// A line, and when it was written.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    /// Seconds since the start, in milliseconds' resolution.
    pub(crate) seconds: f64,
    pub(crate) text: String,
}

/// A recording.
#[derive(Debug, PartialEq)]
pub(crate) struct Cast {
    pub(crate) lines: Vec<Line>,
}

impl Cast {
    /// Encodes the file: a header, and one event for each line.
    pub(crate) fn encode(&self) -> String {
        let header = json!({
            "version": 2, "width": COLUMNS, "height": self.rows().count(), "idle_time_limit": IDLE_SECONDS
        });
        let event = |line: &Line| {
            let seconds = (line.seconds * 1000.0).round() / 1000.0;
            format!("{}\n", json!([seconds, "o", format!("{}\r\n", line.text)]))
        };
        format!("{header}\n{}", self.lines.iter().map(event).collect::<String>())
    }

    /// Parses a file of [`Cast::encode`].
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate();
        let header = lines.next().and_then(|(_, line)| serde_json::from_str::<Value>(line).ok());
        if header.is_none_or(|header| header["version"] != 2) {
            return Err("is not a recording of asciinema's version 2".into());
        }
        let parse = |line: &str| {
            let event: Value = serde_json::from_str(line).ok()?;
            let (seconds, text) = (event[0].as_f64()?, event[2].as_str()?.strip_suffix("\r\n")?);
            let is_plain = event[1] == "o" && !text.contains(char::is_control);
            is_plain.then(|| Line { seconds, text: text.to_owned() })
        };
        let lines =
            lines.map(|(index, line)| parse(line).ok_or(format!("line {}: is not one line of output", index + 1)));
        Ok(Self { lines: lines.collect::<Result<_, _>>()? })
    }

    /// Returns the rows of the terminal, each with its time in the picture, whose pauses are limited. A line that is too long continues
    /// in the next row.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (f64, String)> {
        let (mut before, mut shown) = (0.0, 0.0);
        self.lines.iter().flat_map(move |line| {
            shown += (line.seconds - before).clamp(0.0, IDLE_SECONDS);
            before = line.seconds;
            let characters: Vec<char> = line.text.chars().collect();
            let rows: Vec<String> = match &*characters {
                [] => vec![String::new()],
                characters => characters.chunks(COLUMNS).map(|row| row.iter().collect()).collect(),
            };
            rows.into_iter().map(move |row| (shown, row))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_read_as_it_was_written() {
        let line = |seconds, text: &str| Line { seconds, text: text.to_owned() };
        let cast = Cast { lines: vec![line(0.0, "$ a"), line(1.234, "\"b\" … c"), line(1.5, "")] };
        let text = cast.encode();
        assert_eq!(text.lines().nth(1), Some(r#"[0.0,"o","$ a\r\n"]"#));
        assert_eq!(Cast::parse(&text), Ok(cast));
    }

    #[test]
    fn other_files_are_refused() {
        for text in ["", "x", "{\"version\":1}"] {
            assert_eq!(Cast::parse(text), Err("is not a recording of asciinema's version 2".into()), "{text}");
        }
        for event in ["x", "[0.1]", r#"[0.1,"i","a\r\n"]"#, r#"[0.1,"o","a"]"#, r#"[0.1,"o","\u001b[1ma\r\n"]"#] {
            let text = format!("{{\"version\":2}}\n{event}\n");
            assert_eq!(Cast::parse(&text), Err("line 2: is not one line of output".into()), "{event}");
        }
    }

    #[test]
    fn a_long_line_continues_in_the_next_row_and_a_long_pause_is_cut() {
        let cast = Cast { lines: vec![Line { seconds: 60.0, text: "…".repeat(COLUMNS + 1) }] };
        let rows: Vec<_> = cast.rows().collect();
        assert_eq!(rows, [(IDLE_SECONDS, "…".repeat(COLUMNS)), (IDLE_SECONDS, "…".to_owned())]);
    }
}
