//! Images that are written: formats, cuts that are survived, growth, maps, reports, the configurations of other systems.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use whit_tests::commands::run_well;
use whit_tests::http::{Server, send_file, send_status};

use super::{Bench, compressed, image, put, sha256};

const MIB: usize = 1 << 20;

/// As after the end of the connection to a machine's console.
#[test]
fn a_disk_is_written_though_nobody_reads_the_lines() {
    let bench = Bench::new(8 * MIB);
    let content = image(6 * MIB);
    fs::write(bench.path("os.img"), &content).unwrap();
    let [output, errors] = [(); 2].map(|()| std::io::pipe().unwrap().1);
    let status = put().arg(bench.path("os.img")).arg(&bench.disk).stdout(output).stderr(errors).status().unwrap();
    assert!(status.success(), "{status}");
    bench.assert_has(&content);
}

#[test]
fn each_format_is_written_from_a_file_a_server_and_standard_input() {
    let bench = Bench::new(8 * MIB);
    let content = image(3 * MIB + 512);
    let raw = bench.path("os.img");
    fs::write(&raw, &content).unwrap();
    let mut forms = vec![content.clone()];
    forms.extend(["gzip", "zstd", "xz"].map(|program| compressed(&raw, program)));
    // Two members and two frames are one file.
    let (one, other) = (bench.path("one"), bench.path("other"));
    fs::write(&one, &content[..MIB]).unwrap();
    fs::write(&other, &content[MIB..]).unwrap();
    forms.extend(
        ["gzip", "zstd", "xz"].map(|program| [compressed(&one, program), compressed(&other, program)].concat()),
    );
    for form in forms {
        let path = bench.path("form");
        fs::write(&path, &form).unwrap();
        bench.assert_written(path.to_str().unwrap(), &["--sha256", &sha256(&form)], &content);
        let server = Server::of_file(form);
        bench.assert_written(&format!("{}/os", server.url), &[], &content);
        let output =
            put().arg("-").arg(&bench.disk).stdin(Stdio::from(fs::File::open(&path).unwrap())).output().unwrap();
        assert!(output.status.success());
        bench.assert_has(&content);
        // The end of the old system's disk is wiped, the rest of it stays.
        let disk = fs::read(&bench.disk).unwrap();
        assert!(disk[7 * MIB..] == vec![0; MIB]);
        assert!(disk[4 * MIB..7 * MIB] == vec![0xee; 3 * MIB]);
    }
}

#[test]
fn an_image_of_the_disks_size_is_written_to_its_end() {
    let bench = Bench::new(6 * MIB);
    fs::write(bench.path("os.img"), image(6 * MIB)).unwrap();
    bench.assert_written(bench.path("os.img").to_str().unwrap(), &[], &image(6 * MIB));
}

#[test]
fn a_cut_download_continues_where_it_was_cut() {
    let content = image(6 * MIB);
    let bench = Bench::new(16 * MIB);
    let (served, digest) = (content.clone(), sha256(&content));
    let server = Server::start(move |request, stream| send_file(request, stream, &served, 2 * MIB + 7));
    let words = ["--timeout", "1", "--attempts", "2", "--sha256", &digest];
    bench.assert_written(&format!("{}/os", server.url), &words, &content);
    let starts: Vec<_> = server.requests().iter().map(|request| request.from).collect();
    assert_eq!(starts, [None, Some(2 * MIB + 7), Some(4 * MIB + 14)]);
}

