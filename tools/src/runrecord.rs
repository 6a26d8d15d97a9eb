//! The run record: the configuration of a workload, in lines that the init reads without a JSON parser.
//!
//! Each line is `key value`. The value goes to the end of the line; its only escapes are `\n` and `\\`. `entrypoint` and `cmd`
//! have one element of argv a line, `env` one `KEY=VALUE`, `mount` and `tmpfs` one mount, `rlimit` and `sysctl` one setting;
//! `workdir`, `user`, `stopsignal`, `hostname`, `grace` and `time` occur once. The record is made from the output of
//! `docker inspect` for a container or an image, or from an OCI image configuration, and from options that override it.

use serde_json::Value;
use whit::record::MAX_RECORD;
use whit::rlimit;

use crate::archive::contents;

/// A run record: the configuration of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunRecord {
    /// The first elements of argv.
    pub entrypoint: Vec<String>,
    /// The elements after the entrypoint.
    pub cmd: Vec<String>,
    /// `KEY=VALUE`.
    pub env: Vec<String>,
    /// The working directory.
    pub workdir: Option<String>,
    /// `user`, `uid`, `user:group` or `uid:gid`.
    pub user: Option<String>,
    /// Signal that ends the workload.
    pub stopsignal: Option<String>,
    /// The host name.
    pub hostname: Option<String>,
    /// `SOURCE:/PATH[:FSTYPE[:OPTIONS]]`.
    pub mount: Vec<String>,
    /// `/PATH[:OPTIONS]`.
    pub tmpfs: Vec<String>,
    /// `NAME=SOFT[:HARD]`.
    pub rlimit: Vec<String>,
    /// `NAME=VALUE`.
    pub sysctl: Vec<String>,
    /// Seconds from the stop signal to SIGKILL.
    pub grace: Option<String>,
    /// The creation time of the image, in seconds since 1970: the earliest time that the machine's clock may have.
    pub time: Option<u32>,
}

/// Options that override an image's configuration.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Replaces the entrypoint and removes the image's CMD; one empty element removes the entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the CMD.
    pub cmd: Option<Vec<String>>,
    /// `KEY=VALUE` each; replaces a variable or adds one.
    pub env: Vec<String>,
    /// Names of variables to remove, which none of `env` sets.
    pub unset: Vec<String>,
    /// Replaces the working directory.
    pub workdir: Option<String>,
    /// Replaces the user.
    pub user: Option<String>,
    /// Replaces the stop signal.
    pub stopsignal: Option<String>,
    /// Replaces the host name.
    pub hostname: Option<String>,
    /// Added.
    pub mount: Vec<String>,
    /// Added.
    pub tmpfs: Vec<String>,
    /// Added.
    pub rlimit: Vec<String>,
    /// Added.
    pub sysctl: Vec<String>,
    /// Replaces the seconds from the stop signal to SIGKILL.
    pub grace: Option<String>,
}

/// The longest host name (include/uapi/linux/utsname.h, `__NEW_UTS_LEN`).
pub const MAX_HOSTNAME: usize = 64;

/// Why a record cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not JSON.
    #[error("is not JSON ({0}); give it the output of `docker inspect`")]
    Json(#[from] serde_json::Error),
    /// The JSON is not a container or image configuration.
    #[error(
        "has no run configuration: `docker inspect` of a container or image has one under Config, an OCI image under config"
    )]
    NoConfig,
    /// More than one container or image.
    #[error("describes {0} containers or images; inspect one")]
    Several(usize),
    /// A value has the wrong type.
    #[error("{0} should be {1}")]
    Type(&'static str, &'static str),
    /// A NUL cannot be in argv or the environment.
    #[error("{0} contains a NUL byte")]
    Nul(&'static str),
    /// A host name that Linux does not take.
    #[error("hostname {0}: {len} bytes; a host name has at most {MAX_HOSTNAME}", len = .0.len())]
    Hostname(String),
    /// The record is longer than the init reads.
    #[error(
        "the run record has {0} bytes; the init reads fewer than {MAX_RECORD}: shorten the arguments or the environment"
    )]
    TooLong(usize),
    /// Not `KEY=VALUE`.
    #[error("env {0:?} is not KEY=VALUE")]
    Env(String),
    /// Not a limit.
    #[error("limit {0:?} is not NAME=SOFT[:HARD] as in nofile=1024:4096, or its soft limit is above the hard one")]
    Rlimit(String),
    /// Not a setting.
    #[error("sysctl {0:?} is not NAME=VALUE as in net.core.somaxconn=1024")]
    Sysctl(String),
}

