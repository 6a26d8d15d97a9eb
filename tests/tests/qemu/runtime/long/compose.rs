//! podman-compose with two services that find each other by name, on a network of podman's own.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use whit_tests::deadline;
use whit_tests::images::PYTHON;
use xtask::workspace;

use super::super::engine::{Engine, text};
use super::{follow, import};

/// The version of the Python package.
const PACKAGE: &str = "podman-compose==1.6.0";
/// Serves the service's name, and asks the other service for its own.
const PROGRAM: &str = r#"
import http.server, os, signal, threading, time, urllib.request

class Name(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["NAME"].encode())

server = http.server.ThreadingHTTPServer(("", 8000), Name)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
threading.Thread(target=server.serve_forever, daemon=True).start()
while True:
    try:
        with urllib.request.urlopen(f"http://{os.environ['PEER']}:8000/", timeout=10) as answer:
            print("answer of", answer.read().decode(), flush=True)
            break
    except OSError:
        time.sleep(0.2)
while True:
    signal.pause()
"#;

const COMPOSE: &str = r#"
x-service: &service
  image: localhost/python
  command: [python3, /program.py]
  volumes: ["./program.py:/program.py:ro"]
services:
  left:
    <<: *service
    environment: {NAME: left, PEER: right}
  right:
    <<: *service
    runtime: whit
    environment: {NAME: right, PEER: left}
"#;

/// Installs podman-compose below the target folder.
fn podman_compose() -> PathBuf {
    let folder = workspace::target().join("podman-compose");
    let program = folder.join("bin/podman-compose");
    if !program.exists() {
        let well = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
        well(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        well(Command::new(folder.join("bin/pip")).args(["install", "--quiet", PACKAGE]));
    }
    program
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest -- --long runs it"]
fn two_services_find_each_other_by_name() {
    let engine = Engine::with_networks();
    let path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    import(&engine, &PYTHON, "python", &["USER app", path]);
    let project = engine.path("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("compose.yml"), COMPOSE).unwrap();
    fs::write(project.join("program.py"), PROGRAM).unwrap();
    let compose = |words: &[&str]| {
        let mut command = engine.program(podman_compose());
        // A program that enters a mount namespace has its root as the working directory.
        command.arg("--file").arg(project.join("compose.yml")).arg("--podman-path").arg(engine.script());
        command.arg(format!("--podman-args=--runtime={}", engine.runtime().display())).args(words);
        let (status, shown, errors) =
            text(deadline::output(command.env("TMPDIR", engine.path("")).stdin(Stdio::null())));
        assert_eq!(status, Some(0), "{words:?}: {shown}{errors}");
    };
    compose(&["up", "-d"]);
    assert_eq!(engine.left(), 2, "each service is a machine");
    for (name, answer) in [("project_left_1", "answer of right"), ("project_right_1", "answer of left")] {
        follow(&engine, name, answer);
    }
    compose(&["stop", "-t", "60"]);
    for name in ["project_left_1", "project_right_1"] {
        let ended = engine.well(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name]);
        assert_eq!(ended, "exited 0", "{name}");
    }
    compose(&["down"]);
    assert_eq!(engine.well(&["ps", "-aq"]), "");
    engine.assert_gone();
}
