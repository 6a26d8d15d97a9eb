//! Builds `put` as it ships.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let built = xtask::put::build().and_then(|path| {
        let bytes = std::fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?.len();
        println!("{}: {bytes} bytes", path.display());
        Ok(())
    });
    match built {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("build-put: {message}");
            ExitCode::FAILURE
        }
    }
}