impl Overrides {
    /// Appends these options to the lines of the record `before`. A new entrypoint or command removes the old one; other lines
    /// stay, and a later line overrides an earlier one.
    ///
    /// # Errors
    /// Errors of [`RunRecord::encode`] and [`RunRecord::override_with`].
    pub fn append_to(self, before: &[u8]) -> Result<Vec<u8>, Error> {
        let replaced: &[&[u8]] = match (&self.entrypoint, &self.cmd) {
            (Some(_), _) => &[b"entrypoint", b"cmd"],
            (None, Some(_)) => &[b"cmd"],
            (None, None) => &[],
        };
        let stays = |line: &&[u8]| {
            let key = line.split(|byte| *byte == b' ').next().unwrap_or_default();
            !line.is_empty() && !replaced.contains(&key)
        };
        let mut lines = before.split(|byte| *byte == b'\n').filter(stays).collect::<Vec<_>>().join(&b'\n');
        if !lines.is_empty() {
            lines.push(b'\n');
        }
        // The init reads one empty element as "no entrypoint", which also cancels the image's.
        let entrypoint = self.entrypoint.clone().unwrap_or_default();
        let mut record = RunRecord::default();
        record.override_with(self)?;
        record.entrypoint = entrypoint;
        lines.extend(record.encode()?.into_bytes());
        Ok(lines)
    }
}

