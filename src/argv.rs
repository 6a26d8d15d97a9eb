//! The workload's arguments and environment for execve(2), in bounded storage.

use core::slice::from_ref;

use crate::options::{Given, Source, Sources};
use crate::text::{cut, split, strip_prefix};

/// The limit of arguments, and of environment variables.
pub const MAX_STRINGS: usize = 256;
/// The limit of their bytes, each string with its NUL.
pub const MAX_BYTES: usize = 16 * 1024;

/// A capacity that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The bytes ([`MAX_BYTES`]).
    Bytes,
    /// The number of strings ([`MAX_STRINGS`]).
    Count,
}

/// NUL-terminated strings in one buffer. The starts come first: a few strings lie in one page with them.
#[derive(Default)]
#[repr(C)]
pub struct Strings<const BYTES: usize = MAX_BYTES, const COUNT: usize = MAX_STRINGS> {
    starts: crate::bounded::Vec<u16, COUNT>,
    bytes: crate::bounded::Vec<u8, BYTES>,
}

impl<const BYTES: usize, const COUNT: usize> Strings<BYTES, COUNT> {
    /// Creates an empty list.
    pub const fn new() -> Self {
        const { assert!(BYTES <= 1 << 16, "a start is 16 bits") }
        Self { bytes: crate::bounded::Vec::new(), starts: crate::bounded::Vec::new() }
    }

    /// Appends a string.
    ///
    /// # Errors
    /// [`Full`] if it does not fit; nothing is appended then.
    pub fn push(&mut self, text: &[u8]) -> Result<(), Full> {
        self.append(text, b"")
    }

    /// Appends the concatenation of two texts as one string.
    #[inline(never)]
    fn append(&mut self, text: &[u8], rest: &[u8]) -> Result<(), Full> {
        let start = self.bytes.len();
        let fits = [text, rest, b"\0"].iter().all(|part| self.bytes.extend_from_slice(part).is_ok());
        let pushed = match u16::try_from(start) {
            Ok(start) if fits => self.starts.push(start).map_err(|_| Full::Count),
            _ => Err(Full::Bytes),
        };
        if pushed.is_err() {
            self.bytes.truncate(start);
        }
        pushed
    }

    /// Returns the strings in order, without their NULs.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.starts.iter().map(|start| self.at(*start))
    }

    fn at(&self, start: u16) -> &[u8] {
        cut(self.tail(start), 0).0
    }

    /// Returns, for each string, the stored bytes from its start on: the string, its NUL, and the strings after it.
    pub fn tails(&self) -> impl Iterator<Item = &[u8]> {
        self.starts.iter().map(|start| self.tail(*start))
    }

    #[inline(never)]
    fn tail(&self, start: u16) -> &[u8] {
        self.bytes.get(usize::from(start)..).unwrap_or_default()
    }

    /// Removes all strings.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
    }

    /// Whether there are no strings.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Sets a variable, in place of one of the same name. `text` begins with `NAME=`; `rest` is the rest of the value. A `text`
    /// without `=` removes the variable, as in docker (moby, container/env.go, ReplaceOrAppendEnvValues).
    ///
    /// # Errors
    /// As [`Strings::push`].
    #[inline(never)]
    pub fn set(&mut self, text: &[u8], rest: &[u8]) -> Result<(), Full> {
        let (name, _) = cut(text, b'=');
        let same = self.starts.iter().position(|start| value_of(self.at(*start), name).is_some());
        if let Some(same) = same {
            self.starts.remove(same);
        }
        if name.len() < text.len() { self.append(text, rest) } else { Ok(()) }
    }

    /// Returns the value of a variable.
    pub fn variable(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find_map(|text| value_of(text, name))
    }
}

/// Returns the value of a `NAME=value` if it has this name.
fn value_of<'a>(variable: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    strip_prefix(strip_prefix(variable, name)?, b"=")
}

