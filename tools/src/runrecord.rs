//! The run record: what a machine runs, as lines that the init reads without a parser for JSON.
//!
//! One `key value` a line, the value up to the line's end, `\n` and `\\` its only escapes. `entrypoint` and `cmd` have
//! one element of argv a line, `env` one `KEY=VALUE`, `mount` and `tmpfs` one mount, `rlimit` and `sysctl` one setting;
//! `workdir`, `user`, `stopsignal`, `hostname` and `grace` come once. The record is made from what `docker inspect` prints
//! of a container or an image, from an OCI image configuration, and from options that override both.

use serde_json::Value;
use whit::record::MAX_RECORD;
use whit::rlimit;

/// What a machine runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunRecord {
    /// The first elements of argv.
    pub entrypoint: Vec<String>,
    /// The elements behind them.
    pub cmd: Vec<String>,
    /// `KEY=VALUE`.
    pub env: Vec<String>,
    /// Directory that the workload starts in.
    pub workdir: Option<String>,
    /// `user`, `uid`, `user:group` or `uid:gid`.
    pub user: Option<String>,
    /// Signal that ends the workload.
    pub stopsignal: Option<String>,
    /// The machine's name.
    pub hostname: Option<String>,
    /// `SOURCE:/PATH[:FSTYPE[:OPTIONS]]`.
    pub mount: Vec<String>,
    /// `/PATH[:OPTIONS]`.
    pub tmpfs: Vec<String>,
    /// `NAME=SOFT[:HARD]`.
    pub rlimit: Vec<String>,
    /// `NAME=VALUE`.
    pub sysctl: Vec<String>,
    /// Seconds that the workload has to end.
    pub grace: Option<String>,
}

/// Options that override an image's configuration.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Replaces the entrypoint and drops the image's CMD; one empty element takes the entrypoint away.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the CMD.
    pub cmd: Option<Vec<String>>,
    /// `KEY=VALUE` each, replacing or added.
    pub env: Vec<String>,
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
    /// Replaces the seconds that the workload has to end.
    pub grace: Option<String>,
}

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no JSON.
    #[error("is not JSON ({0}); give it the output of `docker inspect`")]
    Json(#[from] serde_json::Error),
    /// The JSON is of another kind.
    #[error(
        "has no run configuration: `docker inspect` of a container or image has one under Config, an OCI image under config"
    )]
    NoConfig,
    /// More than one container or image.
    #[error("describes {0} containers or images; inspect one")]
    Several(usize),
    /// A value of another type.
    #[error("{0} should be {1}")]
    Type(&'static str, &'static str),
    /// A NUL cannot be in argv or the environment.
    #[error("{0} holds a NUL byte")]
    Nul(&'static str),
    /// More than the init reads.
    #[error(
        "the run record has {0} bytes, and the init reads fewer than {MAX_RECORD}; shorten the arguments or the environment"
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
    /// The record `before`, as lines, with these options over it: an entrypoint or command of its own goes, what else it says
    /// stays, and gives way where both say something.
    ///
    /// # Errors
    /// Those of [`RunRecord::encode`] and [`RunRecord::override_with`].
    pub fn over(self, before: &[u8]) -> Result<Vec<u8>, Error> {
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
        // The init takes one empty element for "none": the image's is not to count either.
        let entrypoint = self.entrypoint.clone().unwrap_or_default();
        let mut record = RunRecord::default();
        record.override_with(self)?;
        record.entrypoint = entrypoint;
        lines.extend(record.encode()?.into_bytes());
        Ok(lines)
    }
}

