//! Typical container images in machines: each finds the environment that it has in docker, works, and ends at its STOPSIGNAL.
//!
//! The expected output is docker 20.10's for the same images (`tests/images`), except for three differences of a machine: a console,
//! so TERM is set; a PID 1 that is not the workload; and limits that no host lowers.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use ext4_view::Ext4;
use serde_json::{Value, json};
use whit_tests::debian::{cloud_kernels, kernel};
use whit_tests::images::{BUSYBOX, Image, NGINX, POSTGRES, PYTHON, REDIS, STATIC};
use whit_tests::postgres::query;
use whit_tests::whole::{
    BUTTON, Copy, DEADLINE, Guest, Shell, VIRTIO, alone, assert_clean, connect, fetch, fetch_path, free_port, machine,
};
use whit_tools::kernel::debian::Flavour;
use whit_tools::vm::qemu::DiskInterface;

/// Starts a server's machine, with a copy of its disk and a port of this host that is forwarded to the server's.
fn server(image: &Image, port: u16, guest_port: u16) -> (Copy, Guest) {
    let (kernel, disk) = (kernel(Flavour::Cloud, None), Copy::of(&image.disk()));
    let command = machine(&kernel, &[VIRTIO.as_slice(), &BUTTON].concat(), Shell::No)
        .append("root=/dev/vda")
        .disk(DiskInterface::Virtio, disk.path())
        .forward(format!("{port}:{guest_port}").parse().unwrap());
    let guest = Guest::start(&command);
    (disk, guest)
}

/// Presses the power button; asserts that the workload ends as at its STOPSIGNAL, and that the disk is in order.
fn stop(mut guest: Guest, disk: &Copy, last_lines: &[&str]) {
    guest.machine().power_down().unwrap();
    for line in last_lines.iter().chain(&["whit: exit 0", "whit: power off"]) {
        guest.line(line);
    }
    guest.end();
    assert_clean(&disk.path());
}