/// The arguments and the environment of a program.
pub struct Program {
    /// The arguments; the first is the program's name.
    pub argv: Strings,
    /// The environment.
    pub env: Strings,
}

impl Program {
    /// A program without arguments and environment.
    pub const EMPTY: Self = Self { argv: Strings::new(), env: Strings::new() };
}

/// Assembles the command to run, as docker does: the entrypoint of the strongest source that has one, then the command of the
/// strongest source that has one and is not weaker (overriding ENTRYPOINT drops the image's CMD). The words after `--` come
/// first.
///
/// # Errors
/// [`Full`] if it does not fit.
pub fn arguments(sources: &Sources<'_>, argv: &mut Strings) -> Result<(), Full> {
    let mut weakest = Source::Docker;
    for part in &[Part::Entrypoint, Part::Command] {
        for source in Source::STRONGEST_FIRST {
            if push_all(sources, source, *part, argv)? || *source == weakest {
                weakest = *source;
                break;
            }
        }
    }
    Ok(())
}

/// The parts of a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Entrypoint,
    Command,
}

/// Appends the values of a part from a source. Returns whether the source has it.
fn push_all(sources: &Sources<'_>, source: &'static Source, part: Part, argv: &mut Strings) -> Result<bool, Full> {
    let mut found = false;
    // On the command line an entrypoint is one word with its arguments. In a record each element has its line.
    let is_one_text = *source == Source::CommandLine && part == Part::Entrypoint;
    let names = match part {
        Part::Entrypoint => &b"entrypoint"[..],
        Part::Command => b"cmd arg",
    };
    for Given { text, .. } in sources.named(names, from_ref(source)) {
        found = true;
        if is_one_text {
            for word in split(text, b' ').filter(|word| !word.is_empty()) {
                argv.push(word)?;
            }
        } else if part == Part::Entrypoint && text.is_empty() && argv.is_empty() {
            // An empty first element means no entrypoint, and overrides weaker sources.
        } else {
            argv.push(text)?;
        }
    }
    Ok(found)
}