impl RunRecord {
    /// Parses the configuration of one container or image.
    ///
    /// # Errors
    /// Any [`Error`] about the JSON.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let document: Value = contents::parse_json(json)?;
        let (object, config) = find_config(&document)?;
        let host = object.get("HostConfig").unwrap_or(&Value::Null);
        Ok(Self {
            entrypoint: list(config, "Entrypoint")?,
            cmd: list(config, "Cmd")?,
            // An element without `=` removes a variable; there is none to remove.
            env: list(config, "Env")?.into_iter().filter(|element| element.contains('=')).collect(),
            workdir: text(config, "WorkingDir")?,
            user: text(config, "User")?,
            // docker takes it in any case.
            stopsignal: text(config, "StopSignal")?.map(|signal| signal.to_ascii_uppercase()),
            hostname: text(config, "Hostname")?,
            rlimit: limits(host)?,
            sysctl: settings(host)?,
            time: created(object),
            ..Self::default()
        })
    }

    /// Parses the lines of a record. Unknown keys, and values that are not UTF-8, are skipped.
    pub fn decode(lines: &[u8]) -> Self {
        let mut record = Self::default();
        let mut buffer = lines.to_vec();
        for line in whit::record::Record::decode(&mut buffer).lines() {
            let Ok(value) = String::from_utf8(line.value.to_vec()) else { continue };
            match line.key {
                b"entrypoint" => record.entrypoint.push(value),
                b"cmd" => record.cmd.push(value),
                b"env" => record.env.push(value),
                b"workdir" => record.workdir = Some(value),
                b"user" => record.user = Some(value),
                b"stopsignal" => record.stopsignal = Some(value),
                b"hostname" => record.hostname = Some(value),
                b"time" => record.time = value.parse().ok(),
                _ => {}
            }
        }
        record
    }

    /// Applies options, with docker's semantics.
    ///
    /// # Errors
    /// An invalid environment element, limit or sysctl setting.
    pub fn override_with(&mut self, overrides: Overrides) -> Result<(), Error> {
        if let Some(entrypoint) = overrides.entrypoint {
            // docker run --entrypoint "" removes it.
            self.entrypoint = if entrypoint == [""] { Vec::new() } else { entrypoint };
            self.cmd.clear();
        }
        if let Some(cmd) = overrides.cmd {
            self.cmd = cmd;
        }
        for element in overrides.env {
            let key = match element.split_once('=') {
                Some((key, _)) if !key.is_empty() => format!("{key}="),
                _ => return Err(Error::Env(element)),
            };
            match self.env.iter_mut().find(|old| old.starts_with(&key)) {
                Some(old) => *old = element,
                None => self.env.push(element),
            }
        }
        for name in overrides.unset {
            self.env.retain(|old| old.split('=').next() != Some(&name));
            // The name alone stays in the record, and removes a variable of a weaker one.
            self.env.push(name);
        }
        let replace = |old: &mut Option<String>, new: Option<String>| {
            if new.is_some() {
                *old = new;
            }
        };
        replace(&mut self.workdir, overrides.workdir);
        replace(&mut self.user, overrides.user);
        replace(&mut self.stopsignal, overrides.stopsignal);
        replace(&mut self.hostname, overrides.hostname);
        replace(&mut self.grace, overrides.grace);
        self.mount.extend(overrides.mount);
        self.tmpfs.extend(overrides.tmpfs);
        for limit in overrides.rlimit {
            match rlimit::parse(limit.as_bytes()) {
                Some(parsed) if parsed.soft_hard.is_sorted() => self.rlimit.push(limit),
                _ => return Err(Error::Rlimit(limit)),
            }
        }
        for setting in overrides.sysctl {
            match setting.split_once('=') {
                Some((name, _)) if !name.is_empty() => self.sysctl.push(setting),
                _ => return Err(Error::Sysctl(setting)),
            }
        }
        Ok(())
    }

    /// Returns whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Encodes the record as lines.
    ///
    /// # Errors
    /// A value with a NUL byte, a host name that is too long, or more than the init reads.
    pub fn encode(&self) -> Result<String, Error> {
        if let Some(name) = self.hostname.as_ref().filter(|name| name.len() > MAX_HOSTNAME) {
            return Err(Error::Hostname(name.clone()));
        }
        let mut lines = String::new();
        let repeated = [
            ("entrypoint", &self.entrypoint),
            ("cmd", &self.cmd),
            ("env", &self.env),
            ("mount", &self.mount),
            ("tmpfs", &self.tmpfs),
            ("rlimit", &self.rlimit),
            ("sysctl", &self.sysctl),
        ];
        for (key, values) in repeated {
            for value in values {
                push(&mut lines, key, value)?;
            }
        }
        let single = [
            ("workdir", &self.workdir),
            ("user", &self.user),
            ("stopsignal", &self.stopsignal),
            ("hostname", &self.hostname),
            ("grace", &self.grace),
        ];
        for (key, value) in single {
            if let Some(value) = value {
                push(&mut lines, key, value)?;
            }
        }
        if let Some(time) = self.time {
            push(&mut lines, "time", &time.to_string())?;
        }
        if lines.len() >= MAX_RECORD { Err(Error::TooLong(lines.len())) } else { Ok(lines) }
    }

    /// Describes the record in one line: the command with shell quoting, the user and the working directory.
    pub fn describe(&self) -> String {
        let mut line: Vec<String> = self.entrypoint.iter().chain(&self.cmd).map(|word| quote(word)).collect();
        if line.is_empty() {
            line.push("(no command)".to_owned());
        }
        let user = self.user.as_ref().map(|user| format!("user {user}"));
        let workdir = self.workdir.as_ref().map(|workdir| format!("in {workdir}"));
        let extra: Vec<String> = user.into_iter().chain(workdir).collect();
        if extra.is_empty() { line.join(" ") } else { format!("{} ({})", line.join(" "), extra.join(", ")) }
    }
}

