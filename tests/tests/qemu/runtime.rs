//! Containers of podman as machines: Debian's podman drives whit-runtime. One test has those of containerd.
//!
//! Each engine has storage of its own. There is no registry: images are imported from a tar.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use whit_tests::deadline::{self, Deadline};
use whit_tests::terminal::{read_until, resize};
use whit_tests::whole::busybox_tar;

mod containerd;
mod disk;
mod engine;
mod long;

use engine::{Engine, HOST_ADDRESSES, kill, processes, text};

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn output_input_and_status_are_those_of_a_container() {
    let engine = Engine::new();
    assert_eq!(
        engine.outcome(&["run", "--rm", "--network", "none", "busybox", "/bin/busybox", "echo", "hello"]),
        (Some(0), "hello\n".into(), String::new())
    );
    let (status, shown, errors) = engine.run(&[], "echo out; echo error >&2; exit 7");
    assert_eq!((status, shown.as_str(), errors.as_str()), (Some(7), "out\n", "error\n"));
    let (status, _, errors) = engine.outcome(&["run", "--rm", "--network", "none", "busybox", "/bin/missing"]);
    assert_eq!((status, errors.as_str()), (Some(127), "whit: /bin/missing: not found (ENOENT)\n"));
    assert_eq!(engine.run(&[], "kill -KILL $$").0, Some(137));
    // Without a network there is a loopback, as in a container.
    assert_eq!(engine.run(&[], "busybox ifconfig lo | busybox grep -c 127.0.0.1").1, "1\n");
    let arguments = ["run", "--rm", "-i", "--network", "none", "busybox", "/bin/busybox", "md5sum"];
    let mut child = engine.command(&arguments).stdin(Stdio::piped()).spawn().unwrap();
    let _deadline = Deadline::of(&child);
    child.stdin.take().unwrap().write_all(&[b'x'; 1_000_000]).unwrap();
    // head -c 1000000 /dev/zero | tr '\0' x | md5sum
    let (status, shown, errors) = text(child.wait_with_output().unwrap());
    assert_eq!((status, shown.as_str(), errors.as_str()), (Some(0), "ec78dbd963d2fc01e51176ed4dec299e  -\n", ""));
    assert_eq!(engine.left(), 0);
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_configuration_of_a_container_holds_in_the_machine() {
    let engine = Engine::new();
    let folder = engine.path("shared");
    fs::create_dir_all(folder.join("inner")).unwrap();
    fs::write(folder.join("file"), "from the host\n").unwrap();
    let volume = |end: &str| format!("{}:{end}", folder.display());
    let options = [
        "-v",
        &volume("/data"),
        "-v",
        &volume("/fixed:ro"),
        "-v",
        &format!("{0}/file:/opt/new/one:ro", folder.display()),
        "--tmpfs",
        "/run:size=1m",
        "-v",
        &format!("{0}/file:/run/below", folder.display()),
        "--tmpfs",
        "/scratch:size=2m",
        "-u",
        "33:44",
        "--group-add",
        "55",
        "-w",
        "/data",
        "-h",
        "box",
        "-e",
        "A=two words",
        "--ulimit",
        "nofile=100:200",
        "--sysctl",
        "net.core.somaxconn=77",
        "-m",
        "128m",
        "--cpus",
        "1.5",
        "--cap-drop",
        "all",
        "--cap-add",
        "net_raw",
    ];
    let script = "id; pwd; hostname; echo $A; ulimit -n; cat /proc/sys/net/core/somaxconn /opt/new/one /run/below; nproc; \
                  grep CapBnd /proc/self/status; df -m /scratch | tail -1 | awk '{print $2}'; \
                  free -m | awk '/Mem/ {print ($2 < 128)}'; echo x >>/opt/new/one; touch /fixed/new";
    let script = format!(
        "for applet in id hostname cat nproc grep df tail awk free touch; do alias $applet=\"busybox $applet\"; done\n{script}"
    );
    fs::set_permissions(folder.join("file"), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let (status, shown, errors) = engine.run(&options, &script);
    assert_eq!(
        shown,
        "uid=33 gid=44 groups=44,55\n/data\nbox\ntwo words\n100\n77\nfrom the host\nfrom the host\n2\n\
         CapBnd:\t0000000000002000\n2\n1\n",
        "{errors}"
    );
    assert_eq!((status, errors.matches("Read-only file system").count()), (Some(1), 2), "{errors}");
    let (status, _, errors) = engine.run(&["-v", &volume("/data"), "--read-only"], "echo in >/data/made; echo x >/new");
    assert_eq!((status, errors.contains("/new: Read-only file system")), (Some(1), true), "{errors}");
    assert_eq!(fs::read_to_string(folder.join("made")).unwrap(), "in\n");
    let (status, _, errors) = engine.run(&["--device", "/dev/null:/dev/sda"], "true");
    assert_eq!(
        (status, errors.contains("device /dev/sda: a machine has no devices of its host")),
        (Some(126), true),
        "{errors}"
    );
    assert_eq!(engine.left(), 0);
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn options_mean_what_they_mean_for_a_container() {
    let engine = Engine::new();
    let file = |name: &str, text: &str| {
        fs::write(engine.path(name), text).unwrap();
        engine.path(name).to_str().unwrap().to_owned()
    };
    let (variables, secret) = (file("variables", "A=1\n# a comment\nB=two words\n"), file("secret", "hidden"));
    engine.well(&["secret", "create", "key", &secret]);
    let options = [
        "--init",
        "--read-only",
        "--tmpfs=/run",
        "--mount=type=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=700",
        "--secret=key",
        "--secret=key,type=env,target=KEY",
        "--env-file",
        &variables,
        "--user=0:7",
        "--group-add=5",
        "--workdir=/run",
        "--security-opt=no-new-privileges",
        "--cap-drop=all",
        "--cpus=0.5",
        "--pids-limit=100",
    ];
    let script =
        "echo $A $B $KEY; pwd; id; nproc; cat /run/secrets/key; echo; echo x >/run/new; echo x >/t/new; cat /t/new
                  df -k /t | tail -n 1 | awk '{print $2}'; grep -e NoNew -e CapBnd /proc/self/status; echo x >/etc/new";
    let script =
        format!("for applet in id nproc cat df tail awk grep; do alias $applet=\"busybox $applet\"; done\n{script}");
    let (status, shown, errors) = engine.run(&options, &script);
    let expected = "1 two words hidden\n/run\nuid=0(0) gid=7(7) groups=5,7(7)\n1\nhidden\nx\n1024\nCapBnd:\t0000000000000000\n\
                    NoNewPrivs:\t1\n";
    assert_eq!((status, shown.as_str()), (Some(1), expected), "{errors}");
    assert!(errors.contains("/etc/new: Read-only file system"), "{errors}");
    // The image's entrypoint is removed; the command's first word is the program, and may not be empty.
    engine.well(&["import", "--change", "ENTRYPOINT [\"/missing\"]", busybox_tar().to_str().unwrap(), "other"]);
    let run = ["run", "--rm", "--network", "none"];
    let none = ["--entrypoint", "", "other", "/bin/busybox", "echo", "none"];
    assert_eq!(engine.outcome(&[&run[..], &none].concat()).1, "none\n");
    let (status, _, errors) = engine.outcome(&[&run[..], &["busybox", ""]].concat());
    assert_eq!((status, errors.contains("executable file not found in $PATH")), (Some(127), true), "{errors}");
    let (status, _, errors) = engine.run(&["--pid", "ns:/proc/self/ns/pid"], "true");
    assert_eq!((status, errors.contains("pid namespace: a machine has processes of its own")), (Some(126), true));
    // It is started again twice.
    let again = ["run", "-d", "--name", "again", "--network", "none", "--restart", "on-failure:2"];
    engine.well(&[&again[..], &["busybox", "/bin/sh", "-c", "echo try; exit 4"]].concat());
    let state =
        || engine.well(&["inspect", "--format", "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}", "again"]);
    let begun = std::time::Instant::now();
    while state() != "2 exited 4" {
        assert!(begun.elapsed() < deadline::DEADLINE, "{}", state());
        engine.well(&["wait", "again"]);
    }
    assert_eq!(engine.well(&["logs", "again"]), "try\ntry\ntry");
    // A check of health is a program beside the workload.
    let health = ["--health-cmd", "busybox test -e /tmp/ok", "--health-interval", "disable", "--health-retries", "1"];
    let script = "trap 'exit 9' USR1; echo ready; while :; do busybox sleep 0.1; done";
    engine.start("checked", &[&health[..], &["--network=none", "--stop-signal=USR1"]].concat(), script);
    assert_eq!(engine.outcome(&["healthcheck", "run", "checked"]).0, Some(1));
    engine.well(&["exec", "checked", "/bin/sh", "-c", "echo >/tmp/ok"]);
    engine.well(&["healthcheck", "run", "checked"]);
    assert_eq!(engine.well(&["inspect", "--format", "{{.State.Health.Status}}", "checked"]), "healthy");
    let (status, _, errors) = engine.outcome(&["exec", "checked", ""]);
    assert_eq!((status, errors.contains("executable file not found in $PATH")), (Some(127), true), "{errors}");
    engine.well(&["stop", "checked"]);
    assert_eq!(engine.well(&["wait", "checked"]), "9");
    engine.well(&["rm", "again", "checked"]);
    engine.assert_gone();
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_container_is_stopped_killed_and_removed() {
    let engine = Engine::new();
    let waits = "trap 'echo term; exit 5' TERM; echo ready; while :; do busybox sleep 0.1; done";
    engine.start("web", &["--network", "none"], waits);
    assert!(engine.well(&["ps"]).contains("Up "));
    fs::write(engine.path("in"), "copied\n").unwrap();
    engine.well(&["cp", engine.path("in").to_str().unwrap(), "web:/tmp/in"]);
    engine.well(&["cp", "web:/tmp/in", engine.path("out").to_str().unwrap()]);
    assert_eq!(fs::read_to_string(engine.path("out")).unwrap(), "copied\n");
    assert!(engine.well(&["diff", "web"]).contains("A /tmp/in"));
    engine.well(&["stop", "web"]);
    assert_eq!((engine.well(&["logs", "web"]), engine.well(&["wait", "web"])), ("ready\nterm".into(), "5".into()));
    // It starts again, with the files that it wrote.
    engine.well(&["start", "web"]);
    engine.well(&["kill", "-s", "KILL", "web"]);
    assert_eq!(engine.well(&["wait", "web"]), "137");
    engine.well(&["rm", "web"]);
    // The last signal too (SIGRTMAX).
    for (name, signal) in [("other", "USR1"), ("last", "64")] {
        let script = format!("trap 'echo got; exit 3' {signal}; echo ready; while :; do busybox sleep 0.1; done");
        engine.start(name, &["--network", "none"], &script);
        engine.well(&["kill", "-s", signal, name]);
        assert_eq!(engine.well(&["wait", name]), "3");
    }
    engine.start("forced", &["--network", "none"], "echo ready; busybox sleep 1000");
    engine.well(&["rm", "-f", "-t", "0", "forced"]);
    engine.assert_gone();
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_workload_without_memory_is_reported_as_such() {
    let engine = Engine::new();
    let ends_with = |name: &str, command: &[&str]| {
        engine.outcome(&[&["run", "--name", name, "--network", "none", "-m", "96m", "busybox"], command].concat());
        engine.well(&["inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", name])
    };
    assert_eq!(ends_with("killed", &["/bin/sh", "-c", "kill -KILL $$"]), "137 false");
    // tail keeps the last line, which has no end here.
    assert_eq!(ends_with("hungry", &["/bin/busybox", "tail", "/dev/zero"]), "137 true");
    // The next run of the same container has its own end.
    let script = "[ -e /second ] && exit 3; echo >/second; busybox tail /dev/zero & wait $!";
    assert_eq!(ends_with("again", &["/bin/sh", "-c", script]), "137 true");
    let (status, ..) = engine.outcome(&["start", "--attach", "again"]);
    assert_eq!(status, Some(3));
    engine.well(&["rm", "killed", "hungry", "again"]);
    // The kernel itself has not enough.
    let options = ["--runtime-flag", "allow-annotations", "run", "--rm", "--network", "none"];
    let small = ["--annotation", "io.whit.append=mem=52M", "busybox", "/bin/sh", "-c", "true"];
    let (status, _, errors) = engine.outcome(&[&options[..], &small].concat());
    assert_eq!(status, Some(125));
    assert!(errors.lines().last().unwrap().ends_with("with -m"), "{errors}");
    engine.assert_gone();
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_terminal_has_a_size_that_changes() {
    let engine = Engine::new();
    let (master, mut child) = engine.at_terminal(&["run", "--rm", "-it", "--network", "none", "busybox", "/bin/sh"]);
    let _deadline = Deadline::of(&child);
    let mut shown = String::new();
    let typed = |keys: &str| assert_eq!(rustix::io::write(&master, keys.as_bytes()), Ok(keys.len()));
    read_until(&master, &mut shown, "# ");
    typed("busybox stty size; echo a$((1+1))b\n");
    read_until(&master, &mut shown, "a2b");
    assert!(shown.contains("24 80"), "{shown}");
    resize(&master, 30, 100);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::WINCH).unwrap();
    typed("until busybox stty size | busybox grep '30 100'; do :; done; echo c$((1+2))d; exit 4\n");
    read_until(&master, &mut shown, "c3d");
    assert_eq!(child.wait().unwrap().code(), Some(4));
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn programs_run_beside_the_workload() {
    let engine = Engine::new();
    engine.start("web", &["--network", "none", "-e", "A=1"], "echo ready; while :; do busybox sleep 0.1; done");
    let script = "busybox id -u; pwd; echo $A $B; echo error >&2; exit 9";
    let (status, shown, errors) =
        engine.outcome(&["exec", "-e", "B=2", "-w", "/tmp", "-u", "33:44", "web", "/bin/sh", "-c", script]);
    assert_eq!((status, shown.as_str(), errors.as_str()), (Some(9), "33\n/tmp\n1 2\n", "error\n"));
    let (status, _, errors) = engine.outcome(&["exec", "web", "/bin/missing"]);
    assert_eq!((status, errors.as_str()), (Some(127), "whit: /bin/missing: not found (ENOENT)\n"));
    // More than the pipes and the port hold, both ways.
    let mut child =
        engine.command(&["exec", "-i", "web", "/bin/busybox", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let deadline = Deadline::of(&child);
    let bytes: Vec<u8> = (0..1_000_003_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut stdin, sent) = (child.stdin.take().unwrap(), bytes.clone());
    let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success() && output.stdout == bytes, "{} bytes", output.stdout.len());
    drop(deadline);
    // A terminal of its own.
    let (master, mut child) = engine.at_terminal(&["exec", "-it", "web", "/bin/sh"]);
    let _deadline = Deadline::of(&child);
    let mut shown = String::new();
    let typed = |keys: &str| assert_eq!(rustix::io::write(&master, keys.as_bytes()), Ok(keys.len()));
    read_until(&master, &mut shown, "# ");
    // The program itself says that it runs: before that, ctrl-c would be the shell's.
    typed("/bin/sh -c 'echo s$((1+1))s; exec busybox sleep 1000'\n");
    read_until(&master, &mut shown, "s2s");
    typed("\x03");
    read_until(&master, &mut shown, "^C");
    typed("echo a$((1+1))b; busybox tty; exit 4\n");
    read_until(&master, &mut shown, "/dev/pts/");
    assert!(shown.contains("a2b"), "{shown}");
    assert_eq!(child.wait().unwrap().code(), Some(4));
    // The limit, and the end of a client.
    let root = engine.root();
    let clients = || -> Vec<i32> {
        let all = processes("whit-runtime client").into_iter();
        all.filter(|(_, line)| line.contains(root.to_str().unwrap())).map(|(pid, _)| pid).collect()
    };
    let sleepers: Vec<_> = (1..=8)
        .map(|count| {
            let sleeper = engine.command(&["exec", "web", "/bin/busybox", "sleep", "1001"]).spawn().unwrap();
            while clients().len() < count {
                std::thread::yield_now();
            }
            sleeper
        })
        .collect();
    let (status, _, errors) = engine.outcome(&["exec", "web", "/bin/true"]);
    let error = "exec: a machine runs at most 8 programs beside its workload";
    assert_eq!((status, errors.contains(error)), (Some(255), true), "{errors}");
    clients().into_iter().for_each(kill);
    for mut sleeper in sleepers {
        assert_eq!(sleeper.wait().unwrap().code(), Some(137));
    }
    // Their programs were killed.
    let script = "while busybox ps | busybox grep -q sleep.[1]001; do busybox sleep 0.1; done";
    let ended = || engine.outcome(&["exec", "web", "/bin/sh", "-c", script]);
    // A place is free once its program has ended in the machine, which the engine does not wait for.
    let (status, _, errors) = std::iter::repeat_with(ended).find(|(_, _, errors)| !errors.contains(error)).unwrap();
    assert_eq!(status, Some(0), "{errors}");
    engine.well(&["rm", "-f", "-t", "0", "web"]);
    engine.assert_gone();
}

/// The address of the container in [`Namespaces`].
fn serve_address() -> &'static str {
    "10.9.8.7"
}

/// A network namespace as an engine makes it for a container, and one on the other side.
struct Namespaces([String; 2]);

impl Namespaces {
    /// Makes them; no other test of this process has the same name.
    fn new(name: &str) -> Self {
        let namespaces = Self(["in", "out"].map(|side| format!("whit-{name}-{side}-{}", std::process::id())));
        let [inside, outside] = &namespaces.0;
        for line in [
            format!("netns add {inside}"),
            format!("netns add {outside}"),
            format!("-n {inside} link add eth0 type veth peer name eth0 netns {outside}"),
            format!("-n {inside} addr add {}/24 dev eth0", serve_address()),
            format!("-n {inside} link set eth0 up"),
            format!("-n {inside} route add default via 10.9.8.1"),
            format!("-n {outside} addr add 10.9.8.1/24 dev eth0"),
            format!("-n {outside} link set eth0 up"),
        ] {
            let status = Command::new("ip").args(line.split(' ')).status().unwrap();
            assert!(status.success(), "ip {line}");
        }
        namespaces
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_machine_has_the_address_of_its_namespace() {
    let engine = Engine::new();
    let namespaces = Namespaces::new("address");
    let [inside, outside] = &namespaces.0;
    let network = format!("ns:/run/netns/{inside}");
    let serve = "busybox ip route; echo hello >/tmp/index.html; exec busybox httpd -f -h /tmp";
    engine.start("web", &["--network", &network, "--cap-add", "net_raw"], serve);
    let fetch = |path: &str| {
        let mut curl = Command::new("ip");
        curl.args(["netns", "exec", outside, "curl", "--silent", "--retry", "30", "--retry-all-errors"]);
        String::from_utf8(deadline::output(curl.arg(format!("http://10.9.8.7/{path}"))).stdout).unwrap()
    };
    assert_eq!(fetch("index.html"), "hello\n");
    assert!(engine.well(&["logs", "web"]).starts_with("default via 10.9.8.1 dev eth0"));
    // Two machines cannot have one address.
    let (status, _, errors) =
        engine.outcome(&["run", "--rm", "--network", &network, "busybox", "/bin/sh", "-c", "true"]);
    assert_eq!((status, errors.contains("eth0 has another machine already")), (Some(126), true), "{errors}");
    assert_eq!(fetch("index.html"), "hello\n");
    // After QEMU was killed, the namespace can be used again.
    engine.well(&["rm", "-f", "-t", "0", "web"]);
    engine.start("web", &["--network", &network], serve);
    assert_eq!(fetch("index.html"), "hello\n");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn machines_on_the_default_network_publish_ports_and_have_names() {
    let engine = Engine::with_networks();
    let serve = "echo hello >/tmp/index.html; echo serves; exec busybox httpd -f -p 80 -h /tmp";
    engine.start("published", &["-p", "8080:80"], serve);
    let fetch = |words: &[&str], url: &str| {
        let options = ["--silent", "--retry", "30", "--retry-all-errors", url];
        let [program, words @ ..] = words else { panic!() };
        text(deadline::output(engine.program(program).args(words).args(options))).1
    };
    let port = format!("http://{}:8080/", HOST_ADDRESSES[0]);
    assert_eq!(fetch(&["ip", "netns", "exec", "outside", "curl"], &port), "hello\n");
    assert_eq!(fetch(&["curl"], "http://127.0.0.1:8080/"), "hello\n");
    let address = engine.well(&["inspect", "--format", "{{.NetworkSettings.IPAddress}}", "published"]);
    assert_eq!(fetch(&["curl"], &format!("http://{address}/")), "hello\n");
    // The machine reaches what is outside of its host.
    let script = format!(
        "busybox ping -c 1 -w 60 {} >/dev/null && echo reached
        busybox hostname; busybox grep -h -e foo -e nameserver -e search /etc/hosts /etc/resolv.conf",
        HOST_ADDRESSES[1]
    );
    let options =
        ["--cap-add=net_raw", "-h=box", "--add-host=foo:1.2.3.4", "--dns=9.9.9.9", "--dns-search=example.org"];
    let (status, shown, errors) =
        engine.outcome(&[&["run", "--rm"], &options[..], &["busybox", "/bin/sh", "-c", &script]].concat());
    let expected = "reached\nbox\n1.2.3.4\tfoo\nsearch example.org\nnameserver 9.9.9.9\n";
    assert_eq!((status, shown.as_str()), (Some(0), expected), "{errors}");
    // podman's DNS server answers on networks that a user made.
    engine.well(&["network", "create", "names"]);
    engine.start("server", &["--network", "names", "--network-alias", "other"], serve);
    for name in ["server", "other"] {
        let script = format!("busybox wget -q -O - http://{name}/");
        let (status, shown, errors) =
            engine.outcome(&["run", "--rm", "--network", "names", "busybox", "/bin/sh", "-c", &script]);
        assert_eq!((status, shown.as_str()), (Some(0), "hello\n"), "{name}: {errors}");
    }
    engine.well(&["rm", "-f", "-t", "0", "published", "server"]);
    engine.well(&["network", "rm", "names"]);
    assert_eq!(fetch(&["curl", "--max-time", "1", "--retry-max-time", "1"], &port), "", "the port is closed");
    engine.assert_gone();
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn nothing_is_left_after_any_process_was_killed() {
    let engine = Engine::new();
    let root = engine.root();
    let root = root.to_str().unwrap();
    let find = |part: &str| -> Vec<i32> {
        let id = engine.well(&["ps", "-aq", "--no-trunc"]);
        processes(&id).into_iter().filter(|(_, line)| line.contains(part)).map(|(pid, _)| pid).collect()
    };
    for (victim, code) in [("qemu-system-x86_64", "137"), ("whit-runtime", "137"), ("virtiofsd", "125")] {
        engine.start("web", &["--network", "none"], "echo ready; busybox sleep 1000");
        let victims = match victim {
            "whit-runtime" => find("shim --report"),
            "virtiofsd" => {
                processes("virtiofsd").into_iter().filter(|(_, line)| line.contains(root)).map(|(pid, _)| pid).collect()
            }
            victim => find(victim),
        };
        assert!(!victims.is_empty(), "{victim}");
        victims.into_iter().for_each(kill);
        assert_eq!(engine.well(&["wait", "web"]), code, "{victim}");
        engine.well(&["rm", "web"]);
        engine.assert_gone();
    }
    engine.start("web", &["--network", "none"], "echo ready; busybox sleep 1000");
    find("conmon").into_iter().for_each(kill);
    let id = engine.well(&["ps", "-aq", "--no-trunc"]);
    engine.well(&["rm", "-f", "-t", "0", "web"]);
    // podman 4.3 leaves the runtime's state of a container whose conmon was killed.
    assert!(Command::new(engine.runtime()).args(["delete", "--force", &id]).status().unwrap().success());
    engine.assert_gone();
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn nothing_is_left_of_a_create_that_was_killed() {
    let engine = Engine::new();
    let bundle = engine.path("bundle");
    fs::create_dir_all(bundle.join("rootfs")).unwrap();
    let config = serde_json::json!({
        "ociVersion": "1.0.2", "root": { "path": "rootfs" },
        "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["/bin/sh"] },
        "linux": { "namespaces": [{ "type": "network" }] },
    });
    fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    // As `create` does, up to the report of the shim.
    let shim = |id: &str, reported: &std::io::PipeWriter| {
        rustix::io::fcntl_setfd(reported, rustix::io::FdFlags::empty()).unwrap();
        let folder = engine.root().join(id);
        fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new(engine.runtime());
        command.args(["shim", "--report", &std::os::fd::AsRawFd::as_raw_fd(reported).to_string(), "--bundle"]);
        command.arg(&bundle).current_dir(folder).env("TMPDIR", ".").stdin(Stdio::null());
        command.spawn().unwrap()
    };
    let delete = |id: &str| Command::new(engine.runtime()).args(["delete", "--force", id]).status().unwrap().success();
    // It was killed before the report.
    let (report, reported) = std::io::pipe().unwrap();
    drop(report);
    let mut child = shim("early", &reported);
    let deadline = Deadline::of(&child);
    assert_eq!(child.wait().unwrap().code(), Some(125));
    drop(deadline);
    assert!(delete("early"));
    // It was killed after the report, before it stored the state.
    let (report, reported) = std::io::pipe().unwrap();
    let mut child = shim("late", &reported);
    drop(reported);
    let _deadline = Deadline::of(&child);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(report), &mut line).unwrap();
    assert_eq!(line, "\n");
    assert!(delete("late"));
    assert_eq!((child.wait().unwrap().code(), engine.left()), (None, 0));
    // The same, with a state that cannot be read.
    let (report, reported) = std::io::pipe().unwrap();
    let mut child = shim("broken", &reported);
    drop(reported);
    std::io::BufRead::read_line(&mut std::io::BufReader::new(report), &mut line).unwrap();
    fs::write(engine.root().join("broken/state.json"), "{").unwrap();
    assert!(delete("broken"));
    assert_eq!((child.wait().unwrap().code(), engine.left()), (None, 0));
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_commands_of_a_runtime_are_those_of_the_specification() {
    let engine = Engine::new();
    let bundle = engine.path("bundle");
    fs::create_dir_all(bundle.join("rootfs")).unwrap();
    let tar = Command::new("tar").arg("-xf").arg(busybox_tar()).arg("-C").arg(bundle.join("rootfs")).status().unwrap();
    assert!(tar.success());
    let write = |script: &str| {
        let hook =
            serde_json::json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("cat >{}/hook", bundle.display())] }]);
        let config = serde_json::json!({
            "ociVersion": "1.0.2", "root": { "path": "rootfs" }, "annotations": { "a": "b" },
            "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["/bin/sh", "-c", script] },
            "hooks": { "poststop": hook },
            "linux": { "namespaces": [{ "type": "network" }] },
        });
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    };
    write("echo started; read line; echo $line; exit 6");
    let runtime = |words: &str| {
        let mut command = Command::new(engine.runtime());
        command.args(words.split(' ')).current_dir(&bundle).stdin(Stdio::null());
        text(deadline::output(&mut command))
    };
    let status = || {
        let state: serde_json::Value = serde_json::from_str(&runtime("state a").1).unwrap();
        (state["status"].as_str().unwrap().to_owned(), state["pid"].as_i64().unwrap())
    };
    // A file takes the streams: a pipe would be open as long as the machine.
    let created = Command::new(engine.runtime())
        .args(["create", "--pid-file", "pid", "a"])
        .current_dir(&bundle)
        .stdin(Stdio::null())
        .stdout(fs::File::create(bundle.join("out")).unwrap())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(created.success());
    let pid: i64 = fs::read_to_string(bundle.join("pid")).unwrap().parse().unwrap();
    assert_eq!(status(), ("created".into(), pid));
    assert!(runtime("create a").2.contains("container a: exists"));
    assert!(
        runtime("delete a").0 == Some(0) && runtime("state a").2.contains("does not exist"),
        "created, not started"
    );
    let state: serde_json::Value = serde_json::from_slice(&fs::read(bundle.join("hook")).unwrap()).unwrap();
    assert_eq!((state["status"].as_str(), state["annotations"]["a"].as_str()), (Some("stopped"), Some("b")));
    let errors = |words: &str| runtime(words).2;
    assert!(errors("start a").contains("container a: container does not exist"));
    assert!(errors("kill a NOPE").contains("signal \"NOPE\": unknown"));
    for other in ["pause a", "update --resources=x a"] {
        let name = other.split(' ').next().unwrap();
        assert_eq!(errors(other), format!("whit-runtime: {name}: not supported; --help lists the commands\n"));
    }
    assert_eq!(runtime("delete --force a").0, Some(0));
    write("true");
    fs::write(bundle.join("config.json"), "{").unwrap();
    assert!(errors("create a").contains("config.json: "), "{}", errors("create a"));
    assert_eq!(engine.left(), 0);
    let features: serde_json::Value = serde_json::from_str(&runtime("features").1).unwrap();
    assert!(features["ociVersionMax"].is_string() && Path::new(&engine.root()).exists());
}