/// Assembles the environment: docker's variables, overridden by the image's ENV, overridden by `env` of stronger sources.
/// `terminal` adds `TERM=xterm`.
///
/// # Errors
/// [`Full`] if it does not fit.
pub fn variables(sources: &Sources<'_>, hostname: &[u8], terminal: bool, env: &mut Strings) -> Result<(), Full> {
    env.set(b"HOSTNAME=", hostname)?;
    if terminal {
        env.set(b"TERM=xterm", b"")?;
    }
    for Given { text, .. } in sources.weakest_first(b"env") {
        env.set(text, b"")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::record::Record;
    use std::string::String;
    use std::vec::Vec;

    fn show<const B: usize, const C: usize>(strings: &Strings<B, C>) -> Vec<String> {
        strings.iter().map(|text| String::from_utf8(text.into()).unwrap()).collect()
    }

    fn with<R>(command_line: &str, initramfs: &str, image: &str, test: impl Fn(&Sources<'_>) -> R) -> R {
        let mut command_line = command_line.as_bytes().to_vec();
        let (mut initramfs, mut image) = (initramfs.as_bytes().to_vec(), image.as_bytes().to_vec());
        let (command_line, arguments) = crate::cmdline::decode(&mut command_line);
        let records = [arguments, command_line, Record::decode(&mut initramfs), Record::decode(&mut image)];
        test(&Sources::new(records))
    }

    fn argv(command_line: &str, initramfs: &str, image: &str) -> Vec<String> {
        with(command_line, initramfs, image, |sources| {
            let mut argv = <Strings>::new();
            arguments(sources, &mut argv).unwrap();
            show(&argv)
        })
    }

    #[test]
    fn entrypoint_and_command_combine_as_in_docker() {
        const IMAGE: &str = "entrypoint /e\nentrypoint -x\ncmd c d\ncmd \n";
        for (command_line, initramfs, image, expected) in [
            ("", "", IMAGE, &["/e", "-x", "c d", ""][..]),
            ("", "", "cmd c\n", &["c"]),
            ("entrypoint=/o", "", IMAGE, &["/o"]),
            ("entrypoint=\"/o  -v\" -- a \"b c\" -- k=\"v w\"", "", IMAGE, &["/o", "-v", "a", "b c", "--", "k=v w"]),
            ("quiet -- a", "", IMAGE, &["/e", "-x", "a"]),
            ("whit.arg=\"a b\" whit.arg=c", "", IMAGE, &["/e", "-x", "a b", "c"]),
            ("whit.arg=a -- b", "", IMAGE, &["/e", "-x", "b"]),
            ("whit.arg=a --", "cmd i\n", IMAGE, &["/e", "-x", "a"]),
            ("entrypoint=/o -- b", "cmd i\n", IMAGE, &["/o", "b"]),
            ("", "cmd i\n", IMAGE, &["/e", "-x", "i"]),
            ("", "entrypoint /i\n", IMAGE, &["/i"]),
            ("", "entrypoint /i\ncmd j\n", IMAGE, &["/i", "j"]),
            ("entrypoint=/a entrypoint=-b", "cmd j\n", IMAGE, &["/a", "-b"]),
            ("entrypoint=\"\" -- /bin/true", "", IMAGE, &["/bin/true"]),
            ("", "entrypoint \ncmd /bin/true\ncmd \n", IMAGE, &["/bin/true", ""]),
            ("", "", "", &[]),
        ] {
            assert_eq!(argv(command_line, initramfs, image), expected, "{command_line:?} over {initramfs:?}");
        }
    }

    #[test]
    fn variables_of_stronger_sources_replace_weaker_ones() {
        let env =
            with("whit.env=\"A=1 2\"", "env B=i\nenv PATH=/x\n", "env A=image\nenv B=image\nenv C=\n", |sources| {
                let mut env = <Strings>::new();
                variables(sources, b"box", true, &mut env).unwrap();
                show(&env)
            });
        assert_eq!(env, ["HOSTNAME=box", "TERM=xterm", "C=", "B=i", "PATH=/x", "A=1 2"]);
    }

    #[test]
    fn a_name_without_a_value_removes_the_variable() {
        let env = with("whit.env=B whit.env=N", "env HOSTNAME\n", "env A=\nenv B=b\nenv BB=b\n", |sources| {
            let mut env = <Strings>::new();
            variables(sources, b"box", false, &mut env).unwrap();
            show(&env)
        });
        assert_eq!(env, ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=", "BB=b"]);
    }

    #[test]
    fn a_string_that_does_not_fit_names_its_limit_and_changes_nothing() {
        let mut strings = Strings::<8, 2>::new();
        strings.push(b"abc").unwrap();
        assert_eq!(strings.append(b"de", b"fg"), Err(Full::Bytes));
        strings.push(b"def").unwrap();
        assert_eq!(show(&strings), ["abc", "def"]);
        let mut strings = Strings::<8, 2>::new();
        strings.push(b"").and_then(|()| strings.push(b"")).unwrap();
        assert_eq!(strings.push(b""), Err(Full::Count));
        assert_eq!(show(&strings), ["", ""]);
    }

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let mut env = <Strings>::new();
        env.set(b"PATHX=/no", b"").unwrap();
        assert_eq!(env.variable(b"PATH"), None);
        env.set(b"PATH=", b"/a").unwrap();
        assert_eq!(env.variable(b"PATH"), Some(&b"/a"[..]));
    }

    #[test]
    fn a_tail_has_a_string_and_all_after_it() {
        let argv = with("entrypoint=\"/bin/a b\"", "", "", |sources| {
            let mut argv = <Strings>::new();
            arguments(sources, &mut argv).unwrap();
            argv
        });
        assert_eq!(argv.tails().collect::<Vec<_>>(), [&b"/bin/a\0b\0"[..], b"b\0"]);
    }
}