fn push(lines: &mut String, key: &'static str, value: &str) -> Result<(), Error> {
    if value.contains('\0') {
        return Err(Error::Nul(key));
    }
    lines.push_str(key);
    lines.push(' ');
    lines.push_str(&value.replace('\\', "\\\\").replace('\n', "\\n"));
    lines.push('\n');
    Ok(())
}

fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Finds the configuration in `[{"Config": {…}}]` of `docker inspect`, in one element of it, in `{"config": {…}}` of OCI, or
/// takes the object as the configuration itself. Returns the outer and the inner object.
fn find_config(document: &Value) -> Result<(&Value, &Value), Error> {
    let object = match document {
        Value::Array(elements) => match elements.as_slice() {
            [one] => one,
            several => return Err(Error::Several(several.len())),
        },
        other => other,
    };
    let is_config = |value: &Value| ["Entrypoint", "Cmd", "Env"].iter().any(|key| value.get(key).is_some());
    match object.get("Config").or_else(|| object.get("config")) {
        Some(config) if config.is_object() => Ok((object, config)),
        None if is_config(object) => Ok((object, object)),
        _ => Err(Error::NoConfig),
    }
}

/// Reads an array of strings; a single string counts as one element, as in docker's `strslice`.
fn list(config: &Value, key: &'static str) -> Result<Vec<String>, Error> {
    const EXPECTED: &str = "an array of strings";
    let element = |value: &Value| value.as_str().map(str::to_owned).ok_or(Error::Type(key, EXPECTED));
    match config.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(elements)) => elements.iter().map(element).collect(),
        Some(_) => Err(Error::Type(key, EXPECTED)),
    }
}

/// Reads the limits of `docker run --ulimit`: `[{"Name": "nofile", "Hard": 4096, "Soft": 1024}]`.
fn limits(host: &Value) -> Result<Vec<String>, Error> {
    const EXPECTED: &str = "an array of objects with Name, Soft and Hard";
    let limit = |value: &Value| {
        let (name, number) = (value.get("Name")?.as_str()?, |key| value.get(key)?.as_i64());
        Some(format!("{name}={}:{}", number("Soft")?, number("Hard")?))
    };
    let invalid = || Error::Type("Ulimits", EXPECTED);
    match host.get("Ulimits") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => values.iter().map(|value| limit(value).ok_or_else(invalid)).collect(),
        Some(_) => Err(invalid()),
    }
}

/// Reads the settings of `docker run --sysctl`: `{"net.core.somaxconn": "1024"}`.
fn settings(host: &Value) -> Result<Vec<String>, Error> {
    let invalid = || Error::Type("Sysctls", "an object of strings");
    let setting = |(name, value): (&String, &Value)| Some(format!("{name}={}", value.as_str()?));
    match host.get("Sysctls") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(values)) => values.iter().map(|value| setting(value).ok_or_else(invalid)).collect(),
        Some(_) => Err(invalid()),
    }
}

/// Reads `Created` of docker inspect, or `created` of OCI (RFC 3339). Reproducible images have the year 1970 or 1, which is
/// ignored.
fn created(object: &Value) -> Option<u32> {
    let text = object.get("Created").or_else(|| object.get("created"))?.as_str()?;
    let seconds = text.parse::<jiff::Timestamp>().ok()?.as_second();
    u32::try_from(seconds).ok().filter(|seconds| *seconds > 0)
}

/// Reads a string; an empty one counts as none. podman writes a signal as a number.
fn text(config: &Value, key: &'static str) -> Result<Option<String>, Error> {
    match config.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(Error::Type(key, "a string")),
    }
}

#[cfg(test)]
mod tests;
