//! Servers and files that fail: nothing that boots is left, one line says why, the exit status is not 0.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use whit_tests::commands::run_well;
use whit_tests::http::{Server, send_file, send_status};

use super::{Bench, compressed, image, put, sha256};

const MIB: usize = 1 << 20;
/// Short limits: a server that never answers is given up after two seconds.
const SHORT: [&str; 4] = ["--timeout", "1", "--attempts", "2"];

/// Serves an image of 6 MiB by a function, to a disk of 16 MiB.
fn refuse(
    answer: impl Fn(&[u8], &whit_tests::http::Request, &mut std::net::TcpStream) + Send + Sync + 'static,
    expected: &str,
) {
    let content = image(6 * MIB);
    let server = Server::start(move |request, stream| answer(&content, request, stream));
    Bench::new(16 * MIB).assert_refused(&format!("{}/os.img", server.url), &SHORT, expected);
}

#[test]
fn a_server_that_always_cuts_is_given_up() {
    let cut = |content: &[u8], request: &_, stream: &mut _| send_file(request, stream, content, 1000);
    refuse(cut, "the server closed the connection after 2000 of 6291456 bytes");
}

#[test]
fn a_server_that_stalls_is_given_up() {
    refuse(
        |content, request, stream| {
            send_file(request, stream, content, 1000);
            thread::sleep(Duration::from_secs(60));
        },
        "the server sends nothing for 1 s",
    );
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    refuse(|_, _, _| thread::sleep(Duration::from_secs(60)), "the server sends nothing for 1 s");
}

#[test]
fn a_missing_file_is_named() {
    refuse(|_, _, stream| send_status(stream, "404 Not Found"), "/os.img: the server answers 404 Not Found");
}

#[test]
fn redirects_end() {
    refuse(|_, _, stream| send_status(stream, "302 Found\r\nLocation: /again"), "more than 10 redirects");
    refuse(|_, _, stream| send_status(stream, "302 Found\r\nLocation: file:///etc/shadow"), "no http:// or https://");
}

#[test]
fn a_page_instead_of_http_is_refused() {
    refuse(|_, _, stream| drop(stream.write_all(b"220 ftp ready\r\n\r\n")), "no HTTP response");
}

#[test]
fn a_raw_image_of_unknown_length_needs_a_digest() {
    let answer = |content: &[u8], _: &_, stream: &mut std::net::TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").and_then(|()| stream.write_all(&content[..5 * MIB]));
    };
    refuse(answer, "the server does not state the length");
}

#[test]
fn cuts_between_members_and_of_pipes_need_a_digest() {
    let bench = Bench::new(16 * MIB);
    let content = image(6 * MIB);
    fs::write(bench.path("one"), &content[..4 * MIB]).unwrap();
    let first = compressed(&bench.path("one"), "gzip");
    let server = Server::start(move |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").and_then(|()| stream.write_all(&first));
    });
    bench.assert_refused(&server.url, &[], "the server does not state the length");
    let pipe = |words: &[&str]| {
        let mut cat = Command::new("cat").arg(bench.path("one")).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = cat.stdout.take().unwrap();
        let output = put().arg("-").arg(&bench.disk).args(words).stdin(stdin).output().unwrap();
        cat.wait().unwrap();
        output
    };
    bench.assert_failed(&pipe(&[]), "standard input: a pipe has no length");
    assert!(pipe(&["--sha256", &sha256(&content[..4 * MIB])]).status.success());
    bench.assert_has(&content[..4 * MIB]);
}

#[test]
fn an_image_that_ends_in_a_partition_is_refused() {
    let bench = Bench::new(16 * MIB);
    for label in ["gpt", "dos"] {
        let (script, path) = (bench.path("script"), bench.path("os.img"));
        fs::write(&script, format!("label: {label}\nsize=2MiB\nsize=3MiB\n")).unwrap();
        fs::write(&path, image(8 * MIB)).unwrap();
        let mut sfdisk = Command::new("sfdisk");
        run_well(sfdisk.args(["-q", "--wipe=never"]).arg(&path).stdin(fs::File::open(script).unwrap()));
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(5 << 20).unwrap();
        let expected = "the image ends after 5242880 bytes, its partition 2 after 6291456: it is cut";
        bench.assert_refused(path.to_str().unwrap(), &[], expected);
    }
}

#[test]
fn a_file_that_changes_during_the_download_is_refused() {
    refuse(
        |content, request, stream| match request.from {
            None => send_file(request, stream, content, 4 * MIB),
            Some(_) => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"two\"\r\n\r\n", content.len());
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(content));
            }
        },
        "the file on the server changed during the download",
    );
}

