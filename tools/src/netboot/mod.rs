//! A folder for network boot: what a TFTP or HTTP server hands out to the firmware and the boot loaders of machines.

mod menus;
mod uki;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::cli::output::Output;
use crate::kernel::image;
use crate::machine::Machine;

pub use menus::check as check_words;

/// The kernel's name in the folder.
pub const KERNEL: &str = "kernel";
/// The initramfs's name.
pub const INITRAMFS: &str = "initramfs";
/// The name of iPXE's script.
pub const IPXE: &str = "boot.ipxe";
/// The name of the unified kernel image.
pub const UKI: &str = "boot.efi";
const PXELINUX: &str = "pxelinux.cfg/default";
const GRUB: &str = "grub/grub.cfg";
/// All files. The menus follow the files that they name.
const NAMES: [&str; 6] = [INITRAMFS, KERNEL, UKI, IPXE, PXELINUX, GRUB];
/// The folder of systemd-stub in every distribution.
const STUBS: &str = "/usr/lib/systemd/boot/efi";

/// What the folder is made of, besides the initramfs.
#[derive(Clone, Debug)]
pub struct Netboot {
    /// The folder; made if it is missing.
    pub folder: PathBuf,
    /// A kernel that boot loaders start.
    pub kernel: PathBuf,
    /// The words of its command line, checked by [`check_words`].
    pub words: String,
    /// systemd-stub, for the unified kernel image.
    pub stub: Option<PathBuf>,
}

/// The files of a folder before they have their names.
pub struct Files {
    outputs: Vec<(PathBuf, Output)>,
    made: Vec<PathBuf>,
}

/// Returns systemd-stub for a machine, where it is installed.
#[must_use]
pub fn find_stub(machine: Machine) -> Option<PathBuf> {
    let name = match machine {
        Machine::X86_64 => "linuxx64.efi.stub",
        Machine::Aarch64 => "linuxaa64.efi.stub",
        Machine::Riscv64 => "linuxriscv64.efi.stub",
    };
    Some(Path::new(STUBS).join(name)).filter(|path| path.is_file())
}

impl Netboot {
    /// Refuses a kernel that boot loaders do not start: a configuration, an ELF file, a compressed Image.
    ///
    /// # Errors
    /// One line.
    pub fn check_kernel(&self) -> Result<(), String> {
        let mut start = Vec::new();
        let read = File::open(&self.kernel).and_then(|file| file.take(4096).read_to_end(&mut start));
        read.map_err(|error| at(&self.kernel, error))?;
        if uki::is_efi(&start) {
            return Ok(());
        }
        Err(at(&self.kernel, "is no kernel with an EFI stub, as vmlinuz of a distribution is (CONFIG_EFI_STUB)"))
    }

    /// Returns the paths of all files.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        NAMES.iter().map(|name| self.folder.join(name)).collect()
    }

    /// Starts all files: makes the folders, copies the kernel, writes the menus. The initramfs is the caller's to write, to
    /// [`Files::initramfs`].
    ///
    /// # Errors
    /// One line. The folder is left as it was.
    pub fn start(&self) -> Result<Files, String> {
        let mut files = Files { outputs: Vec::new(), made: Vec::new() };
        for folder in [self.folder.clone(), self.folder.join(PXELINUX), self.folder.join(GRUB)] {
            let folder = if folder == self.folder { &folder } else { folder.parent().unwrap_or(&folder) };
            match fs::create_dir(folder) {
                Ok(()) => files.made.push(folder.to_owned()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
                Err(error) => return Err(at(folder, error)),
            }
        }
        for name in NAMES {
            if name != UKI || self.stub.is_some() {
                let path = self.folder.join(name);
                let output = Output::create(&path).map_err(|error| at(&path, error))?;
                files.outputs.push((path, output));
            }
        }
        let mut kernel = File::open(&self.kernel).map_err(|error| at(&self.kernel, error))?;
        let (path, output) = files.output(KERNEL);
        io::copy(&mut kernel, output.file()).map_err(|error| at(path, error))?;
        for (name, menu) in [
            (IPXE, menus::ipxe(&self.words)),
            (PXELINUX, menus::pxelinux(&self.words)),
            (GRUB, menus::grub(&self.words)),
        ] {
            let (path, output) = files.output(name);
            output.file().write_all(menu.as_bytes()).map_err(|error| at(path, error))?;
        }
        Ok(files)
    }

    /// Makes the unified kernel image, after the initramfs is written, and gives all files their names.
    ///
    /// # Errors
    /// One line.
    pub fn finish(&self, mut files: Files) -> Result<(), String> {
        if let Some(stub) = &self.stub {
            let duplicate =
                |(path, output): (&Path, &mut Output)| output.file().try_clone().map_err(|error| at(path, error));
            let (kernel, initramfs) = (duplicate(files.output(KERNEL))?, duplicate(files.output(INITRAMFS))?);
            let release = image::release(&self.kernel).map_err(|error| at(&self.kernel, error))?.unwrap_or_default();
            let parts = uki::Parts {
                stub: &uki::read_stub(stub).map_err(|error| at(stub, error))?,
                release: &release,
                words: &self.words,
                kernel: &kernel,
                initramfs: &initramfs,
            };
            uki::write(&parts, files.output(UKI).1.file()).map_err(|error| at(stub, error))?;
        } else {
            // One of an earlier run would boot that run's kernel.
            let path = self.folder.join(UKI);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path, error)),
                _ => {}
            }
        }
        for (path, output) in std::mem::take(&mut files.outputs) {
            output.commit().map_err(|error| at(&path, error))?;
        }
        files.made.clear();
        Ok(())
    }
}

impl Files {
    /// The initramfs, to be written to.
    pub fn initramfs(&mut self) -> &mut Output {
        self.output(INITRAMFS).1
    }

    fn output(&mut self, name: &str) -> (&Path, &mut Output) {
        let found = self.outputs.iter_mut().find(|(path, _)| path.ends_with(name));
        let (path, output) = found.expect("start() makes each file that is asked for");
        (path, output)
    }
}

impl Drop for Files {
    /// Removes the folders that were made for files which have no names.
    fn drop(&mut self) {
        self.outputs.clear();
        for folder in self.made.iter().rev() {
            // One with files of others stays.
            let _ = fs::remove_dir(folder);
        }
    }
}

fn at(path: &Path, what: impl std::fmt::Display) -> String {
    format!("{}: {what}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_a_stub_removes_the_unified_image_of_an_earlier_run() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = folder.path().join("vmlinuz");
        fs::write(&kernel, "a kernel").unwrap();
        let netboot = Netboot { folder: folder.path().join("netboot"), kernel, words: String::new(), stub: None };
        netboot.finish(netboot.start().unwrap()).unwrap();
        let image = netboot.folder.join(UKI);
        fs::write(&image, "an older kernel and its initramfs").unwrap();
        drop(netboot.start().unwrap());
        assert!(image.exists(), "a run that fails changes nothing");
        netboot.finish(netboot.start().unwrap()).unwrap();
        assert!(!image.exists());
    }
}
