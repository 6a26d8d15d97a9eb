//! Recipes: text files that say how the initramfs of another init is made from Debian's packages.
//!
//! A line is an instruction and its words; `#` starts a comment line. File names are those of a package
//! (`busybox-static:bin/busybox`, several places separated by `|`) or of files beside the recipe.
//!
//! ```text
//! busybox PACKAGE:PATH          a static busybox as /bin/busybox, with its applets' links
//! file /DESTINATION MODE FILE   a file
//! link /NAME TARGET             a symbolic link
//! directory /NAME MODE          a directory
//! modules                       the kernel's modules for card and root, and their list in /lib/modules/load
//! words WORD…                   for the kernel's command line; {root} is the root device, {workload} the program
//! none                          no initramfs: the kernel alone
//! ```

use std::path::{Path, PathBuf};

/// A recipe, parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipe {
    /// The file's name without its ending.
    pub name: String,
    /// Where files beside it are.
    pub folder: PathBuf,
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// For the kernel's command line.
    pub words: String,
    /// Whether there is an initramfs.
    pub has_initramfs: bool,
}

/// An instruction that puts something into the initramfs.
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

/// Where a file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A package, and places in it of which the first that exists is taken.
    Package(String, Vec<String>),
    /// A file beside the recipe.
    Beside(PathBuf),
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// `FILE:LINE: what`.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let recipe = Self::parse(&text).map_err(|error| format!("{}:{error}", path.display()))?;
        Ok(Self { name, folder, ..recipe })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut recipe = Self::default();
        let mut is_alone = false;
        for (index, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let fail = |what: &str| format!("{}: {what}", index + 1);
            match words[..] {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["busybox", source] => recipe.steps.push(Step::Busybox(Source::parse(source))),
                ["file", name, mode, source] => {
                    recipe.steps.push(Step::File(inside(name, &fail)?, octal(mode, &fail)?, Source::parse(source)));
                }
                ["link", name, target] => recipe.steps.push(Step::Link(inside(name, &fail)?, target.to_owned())),
                ["directory", name, mode] => {
                    recipe.steps.push(Step::Directory(inside(name, &fail)?, octal(mode, &fail)?));
                }
                ["modules"] => recipe.steps.push(Step::Modules),
                ["words", ref words @ ..] => recipe.words = words.join(" "),
                ["none"] => is_alone = true,
                [first, ..] => {
                    return Err(fail(&format!("\"{first}\" with {} words is no instruction", words.len() - 1)));
                }
            }
        }
        if is_alone != recipe.steps.is_empty() {
            return Err("1: a recipe has either \"none\" or steps that make an initramfs".into());
        }
        recipe.has_initramfs = !is_alone;
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
        assert_eq!(recipe.steps, expected);
        assert_eq!((recipe.words.as_str(), recipe.has_initramfs), ("root={root} ro", true));
        let alone = Recipe::parse("none\nwords ip=dhcp\n").unwrap();
        assert_eq!((alone.words.as_str(), alone.has_initramfs), ("ip=dhcp", false));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, error) in [
            ("", "1: a recipe has either \"none\" or steps that make an initramfs"),
            ("none\nmodules", "1: a recipe has either \"none\" or steps that make an initramfs"),
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
