//! `put` beside `curl | zstd -d | dd`, on the same server, image and disk.
//!
//! The image has 512 MiB: a quarter of it is zeros, the rest compresses to a half. Each contender runs once in every round, so that a noisy
//! host disturbs both. dd waits for the disk as put does (conv=fsync); put reads back what it has written too.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Instant;

use clap::Parser;
use whit_tools::cli::output;
use xtask::bench::Host;

/// Time put beside curl | zstd -d | dd, and report medians
#[derive(Parser)]
#[command(name = "bench-put", after_help = "Example:\n  cargo bench-put -- --output bench/put.txt")]
struct Arguments {
    /// Write the report to FILE too
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Rounds, and bytes of the image and of the disk.
const ROUNDS: usize = 5;
const IMAGE: u64 = 512 << 20;
const DISK: u64 = 600 << 20;
const MIB: usize = 1 << 20;
/// The goals: wall time beside dd, bytes of the program.
const WALL: f64 = 1.5;
const PROGRAM: u64 = 2_500_000;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("bench-put: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let host = Host::look();
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
    let results = Results { put: median(ours), dd: median(theirs), ratio: median(ratios), bytes };
    let words: Vec<String> = std::env::args().skip(1).collect();
    let text = format!(
        "command   cargo bench-put -- {}\nhost      {} x {}, {} MiB, Linux {}, load {}\n\
         {ROUNDS} rounds, an image of {IMAGE} bytes, {length} compressed by zstd -3\n{}",
        words.join(" "),
        host.processors,
        host.processor,
        host.memory_mib,
        host.kernel,
        host.load,
        results.lines()
    );
    print!("{text}");
    if let Some(path) = &arguments.output {
        output::write(path, text.as_bytes()).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(results.held())
}

/// Medians in ms, that of the rounds' ratios, and the size of put's file.
struct Results {
    put: f64,
    dd: f64,
    ratio: f64,
    bytes: u64,
}

impl Results {
    /// Whether each goal is held.
    fn goals(&self) -> [bool; 2] {
        [self.ratio <= WALL, self.bytes <= PROGRAM]
    }

    fn held(&self) -> bool {
        self.goals() == [true; 2]
    }

    fn lines(&self) -> String {
        let [wall, program] = self.goals().map(|held| if held { "held    " } else { "NOT HELD" });
        format!(
            "put                           {:7.0} ms\ncurl | zstd -d | dd           {:7.0} ms, with conv=fsync\n\
             {wall}  wall time, the median of the rounds' ratios: {:.3} of {WALL}\n\
             {program}  the program's file: {} of {PROGRAM} bytes\n",
            self.put, self.dd, self.ratio, self.bytes
        )
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_that_is_missed_is_marked() {
        let results = Results { put: 1500.0, dd: 1000.0, ratio: 1.5, bytes: PROGRAM };
        assert!(results.held());
        assert_eq!(results.lines().matches("held    ").count(), 2);
        for (results, missed) in [
            (Results { ratio: 1.501, ..results }, "NOT HELD  wall time"),
            (Results { bytes: PROGRAM + 1, ..results }, "NOT HELD  the program's file"),
        ] {
            assert!(!results.held());
            assert!(results.lines().contains(missed), "{}", results.lines());
        }
    }
}
