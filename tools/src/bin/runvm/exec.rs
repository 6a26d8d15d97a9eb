//! `runvm exec`: a program beside the workload of a machine that runs.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use whit_tools::cli::output;
use whit_tools::runtime::{self, Exec, Root};

use crate::NO_STATUS;

/// Run a program in a machine that was started with --name.
///
/// It runs in the workload's root, with the workload's variables, user, directory and bounds unless options give others.
#[derive(Parser)]
#[command(name = "runvm exec", max_term_width = 100)]
struct Arguments {
    /// The machine
    name: String,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
    /// Give the program a terminal
    #[arg(short, long)]
    tty: bool,
    /// Connect standard input
    #[arg(short, long)]
    interactive: bool,
    /// An environment variable; repeatable
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// The working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// The user: name or number, optionally with :group
    #[arg(short, long)]
    user: Option<String>,
}

/// Runs the command line, whose first word is `exec`.
pub(crate) fn run(words: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            // An error of printing is ignored: standard error is closed.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(NO_STATUS) } else { ExitCode::SUCCESS };
        }
    };
    let Arguments { name, args, tty, interactive, env, workdir, user } = arguments;
    let request =
        Exec { id: name, args, env, cwd: workdir, user, tty, no_input: !interactive && !tty, ..Exec::default() };
    match runtime::exec(&Root::of_runvm(), &request) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // The text is an engine's.
            if error.ends_with(runtime::NOT_THERE) {
                output::say(format_args!("runvm: no machine has the name {}; runvm --name starts one", request.id));
            } else {
                output::say(format_args!("runvm: {error}"));
            }
            ExitCode::from(NO_STATUS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_valid() {
        Arguments::command().debug_assert();
    }
}