/// Sends 5 bytes short of all, with these fields, then the rest with those.
fn spliced(fields: [&'static str; 2]) -> Server {
    let content = image(2 * MIB);
    Server::start(move |request, stream| {
        let (total, cut) = (content.len(), content.len() - 5);
        let (head, body) = match request.from {
            None => (format!("200 OK\r\nContent-Length: {total}\r\n{}", fields[0]), &content[..cut]),
            Some(from) => {
                let range =
                    format!("Content-Length: {}\r\nContent-Range: bytes {from}-{}/{total}", total - from, total - 1);
                (format!("206 Partial Content\r\n{range}\r\n{}", fields[1]), &content[from..])
            }
        };
        let head = format!("HTTP/1.1 {head}\r\n");
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    })
}

#[test]
fn parts_of_two_versions_are_not_joined() {
    let bench = Bench::new(4 * MIB);
    let content = image(2 * MIB);
    let changed = "the file on the server changed during the download";
    for fields in [
        ["ETag: W/\"one\"\r\n", "ETag: W/\"two\"\r\n"],
        ["Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n", "Last-Modified: Tue, 02 Jan 2024 00:00:00 GMT\r\n"],
    ] {
        bench.assert_refused(&spliced(fields).url, &SHORT, changed);
    }
    bench.assert_written(&spliced(["ETag: \"one\"\r\n", ""]).url, &SHORT, &content);
    // Nothing tells two versions apart.
    bench.assert_refused(&spliced(["", ""]).url, &SHORT, "without ETag and Last-Modified");
    bench.assert_written(&spliced(["", ""]).url, &[&SHORT[..], &["--sha256", &sha256(&content)]].concat(), &content);
}

#[test]
fn another_range_than_the_requested_one_is_refused() {
    refuse(
        |content, request, stream| match request.from {
            None => send_file(request, stream, content, 4 * MIB),
            Some(from) => {
                let other = whit_tests::http::Request { from: Some(from - 1), ..request.clone() };
                send_file(&other, stream, content, content.len());
            }
        },
        "the file on the server changed during the download",
    );
}

#[test]
fn a_chunked_body_without_its_end_is_a_cut() {
    refuse(
        |content, _, stream| {
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: \"one\"\r\n\r\n100000\r\n";
            let _ = stream.write_all(head).and_then(|()| stream.write_all(&content[..MIB]));
        },
        "the server closed the connection",
    );
}

#[test]
fn a_wrong_digest_is_refused_after_the_whole_image() {
    let bench = Bench::new(16 * MIB);
    let content = image(6 * MIB);
    let expected = "0".repeat(64);
    let server = Server::of_file(content.clone());
    let message = format!("its sha256 is {}, expected: {expected}", sha256(&content));
    bench.assert_refused(&format!("{}/os.img", server.url), &["--sha256", &expected], &message);
}

#[test]
fn an_image_as_large_as_the_disk_leaves_no_backup_table() {
    // The end of the image is the end of the disk, where the backup of its table is.
    let bench = Bench::new(6 * MIB);
    let server = Server::of_file(image(6 * MIB));
    bench.assert_refused(&server.url, &["--sha256", &"0".repeat(64)], "its sha256 is");
}

#[test]
fn a_length_that_is_too_small_is_a_damaged_image() {
    let bench = Bench::new(16 * MIB);
    fs::write(bench.path("os.img"), image(6 * MIB)).unwrap();
    for program in ["gzip", "zstd", "xz"] {
        let mut content = compressed(&bench.path("os.img"), program);
        content.truncate(content.len() / 2);
        let server = Server::of_file(content);
        bench.assert_refused(&format!("{}/os", server.url), &[], "/os: it ends in the middle");
    }
}

#[test]
fn damaged_and_continued_compressed_images_are_refused() {
    let bench = Bench::new(16 * MIB);
    fs::write(bench.path("os.img"), image(6 * MIB)).unwrap();
    for program in ["gzip", "zstd", "xz"] {
        let content = compressed(&bench.path("os.img"), program);
        let mut damaged = content.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        fs::write(bench.path("damaged"), damaged).unwrap();
        bench.assert_refused(bench.path("damaged").to_str().unwrap(), &[], &format!("damaged {program} data"));
        fs::write(bench.path("continued"), [&content[..], b"more"].concat()).unwrap();
        bench.assert_refused(bench.path("continued").to_str().unwrap(), &[], "continued: ");
    }
}

#[test]
fn a_compressed_bomb_ends_at_the_size_of_the_disk() {
    let bench = Bench::new(16 * MIB);
    let zeros = bench.path("zeros");
    fs::File::create(&zeros).unwrap().set_len(40 << 20).unwrap();
    for program in ["gzip", "zstd", "xz"] {
        let server = Server::of_file(compressed(&zeros, program));
        bench.assert_refused(&format!("{}/os", server.url), &[], "the disk has 16777216 bytes, the image more");
    }
    let server = Server::of_file(image(17 * MIB));
    bench.assert_refused(&format!("{}/os", server.url), &[], "the disk has 16777216 bytes, the image 17825792 bytes");
}

#[test]
fn a_window_of_gibibytes_is_refused() {
    let bench = Bench::new(16 * MIB);
    // The header of a zstd frame with a window of 2 GiB: no single segment, descriptor 0xa8 (RFC 8878, section 3.1.1.1.2).
    fs::write(bench.path("window"), b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00").unwrap();
    bench.assert_refused(bench.path("window").to_str().unwrap(), &[], "Frame requires too much memory");
}

#[test]
fn files_that_are_no_disk_are_refused_by_name() {
    let bench = Bench::new(16 * MIB);
    let path = bench.path("file");
    fs::write(&path, [b"QFI\xfb\0\0\0\x03".as_slice(), &[0; 1000]].concat()).unwrap();
    bench.assert_mistake(path.to_str().unwrap(), &[], "a qcow2 image: convert it by qemu-img convert -O raw");
    fs::write(bench.path("file.zst"), compressed(&path, "zstd")).unwrap();
    bench.assert_mistake(bench.path("file.zst").to_str().unwrap(), &[], "a qcow2 image");
    fs::write(&path, b"").unwrap();
    bench.assert_mistake(path.to_str().unwrap(), &[], "it is empty");
    run_well(Command::new("tar").arg("-cf").arg(&path).arg("--files-from=/dev/null").arg("/etc/hostname"));
    bench.assert_mistake(path.to_str().unwrap(), &[], "a tar archive");
}

/// A TLS server of openssl's with a certificate of this name and these days, for files of a folder.
struct TlsServer {
    child: Child,
    port: u16,
}

impl TlsServer {
    fn start(bench: &Bench, dates: [&str; 2]) -> Self {
        let folder = bench.folder.path();
        let openssl = |words: &str| {
            run_well(Command::new("openssl").args(words.split(' ')).current_dir(folder));
        };
        openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=ca -keyout ca.key -out ca.pem",
        );
        openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server -keyout server.key -out server.csr",
        );
        fs::write(folder.join("index"), "").unwrap();
        fs::write(folder.join("serial"), "01").unwrap();
        fs::write(
            folder.join("ca.conf"),
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n\
             x509_extensions=e\n[p]\ncommonName=supplied\n[e]\nsubjectAltName=IP:127.0.0.1\n",
        )
        .unwrap();
        let [from, to] = dates;
        openssl(&format!(
            "ca -batch -notext -config ca.conf -cert ca.pem -keyfile ca.key -in server.csr -out server.pem \
             -startdate {from} -enddate {to}"
        ));
        // A port that is free now; openssl does not print the one that it takes by itself.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("openssl")
            .args(["s_server", "-quiet", "-WWW", "-cert", "server.pem", "-key", "server.key", "-accept"])
            .arg(port.to_string())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, port }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

#[test]
fn certificates_must_be_valid_now_and_of_a_known_authority() {
    let bench = Bench::new(16 * MIB);
    let content = image(6 * MIB);
    fs::write(bench.path("os.img"), &content).unwrap();
    let ca = bench.path("ca.pem");
    let with_ca = ["--ca", ca.to_str().unwrap()];
    let digest = sha256(&content);
    {
        let server = TlsServer::start(&bench, ["20000101000000Z", "20010101000000Z"]);
        let url = format!("https://127.0.0.1:{}/os.img", server.port);
        bench.assert_refused(&url, &with_ca, "invalid peer certificate: certificate expired");
    }
    let server = TlsServer::start(&bench, ["20200101000000Z", "20991231000000Z"]);
    let url = format!("https://127.0.0.1:{}/os.img", server.port);
    bench.assert_refused(&format!("https://localhost:{}/os.img", server.port), &with_ca, "not valid for name");
    // The server states no length: the digest finds a cut.
    bench.assert_refused(&url, &with_ca, "the server does not state the length");
    bench.assert_written(&url, &[&with_ca[..], &["--sha256", &digest]].concat(), &content);
    // Another authority.
    let own = bench.path("other.pem");
    let make = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=other -keyout other.key -out {}",
        own.display()
    );
    run_well(Command::new("openssl").args(make.split(' ')).current_dir(bench.folder.path()));
    bench.assert_refused(&url, &["--ca", own.to_str().unwrap()], "invalid peer certificate: UnknownIssuer");
}

