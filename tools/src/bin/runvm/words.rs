//! Orders the words of the command line for clap: docker's rules for where the options end, and its forms of options.
//!
//! Options come before IMAGE; what follows it is the workload's, as it is. Options may also follow IMAGE: if IMAGE is the first
//! word, up to the first word that is none, else if `--` ends them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, Command};

use crate::refused;

/// The words for clap: each option as `--NAME` or `--NAME=VALUE`, then IMAGE, then `--` and the workload's arguments.
///
/// # Errors
/// A message of one line: an option of docker's that is none here, or a switch with a value that is not true or false.
pub(crate) fn ordered(command: &Command, words: &[OsString]) -> Result<Vec<OsString>, String> {
    if words == ["-h"] {
        return Ok(vec!["--help".into()]);
    }
    let mut options = Options { command, given: Vec::new(), has_initrd: false, is_after_image: false };
    let mut rest = words;
    // Up to IMAGE.
    loop {
        match options.take(&mut rest)? {
            Taken::Option => {}
            // clap reports it.
            Taken::Unknown => return Ok([options.given.as_slice(), rest].concat()),
            Taken::Other => break,
        }
    }
    let is_ended = rest.first().is_some_and(|word| word == "--");
    if is_ended {
        rest = &rest[1..];
    }
    let mut arguments = rest;
    let mut image = None;
    if !options.has_initrd || !is_ended {
        let Some((first, after)) = rest.split_first() else { return Ok(options.given) };
        image = Some(first.clone());
        let is_first = options.given.is_empty() && !is_ended;
        arguments = if is_ended { after } else { after_image(&mut options, is_first, after)? };
    }
    let mut ordered = options.given;
    ordered.extend(image);
    if !arguments.is_empty() {
        ordered.push("--".into());
        ordered.extend_from_slice(arguments);
    }
    Ok(ordered)
}

/// Takes the options after IMAGE, and returns the workload's arguments.
fn after_image<'a>(options: &mut Options<'_>, is_first: bool, words: &'a [OsString]) -> Result<&'a [OsString], String> {
    let mut more = Options { command: options.command, given: Vec::new(), has_initrd: false, is_after_image: true };
    let mut rest = words;
    let taken = loop {
        let before = rest;
        match more.take(&mut rest) {
            Ok(Taken::Option) => {}
            Ok(taken) => break Ok(taken),
            Err(error) => {
                rest = before;
                break Err(error);
            }
        }
    };
    match (rest.split_first(), taken) {
        (Some((word, after)), Ok(Taken::Other)) if word == "--" => rest = after,
        _ if !is_first => return Ok(words),
        // As in docker: the workload's options.
        _ if more.given.is_empty() => return Ok(words),
        (_, Err(error)) => return Err(error),
        (Some((word, _)), Ok(Taken::Unknown)) => {
            return Err(format!(
                "{}: no option of runvm; put the workload's own options after --, or runvm's before IMAGE",
                word.display()
            ));
        }
        _ => {}
    }
    options.given.append(&mut more.given);
    Ok(rest)
}

/// The options so far.
struct Options<'a> {
    command: &'a Command,
    given: Vec<OsString>,
    /// Whether --initrd is one of them: there is no IMAGE then.
    has_initrd: bool,
    /// Then --help and --version are for the workload.
    is_after_image: bool,
}

/// What the next word was.
enum Taken {
    /// An option, which was taken with its value.
    Option,
    /// An option that neither runvm nor docker has.
    Unknown,
    /// No option, or the end.
    Other,
}

