//! Searches for functions that make the init smaller when they are kept out of their callers, or no longer are.
//!
//! `#[inline(never)]` is a guess that each edit can outdate. For a release, each function of the init is tried with the attribute where it
//! has none, and without where it has one, one at a time, in a copy of the source. The report lists what would save bytes; a person decides.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use xtask::init::{self, Init, flags_of};
use xtask::workspace;

use crate::compile;

const ATTRIBUTE: &str = "#[inline(never)]";

/// A line of a file where the attribute is, or could be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    file: PathBuf,
    /// From 0.
    line: usize,
    /// Whether the attribute is there.
    is_set: bool,
    /// The function, as its line has it.
    function: String,
}

/// Tries every function whose `path:line` contains `filter`; calls `show` with a line for each change that saves bytes.
pub(crate) fn run(filter: &str, show: &dyn Fn(&str) -> Result<(), String>) -> Result<(), String> {
    let copy = Copy::make()?;
    let before = copy.bytes()?;
    for place in places(&copy.root)? {
        let name = format!("{}:{}", place.file.display(), place.line + 1);
        if !name.contains(filter) {
            continue;
        }
        let Some(saved) = copy.saved_by(&place, before)? else { continue };
        if saved.iter().all(|bytes| *bytes >= 0) && saved.iter().any(|bytes| *bytes > 0) {
            let what = if place.is_set { "without" } else { "with" };
            let [whole, min] = saved;
            show(&format!("{whole:>6}{min:>6}  {name} {what} {ATTRIBUTE}: {}\n", place.function))?;
        }
    }
    Ok(())
}

/// A copy of what the init is built from.
struct Copy {
    root: PathBuf,
}

impl Copy {
    fn make() -> Result<Self, String> {
        let root = compile::directory().join("search");
        let failed = |error: std::io::Error| format!("{}: {error}", root.display());
        if root.exists() {
            fs::remove_dir_all(root.join("src")).map_err(failed)?;
        }
        for folder in ["src", "linker"] {
            copy(&workspace::root().join(folder), &root.join(folder)).map_err(failed)?;
        }
        for file in ["Cargo.lock", "build.rs", "rust-toolchain.toml"] {
            fs::copy(workspace::root().join(file), root.join(file)).map_err(failed)?;
        }
        let manifest = fs::read_to_string(workspace::root().join("Cargo.toml")).map_err(failed)?;
        fs::write(root.join("Cargo.toml"), alone(&manifest)).map_err(failed)?;
        Ok(Self { root })
    }

    /// The bytes of whole and min; `None` when the source does not compile.
    fn try_bytes(&self) -> Result<Option<[i64; 2]>, String> {
        let mut bytes = [0; 2];
        let flags = flags_of(std::env::consts::ARCH);
        for (init, bytes) in [Init::Whole, Init::Min].into_iter().zip(&mut bytes) {
            let target = self.root.join("target").join(init.name());
            let codegen = flags.iter().map(|flag| OsStr::new(flag.argument));
            let manifest = self.root.join("Cargo.toml");
            let Ok(built) = init::compile_with(&manifest, init.name(), &target, codegen) else { return Ok(None) };
            *bytes = text_bytes(&built)?;
        }
        Ok(Some(bytes))
    }

    fn bytes(&self) -> Result<[i64; 2], String> {
        self.try_bytes()?.ok_or_else(|| "the init does not build: see cargo's message above".into())
    }

    /// What the change of one place saves in whole and min.
    fn saved_by(&self, place: &Place, before: [i64; 2]) -> Result<Option<[i64; 2]>, String> {
        let path = self.root.join(&place.file);
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let text = fs::read_to_string(&path).map_err(failed)?;
        fs::write(&path, changed(&text, place)).map_err(failed)?;
        let after = self.try_bytes();
        fs::write(&path, &text).map_err(failed)?;
        let Some(after) = after? else { return Ok(None) };
        Ok(Some([before[0] - after[0], before[1] - after[1]]))
    }
}

