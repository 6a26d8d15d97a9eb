//! Generates a tool's man page and shell completions from its command-line grammar, for packages.
//!
//! `--generate KIND` of every tool writes one of them to standard output.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::{Arg, Command, Parser, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use super::output;

const NAME: &str = "generate";
const KINDS: &str = "man, bash, zsh, fish, elvish or powershell";

/// Returns a tool's grammar, with `--generate`. If that is the first argument, writes the document and exits.
#[must_use]
pub fn command<P: Parser>() -> Command {
    let help = format!("Write a man page or completions for a shell to standard output: {KINDS}");
    let generate = Arg::new(NAME).long(NAME).value_name("KIND").help(help).exclusive(true);
    let command = P::command().arg(generate);
    handle_generate(&command);
    command
}

/// Parses the process's arguments, or handles `--generate`. Exits on an error.
#[must_use]
pub fn parse<P: Parser>() -> P {
    try_parse().unwrap_or_else(|error| exit(P::command().get_name(), &error))
}

/// Prints an error of the arguments, the help or the version, and exits. clap's own `exit()` ignores errors of printing.
pub fn exit(tool: &str, error: &clap::Error) -> ! {
    let printed = error.print().and_then(|()| io::stdout().flush());
    let status = if error.use_stderr() { Ok(()) } else { check_shown(tool, printed) };
    std::process::exit(status.err().unwrap_or(error.exit_code()))
}

/// Reports an error of writing to standard output, unless its reader has closed the pipe. Returns the exit status.
fn check_shown(tool: &str, written: io::Result<()>) -> Result<(), i32> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            output::say(format_args!("{tool}: cannot be shown: {error}"));
            Err(1)
        }
        _ => Ok(()),
    }
}

/// Parses the process's arguments, or handles `--generate`.
///
/// # Errors
/// Invalid arguments; also `--help` and `--version`.
pub fn try_parse<P: Parser>() -> Result<P, clap::Error> {
    try_parse_words(command::<P>(), std::env::args_os())
}

/// Parses `words`, the first of which is the program's name, with a grammar of [`command`].
///
/// # Errors
/// See [`try_parse`].
pub fn try_parse_words<P: Parser>(
    mut command: Command,
    words: impl IntoIterator<Item = OsString>,
) -> Result<P, clap::Error> {
    let mut matches = command.try_get_matches_from_mut(words)?;
    P::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// Writes the document of `--generate KIND` and exits, if that is the first argument.
fn handle_generate(command: &Command) {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|argument| argument.to_str().and_then(|name| name.strip_prefix("--")) != Some(NAME))
    {
        return;
    }
    let kind = arguments.next().unwrap_or_default();
    let written = match (kind.to_str(), kind.to_str().map(|kind| Shell::from_str(kind, true))) {
        (Some("man"), _) => man_page(command).and_then(|page| io::stdout().write_all(&page)),
        (_, Some(Ok(shell))) => io::stdout().write_all(&completion(command, shell)),
        _ => {
            output::say(format_args!("{}: --{NAME} writes {KINDS}", command.get_name()));
            std::process::exit(2)
        }
    };
    let written = written.and_then(|()| io::stdout().flush());
    std::process::exit(check_shown(command.get_name(), written).err().unwrap_or(0))
}

fn completion(command: &Command, shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command.clone(), name, &mut script);
    script
}

/// Returns one page, with a section for the options of each subcommand.
fn man_page(command: &Command) -> io::Result<Vec<u8>> {
    let mut command = command.clone().disable_help_flag(true);
    command.build();
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        let man = Man::new(subcommand.clone());
        let mut part = Vec::new();
        man.render_synopsis_section(&mut part)?;
        man.render_description_section(&mut part)?;
        man.render_options_section(&mut part)?;
        let name = subcommand.get_bin_name().unwrap_or(subcommand.get_name()).to_uppercase();
        let text = String::from_utf8_lossy(&part).replace(".SH ", ".SS ");
        page.extend(format!(".SH \"{name}\"\n{text}").into_bytes());
    }
    man.render_extra_section(&mut page)?;
    // In all tools, the text after the options are examples.
    let mut extra = Vec::new();
    man.render_extra_section(&mut extra)?;
    page.extend(String::from_utf8_lossy(&extra).replace(".SH EXTRA", ".SH EXAMPLES").into_bytes());
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        let list = Command::new("list").about("List it").arg(clap::arg!(--names "Names alone"));
        Command::new("tool").about("Make it").arg(clap::arg!(--level <N> "How far")).subcommand(list)
    }

    #[test]
    fn the_page_has_the_options_of_all_commands() {
        let page = String::from_utf8(man_page(&command()).unwrap()).unwrap();
        for part in [".TH tool 1", "tool \\- Make it", "\\-\\-level", ".SH \"TOOL LIST\"", "\\-\\-names", ".SS OPTIONS"]
        {
            assert!(page.contains(part), "{part} in\n{page}");
        }
    }

    #[test]
    fn each_shell_completes_all_options() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(completion(&command(), *shell)).unwrap();
            assert!(script.contains("level") && script.contains("names"), "{shell}");
        }
    }
}
