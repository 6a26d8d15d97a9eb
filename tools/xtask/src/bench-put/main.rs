//! `put` beside `curl | zstd -d | dd`, on the same server, image and disk.
//!
//! The image has 512 MiB: a quarter of it is zeros, the rest compresses to a half. Each contender runs once in every round, so that a noisy
//! host disturbs both. dd waits for the disk as put does (conv=fsync); put reads back what it has written too.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Instant;

/// Rounds, and bytes of the image and of the disk.
const ROUNDS: usize = 5;
const IMAGE: u64 = 512 << 20;
const DISK: u64 = 600 << 20;
const MIB: usize = 1 << 20;
/// The goals: wall time beside dd, bytes of the program.
const WALL: f64 = 1.5;
const PROGRAM: u64 = 2_500_000;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("bench-put: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, String> {
    let program = xtask::put::build()?;
    let bytes = fs::metadata(&program).map_err(|error| error.to_string())?.len();
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let at = |error: io::Error| format!("{}: {error}", folder.path().display());
    let [image, packed, disk] = ["os.img", "os.img.zst", "disk"].map(|name| folder.path().join(name));
    write_image(&image).map_err(at)?;
    shell(&format!("zstd -q -3 {} -o {}", image.display(), packed.display()))?;
    let served = fs::read(&packed).map_err(at)?;
    let (length, url) = (served.len(), serve(served).map_err(at)?);
    let put = format!("{} {url} {} --progress none", program.display(), disk.display());
    let pipe = format!("curl -sf {url} | zstd -q -d | dd of={} bs=1M conv=notrunc,fsync status=none", disk.display());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (command, times) in [(&pipe, &mut theirs), (&put, &mut ours)] {
            File::create(&disk).and_then(|file| file.set_len(DISK)).map_err(at)?;
            let start = Instant::now();
            shell(command)?;
            times.push(start.elapsed().as_secs_f64() * 1000.0);
        }
    }
    shell(&format!("cmp -n {IMAGE} {} {}", image.display(), disk.display()))?;
    let ratios = ours.iter().zip(&theirs).map(|(one, other)| one / other).collect();
    let (ours, theirs, ratio) = (median(ours), median(theirs), median(ratios));
    println!("command   bench-put: {ROUNDS} rounds, an image of {IMAGE} bytes, {length} compressed by zstd -3");
    println!("put                           {ours:7.0} ms");
    println!("curl | zstd -d | dd           {theirs:7.0} ms, with conv=fsync");
    let verdict = |held: bool| if held { "held    " } else { "NOT HELD" };
    println!("{}  wall time, the median of the rounds' ratios: {ratio:.3} of {WALL}", verdict(ratio <= WALL));
    println!("{}  the program's file: {bytes} of {PROGRAM} bytes", verdict(bytes <= PROGRAM));
    Ok(ratio <= WALL && bytes <= PROGRAM)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Writes the image: of each 4 MiB one is zeros, and in the others every second KiB repeats the one before.
fn write_image(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = vec![0; MIB];
    for number in 0..IMAGE / MIB as u64 {
        block.fill(0);
        if number % 4 != 0 {
            for pair in block.chunks_exact_mut(2048) {
                for word in pair[..1024].chunks_exact_mut(8) {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    word.copy_from_slice(&state.to_le_bytes());
                }
                pair.copy_within(..1024, 1024);
            }
        }
        file.write_all(&block)?;
    }
    Ok(())
}

/// Serves one file at every path, from memory.
fn serve(content: Vec<u8>) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/os.img.zst", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(stream, &content);
        }
    });
    Ok(url)
}

fn answer(mut stream: TcpStream, content: &[u8]) -> io::Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len())?;
    stream.write_all(content)
}

fn shell(command: &str) -> Result<(), String> {
    let script = format!("set -o pipefail; {command}");
    let status = Command::new("bash").args(["-c", &script]).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command}: {status}")),
        Err(error) => Err(format!("bash: {error}")),
    }
}