/// The bytes of code and constants: those of the file are rounded.
fn text_bytes(built: &Path) -> Result<i64, String> {
    let image = crate::image::Image::read(built)?;
    let bytes: u64 = image.segments.iter().map(|segment| segment.file_size).sum();
    i64::try_from(bytes).map_err(|error| error.to_string())
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() { copy(&from, &to)? } else { fs::copy(&from, &to).map(drop)? }
    }
    Ok(())
}

/// The manifest without the other packages of the workspace. A feature of the init may have the name of such a list.
fn alone(manifest: &str) -> String {
    let mut is_workspace = false;
    let mut out = String::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_workspace = line == "[workspace]";
        }
        let key = line.split(" = ").next().unwrap_or_default();
        if !(is_workspace && ["members", "default-members", "exclude"].contains(&key)) {
            out += line;
            out.push('\n');
        }
    }
    out
}

/// The functions of every file below src, tests left out.
fn places(root: &Path) -> Result<Vec<Place>, String> {
    let mut files = Vec::new();
    list(&root.join("src"), &mut files).map_err(|error| format!("{}: {error}", root.display()))?;
    files.sort();
    let mut places = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file);
        places.extend(places_of(name, &text));
    }
    Ok(places)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The functions of a file: a line with the attribute, or a line that begins a function without.
fn places_of(file: &Path, text: &str) -> Vec<Place> {
    let mut places = Vec::new();
    let mut has_attribute = None;
    for (line, content) in text.lines().enumerate() {
        let content = content.trim();
        if content == "#[cfg(test)]" {
            break;
        }
        if content.starts_with(ATTRIBUTE) {
            has_attribute = Some(line);
        } else if is_function(content) {
            let place = Place {
                file: file.to_owned(),
                line: has_attribute.unwrap_or(line),
                is_set: has_attribute.is_some(),
                function: content.trim_end_matches('{').trim_end().to_owned(),
            };
            places.push(place);
            has_attribute = None;
        }
    }
    places
}

fn is_function(line: &str) -> bool {
    let words = line.split_whitespace().take_while(|word| *word == "fn" || *word == "pub" || word.starts_with("pub("));
    words.last() == Some("fn") && line.ends_with('{')
}

/// The text with the attribute of a place removed, or added.
fn changed(text: &str, place: &Place) -> String {
    let mut out = String::new();
    for (line, content) in text.lines().enumerate() {
        if line == place.line {
            if place.is_set {
                continue;
            }
            out += ATTRIBUTE;
            out += "\n";
        }
        out += content;
        out += "\n";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
#[inline(never)] // It is called twice.
pub(crate) fn a(x: u32) -> u32 {
    x
}

const fn b() {}

    fn c(&self) {
        fn_pointer();
    }

#[cfg(test)]
fn d() {
}
";

    #[test]
    fn a_function_has_the_attribute_or_could_have_it() {
        let places = places_of(Path::new("f.rs"), SOURCE);
        let seen: Vec<_> = places.iter().map(|place| (place.line, place.is_set, place.function.as_str())).collect();
        assert_eq!(seen, [(0, true, "pub(crate) fn a(x: u32) -> u32"), (7, false, "fn c(&self)")]);
        let without = changed(SOURCE, &places[0]);
        assert!(!without.contains(ATTRIBUTE) && without.lines().count() + 1 == SOURCE.lines().count());
        assert!(changed(SOURCE, &places[1]).contains("#[inline(never)]\n    fn c(&self) {"));
    }

    #[test]
    fn the_copy_has_no_other_packages() {
        let features = "[features]\nmembers = []\n";
        let manifest = format!("{features}[workspace]\nmembers = [\"a\"]\nresolver = \"3\"\nexclude = [\"b\"]\n");
        assert_eq!(alone(&manifest), format!("{features}[workspace]\nresolver = \"3\"\n"));
    }
}
