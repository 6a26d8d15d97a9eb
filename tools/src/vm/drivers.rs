//! The initramfs of a machine: the init, and the drivers of the machine's devices.

use std::path::{Path, PathBuf};

use super::{Cache, Kernel, Key};
use crate::compress::Compression;
use crate::initramfs::{self, Packing, Recipe};
use crate::kernel::config::Config;
use crate::kernel::modules::For;

/// The modules of the power button, which ctrl-c presses.
pub const BUTTON: [&str; 2] = ["evdev", "button"];
/// The module of the ports for the workload's streams, the terminal's size and the workload's status.
pub const PORT: &str = "virtio_console";

/// The modules of a machine.
pub struct Drivers<'a> {
    /// Those that it does not run without.
    pub needed: Vec<&'static str>,
    /// Further ones, which the kernel has.
    pub optional: Vec<&'static str>,
    /// Those that its user named.
    pub more: &'a [String],
    /// The sets that its user named.
    pub sets: &'a [For],
    /// What [`may_be_unsigned`] returns.
    pub may_be_unsigned: bool,
    /// An image for the initramfs, which becomes the root.
    pub rootfs: Option<&'a Path>,
}

/// Returns whether no word of a kernel's command line requires signatures of modules.
#[must_use]
pub fn may_be_unsigned(words: &str) -> bool {
    !["sig_enforce", "lockdown", "ima_"].iter().any(|word| words.contains(word))
}

impl Drivers<'_> {
    /// Returns the initramfs with these modules, cached by its inputs.
    ///
    /// # Errors
    /// A message of one line: a module that is missing, or a file that cannot be read or written.
    pub fn initramfs(&self, cache: &Cache, kernel: &Kernel, init: PathBuf) -> Result<PathBuf, String> {
        let describe = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let directory = kernel.modules.as_ref().map(|modules| modules.directory().to_owned());
        let load = match &directory {
            Some(_) => {
                let named = self.needed.iter().chain(&self.optional).map(|module| (*module).to_owned());
                named.chain(self.more.iter().cloned()).collect()
            }
            None if !self.sets.is_empty() => {
                let kernel = kernel.vmlinuz.display();
                return Err(format!(
                    "{kernel}: no modules of this kernel are known for --for; give them with --modules DIR"
                ));
            }
            None => {
                self.check_built_in(kernel, cache)?;
                Vec::new()
            }
        };
        // The key needs the names of the files alone: they are read and decompressed only for an initramfs that is not in the cache.
        let mut files = vec![init.clone()];
        if let Some(modules) = &kernel.modules {
            let mut names = modules.of_sets(self.sets).map_err(|error| error.to_string())?.always;
            names.extend(load.iter().cloned());
            let closure = modules.closure(&names).map_err(|error| error.to_string())?;
            files.extend(closure.load.iter().map(|module| modules.directory().join(&module.below)));
        }
        let mut recipe = Recipe { init, modules: directory, load, sets: self.sets.to_vec(), ..Recipe::default() };
        let mut key = Key::new().map_err(|error| format!("cannot read the metadata of the program itself: {error}"))?;
        key.add(&[u8::from(self.may_be_unsigned)]);
        // Their modules are those of the kernel's release.
        key.add(format!("{:?} {:?}", self.sets, recipe.modules.as_ref().filter(|_| !self.sets.is_empty())).as_bytes());
        key.add_file(&kernel.vmlinuz).map_err(|error| describe(&kernel.vmlinuz, &error))?;
        for file in files {
            key.add(file.as_os_str().as_encoded_bytes());
            key.add_file(&file).map_err(|error| describe(&file, &error))?;
        }
        if let Some(image) = self.rootfs {
            key.add_file(image).map_err(|error| describe(image, &error))?;
            recipe.rootfs = Some(image.to_owned());
        }
        cache.file("initramfs", &key, |output| {
            recipe.unsigned = self.may_be_unsigned && accepts_unsigned(kernel);
            let (tree, _) = recipe.tree().map_err(|error| error.to_string())?;
            initramfs::write_into(&tree, output, &Packing::new(Compression::None))
                .map(drop)
                .map_err(|error| error.to_string())
        })
    }

    /// Checks that a kernel without modules has what the machine needs: it would wait for its disk otherwise.
    fn check_built_in(&self, kernel: &Kernel, cache: &Cache) -> Result<(), String> {
        let missing = kernel.missing(&self.needed, cache);
        let missing = missing.into_iter().chain(self.more.iter().map(String::as_str)).collect::<Vec<_>>().join(", ");
        if missing.is_empty() {
            return Ok(());
        }
        let release = kernel.release.as_deref().unwrap_or("of unknown release");
        let kernel = kernel.vmlinuz.display();
        Err(format!("{kernel}: the kernel {release} has no {missing} built in; give its modules with --modules DIR"))
    }
}

/// Returns whether the kernel loads modules without a signature: its configuration is known and does not require one.
fn accepts_unsigned(kernel: &Kernel) -> bool {
    Config::of(&kernel.vmlinuz).ok().flatten().is_some_and(|config| config.requires_signatures().is_none())
}
