//! Makes the run record from the options; it overrides the image's own.

use std::path::Path;

use whit_tools::runrecord::{Overrides, RunRecord};
use whit_tools::vm::ShareKind;
use whit_tools::vm::qemu::share_tag;

use crate::arguments::Arguments;

/// Returns the record for this run: `before`, that of the initramfs, overridden by the options.
pub(crate) fn record(
    arguments: &Arguments,
    shares: &[ShareKind],
    before: &[u8],
    has_streams: bool,
) -> Result<Vec<u8>, String> {
    let config = match &arguments.config {
        Some(path) => {
            let describe = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let json = std::fs::read(path).map_err(|error| describe(&error))?;
            let record = RunRecord::parse(&json).map_err(|error| describe(&error))?;
            record.encode().map_err(|error| describe(&error))?
        }
        None => String::new(),
    };
    let before = [before, config.as_bytes()].concat();
    let mut record = overrides(arguments, shares)?.append_to(&before).map_err(|error| error.to_string())?;
    if has_streams {
        let kind = if arguments.tty { "terminal" } else { "pipes" };
        let linger = if arguments.linger { "linger\n" } else { "" };
        record.extend(format!("streams {kind}\n{linger}").into_bytes());
    }
    Ok(record)
}

fn overrides(arguments: &Arguments, shares: &[ShareKind]) -> Result<Overrides, String> {
    let words = arguments
        .arguments
        .iter()
        .map(|word| word.clone().into_string().map_err(|word| format!("the argument {} is not UTF-8", word.display())));
    let words = words.collect::<Result<Vec<String>, String>>()?;
    let mut env = Vec::new();
    for path in &arguments.env_file {
        env.extend(variables(path)?);
    }
    env.extend(arguments.env.iter().filter_map(|variable| with_value(variable)));
    let mount = |(number, (volume, kind)): (usize, (&whit_tools::vm::Volume, &ShareKind))| {
        let access = if volume.read_only { "::ro" } else { "" };
        format!("{}:{}:{}{access}", kind.name(), share_tag(number), volume.path)
    };
    Ok(Overrides {
        entrypoint: arguments.entrypoint.as_ref().map(|program| vec![program.clone()]),
        cmd: (!words.is_empty()).then_some(words),
        env,
        workdir: arguments.workdir.clone(),
        user: arguments.user.clone(),
        stopsignal: arguments.stop_signal.clone(),
        hostname: arguments.hostname.clone(),
        mount: arguments.volume.iter().zip(shares).enumerate().map(mount).collect(),
        tmpfs: arguments.tmpfs.clone(),
        rlimit: arguments.ulimit.clone(),
        sysctl: arguments.sysctl.clone(),
        grace: arguments.stop_timeout.map(|seconds| seconds.to_string()),
    })
}

/// Returns a variable with its value; by default, the value in this program's environment. `None` if that is not set.
fn with_value(variable: &str) -> Option<String> {
    if variable.contains('=') {
        return Some(variable.to_owned());
    }
    std::env::var(variable).ok().map(|value| format!("{variable}={value}"))
}

/// Reads the variables of a file, as `docker run --env-file` does.
fn variables(path: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.filter_map(with_value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn lines(line: &[&str], shares: &[ShareKind], before: &str) -> String {
        let arguments = Arguments::parse_from(["runvm", "image"].iter().chain(line));
        String::from_utf8(record(&arguments, shares, before.as_bytes(), false).unwrap()).unwrap()
    }

    #[test]
    fn options_are_encoded_as_lines() {
        let words = [
            "-e",
            "A=1 2",
            "--entrypoint",
            "/x",
            "-w",
            "/srv",
            "-u",
            "u:g",
            "--hostname",
            "h",
            "--stop-signal",
            "QUIT",
            "--stop-timeout",
            "3",
            "-v",
            "a:/b:ro",
            "-v",
            "c:/d",
            "--tmpfs",
            "/t:size=1m",
            "--ulimit",
            "nofile=1024:4096",
            "--sysctl",
            "net.ipv4.ip_forward=1",
            "--",
            "-c",
            "",
        ];
        assert_eq!(
            lines(&words, &[ShareKind::Plan9, ShareKind::Virtiofs], "user old\ncmd old\n"),
            "user old\nentrypoint /x\ncmd -c\ncmd \nenv A=1 2\nmount 9p:share0:/b::ro\nmount virtiofs:share1:/d\n\
             tmpfs /t:size=1m\nrlimit nofile=1024:4096\nsysctl net.ipv4.ip_forward=1\nworkdir /srv\nuser u:g\n\
             stopsignal QUIT\nhostname h\ngrace 3\n"
        );
        assert_eq!(lines(&[], &[], ""), "");
    }

    #[test]
    fn options_override_the_configuration_of_docker() {
        let folder = tempfile::tempdir().unwrap();
        let (config, env) = (folder.path().join("config"), folder.path().join("env"));
        std::fs::write(
            &config,
            r#"[{"Config": {"Entrypoint": ["/e"], "Cmd": ["c"], "Env": ["A=config", "B=config"]}}]"#,
        )
        .unwrap();
        std::fs::write(&env, "# comment\n\n A=file\nPATH\nNOT_SET_ANYWHERE\n").unwrap();
        let (config, env) = (config.to_str().unwrap(), env.to_str().unwrap());
        let path = std::env::var("PATH").unwrap();
        assert_eq!(
            lines(&["--config", config, "--env-file", env, "-e", "A=option", "--", "d"], &[], ""),
            format!("entrypoint /e\nenv A=config\nenv B=config\ncmd d\nenv A=option\nenv PATH={path}\n")
        );
    }
}