/// Returns the lines that begin with `prefix`, up to a line that contains `end`.
fn lines_up_to(guest: &mut Guest, prefix: &str, end: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let line = guest.machine().next_line(DEADLINE).unwrap();
        if line.contains(end) {
            return lines;
        }
        lines.extend(line.trim_end().strip_prefix(prefix).map(str::to_owned));
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn nginx_runs_with_the_stock_images_configuration() {
    let port = free_port();
    let (disk, mut guest) = server(&NGINX, port, 80);
    guest.line("info: Enabled listen on IPv6 in /etc/nginx/conf.d/default.conf");
    let shown = lines_up_to(&mut guest, "show: ", "/docker-entrypoint.sh: Configuration complete; ready for start up");
    let expected = [
        "id 0:0 0",
        "in /, umask 0022, open files 1024",
        "signals 0000000000000000 0000000000000000",
        "env HOME=/root",
        "env HOSTNAME=web",
        "env NGINX_VERSION=1.22.1",
        "env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "env PKG_RELEASE=9~bookworm",
        "env TERM=xterm",
    ];
    guest.assert(shown == expected, &format!("{shown:#?}"));
    // nginx's error log is linked to /dev/stderr, its access log to /dev/stdout.
    guest.line("getrlimit(RLIMIT_NOFILE): 1024:1048576");
    guest.line("start worker process ");
    guest.assert_has(&fetch(port), &["HTTP/1.1 200 OK", "<title>Welcome to nginx!</title>"]);
    guest.line("\"GET / HTTP/1.0\" 200 ");
    // Its workers are not root.
    guest.assert_has(&fetch_path(port, "/root/secret"), &["HTTP/1.1 403 Forbidden"]);
    guest.line("open() \"/root/secret\" failed (13: Permission denied)");
    guest.line("\"GET /root/secret HTTP/1.0\" 403 ");
    stop(guest, &disk, &["signal 3 (SIGQUIT) received from 1, shutting down", "gracefully shutting down", ": exit"]);
}

/// Sends a request to a server; returns as many bytes of the answer as are expected.
fn request_answer(stream: &mut TcpStream, request: &[u8], expected: &[u8]) -> String {
    stream.write_all(request).unwrap();
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Returns the owner, permissions and content of a file on a disk that is not in use.
fn on_disk(disk: &Copy, path: &str) -> (u32, u32, u16, Vec<u8>) {
    let disk = Ext4::load_from_path(disk.path()).unwrap();
    let metadata = disk.metadata(path).unwrap();
    (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777, disk.read(path).unwrap())
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn redis_drops_its_privileges_and_saves_its_data_at_the_end() {
    let port = free_port();
    let (disk, mut guest) = server(&REDIS, port, 6379);
    for line in [
        "docker-entrypoint.sh: uid=999(redis) gid=1000(redis) groups=1000(redis) in /data, umask 0022",
        "Increased maximum number of open files to 10032 (it was originally set to 1024)",
        "Ready to accept connections",
    ] {
        guest.line(line);
    }
    let (request, expected) = (
        b"SET greeting hello\r\nGET greeting\r\nCONFIG GET dir\r\n",
        b"+OK\r\n$5\r\nhello\r\n*2\r\n$3\r\ndir\r\n$5\r\n/data\r\n",
    );
    let answer = request_answer(&mut connect(port), request, expected);
    guest.assert(answer.as_bytes() == expected, &answer);
    stop(guest, &disk, &["Received SIGTERM scheduling shutdown", "DB saved on disk", "ready to exit, bye bye"]);
    let (uid, gid, mode, dump) = on_disk(&disk, "/data/dump.rdb");
    assert_eq!((uid, gid, mode), (999, 1000, 0o600));
    let saved = b"greeting\x05hello";
    assert!(dump.windows(saved.len()).any(|window| window == saved), "{dump:?}");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_python_program_has_the_environment_of_docker() {
    let kernel = kernel(Flavour::Cloud, None);
    let mut guest = Guest::start(&alone(&kernel, &PYTHON.disk()));
    let line = guest.line("report: ");
    let report = line.trim_end().strip_prefix("report: ").unwrap_or_default();
    let mut report: Value = serde_json::from_str(report).unwrap_or_else(|error| panic!("{error}: {line}"));
    guest.line("whit: exit 42");
    guest.end();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/docker-python.json");
    let mut docker: Value = serde_json::from_slice(&fs::read(golden).unwrap()).unwrap();
    // That docker had lower limits; these are the ones that it sets where it may.
    docker.as_object_mut().unwrap().insert("open files".to_owned(), json!([1024, 1 << 20]));
    for (key, expected) in docker.as_object().unwrap() {
        let found = report.as_object_mut().unwrap().remove(key).unwrap_or_default();
        assert_eq!(found, *expected, "{key}");
    }
    assert_eq!(report, json!({}), "all fields are compared");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn postgres_creates_its_cluster_answers_and_shuts_down_in_order() {
    let port = free_port();
    let (disk, mut guest) = server(&POSTGRES, port, 5432);
    for line in [
        "\"root\" execution of the PostgreSQL server is not permitted.",
        "The files belonging to this database system will be owned by user \"postgres\".",
        // This uses /dev/shm.
        "selecting dynamic shared memory implementation ... posix",
        "PostgreSQL init process complete; ready for start up.",
        "database system is ready to accept connections",
    ] {
        guest.line(line);
    }
    let answer = query(port, "SELECT current_user || ' has ' || 6 * 7");
    guest.assert(answer == "postgres has 42", &answer);
    stop(guest, &disk, &["received fast shutdown request", "database system is shut down"]);
    let (uid, gid, mode, version) = on_disk(&disk, "/var/lib/postgresql/data/PG_VERSION");
    assert_eq!((uid, gid, mode), (999, 999, 0o600));
    assert!(String::from_utf8(version).unwrap().trim().parse::<u32>().is_ok());
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn an_image_without_directories_gets_them() {
    for kernel in cloud_kernels() {
        let mut guest = Guest::start(&alone(&kernel, &BUSYBOX.disk()));
        let shown = lines_up_to(&mut guest, "", "whit: exit 3");
        let shown: Vec<&str> =
            shown.iter().map(String::as_str).skip_while(|line| !line.starts_with("found:")).collect();
        let found = ["bin", "dev", "etc", "lost+found", "proc", "sys"].map(|name| format!("found: /{name}"));
        let expected: Vec<&str> = found.iter().map(String::as_str).chain(["init", "1", "home / in /"]).collect();
        guest.assert(shown == expected, &format!("{}: {shown:#?}", kernel.release));
        guest.end();
    }
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn one_static_program_is_an_image() {
    let kernel = kernel(Flavour::Cloud, None);
    let mut guest = Guest::start(&alone(&kernel, &STATIC.disk()));
    for line in [
        "found: /bash /dev /etc /home /lost+found /proc /sys",
        "ids 65532:65532 65532, umask 0022, in /home/nonroot, home /",
        "lone has 127.0.0.1 localhost",
        "lone has ::1 localhost ip6-localhost ip6-loopback",
        "furnished",
        // As PID 1 it would ignore the signal: docker run shows 0, docker run --init 143.
        "whit: exit 143",
    ] {
        guest.line(line);
    }
    guest.end();
}
