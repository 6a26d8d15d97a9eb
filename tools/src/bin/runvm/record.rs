//! Makes the run record from the options; it overrides the image's own.

use std::env::VarError;
use std::path::Path;

use whit::volume;
use whit_tools::cli::input;
use whit_tools::runrecord::{MAX_HOSTNAME, Overrides, RunRecord};
use whit_tools::vm::ShareKind;
use whit_tools::vm::qemu::share_tag;

use crate::arguments::Arguments;

/// The type of a share with a single file.
const FILE: &str = match str::from_utf8(volume::FILE) {
    Ok(text) => text,
    Err(_) => "",
};

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
            let json = input::read(path).map_err(|error| describe(&error))?;
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
        env.extend(variables(path).map_err(|error| format!("--env-file {}: {error}", path.display()))?);
    }
    for variable in &arguments.env {
        if variable.split('=').next().unwrap_or_default().is_empty() {
            return Err(format!("-e {variable}: a variable has a name"));
        }
        // docker passes on the name alone of a variable that is not set: it removes the image's.
        env.push(with_value(variable)?.unwrap_or_else(|| variable.clone()));
    }
    let (env, unset) = last_of_each(env).into_iter().partition(|variable| variable.contains('='));
    // An empty value is none, as for docker.
    let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let workdir = given(&arguments.workdir);
    if let Some(workdir) = workdir.as_ref().filter(|workdir| !workdir.starts_with('/')) {
        return Err(format!("-w {workdir}: not an absolute path"));
    }
    if let Some(name) = arguments.hostname.as_ref().filter(|name| name.len() > MAX_HOSTNAME) {
        return Err(format!("-h {name}: {} bytes; a host name has at most {MAX_HOSTNAME}", name.len()));
    }
    if let Some(tmpfs) = arguments.tmpfs.iter().find(|tmpfs| volume::parse(tmpfs.as_bytes(), true).is_none()) {
        return Err(format!("--tmpfs {tmpfs}: not /PATH or /PATH:OPTIONS"));
    }
    let mount = |(number, (volume, kind)): (usize, (&whit_tools::vm::Volume, &ShareKind))| {
        let end = match (volume.is_file(), volume.read_only) {
            (true, read_only) => format!(":{FILE}{}", if read_only { ":ro" } else { "" }),
            (false, true) => "::ro".to_owned(),
            (false, false) => String::new(),
        };
        format!("{}:{}:{}{end}", kind.name(), share_tag(number), volume.path)
    };
    Ok(Overrides {
        entrypoint: arguments.entrypoint.as_ref().map(|program| vec![program.clone()]),
        cmd: (!words.is_empty()).then_some(words),
        env,
        unset,
        workdir,
        user: given(&arguments.user),
        stopsignal: given(&arguments.stop_signal).map(|signal| signal_name(&signal)),
        hostname: given(&arguments.hostname),
        mount: arguments.volume.iter().zip(shares).enumerate().map(mount).collect(),
        tmpfs: arguments.tmpfs.clone(),
        rlimit: arguments.ulimit.clone(),
        sysctl: arguments.sysctl.clone(),
        // docker waits without a limit for a negative number.
        grace: arguments.stop_timeout.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX).to_string()),
    })
}

/// Returns a signal as the init knows it. docker takes a name in any case, and others of the same number (moby/sys/signal).
fn signal_name(given: &str) -> String {
    /// glibc's SIGRTMAX.
    const RTMAX: u8 = 64;
    let upper = given.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let below = match name.strip_prefix("RTMAX") {
        Some("") => Some("0"),
        Some(rest) => rest.strip_prefix('-').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())),
        None => None,
    };
    match (name, below) {
        ("IOT", _) => "SIGABRT".to_owned(),
        ("CLD", _) => "SIGCHLD".to_owned(),
        ("POLL", _) => "SIGIO".to_owned(),
        (_, Some(below)) => {
            below.parse().ok().filter(|below| *below <= 14).map_or(upper, |below: u8| (RTMAX - below).to_string())
        }
        _ => upper,
    }
}

/// Returns a variable with its value; by default, the value in this program's environment. `None` if that is not set.
fn with_value(variable: &str) -> Result<Option<String>, String> {
    if variable.contains('=') {
        return Ok(Some(variable.to_owned()));
    }
    match std::env::var(variable) {
        Ok(value) => Ok(Some(format!("{variable}={value}"))),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("the variable {variable} is not UTF-8")),
    }
}

/// Returns the last element for each name, in order.
fn last_of_each(variables: Vec<String>) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut kept: Vec<String> = Vec::new();
    for variable in variables {
        match kept.iter_mut().find(|old| name(old) == name(&variable)) {
            Some(old) => *old = variable,
            None => kept.push(variable),
        }
    }
    kept
}

