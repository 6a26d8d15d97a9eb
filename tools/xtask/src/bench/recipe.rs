//! Recipes: text files that describe how the initramfs of another init is made from Debian's packages.
//!
//! A line is an instruction and its arguments; `#` starts a comment line. A file name is in a package
//! (`busybox-static:bin/busybox`, several paths separated by `|`) or beside the recipe.
//!
//! ```text
//! busybox PACKAGE:PATH          a static busybox as /bin/busybox, with its applets' links
//! file /DESTINATION MODE FILE   a file
//! link /NAME TARGET             a symbolic link
//! directory /NAME MODE          a directory
//! modules                       the kernel's modules for card and root, and their list in /lib/modules/load
//! make SCRIPT PACKAGE…          instead of these: the initramfs that a script beside the recipe makes in a root of packages
//! none                          instead of these: no initramfs, the kernel alone
//! words WORD…                   options for the kernel command line; {root} is the root device, {workload} the program
//! ```

use std::path::{Path, PathBuf};

/// A recipe, parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipe {
    /// The file's name without its ending.
    pub name: String,
    /// The folder of the recipe and of files beside it.
    pub folder: PathBuf,
    /// How its initramfs is made.
    pub making: Making,
    /// Options for the kernel command line.
    pub words: String,
}

/// How an initramfs is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Making {
    /// No initramfs: the kernel alone.
    #[default]
    None,
    /// By these steps, in order.
    Steps(Vec<Step>),
    /// By a script beside the recipe, in a root of these packages and their libraries.
    Script(PathBuf, Vec<String>),
}

/// An instruction that adds to the initramfs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A busybox with its links.
    Busybox(Source),
    /// A file.
    File(String, u32, Source),
    /// A symbolic link.
    Link(String, String),
    /// A directory.
    Directory(String, u32),
    /// The kernel's modules.
    Modules,
}

/// The source of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A package, and paths in it, of which the first that exists is used.
    Package(String, Vec<String>),
    /// A file beside the recipe.
    Beside(PathBuf),
}

/// The error of a recipe whose instructions cannot be combined.
const EITHER: &str = "1: a recipe has either steps that fill an initramfs, or one \"make\", or one \"none\"";

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// `FILE:LINE: message`.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let recipe = Self::parse(&text).map_err(|error| format!("{}:{error}", path.display()))?;
        Ok(Self { name, folder, ..recipe })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut recipe = Self::default();
        let mut steps = Vec::new();
        let mut others = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let fail = |what: &str| format!("{}: {what}", index + 1);
            match words[..] {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["busybox", source] => steps.push(Step::Busybox(Source::parse(source))),
                ["file", name, mode, source] => {
                    steps.push(Step::File(inside(name, &fail)?, octal(mode, &fail)?, Source::parse(source)));
                }
                ["link", name, target] => steps.push(Step::Link(inside(name, &fail)?, target.to_owned())),
                ["directory", name, mode] => {
                    steps.push(Step::Directory(inside(name, &fail)?, octal(mode, &fail)?));
                }
                ["modules"] => steps.push(Step::Modules),
                ["words", ref words @ ..] => recipe.words = words.join(" "),
                ["none"] => others.push(Making::None),
                ["make", script, ref packages @ ..] if !packages.is_empty() => {
                    others
                        .push(Making::Script(script.into(), packages.iter().map(|name| (*name).to_owned()).collect()));
                }
                [first, ..] => {
                    return Err(fail(&format!("\"{first}\" with {} words is no instruction", words.len() - 1)));
                }
            }
        }
        recipe.making = match (steps.is_empty(), others.pop()) {
            (true, Some(making)) if others.is_empty() => making,
            (false, None) => Making::Steps(steps),
            _ => return Err(EITHER.into()),
        };
        Ok(recipe)
    }
}

impl Source {
    fn parse(word: &str) -> Self {
        match word.split_once(':') {
            Some((package, places)) => {
                Self::Package(package.to_owned(), places.split('|').map(str::to_owned).collect())
            }
            None => Self::Beside(word.into()),
        }
    }
}

fn inside(name: &str, fail: &impl Fn(&str) -> String) -> Result<String, String> {
    let relative = name.strip_prefix('/').filter(|relative| !relative.is_empty());
    relative.map(str::to_owned).ok_or_else(|| fail(&format!("\"{name}\" does not begin with /")))
}

fn octal(mode: &str, fail: &impl Fn(&str) -> String) -> Result<u32, String> {
    let value = u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777);
    value.ok_or_else(|| fail(&format!("mode \"{mode}\" is not octal")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_read_in_order() {
        let text = "# comment\n\nbusybox b:usr/bin/busybox|bin/busybox\nfile /init 755 x.init\nlink /modules /lib/m\n\
                    directory /mnt 1777\nmodules\nwords root={root}  ro\n";
        let recipe = Recipe::parse(text).unwrap();
        let places = ["usr/bin/busybox", "bin/busybox"].map(str::to_owned).to_vec();
        let expected = [
            Step::Busybox(Source::Package("b".into(), places)),
            Step::File("init".into(), 0o755, Source::Beside("x.init".into())),
            Step::Link("modules".into(), "/lib/m".into()),
            Step::Directory("mnt".into(), 0o1777),
            Step::Modules,
        ];
        assert_eq!((recipe.making, recipe.words.as_str()), (Making::Steps(expected.into()), "root={root} ro"));
    }

    #[test]
    fn an_initramfs_may_be_made_by_a_script_or_left_out() {
        let alone = Recipe::parse("none\nwords ip=dhcp\n").unwrap();
        assert_eq!((alone.making, alone.words.as_str()), (Making::None, "ip=dhcp"));
        let script = Recipe::parse("make d/make a b-c\n").unwrap();
        assert_eq!(script.making, Making::Script("d/make".into(), vec!["a".into(), "b-c".into()]));
    }

    #[test]
    fn an_error_names_the_line() {
        for (text, error) in [
            ("", EITHER),
            ("none\nmodules", EITHER),
            ("none\nnone", EITHER),
            ("make x y\nnone", EITHER),
            ("make x", "1: \"make\" with 1 words is no instruction"),
            ("modules\nmodule x", "2: \"module\" with 1 words is no instruction"),
            ("file init 755 x", "1: \"init\" does not begin with /"),
            ("file /init 0x1 x", "1: mode \"0x1\" is not octal"),
            ("directory / 755", "1: \"/\" does not begin with /"),
            ("directory /a 17777", "1: mode \"17777\" is not octal"),
        ] {
            assert_eq!(Recipe::parse(text).unwrap_err(), error, "{text}");
        }
    }
}
