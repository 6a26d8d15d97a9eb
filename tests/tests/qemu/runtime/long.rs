//! Thirty commands of podman against nginx, PostgreSQL with a volume and a Python service, each compared with a result
//! that was written by hand after podman's manual pages; and twenty machines at once.
//!
//! With `--nocapture` both print what they measure: bench/podman.txt has it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use whit_tests::deadline::{self, Deadline};
use whit_tests::images::{Image, NGINX, POSTGRES, PYTHON};

use super::engine::{Engine, processes, text};
use super::{Namespaces, serve_address};

mod compose;

/// The expected result of a command.
enum Result {
    /// Standard output is the ID of a container or an image.
    Id,
    /// Standard output is this text.
    Is(&'static str),
    /// Standard output has this text.
    Has(&'static str),
    /// The command is repeated until its standard output has this text; `logs` is followed, and both of its streams are read.
    Becomes(&'static str),
    /// The status is this one.
    Status(i32),
}

/// Imports an image with the configuration of its docker image.
fn import(engine: &Engine, image: &Image, name: &str, changes: &[&str]) {
    let changes: Vec<&str> = changes.iter().flat_map(|change| ["--change", *change]).collect();
    let tar = image.tar();
    engine.well(&[&["import"], &changes[..], &[tar.to_str().unwrap(), name]].concat());
}

/// Runs a command, compares its result, and prints a line with both.
fn check(engine: &Engine, words: &[&str], expected: &Result) {
    let begun = Instant::now();
    let print = |result: &str| {
        let (result, millis) = (result.lines().last().unwrap_or_default(), begun.elapsed().as_millis());
        let words = words.join(" ").replace(engine.path("").to_str().unwrap(), "");
        println!("{millis:>6} ms  podman {} -> {result}", words.get(..words.len().min(90)).unwrap_or_default());
    };
    if let (Result::Becomes(part), ["logs", name]) = (expected, words) {
        follow(engine, name, part);
        return print(part);
    }
    let (status, shown, errors) = loop {
        let (status, shown, errors) = engine.outcome(words);
        match expected {
            Result::Becomes(part) if !shown.contains(part) => {
                assert!(begun.elapsed() < deadline::DEADLINE, "{words:?}: {shown}{errors}");
                pause();
            }
            _ => break (status, shown, errors),
        }
    };
    let is_id = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let shown = shown.trim_end();
    let is_right = match expected {
        Result::Id => is_id(shown.trim_start_matches("sha256:")),
        Result::Is(text) => shown == *text,
        Result::Has(part) => shown.contains(part),
        Result::Becomes(_) => true,
        Result::Status(code) => status == Some(*code),
    };
    let is_status = matches!(expected, Result::Status(_)) || status == Some(0);
    assert!(is_right && is_status, "{words:?}: {status:?}: {shown}{errors}");
    print(&match expected {
        Result::Id => "an ID".to_owned(),
        Result::Status(code) => format!("status {code}"),
        Result::Is("") => "nothing".to_owned(),
        _ => shown.to_owned(),
    });
}

/// Waits between two calls of podman's, which take time from the machines.
fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(200));
}

/// Reads the log until it has a text.
fn follow(engine: &Engine, name: &str, part: &str) {
    let (mut log, written) = std::io::pipe().unwrap();
    let mut command = engine.command(&["logs", "-f", name]);
    command.stdout(written.try_clone().unwrap()).stderr(written);
    let mut child = command.spawn().unwrap();
    drop(command); // its ends of the pipe
    // PostgreSQL creates its cluster, which takes minutes on a busy host.
    let deadline = Deadline::within(&child, 3 * deadline::DEADLINE);
    let (mut shown, mut bytes) = (String::new(), [0; 4096]);
    while !shown.contains(part) {
        let length = log.read(&mut bytes).unwrap();
        assert_ne!(length, 0, "{name}: {part}: {shown}");
        shown.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    drop(deadline);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest -- --long runs it"]
fn thirty_commands_have_the_results_of_containers() {
    let engine = Engine::new();
    let namespaces = Namespaces::new("thirty");
    let network = format!("ns:/run/netns/{}", namespaces.0[0]);
    let path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin:/usr/lib/postgresql/17/bin";
    let nginx = [
        "ENTRYPOINT [\"/docker-entrypoint.sh\"]",
        "CMD [\"nginx\", \"-g\", \"daemon off;\"]",
        "STOPSIGNAL SIGQUIT",
        path,
    ];
    import(&engine, &NGINX, "nginx", &nginx);
    let data = ["ENV PGDATA=/var/lib/postgresql/data", "ENV LANG=C.UTF-8", "ENV POSTGRES_HOST_AUTH_METHOD=trust"];
    let size = ["ENV POSTGRES_INITDB_ARGS=\"--wal-segsize=1 --no-sync\"", "STOPSIGNAL SIGINT"];
    let start = ["ENTRYPOINT [\"docker-entrypoint.sh\"]", "CMD [\"postgres\"]", path];
    import(&engine, &POSTGRES, "postgres", &[&data[..], &size, &start].concat());
    import(&engine, &PYTHON, "python", &["USER app", "WORKDIR /srv/app/work", path]);
    fs::write(engine.path("page"), "a page of the host\n").unwrap();
    let page = engine.path("page");
    let (page, out) = (page.to_str().unwrap(), engine.path("web.tar"));
    let address = format!("http://{}/", serve_address());
    let fetch = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/').status)";
    let rows: &[(&[&str], Result)] = &[
        // PostgreSQL with a volume.
        (&["volume", "create", "data"], Result::Is("data")),
        (
            &["run", "-d", "--name", "db", "--network", "none", "-v", "data:/var/lib/postgresql/data", "postgres"],
            Result::Id,
        ),
        (&["logs", "db"], Result::Becomes("ready to accept connections")),
        (&["stop", "-t", "60", "db"], Result::Is("db")),
        (&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "db"], Result::Is("exited 0")),
        (&["start", "db"], Result::Is("db")),
        (&["exec", "-u", "postgres", "db", "cat", "/var/lib/postgresql/data/PG_VERSION"], Result::Has("1")),
        (&["logs", "db"], Result::Becomes("database system was shut down at")),
        (&["stop", "-t", "60", "db"], Result::Is("db")),
        (&["rm", "db"], Result::Status(0)),
        (&["volume", "ls", "-q"], Result::Is("data")),
        // nginx.
        (&["create", "--name", "web", "--network", &network, "nginx"], Result::Id),
        (&["start", "web"], Result::Is("web")),
        (&["logs", "web"], Result::Becomes("start worker process")),
        (&["ps", "--format", "{{.Names}} {{.Status}}"], Result::Has("web Up ")),
        (&["cp", page, "web:/usr/share/nginx/html/page"], Result::Is("")),
        (&["exec", "web", "cat", "/usr/share/nginx/html/page"], Result::Is("a page of the host")),
        (&["diff", "web"], Result::Has("A /usr/share/nginx/html/page")),
        (&["rename", "web", "www"], Result::Is("")),
        (&["container", "exists", "web"], Result::Status(1)),
        (&["kill", "-s", "QUIT", "www"], Result::Is("www")),
        (&["wait", "www"], Result::Is("0")),
        (&["commit", "--quiet", "www", "changed"], Result::Id),
        (
            &["run", "--rm", "--network", "none", "--entrypoint", "cat", "changed", "/usr/share/nginx/html/page"],
            Result::Is("a page of the host"),
        ),
        (&["export", "-o", out.to_str().unwrap(), "www"], Result::Is("")),
        // The Python service.
        (
            &[
                "run",
                "--rm",
                "--network",
                "none",
                "-e",
                "A=1",
                "python",
                "python3",
                "-c",
                "import os; print(os.environ['A'], os.getcwd()); raise SystemExit(7)",
            ],
            Result::Status(7),
        ),
        (
            &["run", "-d", "--name", "app", "--network", "none", "python", "python3", "-m", "http.server", "8000"],
            Result::Id,
        ),
        (&["exec", "app", "python3", "-c", fetch], Result::Becomes("200")),
        (&["restart", "-t", "1", "app"], Result::Status(0)),
        (&["rm", "-f", "-t", "0", "app", "www"], Result::Status(0)),
    ];
    assert_eq!(rows.len(), 30);
    for (words, expected) in rows {
        check(&engine, words, expected);
        if words[0] == "cp" {
            let mut curl = Command::new("ip");
            curl.args(["netns", "exec", &namespaces.0[1], "curl", "--silent", "--retry", "60", "--retry-all-errors"]);
            let (_, shown, _) = text(deadline::output(curl.arg(format!("{address}page"))));
            assert_eq!(shown, "a page of the host\n");
        }
        if words[..2] == ["rm", "db"] {
            // Another machine has the volume: the server's own program for one user.
            let single = [
                "--network",
                "none",
                "-u",
                "postgres",
                "-v",
                "data:/var/lib/postgresql/data",
                "--entrypoint",
                "postgres",
            ];
            let words = [&["run", "--rm", "-i"], &single[..], &["postgres", "--single", "postgres"]].concat();
            for (query, result) in
                [("create table t (x int); insert into t values (7);\n", ""), ("select x from t;\n", "x = \"7\"")]
            {
                let mut child = engine.command(&words).stdin(Stdio::piped()).spawn().unwrap();
                let _deadline = Deadline::of(&child);
                child.stdin.take().unwrap().write_all(query.as_bytes()).unwrap();
                let (status, shown, errors) = text(child.wait_with_output().unwrap());
                assert!(status == Some(0) && shown.contains(result), "{status:?} {shown}{errors}");
            }
        }
    }
    assert!(out.metadata().unwrap().len() > 1 << 20);
    engine.assert_gone();
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest -- --long runs it"]
fn twenty_machines_run_at_once() {
    const MACHINES: usize = 20;
    const AT_ONCE: usize = 2;
    let engine = Engine::new();
    let name = |number: usize| format!("m{number}");
    // Two boot at a time, beside those that wait.
    let in_pairs = |work: &(dyn Fn(usize) + Sync)| {
        let next = AtomicUsize::new(1);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    while let number @ 1..=MACHINES = next.fetch_add(1, Ordering::Relaxed) {
                        work(number);
                    }
                });
            }
        });
    };
    let (begun, times) = (Instant::now(), Mutex::new(Vec::new()));
    in_pairs(&|number| {
        let begun = Instant::now();
        let script = format!("trap 'exit {number}' TERM; echo ready; busybox sleep 100000 & wait");
        let name = name(number);
        engine.start(&name, &["--network", "none", "-m", "96m", "-h", &name], &script);
        times.lock().unwrap().push(begun.elapsed().as_secs_f64());
    });
    let all = begun.elapsed();
    assert_eq!(engine.well(&["ps", "-q"]).lines().count(), MACHINES);
    // Each is another machine, and answers.
    let boots = Mutex::new(BTreeSet::new());
    in_pairs(&|number| {
        let name = name(number);
        let script = "busybox hostname; busybox cat /proc/sys/kernel/random/boot_id";
        let shown = engine.well(&["exec", &name, "/bin/sh", "-c", script]);
        let (hostname, boot) = shown.split_once('\n').unwrap();
        assert_eq!(hostname, name);
        boots.lock().unwrap().insert(boot.to_owned());
    });
    assert_eq!(boots.lock().unwrap().len(), MACHINES);
    let ids = (1..=MACHINES).map(|number| engine.well(&["inspect", "--format", "{{.Id}}", &name(number)]));
    let memory: Vec<[u64; 3]> = ids.map(|id| memory_kib(&id)).collect();
    let begun = Instant::now();
    in_pairs(&|number| {
        let name = name(number);
        engine.well(&["stop", "-t", "60", &name]);
        assert_eq!(engine.well(&["wait", &name]), number.to_string());
    });
    let stopped = begun.elapsed();
    let print = |what: &str, mut values: Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        let [least, middle, most] = [values[0], values[MACHINES / 2], values[MACHINES - 1]];
        println!("  {what:<42}{least:>8.1}{middle:>8.1}{most:>8.1}");
    };
    println!("{MACHINES} machines of 96 MiB, {AT_ONCE} started or stopped at a time, all running at once, none lost");
    println!("  started in {:.1} s, stopped in {:.1} s", all.as_secs_f64(), stopped.as_secs_f64());
    println!("  {:<42}{:>8}{:>8}{:>8}", "", "min", "median", "max");
    print("podman run to the first line, s", times.into_inner().unwrap());
    for (place, part) in ["all processes", "QEMU", "whit-runtime"].into_iter().enumerate() {
        let sizes = memory.iter().map(|sizes| sizes[place] as f64 / 1024.0).collect();
        print(&format!("host memory of {part} (PSS), MiB"), sizes);
    }
    engine.well(&["rm", "-a"]);
    engine.assert_gone();
}

/// Returns the memory of a container's processes, of QEMU and of the shim, in KiB: their share of each page (proc(5), smaps_rollup).
fn memory_kib(id: &str) -> [u64; 3] {
    let of = |part: &str| -> u64 {
        let found = processes(id).into_iter().filter(|(_, line)| line.contains(part));
        let size = |(pid, _): (i32, String)| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        found.filter_map(size).sum()
    };
    let sizes = [of(""), of("qemu-system-"), of(" shim ")];
    assert!(sizes.iter().all(|size| *size > 0), "{sizes:?} {:?}", processes(id));
    sizes
}
