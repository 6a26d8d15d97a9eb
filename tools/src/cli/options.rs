//! The documentation of the init's options: a section of a tool's `--help`, and the table of docs/configuration.md. Both are
//! generated from [`whit::options::table`].

use std::fmt::Write;

use whit::options::table::{Fallback, Place, Row, TABLE};

/// Columns of a line of documentation in `--help`, which clap indents by ten.
const COLUMNS: usize = 66;
const INDENT: &str = "    ";

/// Returns `intro`, then every option with its documentation, for a `--help`.
#[must_use]
pub fn help(intro: &str) -> String {
    let mut help = format!(
        "{intro}\n\nThe init's options, which a record has without \"whit.\" ({} and {}):\n",
        whit::contract::path(whit::contract::RECORD),
        whit::contract::path(whit::contract::IMAGE_RECORD)
    );
    for row in TABLE {
        let default = default(row).map_or(String::new(), |default| format!(" [default: {default}]"));
        let text = format!("{}{default}", row.text).replace('`', "");
        // Writing to a `String` cannot fail.
        let _ = write!(help, "\n{}{}", name(row), row.form);
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.is_empty() && line.len() + word.len() >= COLUMNS {
                let _ = write!(help, "\n{INDENT}{line}");
                line.clear();
            }
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
        let _ = write!(help, "\n{INDENT}{line}");
    }
    help
}

/// Returns the table in Markdown, its last newline included.
#[must_use]
pub fn markdown() -> String {
    let mut table = "| option | meaning | default |\n|---|---|---|\n".to_owned();
    for row in TABLE {
        let form = row.form.replace('|', "\\|");
        let default = match row.default {
            Fallback::Fixed(value) => format!("`{value}` "),
            Fallback::Described(text) => format!("{text} "),
            Fallback::Nothing => String::new(),
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(table, "| `{}{form}` | {} | {default}|", name(row), row.text);
    }
    table
}

/// Returns the name on the kernel command line.
fn name(row: &Row) -> String {
    match row.place {
        Place::Kernel => row.name.to_owned(),
        Place::Whit => format!("whit.{}", row.name),
    }
}

fn default(row: &Row) -> Option<&'static str> {
    match row.default {
        Fallback::Fixed(text) | Fallback::Described(text) => Some(text),
        Fallback::Nothing => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_row_for_each_option_and_three_columns() {
        let table = markdown();
        assert_eq!(table.lines().count(), 2 + TABLE.len());
        assert!(table.contains(
            "| `rootwait[=S]` | the number of seconds to wait for devices; without a value, no limit | `30` |\n"
        ));
        for line in table.lines() {
            assert_eq!(line.replace("\\|", "").matches('|').count(), 4, "{line}");
        }
    }

    #[test]
    fn help_has_short_lines_without_markdown() {
        let help = help("Introduction.");
        assert!(help.contains("\nwhit.grow\n    grow an ext4 root to the size of its device\n"), "{help}");
        assert!(
            help.contains("\nwhit.grace=S\n    the number of seconds from that signal to SIGKILL [default: 10]\n"),
            "{help}"
        );
        for line in help.lines().filter(|line| line.starts_with(INDENT)) {
            assert!(line.len() <= INDENT.len() + COLUMNS && !line.contains('`'), "{line}");
        }
    }
}