#[test]
fn signatures_are_of_this_file_by_this_key() {
    let bench = Bench::new(16 * MIB);
    let (content, folder) = (image(6 * MIB), bench.folder.path());
    let minisign = |words: &str| {
        run_well(Command::new("minisign").args(words.split(' ')).current_dir(folder).stdin(Stdio::null()));
    };
    fs::write(bench.path("os.img"), &content).unwrap();
    minisign("-G -W -p one.pub -s one.key");
    minisign("-G -W -p two.pub -s two.key");
    minisign("-S -s one.key -m os.img");
    let (one, two) = (bench.path("one.pub"), bench.path("two.pub"));
    let (one, two) = (one.to_str().unwrap(), two.to_str().unwrap());
    let source = bench.path("os.img");
    bench.assert_written(source.to_str().unwrap(), &["--minisign", one], &content);
    let key = fs::read_to_string(one).unwrap().lines().nth(1).unwrap().to_owned();
    bench.assert_written(source.to_str().unwrap(), &["--minisign", &key], &content);
    bench.assert_mistake(source.to_str().unwrap(), &["--minisign", two], "signature");
    let mut other = content;
    other[5 * MIB] ^= 1;
    fs::write(&source, &other).unwrap();
    bench.assert_refused(
        source.to_str().unwrap(),
        &["--minisign", one],
        "the signature is not one of this file by this key",
    );
    // A signature from a server, of another file.
    let signature = fs::read(bench.path("os.img.minisig")).unwrap();
    let server = Server::start(move |request, stream| {
        let content = if request.path.ends_with(".minisig") { &signature } else { &other };
        send_file(request, stream, content, content.len());
    });
    bench.assert_refused(
        &format!("{}/os.img", server.url),
        &["--minisign", one],
        "the signature is not one of this file",
    );
    let absent = Server::start(|_, stream| send_status(stream, "404 Not Found"));
    bench.assert_refused(
        &format!("{}/os.img", absent.url),
        &["--minisign", one],
        "/os.img.minisig: there is no such file",
    );
}

