//! The program as it ships: its size, its memory, a machine without files.

use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};

use whit_tests::http::{Server, send_file, send_status};

use super::{Bench, compressed, image};

/// Limits of the program: bytes of its file, and of its memory beside the decompressor's window.
const FILE_BYTES: u64 = 2_500_000;
const MEMORY_BYTES: u64 = 16_000_000;
const MIB: usize = 1 << 20;

#[test]
#[ignore = "compiles put: cargo selftest runs it"]
fn the_program_is_small_static_and_takes_little_memory() {
    let program = xtask::put::build().unwrap();
    let bytes = fs::metadata(&program).unwrap().len();
    assert!(bytes <= FILE_BYTES, "put has {bytes} bytes");
    let bench = Bench::new(128 * MIB);
    let content = image(100 * MIB);
    fs::write(bench.path("os.img"), &content).unwrap();
    for (name, window) in [("none", 0), ("gzip", 32 << 10), ("zstd", 8 << 20), ("xz", 8 << 20)] {
        let served = match name {
            "none" => content.clone(),
            // Windows of 8 MiB: zstd -19 and xz -6 have them.
            "zstd" | "xz" => {
                let level = if name == "zstd" { "--long=23" } else { "-T0" };
                let raw = bench.path("os.img");
                Command::new(name).args(["-c", "-q", "-1", level]).arg(raw).output().unwrap().stdout
            }
            program => compressed(&bench.path("os.img"), program),
        };
        let peak = Arc::new(Mutex::new(String::new()));
        let (seen, process) = (Arc::clone(&peak), Arc::new(Mutex::new(0)));
        let id = Arc::clone(&process);
        let server = Server::start(move |request, stream| {
            if request.method == "GET" {
                return send_file(request, stream, &served, served.len());
            }
            // The last report comes when everything is done.
            let status = fs::read_to_string(format!("/proc/{}/status", id.lock().unwrap())).unwrap();
            *seen.lock().unwrap() = status.lines().find(|line| line.starts_with("VmHWM")).unwrap().to_owned();
            send_status(stream, "200 OK");
        });
        let report = format!("{}/report", server.url);
        let mut command = Command::new(&program);
        command.arg(format!("{}/os", server.url)).arg(&bench.disk).args(["--report", &report]);
        // The first report waits until the process is known.
        let mut known = process.lock().unwrap();
        let mut child = command.spawn().unwrap();
        *known = child.id();
        drop(known);
        assert!(child.wait().unwrap().success(), "{name}");
        bench.assert_has(&content);
        let peak = peak.lock().unwrap().clone();
        let kilobytes: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
        println!("{name}: put has {bytes} bytes and takes {kilobytes} kB, a window of {window} bytes included");
        assert!(kilobytes * 1024 <= MEMORY_BYTES + window, "{name}: {peak}");
    }
}
