use super::*;
use serde_json::{Value, json};

/// The part of a configuration of podman 4.3 that matters here.
fn podmans() -> Value {
    json!({
        "ociVersion": "1.0.2-dev",
        "process": {
            "user": { "uid": 33, "gid": 44, "umask": 18, "additionalGids": [44, 50, 60] },
            "args": ["echo", "two words\n"],
            "env": ["PATH=/bin", "TERM=xterm", "broken", "A=b=c"],
            "cwd": "/data",
            "capabilities": { "bounding": ["CAP_SYS_CHROOT", "CAP_CHOWN"], "effective": [], "permitted": [] },
            "rlimits": [
                { "type": "RLIMIT_NOFILE", "hard": 1_048_576, "soft": 1024 },
                { "type": "RLIMIT_MEMLOCK", "hard": u64::MAX, "soft": u64::MAX },
            ],
            "noNewPrivileges": true,
        },
        "root": { "path": "/storage/dir" },
        "hostname": "box",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev/shm", "type": "bind", "source": "/run/shm", "options": ["bind"] },
            { "destination": "/etc/hosts", "type": "bind", "source": "/run/hosts", "options": ["bind", "rprivate"] },
            { "destination": "/srv", "type": "none", "source": "vol", "options": ["rbind", "ro"] },
            { "destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "rprivate"] },
            { "destination": "/run/secrets", "type": "bind", "source": "/secrets", "options": ["rbind"] },
            { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["rprivate", "nodev", "size=1m"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup" },
        ],
        "annotations": { "io.podman.annotations.init": "FALSE" },
        "linux": {
            "sysctl": { "net.ipv4.ping_group_range": "0 0", "kernel.msgmax": "1" },
            "resources": { "memory": { "limit": 536_870_912 }, "cpu": { "quota": 150_000, "period": 100_000 } },
            "namespaces": [{ "type": "pid" }, { "type": "network", "path": "/run/netns/x" }],
        },
    })
}

fn machine(config: &Value) -> Result<Machine, String> {
    Machine::of(&serde_json::from_value(config.clone()).unwrap(), Path::new("/bundle"), true)
}

/// Changes one value of podman's configuration.
fn changed(pointer: &str, value: Value) -> Result<Machine, String> {
    let mut config = podmans();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    config.pointer_mut(parent).unwrap()[name] = value;
    machine(&config)
}

#[test]
fn a_configuration_becomes_a_record_and_mounts() {
    let machine = machine(&podmans()).unwrap();
    assert_eq!(
        String::from_utf8(machine.record.clone()).unwrap(),
        "entrypoint echo\nentrypoint two words\\n\nenv PATH=/bin\nenv TERM=xterm\nenv A=b=c\n\
         tmpfs /tmp:nodev,size=1m\nrlimit nofile=1024:1048576\nrlimit memlock=-1:-1\n\
         sysctl kernel.msgmax=1\nsysctl net.ipv4.ping_group_range=0 0\nworkdir /data\nuser 33:44:50,60\nhostname box\n\
         caps CHOWN,SYS_CHROOT\nno_new_privs\nstreams pipes\n"
    );
    let shared = |path: &str, source: Option<&str>, data: &str, read_only| Shared {
        path: path.into(),
        source: source.map(PathBuf::from),
        data: data.into(),
        read_only,
    };
    assert_eq!(
        machine.mounts,
        [
            shared("/etc/hosts", Some("/run/hosts"), "", false),
            shared("/srv", Some("/bundle/vol"), "", true),
            shared("/run", None, "mode=755", false),
            shared("/run/secrets", Some("/secrets"), "", false),
        ]
    );
    assert_eq!(machine.points, [PathBuf::from("/tmp")]);
    assert_eq!((machine.memory_mib, machine.cpus, machine.terminal, machine.size), (512, 2, false, None));
    assert_eq!(machine.network, Network::Namespace("/run/netns/x".into()));
    assert_eq!((machine.root, machine.read_only), (PathBuf::from("/storage/dir"), false));
}

#[test]
fn a_machine_is_understood_by_the_init() {
    let record = machine(&podmans()).unwrap().record;
    let mut buffer = record.clone();
    let mut sources = whit::options::Sources::new([whit::record::Record::default(); 4]);
    sources.records[whit::options::Source::Initramfs as usize] = whit::record::Record::decode(&mut buffer);
    let mut complaints = Vec::new();
    sources.options(&mut |_, complaint| complaints.push(String::from_utf8_lossy(complaint.name).into_owned()));
    assert_eq!(complaints, [""; 0]);
    for line in String::from_utf8(record).unwrap().lines() {
        match line.split_once(' ') {
            Some(("rlimit", limit)) => assert!(whit::rlimit::parse(limit.as_bytes()).is_some(), "{limit}"),
            Some(("caps", names)) => assert!(whit::caps::parse(names.as_bytes()).is_some(), "{names}"),
            Some(("tmpfs", text)) => assert!(whit::volume::parse(text.as_bytes(), true).is_some(), "{text}"),
            _ => {}
        }
    }
}

#[test]
fn annotations_of_an_image_are_refused_unless_they_are_allowed() {
    for name in ["kernel", "modules", "memory", "append", "accel"] {
        let mut config = podmans();
        config["annotations"][format!("io.whit.{name}")] = "512M".into();
        let spec = serde_json::from_value(config).unwrap();
        let refused = format!("annotation io.whit.{name}: pass --runtime-flag allow-annotations");
        assert_eq!(Machine::of(&spec, Path::new("/bundle"), false), Err(refused));
        assert_eq!(Machine::of(&spec, Path::new("/bundle"), true).unwrap().annotations[name], "512M");
    }
}

#[test]
fn resources_are_memory_and_processors() {
    let memory =
        |limit: i64| changed("/linux/resources/memory", json!({ "limit": limit })).map(|machine| machine.memory_mib);
    assert_eq!((memory(-1), memory(0), memory(67_108_865)), (Ok(256), Ok(256), Ok(65)));
    assert!(memory(1 << 20).unwrap_err().starts_with("memory limit 1048576: a machine needs at least 64M"));
    let cpus = |cpu: Value| changed("/linux/resources/cpu", cpu).unwrap().cpus;
    for (cpu, expected) in [
        (json!({}), 1),
        (json!({ "cpus": "0-2,5" }), 4),
        (json!({ "cpus": "3" }), 1),
        (json!({ "cpus": "2-1" }), 1),
        (json!({ "quota": -1, "period": 100_000 }), 1),
        (json!({ "quota": 400_000, "period": 100_000, "cpus": "0,1" }), 2),
        (json!({ "quota": 1, "period": 100_000 }), 1),
        (json!({ "cpus": "0-100000" }), 255),
    ] {
        assert_eq!(cpus(cpu.clone()), expected, "{cpu}");
    }
    let annotated =
        |value: &str| changed("/annotations", json!({ "io.whit.memory": value })).map(|machine| machine.memory_mib);
    assert_eq!(annotated("1G"), Ok(1024));
    assert!(annotated("many").is_err());
}

#[test]
fn what_a_machine_cannot_have_is_refused_by_its_name() {
    for (pointer, value, error) in [
        (
            "/linux/devices",
            json!([{ "path": "/dev/sda", "type": "b", "major": 8, "minor": 0 }]),
            "device /dev/sda: a machine has no devices of its host; remove --device",
        ),
        (
            "/linux/uidMappings",
            json!([{ "hostID": 1000, "containerID": 0, "size": 1 }]),
            "user namespace: the users of a machine are those of its root's files; remove --userns",
        ),
        (
            "/mounts",
            json!([{ "destination": "/mnt", "type": "nfs", "source": "x" }]),
            "mount /mnt: a machine cannot have a mount of type \"nfs\" there",
        ),
        (
            "/annotations",
            json!({ "io.whit.kernal": "x" }),
            "annotation io.whit.kernal: unknown; there are kernel, modules",
        ),
        (
            "/hostname",
            json!("h".repeat(65)),
            &format!("hostname {}: 65 bytes; a host name has at most 64", "h".repeat(65)),
        ),
        ("/process/args", json!([]), "process.args: nothing to run"),
        // podman looks for the second part, and has the exit code 127.
        ("/process/args", json!([""]), "process.args \"\": executable file not found in $PATH"),
        ("/process/args", json!(["", "echo"]), "process.args \"\": executable file not found in $PATH"),
        (
            "/linux/namespaces",
            json!([{ "type": "pid", "path": "/proc/1/ns/pid" }]),
            "pid namespace: a machine has processes of its own; remove --pid",
        ),
    ] {
        let refused = changed(pointer, value).unwrap_err();
        assert!(refused.starts_with(error), "{refused}");
    }
    let unnamed = String::from_utf8(changed("/hostname", json!("")).unwrap().record).unwrap();
    assert!(!unnamed.contains("hostname"), "{unnamed}");
    let mut privileged = podmans();
    privileged["linux"]["devices"] = json!([{ "path": "/dev/sda", "type": "b", "major": 8, "minor": 0 }]);
    privileged["annotations"]["io.podman.annotations.privileged"] = "TRUE".into();
    assert!(machine(&privileged).is_ok(), "of a privileged container, these are all devices");
}

#[test]
fn the_mount_points_of_a_configuration_are_paths_of_its_root() {
    // Engines write them in these forms too; the specification has had relative ones.
    let destinations = ["proc", "/./sys", "/run/../dev/pts", "//dev", "srv/../data/", "/../opt"];
    let mounts: Vec<_> = destinations
        .iter()
        .map(|path| json!({ "destination": path, "type": "bind", "source": "/source", "options": ["bind"] }))
        .collect();
    let found = changed("/mounts", mounts.into()).unwrap().mounts;
    assert_eq!(found.iter().map(|shared| shared.path.to_str().unwrap()).collect::<Vec<_>>(), ["/data", "/opt"]);
    for typ in ["bind", "tmpfs"] {
        let root = json!([{ "destination": "/a/..", "type": typ, "source": "/source" }]);
        assert_eq!(changed("/mounts", root), Err("mount /: the root is no mount point".to_owned()), "{typ}");
    }
}

#[test]
fn a_limit_that_stands_for_none_is_no_memory() {
    // Of cgroup v1, for which it is the largest multiple of a page.
    for limit in [i64::MAX, i64::MAX - 4095, i64::MAX - 65_535] {
        let machine = changed("/linux/resources/memory", json!({ "limit": limit })).unwrap();
        assert_eq!(machine.memory_mib, MEMORY_MIB, "{limit}");
    }
}

#[test]
fn a_configuration_is_read_as_far_as_it_matters() {
    let read = |change: &dyn Fn(&mut Value)| {
        let mut config = podmans();
        change(&mut config);
        read(config.to_string().as_bytes())
    };
    assert!(read(&|_| {}).is_ok());
    for (pointer, value) in [
        // What later versions of the specification and of libseccomp have.
        ("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_NEW", "architectures": ["SCMP_ARCH_NEW"] })),
        ("/linux/personality", json!({ "domain": "NEW" })),
        ("/process/ioPriority", json!({ "class": "NEW" })),
        ("/process/scheduler", json!({ "policy": "NEW" })),
        ("/linux/memoryPolicy", json!({ "mode": "NEW" })),
        (
            "/linux/resources",
            json!({ "memory": null, "cpu": { "quota": null, "period": 0 }, "devices": null, "unified": null }),
        ),
        ("/annotations", Value::Null),
        ("/process/env", Value::Null),
        ("/process/user/additionalGids", Value::Null),
        ("/hooks", json!({ "prestart": null })),
        ("/new", json!([1])),
    ] {
        let spec = read(&|config| {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            config.pointer_mut(parent).unwrap()[name] = value.clone();
        });
        let spec = spec.unwrap_or_else(|error| panic!("{pointer}: {error}"));
        assert!(Machine::of(&spec, Path::new("/bundle"), true).is_ok(), "{pointer}");
    }
    for (pointer, value, error) in [
        ("/process/capabilities", json!({ "bounding": ["CAP_NEW"] }), "no variant for CAP_NEW (converted to NEW)"),
        ("/process/rlimits", json!([{ "type": "RLIMIT_NEW", "hard": 1, "soft": 1 }]), "unknown variant `RLIMIT_NEW`"),
        ("/linux/namespaces", json!([{ "type": "new" }]), "unknown variant `new`"),
        ("/process/args", json!("sh"), "invalid type: string \"sh\", expected a sequence"),
    ] {
        let refused = read(&|config| {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            config.pointer_mut(parent).unwrap()[name] = value.clone();
        });
        assert_eq!(refused.unwrap_err(), error);
    }
    let without = |name: &str| read(&|config| drop(config["process"].as_object_mut().unwrap().remove(name)));
    assert_eq!(without("cwd").unwrap_err(), "missing field `cwd`");
    assert!(super::read(b"{").unwrap_err().starts_with("EOF while parsing an object at line 1"));
}

#[test]
fn a_namespace_with_an_empty_path_is_a_new_one() {
    let network = |value: Value| changed("/linux/namespaces", value).unwrap().network;
    assert_eq!(network(json!([{ "type": "pid" }, { "type": "network", "path": "" }])), Network::None);
}

#[test]
fn a_terminal_and_other_networks_are_known() {
    let mut config = podmans();
    config["process"]["terminal"] = true.into();
    config["process"]["consoleSize"] = json!({ "height": 24, "width": 80 });
    config["root"]["readonly"] = true.into();
    config["linux"]["namespaces"] = json!([{ "type": "network" }]);
    let found = machine(&config).unwrap();
    assert_eq!((found.terminal, found.size, found.read_only), (true, Some([24, 80]), true));
    assert!(found.record.ends_with(b"streams terminal\n"));
    assert_eq!(found.network, Network::None);
    config["linux"]["namespaces"] = json!([]);
    assert_eq!(machine(&config).unwrap().network, Network::Host);
}