#[test]
fn mistakes_on_the_command_line_leave_the_disk_alone() {
    let bench = Bench::new(16 * MIB);
    for (words, expected) in [
        (&["--sha256", "12"][..], "put: --sha256 12: expected: 64 hexadecimal digits\n"),
        (&["--minisign", "nothing"], "put: --minisign nothing: neither a key nor a file"),
        (&["--report", "nothing"], "put: nothing: no http:// or https:// address\n"),
    ] {
        let output = put().arg("os.img").arg(&bench.disk).args(words).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).starts_with(expected), "{output:?}");
        assert!(!output.status.success());
        assert!(fs::read(&bench.disk).unwrap().iter().all(|byte| *byte == 0xee));
    }
}

#[test]
fn files_of_this_machine_are_opened_before_the_disk_is_touched() {
    let bench = Bench::new(16 * MIB);
    let [absent, image_file, large] = ["absent", "os.img", "large"].map(|name| bench.path(name).display().to_string());
    fs::write(&image_file, image(6 * MIB)).unwrap();
    fs::write(&large, image(17 * MIB)).unwrap();
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    bench.assert_mistake(&absent, &[], "/absent: No such file");
    bench.assert_mistake("/", &[], "/: a directory");
    bench.assert_mistake(&large, &[], "the disk has 16777216 bytes, the image 17825792 bytes");
    bench.assert_mistake(&image_file, &["--bmap", &absent], "/absent: No such file");
    bench.assert_mistake(&image_file, &["--minisign", key], "/os.img.minisig: No such file");
    // Those beside an image on a server too.
    let server = Server::of_file(image(6 * MIB));
    fs::write(bench.path("map"), "text").unwrap();
    bench.assert_mistake(&server.url, &["--bmap", bench.path("map").to_str().unwrap()], "/map: no XML");
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn an_image_is_not_written_onto_itself() {
    let bench = Bench::new(16 * MIB);
    let link = bench.path("link");
    std::os::unix::fs::symlink(&bench.disk, &link).unwrap();
    for source in [&bench.disk, &link] {
        bench.assert_mistake(source.to_str().unwrap(), &[], "the image is the disk itself, or a part of it");
    }
    let stdin = Stdio::from(fs::File::open(&bench.disk).unwrap());
    let output = put().arg("-").arg(&bench.disk).stdin(stdin).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("the image is the disk itself"), "{output:?}");
    assert!(fs::read(&bench.disk).unwrap() == vec![0xee; 16 * MIB]);
}