impl RunRecord {
    /// Reads the configuration of one container or image.
    ///
    /// # Errors
    /// What is not of the forms named above.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let document: Value = serde_json::from_slice(json)?;
        let (object, config) = find_config(&document)?;
        let host = object.get("HostConfig").unwrap_or(&Value::Null);
        Ok(Self {
            entrypoint: list(config, "Entrypoint")?,
            cmd: list(config, "Cmd")?,
            // An element without `=` says that a variable is to be taken away, and there is nothing to take it from.
            env: list(config, "Env")?.into_iter().filter(|element| element.contains('=')).collect(),
            workdir: text(config, "WorkingDir")?,
            user: text(config, "User")?,
            stopsignal: text(config, "StopSignal")?,
            hostname: text(config, "Hostname")?,
            rlimit: limits(host)?,
            sysctl: settings(host)?,
            ..Self::default()
        })
    }

    /// Reads the lines of a record; keys that are not known here, and values that are no text, are passed over.
    pub fn decode(lines: &[u8]) -> Self {
        let mut record = Self::default();
        let mut buffer = lines.to_vec();
        for (key, value) in whit::record::Record::decode(&mut buffer).lines().filter_map(|line| line.entry) {
            let Ok(value) = String::from_utf8(value.unwrap_or_default().to_vec()) else { continue };
            match key {
                b"entrypoint" => record.entrypoint.push(value),
                b"cmd" => record.cmd.push(value),
                b"env" => record.env.push(value),
                b"workdir" => record.workdir = Some(value),
                b"user" => record.user = Some(value),
                b"stopsignal" => record.stopsignal = Some(value),
                b"hostname" => record.hostname = Some(value),
                _ => {}
            }
        }
        record
    }

    /// Applies options, with docker's meaning of them.
    ///
    /// # Errors
    /// An environment element that is not `KEY=VALUE`, a limit or a setting that is none.
    pub fn override_with(&mut self, overrides: Overrides) -> Result<(), Error> {
        if let Some(entrypoint) = overrides.entrypoint {
            // docker run --entrypoint "" takes it away.
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

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The record's lines.
    ///
    /// # Errors
    /// A value with a NUL byte, or more than the init reads.
    pub fn encode(&self) -> Result<String, Error> {
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
        if lines.len() >= MAX_RECORD { Err(Error::TooLong(lines.len())) } else { Ok(lines) }
    }

    /// One line for people: the command as a shell would take it.
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

/// `[{"Config": {…}}]` of `docker inspect`, one element of it, `{"config": {…}}` of OCI, or the inner object itself; and what
/// it is the inner object of.
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

/// An array of strings; a single string counts as one element, as in docker's `strslice`.
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

/// What `docker run --ulimit` left: `[{"Name": "nofile", "Hard": 4096, "Soft": 1024}]`.
fn limits(host: &Value) -> Result<Vec<String>, Error> {
    const EXPECTED: &str = "an array of objects with Name, Soft and Hard";
    let limit = |value: &Value| {
        let (name, number) = (value.get("Name")?.as_str()?, |key| value.get(key)?.as_i64());
        Some(format!("{name}={}:{}", number("Soft")?, number("Hard")?))
    };
    let wrong = || Error::Type("Ulimits", EXPECTED);
    match host.get("Ulimits") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => values.iter().map(|value| limit(value).ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

/// What `docker run --sysctl` left: `{"net.core.somaxconn": "1024"}`.
fn settings(host: &Value) -> Result<Vec<String>, Error> {
    let wrong = || Error::Type("Sysctls", "an object of strings");
    let setting = |(name, value): (&String, &Value)| Some(format!("{name}={}", value.as_str()?));
    match host.get("Sysctls") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(values)) => values.iter().map(|value| setting(value).ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

/// A string that is not empty; podman writes a signal as its number.
fn text(config: &Value, key: &'static str) -> Result<Option<String>, Error> {
    match config.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(Error::Type(key, "a string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINER: &str = r#"[{"Id": "4f", "Path": "/docker-entrypoint.sh", "Config": {"Hostname": "4f66ad9a0b2e", "User": "",
        "Env": ["PATH=/usr/sbin:/usr/bin", "NGINX_VERSION=1.27.0", "GONE"], "Cmd": ["nginx", "-g", "daemon off;"],
        "Image": "nginx", "WorkingDir": "/srv", "Entrypoint": ["/docker-entrypoint.sh"], "StopSignal": "SIGQUIT"}}]"#;

    fn parse(json: &str) -> RunRecord {
        RunRecord::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_container_becomes_lines() {
        assert_eq!(
            parse(CONTAINER).encode().unwrap(),
            "entrypoint /docker-entrypoint.sh\ncmd nginx\ncmd -g\ncmd daemon off;\nenv PATH=/usr/sbin:/usr/bin\n\
             env NGINX_VERSION=1.27.0\nworkdir /srv\nstopsignal SIGQUIT\nhostname 4f66ad9a0b2e\n"
        );
    }

    #[test]
    fn all_forms_of_a_configuration_are_found() {
        let expected = RunRecord { cmd: vec!["sh".to_owned()], ..RunRecord::default() };
        for json in [
            r#"[{"Config": {"Cmd": ["sh"], "Entrypoint": null, "Env": null}}]"#,
            r#"{"Config": {"Cmd": ["sh"], "Entrypoint": [], "User": ""}}"#,
            r#"{"architecture": "amd64", "config": {"Cmd": ["sh"]}, "rootfs": {}}"#,
            r#"{"Cmd": "sh"}"#,
        ] {
            assert_eq!(parse(json), expected, "{json}");
        }
        assert_eq!(parse(r#"[{"Config": {"StopSignal": 15}}]"#).stopsignal.as_deref(), Some("15"));
    }

    #[test]
    fn what_is_no_configuration_says_so() {
        let error = |json: &str| RunRecord::parse(json.as_bytes()).unwrap_err();
        assert!(matches!(error("{"), Error::Json(_)));
        assert!(matches!(error(""), Error::Json(_)));
        for json in ["[1]", "{}", "3", r#"{"Config": null}"#, r#"[{"Image": "x"}]"#] {
            assert!(matches!(error(json), Error::NoConfig), "{json}");
        }
        assert!(matches!(error("[]"), Error::Several(0)));
        assert!(matches!(error("[{}, {}]"), Error::Several(2)));
        assert!(matches!(error(r#"{"Cmd": [1]}"#), Error::Type("Cmd", _)));
        assert!(matches!(error(r#"{"Cmd": [], "User": []}"#), Error::Type("User", _)));
        let host = |host: &str| error(&format!(r#"{{"Config": {{"Cmd": []}}, "HostConfig": {{{host}}}}}"#));
        for bad in ["{}", "[1]", r#"[{"Name": "core", "Soft": 0}]"#, r#"[{"Name": "core", "Soft": "0", "Hard": 0}]"#] {
            assert!(matches!(host(&format!("\"Ulimits\": {bad}")), Error::Type("Ulimits", _)), "{bad}");
        }
        for bad in ["[]", r#"{"kernel.msgmax": 1}"#] {
            assert!(matches!(host(&format!("\"Sysctls\": {bad}")), Error::Type("Sysctls", _)), "{bad}");
        }
    }

    #[test]
    fn limits_and_settings_of_the_container_are_taken_over() {
        // docker 20.10: create --ulimit nofile=1024:4096 --ulimit core=-1 --sysctl net.core.somaxconn=100 \
        //     --sysctl "net.ipv4.ping_group_range=0 1"
        let created = r#"[{"Config": {"Cmd": ["sh"]}, "HostConfig": {
            "Ulimits": [{"Name": "core", "Hard": -1, "Soft": -1}, {"Name": "nofile", "Hard": 4096, "Soft": 1024}],
            "Sysctls": {"net.core.somaxconn": "100", "net.ipv4.ping_group_range": "0 1"}}}]"#;
        assert_eq!(
            parse(created).encode().unwrap(),
            "cmd sh\nrlimit core=-1:-1\nrlimit nofile=1024:4096\nsysctl net.core.somaxconn=100\n\
             sysctl net.ipv4.ping_group_range=0 1\n"
        );
        let none = r#"[{"Config": {"Cmd": ["sh"]}, "HostConfig": {"Ulimits": null, "Sysctls": null}}]"#;
        assert_eq!(parse(none).encode().unwrap(), "cmd sh\n");
    }

    #[test]
    fn limits_and_settings_are_looked_at_before_the_machine_does() {
        let with = |rlimit: &str, sysctl: &str| {
            let list = |text: &str| if text.is_empty() { Vec::new() } else { vec![text.to_owned()] };
            let mut record = RunRecord::default();
            record.override_with(Overrides { rlimit: list(rlimit), sysctl: list(sysctl), ..Overrides::default() })?;
            record.encode()
        };
        assert_eq!(with("core=0:-1", "a.b==c").unwrap(), "rlimit core=0:-1\nsysctl a.b==c\n");
        for bad in ["core", "core=", "CORE=1", "nofile=5:3", "nofile=-1:3", "nofile=1:2:3"] {
            assert!(matches!(with(bad, ""), Err(Error::Rlimit(_))), "{bad}");
        }
        for bad in ["a.b", "=1"] {
            assert!(matches!(with("", bad), Err(Error::Sysctl(_))), "{bad}");
        }
    }

    #[test]
    fn an_entrypoint_drops_the_images_cmd() {
        let overridden = |overrides| {
            let mut record = parse(CONTAINER);
            record.override_with(overrides).unwrap();
            (record.entrypoint, record.cmd)
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let entrypoint = Some(words(&["/bin/sh", "-c"]));
        let cmd = Some(words(&["ls"]));
        let both = Overrides { entrypoint: entrypoint.clone(), cmd: cmd.clone(), ..Overrides::default() };
        assert_eq!(overridden(Overrides { entrypoint, ..Overrides::default() }), (words(&["/bin/sh", "-c"]), vec![]));
        assert_eq!(overridden(both), (words(&["/bin/sh", "-c"]), words(&["ls"])));
        assert_eq!(
            overridden(Overrides { cmd, ..Overrides::default() }),
            (words(&["/docker-entrypoint.sh"]), words(&["ls"]))
        );
        let none = Overrides { entrypoint: Some(words(&[""])), ..Overrides::default() };
        assert_eq!(overridden(none), (vec![], vec![]));
    }

    #[test]
    fn env_options_replace_or_add() {
        let mut record = parse(CONTAINER);
        let env = ["NGINX_VERSION=2", "NGINX=", "A=b=c"].map(str::to_owned).to_vec();
        record.override_with(Overrides { env, ..Overrides::default() }).unwrap();
        assert_eq!(record.env, ["PATH=/usr/sbin:/usr/bin", "NGINX_VERSION=2", "NGINX=", "A=b=c"]);
        for bad in ["A", "=b", ""] {
            let overrides = Overrides { env: vec![bad.to_owned()], ..Overrides::default() };
            assert!(matches!(record.override_with(overrides), Err(Error::Env(_))), "{bad:?}");
        }
    }

    #[test]
    fn options_go_over_the_lines_that_were_there() {
        const BEFORE: &[u8] = b"entrypoint /e\ncmd old\ncmd\ncmdline y\n\nuser u";
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>());
        let over = |overrides: Overrides| String::from_utf8(overrides.over(BEFORE).unwrap()).unwrap();
        let (cmd, entrypoint) = (words(&["-c", "", "a\nb\\c d"]), words(&["/x"]));
        assert_eq!(over(Overrides::default()), "entrypoint /e\ncmd old\ncmd\ncmdline y\nuser u\n");
        let with_cmd = Overrides { cmd, user: Some("v".to_owned()), ..Overrides::default() };
        assert_eq!(over(with_cmd), "entrypoint /e\ncmdline y\nuser u\ncmd -c\ncmd \ncmd a\\nb\\\\c d\nuser v\n");
        let mount = vec!["9p:share0:/data".to_owned()];
        let with_entrypoint = Overrides { entrypoint, mount, ..Overrides::default() };
        assert_eq!(over(with_entrypoint), "cmdline y\nuser u\nentrypoint /x\nmount 9p:share0:/data\n");
        let without_entrypoint = Overrides { entrypoint: words(&[""]), ..Overrides::default() };
        assert_eq!(over(without_entrypoint), "cmdline y\nuser u\nentrypoint \n");
        assert_eq!(Overrides::default().over(b"").unwrap(), b"");
    }

    #[test]
    fn values_are_escaped_and_a_nul_is_refused() {
        let cmd = ["", "a\nb", "c\\n d ", "# x"].map(str::to_owned).to_vec();
        let record = RunRecord { cmd, ..RunRecord::default() };
        assert_eq!(record.encode().unwrap(), "cmd \ncmd a\\nb\ncmd c\\\\n d \ncmd # x\n");
        let record = RunRecord { user: Some("a\0".to_owned()), ..RunRecord::default() };
        assert!(matches!(record.encode(), Err(Error::Nul("user"))));
    }

    #[test]
    fn the_init_reads_what_is_written_and_no_more() {
        let env = ["A=", "B=a\\nb\nc \\", "C=#"].map(str::to_owned).to_vec();
        let mut record = RunRecord { cmd: vec![String::new(), " x".to_owned()], env, ..RunRecord::default() };
        let mut bytes = record.encode().unwrap().into_bytes();
        let lines: Vec<_> = whit::record::Record::decode(&mut bytes).lines().map(|line| line.entry.unwrap()).collect();
        let expected = [("cmd", ""), ("cmd", " x"), ("env", "A="), ("env", "B=a\\nb\nc \\"), ("env", "C=#")];
        assert_eq!(lines, expected.map(|(key, value)| (key.as_bytes(), Some(value.as_bytes()))));
        // The init's buffer must not be full: "cmd ", the newline, and one byte less than it holds.
        (record.env, record.cmd) = (Vec::new(), vec!["x".repeat(MAX_RECORD - 6)]);
        assert_eq!(record.encode().unwrap().len(), MAX_RECORD - 1);
        record.cmd = vec!["x".repeat(MAX_RECORD - 5)];
        assert!(matches!(record.encode(), Err(Error::TooLong(MAX_RECORD))));
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut record = parse(CONTAINER);
        record.cmd = ["", "a\nb", "c\\n d "].map(str::to_owned).to_vec();
        assert_eq!(RunRecord::decode(record.encode().unwrap().as_bytes()), record);
        assert_eq!(RunRecord::decode(b"# a comment\nnet wait\nuser \xff\n"), RunRecord::default());
    }

    #[test]
    fn the_description_is_a_command_line() {
        assert_eq!(parse(CONTAINER).describe(), "/docker-entrypoint.sh nginx -g 'daemon off;' (in /srv)");
        let record = RunRecord { cmd: vec![String::new(), "it's".to_owned()], ..RunRecord::default() };
        assert_eq!(record.describe(), r"'' 'it'\''s'");
        assert_eq!(RunRecord::default().describe(), "(no command)");
    }
}