/// Reads the variables of a file, as `docker run --env-file` does (docker/cli, pkg/kvfile): a variable without a value that is not
/// set is left out. A byte order mark is refused, which docker skips.
fn variables(path: &Path) -> Result<Vec<String>, String> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    let bytes = input::read(path).map_err(|error| error.to_string())?;
    if bytes.starts_with(MARK) {
        return Err("line 1: begins with a byte order mark; save the file as UTF-8 without one".to_owned());
    }
    let mut found = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = str::from_utf8(line).map_err(|_| format!("line {number}: is not UTF-8"))?.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.is_empty() || name.contains([' ', '\t']) {
            return Err(format!("line {number}: \"{name}\" is not the name of a variable"));
        }
        found.extend(with_value(line).map_err(|error| format!("line {number}: {error}"))?);
    }
    Ok(found)
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
        let file = tempfile::NamedTempFile::new().unwrap();
        let volume = |end: &str| format!("{}:{end}", file.path().display());
        assert_eq!(
            lines(&["-v", &volume("/a"), "-v", &volume("/b:ro")], &[ShareKind::Plan9, ShareKind::Virtiofs], ""),
            "mount 9p:share0:/a:file\nmount virtiofs:share1:/b:file:ro\n"
        );
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

    fn refused(line: &[&str]) -> String {
        let arguments = Arguments::parse_from(["runvm", "image"].iter().chain(line));
        record(&arguments, &[], b"", false).unwrap_err()
    }

    #[test]
    fn signals_have_other_names() {
        for (given, expected) in [
            ("int", "INT"),
            ("SIGIOT", "SIGABRT"),
            ("cld", "SIGCHLD"),
            ("POLL", "SIGIO"),
            ("RTMAX", "64"),
            ("SIGRTMAX-1", "63"),
            ("RTMAX-15", "RTMAX-15"),
            ("RTMAX-", "RTMAX-"),
            ("RTMAX+1", "RTMAX+1"),
            ("RTMAX5", "RTMAX5"),
            ("37", "37"),
        ] {
            assert_eq!(signal_name(given), expected, "{given}");
        }
    }

    #[test]
    fn an_empty_value_is_none() {
        assert_eq!(lines(&["-w", "", "--stop-signal", "", "-u", "", "-h", ""], &[], ""), lines(&[], &[], ""));
    }

    #[test]
    fn a_variable_that_is_not_set_is_removed() {
        let words = ["-e", "NOT_SET_ANYWHERE", "-e", "A=1", "-e", "B", "-e", "A", "-e", "B=2"];
        assert_eq!(lines(&words, &[], "env A=old\n"), "env A=old\nenv B=2\nenv NOT_SET_ANYWHERE\nenv A\n");
        for bad in ["", "=1"] {
            assert_eq!(refused(&["-e", bad]), format!("-e {bad}: a variable has a name"));
        }
    }

    #[test]
    fn files_of_variables_are_parsed_as_in_docker() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let parse = |content: &[u8]| {
            std::fs::write(file.path(), content).unwrap();
            variables(file.path())
        };
        let parsed = parse(b"# comment\n\n  A= v \r\nB='x y'\nC=\nNOT_SET_ANYWHERE\nD=1=2").unwrap();
        assert_eq!(parsed, ["A= v ", "B='x y'", "C=", "D=1=2"]);
        for (content, error) in [
            (&b"A=1\nB C=2\n"[..], "line 2: \"B C\" is not the name of a variable"),
            (b"A\t=1", "line 1: \"A\t\" is not the name of a variable"),
            (b"=1", "line 1: \"\" is not the name of a variable"),
            (b"A=\xff", "line 1: is not UTF-8"),
            (b"\xef\xbb\xbfA=1", "line 1: begins with a byte order mark; save the file as UTF-8 without one"),
        ] {
            assert_eq!(parse(content).unwrap_err(), error);
        }
        assert_eq!(
            refused(&["--env-file", path]),
            format!("--env-file {path}: line 1: begins with a byte order mark; save the file as UTF-8 without one")
        );
    }

    #[test]
    fn values_are_those_of_docker() {
        let words = ["--stop-signal", "sigquit", "--stop-timeout=-1"];
        assert_eq!(lines(&words, &[], ""), "stopsignal SIGQUIT\ngrace 4294967295\n");
        assert_eq!(refused(&["-w", "data"]), "-w data: not an absolute path");
        assert_eq!(refused(&["--tmpfs", "data"]), "--tmpfs data: not /PATH or /PATH:OPTIONS");
        assert!(refused(&["--ulimit", "nofile=5:4"]).contains("nofile=5:4"));
    }
}
