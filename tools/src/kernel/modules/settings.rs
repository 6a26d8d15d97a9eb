//! Settings of modules: those of `mkcpio --options`, and the files of modprobe.d(5), as libkmod reads them
//! (libkmod/libkmod-config.c).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{Error, Needs, normal_name};

/// Bytes of one module's parameters that the init passes on: its text buffer has some 600.
const MAX_PARAMETERS: usize = 400;

/// Parameters, soft dependencies and a blacklist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    parameters: BTreeMap<String, String>,
    /// The modules whose parameters were given one by one: a mistake in them is an error.
    named: BTreeSet<String>,
    softdeps: BTreeMap<String, Needs>,
    blacklist: BTreeSet<String>,
    /// Lines that have no effect, as `FILE:LINE: install`.
    pub unused: Vec<String>,
}

impl Settings {
    /// Adds parameters of a module: `NAME:PARAMETER=VALUE …`.
    ///
    /// # Errors
    /// A text of another form; parameters that are too long.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
        if name.is_empty() || name.contains(char::is_whitespace) || parameters.trim().is_empty() {
            return Err(format!("\"{text}\" is not NAME:PARAMETER[=VALUE] …"));
        }
        self.named.insert(normal_name(name));
        self.add_parameters(name, parameters)
    }

    fn add_parameters(&mut self, name: &str, parameters: &str) -> Result<(), String> {
        if parameters.contains(|c: char| !matches!(c, ' '..='~')) {
            return Err(format!("the parameters of {name} are not printable ASCII"));
        }
        let all = self.parameters.entry(normal_name(name)).or_default();
        all.push_str(if all.is_empty() { "" } else { " " });
        all.push_str(parameters.trim());
        if all.len() > MAX_PARAMETERS {
            return Err(format!("the parameters of {name} have more than {MAX_PARAMETERS} bytes"));
        }
        Ok(())
    }

    /// Reads a file of modprobe.d, or all `*.conf` of a directory, sorted by name.
    ///
    /// # Errors
    /// A file that cannot be read, or with a malformed line.
    pub fn read(&mut self, path: &Path) -> Result<(), Error> {
        let unreadable = |path: &Path, what: &dyn std::fmt::Display| Error::Unreadable {
            path: path.to_owned(),
            what: what.to_string(),
        };
        if !path.is_dir() {
            let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
            return self.parse(&String::from_utf8_lossy(&bytes), path);
        }
        let entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut files: Vec<PathBuf> =
            entries.map_err(|error| unreadable(path, &error))?.iter().map(fs::DirEntry::path).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
        files.sort();
        files.iter().try_for_each(|file| self.read(file))
    }

    fn parse(&mut self, text: &str, path: &Path) -> Result<(), Error> {
        // A backslash continues a line.
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let mut line = line.to_owned();
            while let Some(start) = line.strip_suffix('\\') {
                line = start.to_owned() + lines.next().map_or("", |(_, next)| next);
            }
            let line = line.trim();
            let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let (name, value) = rest.trim_start().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
            let malformed = |what: String| Error::Unreadable {
                path: path.to_owned(),
                what: format!("line {}: {what}", number + 1),
            };
            match command {
                _ if command.is_empty() || command.starts_with('#') => continue,
                _ if name.is_empty() => return Err(malformed(format!("\"{command}\" names no module"))),
                "options" => self.add_parameters(name, &value.replace('\t', " ")).map_err(malformed)?,
                "softdep" => self.softdeps.entry(normal_name(name)).or_default().add_softdep(value),
                "blacklist" => drop(self.blacklist.insert(normal_name(name))),
                _ => self.unused.push(format!("{}:{}: {command} {name}", path.display(), number + 1)),
            }
        }
        Ok(())
    }

    /// Returns the parameters of a module.
    #[must_use]
    pub fn parameters(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Returns the names of modules with parameters that were given one by one.
    pub(super) fn named(&self) -> impl Iterator<Item = &String> {
        self.named.iter()
    }

    /// Returns whether a module is not loaded for a device.
    pub(super) fn is_blacklisted(&self, name: &str) -> bool {
        self.blacklist.contains(name)
    }

    /// Returns the soft dependencies of a module.
    pub(super) fn softdeps(&self, name: &str) -> Option<&Needs> {
        self.softdeps.get(name)
    }
}

/// Returns the names of the parameters in a text, where double quotes keep spaces together.
pub(super) fn names(parameters: &str) -> Vec<String> {
    let (mut is_quoted, mut names) = (false, Vec::new());
    let words = parameters.split(|c: char| {
        is_quoted ^= c == '"';
        c == ' ' && !is_quoted
    });
    for word in words.filter(|word| !word.is_empty()) {
        names.push(normal_name(word.trim_matches('"').split('=').next().unwrap_or_default()));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_modprobe_d_are_read_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("b.conf", "options virtio-net csum=0\nblacklist pcspkr\n"),
            ("a.conf", "# comment\n\n options virtio_net  napi_tx=1 \\\n gso=0\nsoftdep a pre: b c post: d\n"),
            ("c.conf", "install evil /bin/false\nalias x y\n"),
            ("notes.txt", "options\n"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let mut settings = Settings::default();
        settings.read(folder.path()).unwrap();
        assert_eq!(settings.parameters("virtio_net"), Some("napi_tx=1  gso=0 csum=0"));
        assert!(settings.is_blacklisted("pcspkr") && !settings.is_blacklisted("evil"));
        let needs = settings.softdeps("a").unwrap();
        assert_eq!((needs.before.join(" "), needs.after.join(" ")), ("b c".to_owned(), "d".to_owned()));
        let unused: Vec<&str> = settings.unused.iter().filter_map(|line| line.split('/').next_back()).collect();
        assert_eq!(unused, ["c.conf:1: install evil", "c.conf:2: alias x"]);
        assert_eq!(settings.named().count(), 0);

        let error = settings.read(&folder.path().join("notes.txt")).unwrap_err().to_string();
        assert!(error.ends_with("notes.txt: line 1: \"options\" names no module"), "{error}");
    }

    #[test]
    fn options_are_a_name_and_parameters() {
        let mut settings = Settings::default();
        settings.add("virtio-net:napi_tx=1 csum").unwrap();
        settings.add("virtio_net:label=\"a b\"").unwrap();
        assert_eq!(settings.parameters("virtio_net"), Some("napi_tx=1 csum label=\"a b\""));
        assert_eq!(names("napi_tx=1 csum  label=\"a b\" x-y"), ["napi_tx", "csum", "label", "x_y"]);
        for bad in ["", "x", ":a=1", "x:", "x: ", "a b:c", "x:a\tb", "x:a\nb"] {
            assert!(settings.add(bad).is_err(), "{bad:?}");
        }
        assert!(settings.add(&format!("x:{}", "a".repeat(MAX_PARAMETERS + 1))).unwrap_err().contains("400 bytes"));
    }
}