impl Options<'_> {
    /// Takes the next word if it is an option, with its value.
    fn take(&mut self, rest: &mut &[OsString]) -> Result<Taken, String> {
        let Some((word, after)) = rest.split_first() else { return Ok(Taken::Other) };
        let bytes = word.as_bytes();
        let mut values = after;
        let is_known = match bytes {
            b"--" => return Ok(Taken::Other),
            [b'-', b'-', long @ ..] => self.long(long, &mut values)?,
            [b'-', shorts @ ..] if !shorts.is_empty() => self.shorts(shorts, &mut values)?,
            _ => return Ok(Taken::Other),
        };
        if !is_known {
            return Ok(Taken::Unknown);
        }
        *rest = values;
        Ok(Taken::Option)
    }

    /// Takes `NAME` or `NAME=VALUE`; returns whether the name is known.
    fn long(&mut self, text: &[u8], values: &mut &[OsString]) -> Result<bool, String> {
        let (name, value) = match text.iter().position(|byte| *byte == b'=') {
            Some(equals) => (&text[..equals], Some(OsStr::from_bytes(&text[equals + 1..]))),
            None => (text, None),
        };
        let Ok(name) = str::from_utf8(name) else { return Ok(false) };
        let is_named = |argument: &&Arg| {
            argument.get_long() == Some(name) || argument.get_all_aliases().is_some_and(|all| all.contains(&name))
        };
        if matches!(name, "help" | "version") {
            if !self.is_after_image {
                self.given.push(format!("--{name}").into());
            }
            return Ok(!self.is_after_image);
        }
        match self.command.get_arguments().find(is_named) {
            Some(argument) => self.push(argument, value, values),
            None => refused::by_name(name).map_or(Ok(false), Err),
        }
    }

    /// Takes letters, of which the last may have a value: `-it`, `-eNAME=VALUE`; returns whether all are known.
    fn shorts(&mut self, letters: &[u8], values: &mut &[OsString]) -> Result<bool, String> {
        let before = self.given.len();
        let mut letters = letters;
        while let Some((letter, after)) = letters.split_first() {
            let letter = char::from(*letter);
            let Some(argument) = self.command.get_arguments().find(|known| known.get_short() == Some(letter)) else {
                self.given.truncate(before);
                if letter == 'V' && after.is_empty() && !self.is_after_image {
                    self.given.push("--version".into());
                    return Ok(true);
                }
                return refused::by_letter(letter).map_or(Ok(false), Err);
            };
            // `-t=false`, and `-e=NAME=VALUE`.
            let attached = after.strip_prefix(b"=").map(OsStr::from_bytes);
            if !takes_value(argument) && attached.is_none() {
                self.push(argument, None, values)?;
                letters = after;
                continue;
            }
            let attached = attached.or_else(|| (!after.is_empty()).then(|| OsStr::from_bytes(after)));
            return self.push(argument, attached, values);
        }
        Ok(true)
    }

    /// Adds an option.
    fn push(&mut self, argument: &Arg, attached: Option<&OsStr>, values: &mut &[OsString]) -> Result<bool, String> {
        let name = argument.get_long().unwrap_or_default();
        let option = OsString::from(format!("--{name}"));
        self.has_initrd |= name == "initrd";
        if takes_value(argument) {
            let value = match (attached, values.split_first()) {
                (None, _) if argument.is_require_equals_set() => {
                    self.given.push(option);
                    return Ok(true);
                }
                (Some(value), _) => value.to_owned(),
                (None, Some((value, after))) => {
                    *values = after;
                    value.clone()
                }
                // clap reports the missing value.
                (None, None) => {
                    self.given.push(option);
                    return Ok(true);
                }
            };
            self.given.push(OsString::from_vec([option.as_bytes(), b"=", value.as_bytes()].concat()));
            return Ok(true);
        }
        // The last one counts, as in docker.
        self.given.retain(|given| *given != option);
        if attached.map_or(Some(true), truth).ok_or_else(|| {
            let value = attached.unwrap_or_default().display();
            format!("--{name}={value}: not true or false")
        })? {
            self.given.push(option);
        }
        Ok(true)
    }
}

fn takes_value(argument: &Arg) -> bool {
    argument.get_action().takes_values()
}

