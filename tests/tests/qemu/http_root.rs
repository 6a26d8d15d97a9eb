//! A root over HTTP of the init `fleet`, and answers of servers that are no root.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use whit_tools::vm::qemu::Nic;

use crate::verity::{Machine, text_at};

/// A machine has the host at this address.
const HOST: &str = "10.0.2.2";

/// Serves an image at `/root.img`, and wrong answers at other paths. Returns the port.
fn serve(image: Vec<u8>, other: Vec<u8>, flipped: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A machine may close the connection before it has everything.
            let _ = answer(stream, &image, &other, &flipped);
        }
    });
    port
}

fn answer(mut stream: TcpStream, image: &[u8], other: &[u8], flipped: &[u8]) -> std::io::Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    let request = lines.next().unwrap()?;
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let length = format!("Content-Length: {}\r\n", image.len());
    let (header, body) = match request.split(' ').nth(1).unwrap() {
        "/root.img" => (format!("200 OK\r\nServer: a\r\n{length}"), image),
        "/cut" => (format!("200 OK\r\n{length}"), &image[..image.len() / 2]),
        "/other" => (format!("200 OK\r\nContent-Length: {}\r\n", other.len()), other),
        "/flipped" => (format!("200 OK\r\n{length}"), flipped),
        "/unknown-length" => ("200 OK\r\n".to_owned(), image),
        "/moved" => (format!("302 Found\r\nLocation: /root.img\r\n{length}"), image),
        "/long-header" => (format!("200 OK\r\nX: {}\r\n{length}", "x".repeat(8192)), image),
        _ => ("404 Not Found\r\nContent-Length: 0\r\n".to_owned(), &[][..]),
    };
    // In two parts: the first read may end inside of the header.
    stream.set_nodelay(true)?;
    stream.write_all(b"HTTP/1.0 ")?;
    stream.write_all(format!("{header}\r\n").as_bytes())?;
    stream.write_all(body)
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_verified_root_is_downloaded_and_a_wrong_one_is_refused() {
    let machine = Machine::new();
    let initramfs = machine.initramfs("initramfs", "virtio,http", &["--module", "overlay"]);
    let (disk, hash) = machine.disk("disk.img", &[]);
    let (other, _) = machine.disk("other.img", &["--label", "other"]);
    let image = fs::read(&disk).unwrap();
    let mut flipped = image.clone();
    flipped[text_at(&disk) as usize] ^= 0x10;
    let port = serve(image, fs::read(other).unwrap(), flipped);
    let script = "cat /proc/mounts; echo >/new && cat /text >/dev/null && echo both";
    let boot = |root: &str, hash: &str| {
        let options = format!("{root} {hash} rootwait=3 whit.overlay=tmpfs entrypoint=/bin/sh -- -c \"{script}\"");
        Machine::run(&machine.command(&initramfs, &options).nic(Nic::VirtioNet))
    };
    let url = |path: &str| format!("http://{HOST}:{port}/{path}");
    let hash = format!("roothash={hash}");
    let (lines, console) = boot(&format!("root={}", url("root.img")), &hash);
    assert!(lines.contains(&"root /dev/mapper/root, read-only, on /mnt".to_owned()), "{console}");
    assert!(console.contains("both") && lines.ends_with(&["exit 0".to_owned(), "power off".to_owned()]), "{console}");
    let wrong = "the server's answer is not 200 with a length";
    for (path, reason) in [
        ("cut", "the server's answer is incomplete"),
        ("other", "differs from roothash="),
        ("unknown-length", wrong),
        ("moved", wrong),
        ("absent", wrong),
        ("long-header", "the server's answer is incomplete"),
    ] {
        let (lines, console) = boot(&format!("root={}", url(path)), &hash);
        let line = format!("root={}: {reason}", url(path));
        assert!(lines.contains(&line), "{path}: {console}");
        assert!(lines.ends_with(&["exit 125".to_owned(), "power off".to_owned()]), "{path}: {console}");
    }
    // A block that is not needed for the mount: the program that reads it has an error.
    let (lines, console) = boot(&format!("root={}", url("flipped")), &hash);
    assert!(console.contains("Input/output error") && lines.contains(&"exit 1".to_owned()), "{console}");
    let (lines, console) = boot(&format!("root={}", url("root.img")), "");
    assert!(lines.contains(&format!("root={}: needs roothash=HEX", url("root.img"))), "{console}");
    // Nothing listens there.
    let refused = format!("root=http://{HOST}:1/root.img");
    let (lines, console) = boot(&refused, &hash);
    assert!(lines.contains(&format!("{refused}: no connection")), "{console}");
}