#[test]
fn a_server_without_ranges_sends_the_same_file_again() {
    let content = image(6 * MIB);
    let bench = Bench::new(16 * MIB);
    let served = content.clone();
    let server = Server::start(move |request, stream| {
        let limit = if request.number == 0 { 3 * MIB } else { served.len() };
        send_file(&whit_tests::http::Request { from: None, ..request.clone() }, stream, &served, limit);
    });
    bench.assert_written(&format!("{}/os", server.url), &["--timeout", "1"], &content);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_busy_server_and_redirects_are_followed() {
    let content = image(2 * MIB);
    let bench = Bench::new(16 * MIB);
    let served = content.clone();
    let server = Server::start(move |request, stream| match (request.number, request.path.as_str()) {
        (0, _) => send_status(stream, "503 Service Unavailable"),
        (_, "/os") => send_status(stream, "302 Found\r\nLocation: mirror/image?x=1"),
        _ => send_file(request, stream, &served, served.len()),
    });
    bench.assert_written(&format!("{}/os", server.url), &["--timeout", "1"], &content);
    assert_eq!(server.requests().last().unwrap().path, "/mirror/image?x=1");
}

/// Makes an image of 8 MiB with a partition table, by sfdisk.
fn partitioned(bench: &Bench) -> Vec<u8> {
    let (script, disk) = (bench.path("script"), bench.path("os.img"));
    fs::write(&script, "label: gpt\nsize=2MiB\nsize=3MiB\n").unwrap();
    fs::write(&disk, image(8 * MIB)).unwrap();
    run_well(Command::new("sfdisk").args(["-q", "--wipe=never"]).arg(&disk).stdin(fs::File::open(script).unwrap()));
    fs::read(disk).unwrap()
}

#[test]
fn growth_moves_the_backup_table_and_extends_the_last_partition() {
    let bench = Bench::new(64 * MIB);
    let content = partitioned(&bench);
    let source = bench.path("os.img");
    // Without growth the image is the disk's beginning, bit by bit.
    bench.assert_written(source.to_str().unwrap(), &[], &content);
    let output = bench.put(source.to_str().unwrap(), &["--grow"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("partition 2 extends to the end of the disk"), "{text}");
    let verified = run_well(Command::new("sgdisk").arg("-v").arg(&bench.disk));
    let verified = String::from_utf8_lossy(&verified);
    assert!(verified.contains("No problems found"), "{verified}");
    let listed = run_well(Command::new("sfdisk").args(["--json"]).arg(&bench.disk));
    let table: Value = serde_json::from_slice(&listed).unwrap();
    let partition = &table["partitiontable"]["partitions"][1];
    assert_eq!((partition["start"].as_u64(), partition["size"].as_u64()), (Some(3 * 2048), Some(60 * 2048)));
}

#[test]
fn growth_needs_a_table_that_fits_the_disk() {
    let bench = Bench::new(16 * MIB);
    fs::write(bench.path("os.img"), image(6 * MIB)).unwrap();
    let source = bench.path("os.img");
    bench.assert_mistake(source.to_str().unwrap(), &["--grow"], "the image has no GUID partition table");
    let mut damaged = partitioned(&bench);
    damaged[1024 + 60] ^= 1;
    fs::write(bench.path("damaged"), &damaged).unwrap();
    let source = bench.path("damaged");
    bench.assert_mistake(source.to_str().unwrap(), &[], "the partition table is damaged");
    // A compressed file's is found before the disk is wiped too, and a pipe's after.
    fs::write(bench.path("damaged.zst"), compressed(&source, "zstd")).unwrap();
    let packed = bench.path("damaged.zst");
    bench.assert_mistake(packed.to_str().unwrap(), &[], "the partition table is damaged");
    let mut piped = put();
    let digest = sha256(&damaged);
    piped.arg("-").arg(&bench.disk).args(["--sha256", &digest]);
    let mut child = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // put closes the pipe early.
    let _ = child.stdin.take().unwrap().write_all(&damaged);
    bench.assert_failed(&child.wait_with_output().unwrap(), "the partition table is damaged");
}

/// Writes a block map, as bmaptool creates it, of the ranges of blocks.
fn block_map(image: &[u8], ranges: &[(usize, usize)]) -> String {
    let range = |(first, last): &(usize, usize)| {
        let digest = sha256(&image[first * 4096..((last + 1) * 4096).min(image.len())]);
        format!("<Range chksum=\"{digest}\"> {first}-{last} </Range>\n")
    };
    let list: String = ranges.iter().map(range).collect();
    format!(
        "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n<ImageSize> {} </ImageSize>\n<BlockSize> 4096 </BlockSize>\n\
         <ChecksumType> sha256 </ChecksumType>\n<BlockMap>\n{list}</BlockMap>\n</bmap>\n",
        image.len()
    )
}

#[test]
fn a_block_map_spares_the_rest_and_checks_what_it_has() {
    let bench = Bench::new(16 * MIB);
    let mut content = image(6 * MIB);
    content[2 * MIB..4 * MIB].fill(0);
    fs::write(bench.path("os.img"), &content).unwrap();
    let map = block_map(&content, &[(0, 511), (1024, 1535)]);
    fs::write(bench.path("os.bmap"), &map).unwrap();
    let (source, map_path) = (bench.path("os.img"), bench.path("os.bmap"));
    let words = ["--bmap", map_path.to_str().unwrap()];
    assert!(bench.put(source.to_str().unwrap(), &words).status.success());
    let disk = fs::read(&bench.disk).unwrap();
    assert!(disk[..2 * MIB] == content[..2 * MIB] && disk[4 * MIB..6 * MIB] == content[4 * MIB..]);
    assert!(disk[2 * MIB..4 * MIB].iter().all(|byte| *byte == 0xee), "blocks that are not in the map are not written");
    // Another image: content where the map has none, content where it has other; and another length.
    let mut other = content.clone();
    other[3 * MIB] = 1;
    fs::write(&source, &other).unwrap();
    bench.assert_refused(source.to_str().unwrap(), &words, "which the block map leaves out, some are not zero");
    content[5 * MIB] ^= 1;
    fs::write(&source, &content).unwrap();
    bench.assert_refused(
        source.to_str().unwrap(),
        &words,
        "the bytes 4194304 to 6291455 are not those of the block map",
    );
    fs::write(&source, &content[..3 * MIB]).unwrap();
    bench.assert_refused(source.to_str().unwrap(), &words, "the image has 3145728 bytes, its block map is for 6291456");
}

#[test]
fn a_server_gets_reports_of_success_and_failure() {
    let bench = Bench::new(16 * MIB);
    let content = image(2 * MIB);
    let (served, digest) = (content.clone(), sha256(&content));
    let server = Server::start(move |request, stream| match request.path.as_str() {
        "/report" => send_status(stream, "200 OK"),
        "/os" => send_file(request, stream, &served, served.len()),
        _ => send_status(stream, "404 Not Found"),
    });
    let report = format!("{}/report", server.url);
    bench.assert_written(&format!("{}/os", server.url), &["--report", &report], &content);
    bench.assert_refused(&format!("{}/other", server.url), &["--report", &report], "404 Not Found");
    let reports: Vec<Value> = server
        .requests()
        .iter()
        .filter(|request| request.method == "POST")
        .map(|request| serde_json::from_str(&request.body).unwrap())
        .collect();
    let states: Vec<_> = reports.iter().map(|report| report["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["started", "written", "started", "failed"]);
    assert_eq!(reports[1]["sha256"], digest.as_str());
    assert_eq!(reports[1]["bytes"], content.len());
    assert_eq!(reports[1]["disk"], bench.disk.to_str().unwrap());
    assert!(reports[3]["error"].as_str().unwrap().ends_with("/other: the server answers 404 Not Found"));
}

#[test]
fn bootys_configuration_and_tinkerbells_variables_name_image_and_disk() {
    let bench = Bench::new(16 * MIB);
    let content = image(2 * MIB);
    fs::write(bench.path("os.img"), &content).unwrap();
    let packed = compressed(&bench.path("os.img"), "gzip");
    let disk = bench.disk.to_str().unwrap().to_owned();
    let configuration = format!(
        "{{\"action\":\"writeImage\",\"compressed\":true,\"sourceImage\":\"SERVER/os.gz\",\"destinationDevice\":\"{disk}\"}}"
    );
    let (raw, address) = (content.clone(), std::sync::Arc::new(std::sync::OnceLock::<String>::new()));
    let own = std::sync::Arc::clone(&address);
    let server = Server::start(move |request, stream| {
        let configuration = configuration.replace("SERVER", own.get().unwrap());
        let content = match request.path.as_str() {
            "/booty/machine.bty" => configuration.as_bytes(),
            "/os.gz" => &packed,
            _ => &raw,
        };
        send_file(request, stream, content, content.len());
    });
    address.set(server.url.clone()).unwrap();
    let run = |arguments: &[&str], environment: &[(&str, &str)]| {
        fs::write(&bench.disk, vec![0xee; 16 * MIB]).unwrap();
        put().args(arguments).envs(environment.iter().copied()).output().unwrap()
    };
    let output = run(&["--booty", &format!("{}/booty/machine.bty", server.url)], &[]);
    assert!(output.status.success(), "{output:?}");
    bench.assert_has(&content);
    let image = format!("{}/os.gz", server.url);
    let disk = bench.disk.to_str().unwrap();
    let output = run(&[], &[("IMG_URL", &image), ("DEST_DISK", disk), ("COMPRESSED", "true")]);
    assert!(output.status.success(), "{output:?}");
    bench.assert_has(&content);
    // A raw image that is said to be compressed.
    let raw = format!("{}/os", server.url);
    let output = run(&[], &[("IMG_URL", &raw), ("DEST_DISK", disk), ("COMPRESSED", "true")]);
    bench.assert_failed(&output, "/os: not compressed by gzip, zstd or xz");
}

#[test]
fn progress_is_lines_for_programs() {
    let bench = Bench::new(16 * MIB);
    let content = image(6 * MIB);
    let server = Server::start(move |request, stream| {
        send_file(request, stream, &content, 3 * MIB);
        std::thread::sleep(std::time::Duration::from_millis(1200));
    });
    let output = bench.put(&format!("{}/os", server.url), &["--progress", "lines", "--timeout", "2"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.lines().any(|line| line.starts_with("progress write ") && line.ends_with(" 6291456")), "{errors}");
}
