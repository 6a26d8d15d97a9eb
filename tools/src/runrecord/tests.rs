//! Configurations of docker, podman and OCI, and the run records made from them.

use super::*;

const CONTAINER: &str = r#"[{"Id": "4f", "Path": "/docker-entrypoint.sh", "Config": {"Hostname": "4f66ad9a0b2e", "User": "",
    "Env": ["PATH=/usr/sbin:/usr/bin", "NGINX_VERSION=1.27.0", "GONE"], "Cmd": ["nginx", "-g", "daemon off;"],
    "Image": "nginx", "WorkingDir": "/srv", "Entrypoint": ["/docker-entrypoint.sh"], "StopSignal": "SIGQUIT"}}]"#;

fn parse(json: &str) -> RunRecord {
    RunRecord::parse(json.as_bytes()).unwrap()
}

#[test]
fn a_container_is_encoded_as_lines() {
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
fn the_creation_time_of_an_image_is_kept() {
    let time = |created: &str| parse(&format!(r#"[{{{created}"Config": {{"Cmd": ["sh"]}}}}]"#)).time;
    assert_eq!(time(r#""Created": "2026-11-26T00:00:00.123456789Z", "#), Some(1_795_651_200));
    assert_eq!(time(r#""created": "2026-11-26T02:00:00+02:00", "#), Some(1_795_651_200));
    for none in ["1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "2110-01-01T00:00:00Z", "soon", ""] {
        assert_eq!(time(&format!(r#""Created": "{none}", "#)), None, "{none}");
    }
    assert_eq!(time(r#""Created": 5, "#), None);
    let record = RunRecord { time: Some(1_795_651_200), ..RunRecord::default() };
    assert_eq!(record.encode().unwrap(), "time 1795651200\n");
    assert_eq!(RunRecord::decode(b"time 1795651200\n"), record);
}

#[test]
fn each_invalid_configuration_has_its_error() {
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
fn limits_and_settings_of_the_container_are_copied() {
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
fn invalid_limits_and_settings_are_refused() {
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
fn unset_variables_are_removed() {
    let mut record = parse(CONTAINER);
    let overrides =
        Overrides { env: vec!["A=1".into()], unset: vec!["PATH".into(), "NEW".into()], ..Overrides::default() };
    record.override_with(overrides).unwrap();
    assert_eq!(record.env, ["NGINX_VERSION=1.27.0", "A=1", "PATH", "NEW"]);
}

#[test]
fn options_are_appended_to_the_old_lines() {
    const BEFORE: &[u8] = b"entrypoint /e\ncmd old\ncmd\ncmdline y\n\nuser u";
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>());
    let appended = |overrides: Overrides| String::from_utf8(overrides.append_to(BEFORE).unwrap()).unwrap();
    let (cmd, entrypoint) = (words(&["-c", "", "a\nb\\c d"]), words(&["/x"]));
    assert_eq!(appended(Overrides::default()), "entrypoint /e\ncmd old\ncmd\ncmdline y\nuser u\n");
    let with_cmd = Overrides { cmd, user: Some("v".to_owned()), ..Overrides::default() };
    assert_eq!(appended(with_cmd), "entrypoint /e\ncmdline y\nuser u\ncmd -c\ncmd \ncmd a\\nb\\\\c d\nuser v\n");
    let mount = vec!["9p:share0:/data".to_owned()];
    let with_entrypoint = Overrides { entrypoint, mount, ..Overrides::default() };
    assert_eq!(appended(with_entrypoint), "cmdline y\nuser u\nentrypoint /x\nmount 9p:share0:/data\n");
    let without_entrypoint = Overrides { entrypoint: words(&[""]), ..Overrides::default() };
    assert_eq!(appended(without_entrypoint), "cmdline y\nuser u\nentrypoint \n");
    assert_eq!(Overrides::default().append_to(b"").unwrap(), b"");
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
fn the_init_reads_the_encoded_record_up_to_its_limit() {
    let env = ["A=", "B=a\\nb\nc \\", "C=#"].map(str::to_owned).to_vec();
    let mut record = RunRecord { cmd: vec![String::new(), " x".to_owned()], env, ..RunRecord::default() };
    let mut bytes = record.encode().unwrap().into_bytes();
    let lines: Vec<_> = whit::record::Record::decode(&mut bytes).lines().map(|line| (line.key, line.value)).collect();
    let expected = [("cmd", ""), ("cmd", " x"), ("env", "A="), ("env", "B=a\\nb\nc \\"), ("env", "C=#")];
    assert_eq!(lines, expected.map(|(key, value)| (key.as_bytes(), value.as_bytes())));
    // The init's buffer must not be full: "cmd ", the newline, and one byte less than its size.
    (record.env, record.cmd) = (Vec::new(), vec!["x".repeat(MAX_RECORD - 6)]);
    assert_eq!(record.encode().unwrap().len(), MAX_RECORD - 1);
    record.cmd = vec!["x".repeat(MAX_RECORD - 5)];
    assert!(matches!(record.encode(), Err(Error::TooLong(MAX_RECORD))));
}

#[test]
fn an_encoded_record_decodes_to_itself() {
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

#[test]
fn a_host_name_is_as_long_as_the_kernels() {
    let named = |name: String| RunRecord { hostname: Some(name), ..RunRecord::default() }.encode();
    assert_eq!(named("h".repeat(64)).unwrap(), format!("hostname {}\n", "h".repeat(64)));
    // Bytes, not characters.
    let error = named("\u{e9}".repeat(33)).unwrap_err().to_string();
    assert_eq!(error, format!("hostname {}: 66 bytes; a host name has at most 64", "\u{e9}".repeat(33)));
}
