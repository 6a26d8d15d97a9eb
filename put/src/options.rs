//! The command line, and Tinkerbell's variables in its place.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::{Long, Short, Value};

use crate::progress::Form;

/// The text of `--help`.
pub const HELP: &str = "\
Writes a disk image to a disk so that an incomplete or wrong one never boots

Usage: put [OPTIONS] SOURCE DISK
       put [OPTIONS] --booty URL

SOURCE is http://…, https://…, a file or - (standard input): raw, gzip, zstd or xz.
DISK is /dev/NAME, SERIAL=TEXT, SIZE=smallest, SIZE=largest, SIZE=MIN-MAX (100G-2T) or a file of the disk's size.
Without both, the variables IMG_URL, DEST_DISK and COMPRESSED of Tinkerbell's image2disk count.

      --sha256 HEX        The digest of SOURCE, as sha256sum prints it
      --minisign KEY      minisign's public key, or a file with it; the signature is SOURCE.minisig
      --signature SOURCE  Another place of the signature
      --bmap SOURCE       A block map of bmaptool: only its blocks are written
      --grow              Extend the last partition, and move GPT's backup to the end of the disk
      --report URL        POST JSON when it starts, has written and fails
      --then END          reboot, poweroff, or kexec with --kernel
      --kernel FILE       The kernel for kexec: a file, or NUMBER:PATH in a partition of the written disk
      --initrd FILE       Its initramfs, likewise
      --append TEXT       Its command line
      --booty URL         Read SOURCE and DISK from Plunder's BOOTy server, by hardware address
      --ca FILE           Certificates of authorities in PEM form [default: the system's]
      --timeout SECONDS   Give up a connection without a byte for so long [default: 30]
      --attempts NUMBER   Attempts without progress [default: 5]
      --progress FORM     terminal, lines or none
      --dry-run           Check the options and the disk, and print what would be written
  -h, --help              Print help
  -V, --version           Print version

Example: put https://example.org/os.img.zst SIZE=smallest --sha256 9f86… --grow --then reboot
";

/// What happens after a disk is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// The program ends.
    #[default]
    Exit,
    /// The machine reboots.
    Reboot,
    /// The machine powers off.
    PowerOff,
    /// The machine starts another kernel.
    Kexec,
}

/// All options.
#[derive(Debug, Default)]
pub struct Options {
    /// The image.
    pub source: String,
    /// The disk.
    pub disk: String,
    /// `--sha256`
    pub sha256: Option<[u8; 32]>,
    /// `--minisign`
    pub minisign: Option<String>,
    /// `--signature`
    pub signature: Option<String>,
    /// `--bmap`
    pub bmap: Option<String>,
    /// `--grow`
    pub grow: bool,
    /// The partition that has to be the last one: BOOTy's `growPartition`.
    pub grown_partition: Option<u32>,
    /// `--report`
    pub report: Option<String>,
    /// `--then`
    pub then: Then,
    /// `--kernel`
    pub kernel: Option<String>,
    /// `--initrd`
    pub initrd: Option<String>,
    /// `--append`
    pub append: String,
    /// `--booty`
    pub booty: Option<String>,
    /// `--ca`
    pub authorities: Option<PathBuf>,
    /// `--timeout`
    pub timeout: Option<Duration>,
    /// `--attempts`
    pub attempts: Option<u32>,
    /// `--progress`
    pub progress: Option<Form>,
    /// `--dry-run`
    pub is_dry_run: bool,
    /// Tinkerbell's COMPRESSED and BOOTy's `compressed`.
    pub must_be_compressed: bool,
}

