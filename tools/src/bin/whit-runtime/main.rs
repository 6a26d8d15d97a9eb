//! `whit-runtime`: an OCI runtime whose containers are machines, for podman.
#![forbid(unsafe_code)]

mod arguments;

use std::fs::OpenOptions;
use std::io::Write;
use std::process::ExitCode;

use serde_json::json;
use whit_tools::cli::{documents, output};
use whit_tools::runtime::{self, Create, Exec, Root, Settings};

use arguments::{Arguments, Command, LogFormat};

fn main() -> ExitCode {
    let arguments: Arguments = documents::parse();
    match run(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            output::say(format_args!("whit-runtime: {error}"));
            log(&arguments, &error);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8, String> {
    let root = Root::open(arguments.root.clone());
    let settings = Settings {
        kernel: arguments.kernel.clone(),
        modules: arguments.modules.clone(),
        init: arguments.init.clone(),
        accelerator: arguments.accel.clone(),
        annotations: arguments.allow_annotations,
    };
    match &arguments.command {
        Command::Create(create) => {
            let request = Create {
                id: create.id.clone(),
                bundle: create.bundle.clone(),
                console_socket: create.console_socket.clone(),
                pid_file: create.pid_file.clone(),
            };
            runtime::create(&root, &request, &settings)?;
        }
        Command::Start { id } => runtime::start(&root, id)?,
        Command::State { id } => {
            let state = runtime::state(&root, id)?;
            output::print(|out| writeln!(out, "{state:#}"))?;
        }
        Command::Kill { id, signal, .. } => runtime::kill(&root, id, signal)?,
        Command::Delete { id, force } => runtime::delete(&root, id, *force)?,
        Command::List { quiet, .. } => {
            let all = runtime::list(&root);
            if *quiet {
                output::print(|out| {
                    all.iter().try_for_each(|state| writeln!(out, "{}", state["id"].as_str().unwrap_or_default()))
                })?;
            } else {
                output::print(|out| writeln!(out, "{}", serde_json::Value::from(all)))?;
            }
        }
        Command::Features => output::print(|out| writeln!(out, "{:#}", runtime::features()))?,
        Command::Other(words) => {
            let name = words.first().map(|name| name.to_string_lossy()).unwrap_or_default();
            return Err(format!("{name}: not supported; --help lists the commands"));
        }
        Command::Exec(exec) => {
            let mut user = exec.user.clone();
            if let (Some(user), [_, ..]) = (&mut user, exec.additional_gids.as_slice()) {
                let gids: Vec<String> = exec.additional_gids.iter().map(u32::to_string).collect();
                let group = if user.contains(':') { "" } else { ":0" };
                user.push_str(&format!("{group}:{}", gids.join(",")));
            }
            let request = Exec {
                id: exec.id.clone(),
                process: exec.process.clone(),
                args: exec.args.clone(),
                env: exec.env.clone(),
                cwd: exec.cwd.clone(),
                user,
                tty: exec.tty,
                no_input: false,
                detach: exec.detach,
                console_socket: exec.console_socket.clone(),
                pid_file: exec.pid_file.clone(),
            };
            return runtime::exec(&root, &request);
        }
        Command::Client { folder, report, options, tty } => {
            return Ok(runtime::client(folder, *report, *options, *tty));
        }
        Command::Shim { bundle, report, persist } => {
            return Ok(runtime::shim(bundle, persist.as_deref(), *report, &settings));
        }
    }
    Ok(0)
}

/// Adds an error to the file of --log, where an engine looks for it.
fn log(arguments: &Arguments, error: &str) {
    let Some(path) = &arguments.log else { return };
    let line = match arguments.log_format {
        LogFormat::Json => {
            json!({ "level": "error", "msg": error, "time": jiff::Timestamp::now().to_string() }).to_string()
        }
        LogFormat::Text => format!("level=error msg={error:?}"),
    };
    // The error was printed.
    let _ = OpenOptions::new().append(true).create(true).open(path).and_then(|mut file| writeln!(file, "{line}"));
}
