//! `put` writes a disk image to a disk so that an incomplete or wrong one never boots.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use whit_put::options::{self, Parsed};
use whit_put::{job, lines};

/// The exit code for a mistake on the command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let failed = |message: String, code| {
        lines::warn(message);
        ExitCode::from(code)
    };
    match options::parse(std::env::args_os().skip(1), |name| std::env::var(name).ok()) {
        Err(message) => failed(message, USAGE),
        Ok(Parsed::Print(text)) => {
            lines::show(text.trim_end());
            ExitCode::SUCCESS
        }
        Ok(Parsed::Run(options)) => {
            job::run(*options).map_or_else(|message| failed(message, 1), |()| ExitCode::SUCCESS)
        }
    }
}