/// The result of the command line.
pub enum Parsed {
    /// An image is to be written.
    Run(Box<Options>),
    /// A text is to be printed.
    Print(&'static str),
}

/// Parses 64 hexadecimal digits.
pub fn sha256(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(digest)
}

/// Parses the words after the program's name. `variable` reads a variable of the environment.
///
/// # Errors
/// One line.
pub fn parse(
    words: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Parsed, String> {
    let mut options = Options::default();
    let mut places = Vec::new();
    let mut parser = lexopt::Parser::from_args(words);
    let text = |value: OsString| value.into_string().map_err(|value| format!("{}: not UTF-8", value.display()));
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        let name = match argument {
            Value(value) => {
                places.push(text(value)?);
                continue;
            }
            Short('h') | Long("help") => return Ok(Parsed::Print(HELP)),
            Short('V') | Long("version") => return Ok(Parsed::Print(concat!("put ", env!("CARGO_PKG_VERSION"), "\n"))),
            Long("grow") => {
                options.grow = true;
                continue;
            }
            Long("dry-run") => {
                options.is_dry_run = true;
                continue;
            }
            Long(name) => name.to_owned(),
            other => return Err(format!("{}; put --help has the options", other.unexpected())),
        };
        let mut value = || text(parser.value().map_err(|error| error.to_string())?);
        match name.as_str() {
            "sha256" => options.sha256 = Some(checked("--sha256", &value()?, sha256, "64 hexadecimal digits")?),
            "minisign" => options.minisign = Some(value()?),
            "signature" => options.signature = Some(value()?),
            "bmap" => options.bmap = Some(value()?),
            "report" => options.report = Some(value()?),
            "then" => options.then = checked("--then", &value()?, then, "reboot, poweroff or kexec")?,
            "kernel" => options.kernel = Some(value()?),
            "initrd" => options.initrd = Some(value()?),
            "append" => options.append = value()?,
            "booty" => options.booty = Some(value()?),
            "ca" => options.authorities = Some(value()?.into()),
            "timeout" => options.timeout = Some(checked("--timeout", &value()?, seconds, "seconds")?),
            "attempts" => options.attempts = Some(checked("--attempts", &value()?, number, "a number from 1")?),
            "progress" => {
                options.progress = Some(checked("--progress", &value()?, Form::parse, "terminal, lines or none")?);
            }
            name => return Err(format!("there is no option --{name}; put --help has the options")),
        }
    }
    set_places(&mut options, places, variable)?;
    if (options.then == Then::Kexec) != options.kernel.is_some() {
        return Err("--then kexec and --kernel need each other".into());
    }
    Ok(Parsed::Run(Box::new(options)))
}

/// Sets image and disk: those of the command line, of a BOOTy server, or of Tinkerbell's variables.
fn set_places(
    options: &mut Options,
    places: Vec<String>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(), String> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let mut places = places.into_iter();
    match (places.next(), places.next(), places.next()) {
        (_, _, Some(more)) => return Err(format!("{more}: only an image and a disk are expected")),
        (Some(source), Some(disk), None) => (options.source, options.disk) = (source, disk),
        (None, ..) if options.booty.is_some() => {}
        (None, ..) => match (variable("IMG_URL"), variable("DEST_DISK")) {
            (Some(source), Some(disk)) => {
                (options.source, options.disk) = (source, disk);
                // Other values are false there (Go's strconv.ParseBool).
                let compressed = variable("COMPRESSED");
                options.must_be_compressed = compressed
                    .is_some_and(|value| matches!(value.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"));
            }
            _ => return Err("an image and a disk are missing; put --help has the options".into()),
        },
        (Some(source), ..) => return Err(format!("{source}: after the image, a disk is missing")),
    }
    Ok(())
}

fn checked<T>(name: &str, text: &str, parse: impl Fn(&str) -> Option<T>, expected: &str) -> Result<T, String> {
    parse(text).ok_or_else(|| format!("{name} {text}: expected: {expected}"))
}

fn then(text: &str) -> Option<Then> {
    match text {
        "reboot" => Some(Then::Reboot),
        "poweroff" => Some(Then::PowerOff),
        "kexec" => Some(Then::Kexec),
        _ => None,
    }
}

fn seconds(text: &str) -> Option<Duration> {
    text.parse().ok().filter(|seconds| (1..=86400).contains(seconds)).map(Duration::from_secs)
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str], environment: &[(&str, &str)]) -> Result<Box<Options>, String> {
        let variable = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
        match parse(words.iter().map(OsString::from), variable)? {
            Parsed::Run(options) => Ok(options),
            Parsed::Print(text) => Err(text.into()),
        }
    }

    #[test]
    fn variables_of_tinkerbell_count_without_words() {
        let environment = [("IMG_URL", "http://a/b.gz"), ("DEST_DISK", "/dev/sda"), ("COMPRESSED", "true")];
        let options = run(&["--grow"], &environment).unwrap();
        assert_eq!((options.source.as_str(), options.disk.as_str()), ("http://a/b.gz", "/dev/sda"));
        assert!(options.must_be_compressed && options.grow);
        let options = run(&["c", "/dev/vda"], &environment).unwrap();
        assert_eq!(options.source, "c");
        assert!(!options.must_be_compressed);
    }

    #[test]
    fn mistakes_are_named() {
        for (words, expected) in [
            (&["a"][..], "a: after the image, a disk is missing"),
            (&[], "an image and a disk are missing; put --help has the options"),
            (&["a", "b", "c"], "c: only an image and a disk are expected"),
            (&["a", "b", "--sha256", "00"], "--sha256 00: expected: 64 hexadecimal digits"),
            (&["a", "b", "--then", "kexec"], "--then kexec and --kernel need each other"),
            (&["a", "b", "--kernel", "c"], "--then kexec and --kernel need each other"),
            (&["a", "b", "--foo"], "there is no option --foo; put --help has the options"),
            (&["a", "b", "--attempts", "0"], "--attempts 0: expected: a number from 1"),
        ] {
            assert_eq!(run(words, &[]).unwrap_err().lines().next(), Some(expected), "{words:?}");
        }
    }

    #[test]
    fn each_option_of_the_help_exists() {
        for name in HELP.split_whitespace().filter_map(|word| word.strip_prefix("--")) {
            let name = name.trim_end_matches([',', ';', '.']);
            if !matches!(name, "help" | "version") {
                let error = run(&["a", "b", &format!("--{name}"), "x"], &[]).err().unwrap_or_default();
                assert!(!error.contains("there is no option"), "{error}");
            }
        }
    }
}