/// Parses a switch's value, as Go's strconv.ParseBool does.
fn truth(text: &OsStr) -> Option<bool> {
    match text.as_bytes() {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Arguments;
    use clap::CommandFactory;

    fn ordered_line(line: &str) -> Result<String, String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let words = ordered(&Arguments::command(), &words)?;
        Ok(words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn words_after_the_image_are_the_workloads() {
        for (line, expected) in [
            // docker's own order.
            ("web.tar", "web.tar"),
            ("web.tar echo -n hello", "web.tar -- echo -n hello"),
            ("web.tar echo -- x", "web.tar -- echo -- x"),
            ("--rm -it web.tar sh -c x", "--rm --interactive --tty web.tar -- sh -c x"),
            ("-e A=1 --entrypoint /bin/sh web.tar -c x", "--env=A=1 --entrypoint=/bin/sh web.tar -- -c x"),
            ("--entrypoint ls web.tar -i -t", "--entrypoint=ls web.tar -- -i -t"),
            ("-i web.tar --privileged", "--interactive web.tar -- --privileged"),
            ("-- web.tar -- x", "web.tar -- -- x"),
            ("-i -- web.tar -t", "--interactive web.tar -- -t"),
            ("web.tar --version", "web.tar -- --version"),
            ("web.tar -V", "web.tar -- -V"),
            ("web.tar -c x", "web.tar -- -c x"),
            ("web.tar --privileged", "web.tar -- --privileged"),
            // Options after an image that is the first word, or that end with --.
            ("web.tar --nic none -t sh -i", "--nic=none --tty web.tar -- sh -i"),
            ("web.tar --nic none -- -c x", "--nic=none web.tar -- -c x"),
            ("web.tar -- -c x", "web.tar -- -c x"),
            ("-t web.tar --nic none -- -c x", "--tty --nic=none web.tar -- -c x"),
            ("-t web.tar --nic none x", "--tty web.tar -- --nic none x"),
            ("-t web.tar git -- x", "--tty web.tar -- git -- x"),
            ("-t web.tar -- x", "--tty web.tar -- x"),
            // An initramfs has no image.
            ("--kernel k --initrd i -- a -- b", "--kernel=k --initrd=i -- a -- b"),
            ("--kernel k --initrd i --print", "--kernel=k --initrd=i --print"),
            ("--kernel k --initrd i web.tar a", "--kernel=k --initrd=i web.tar -- a"),
        ] {
            assert_eq!(ordered_line(line).as_deref(), Ok(expected), "{line}");
        }
        let error = ordered_line("web.tar --nic none -x").unwrap_err();
        assert!(error.starts_with("-x: no option of runvm; "), "{error}");
        let error = ordered_line("web.tar --nic none --privileged").unwrap_err();
        assert!(error.starts_with("--privileged: "), "{error}");
    }

    #[test]
    fn options_have_dockers_forms() {
        for (line, expected) in [
            ("-h", "--help"),
            ("-h box i", "--hostname=box i"),
            ("-V", "--version"),
            ("-eA=1 -e=B=2 --env=C -e= i", "--env=A=1 --env=B=2 --env=C --env= i"),
            ("-ite A=1 i", "--interactive --tty --env=A=1 i"),
            ("--rm=true -t=false --interactive=1 i", "--rm --interactive i"),
            ("-t --rm -t=0 --tty=F i", "--rm i"),
            ("--net none i", "--network=none i"),
            ("--env -t i", "--env=-t i"),
            // clap reports these.
            ("--nope a", "--nope a"),
            ("-it -x a", "--interactive --tty -x a"),
            ("-itx a", "-itx a"),
            ("i --env", "--env i"),
            ("--env", "--env"),
            ("--print i", "--print i"),
            ("--print=libvirt --output d i", "--print=libvirt --output=d i"),
        ] {
            assert_eq!(ordered_line(line).as_deref(), Ok(expected), "{line}");
        }
        assert_eq!(ordered_line("--rm=maybe i").unwrap_err(), "--rm=maybe: not true or false");
    }

    #[test]
    fn options_of_docker_are_refused_by_their_name() {
        for (line, name) in
            [("-d i", "-d"), ("-itd i", "-d"), ("--detach=true i", "--detach"), ("--gpus all i", "--gpus")]
        {
            let error = ordered_line(line).unwrap_err();
            assert!(error.starts_with(&format!("{name}: ")), "{error}");
        }
    }
}
