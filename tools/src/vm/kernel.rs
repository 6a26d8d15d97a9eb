//! The kernel of a machine: a given one, one in the cache, or the host's own.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Cache, Key};
use crate::archive::segment::Reader;
use crate::kernel::config::Config;
use crate::kernel::debian::{Flavour, Store};
use crate::kernel::modules::Modules;
use crate::kernel::{elf, image};
use crate::machine::Machine;

/// The kind of unpacked kernels in the cache.
const UNPACKED: &str = "vmlinux";
/// The subfolder of the cache for Debian's kernels.
const KEPT: &str = "debian";
/// The host's kernels, and their modules.
const BOOT: &str = "/boot";
const MODULES: &str = "/lib/modules";

/// Words that spare the kernel work, each with the words that exclude it. In milliseconds of 1577 to the init, with
/// Debian's 6.1 and one instruction a nanosecond:
/// - cryptomgr.notests, 878: the kernel tests its own algorithms, which FIPS 140 asks for;
/// - no_timer_check, 23: it tests whether the timer's interrupt arrives, which it does in QEMU. It does not on a busy host in time, and
///   the kernel then complains of the BIOS.
const FASTER: [(&str, &[&str]); 2] =
    [("cryptomgr.notests", &["fips", "cryptomgr"]), ("no_timer_check", &["no_timer_check"])];

/// COMMAND_LINE_SIZE of the kernel (arch/x86/include/asm/setup.h; arm64's is the same), without its NUL.
const LINE_MAX_BYTES: usize = 2047;

/// Refuses a command line that is longer than the kernel takes. `option` is where its words are given.
///
/// # Errors
/// A message of one line.
pub fn check_line(words: &str, option: &str) -> Result<(), String> {
    match words.len() {
        0..=LINE_MAX_BYTES => Ok(()),
        length => Err(format!(
            "{option}: the kernel's command line has {length} bytes; the kernel accepts at most {LINE_MAX_BYTES}"
        )),
    }
}

/// Returns the first words of a machine's kernel command line, without those that the words `more` exclude.
#[must_use]
pub fn kernel_line(machine: Machine, more: &str) -> String {
    let mut line = format!("console={} quiet panic=-1", machine.console());
    // Other machines have no such timer.
    let is_known = |word: &str| machine == Machine::X86_64 || word != "no_timer_check";
    for (word, exclude) in FASTER {
        if is_known(word) && !exclude.iter().any(|other| more.contains(other)) {
            line.push(' ');
            line.push_str(word);
        }
    }
    line
}

/// A kernel and its modules.
pub struct Kernel {
    /// The file that QEMU loads.
    pub vmlinuz: PathBuf,
    /// Its machine, if the file shows it.
    pub machine: Option<Machine>,
    /// Its release, as `uname -r` prints it, if the file contains it.
    pub release: Option<String>,
    /// Its modules; `None` if everything is built in.
    pub modules: Option<Modules>,
    /// The modules of its initramfs, and those built in, of those that were asked for; `None` if that is not known.
    only: Option<Vec<String>>,
}

impl Kernel {
    /// Opens a given kernel, with the given modules, or else the host's for its release.
    ///
    /// # Errors
    /// A message of one line: a file that cannot be read.
    pub fn given(vmlinuz: &Path, modules: Option<&Path>) -> Result<Self, String> {
        let at = |error: std::io::Error| format!("{}: {error}", vmlinuz.display());
        let machine = image::machine(vmlinuz).map_err(at)?;
        let release = image::release(vmlinuz).map_err(at)?;
        let modules = match (modules, &release) {
            (Some(modules), _) => Some(Modules::open(modules).map_err(|error| error.to_string())?),
            (None, Some(release)) => Modules::open(&Path::new(MODULES).join(release)).ok(),
            (None, None) => None,
        };
        Ok(Self { vmlinuz: vmlinuz.to_owned(), machine, release, modules, only: None })
    }

    /// Finds a kernel for a machine: the newest in the cache, or else in the host's /boot; else fetches Debian's newest for virtual
    /// machines.
    ///
    /// # Errors
    /// A message of one line with the remedy.
    pub fn find(cache: &Cache, machine: Machine, say: fn(&str)) -> Result<Self, String> {
        if let Some(kernel) = crate::kernel::debian::kept_kernel(&cache.folder(KEPT), machine, Flavour::Cloud) {
            return Self::given(&kernel.vmlinuz, Some(&kernel.modules));
        }
        if machine == Machine::HOST
            && let Some(vmlinuz) = of_host(Path::new(BOOT), Path::new(MODULES))
        {
            return Self::given(&vmlinuz, None);
        }
        let store = Store::open_for(&cache.folder(KEPT), machine, say);
        let fetched = store.and_then(|mut store| store.kernel(Flavour::Cloud, None));
        match fetched {
            Ok(kernel) => Self::given(&kernel.vmlinuz, Some(&kernel.modules)),
            Err(error) => Err(format!(
                "no kernel: none in {BOOT} is readable and has its modules, and fetching Debian's failed ({error}); \
                 give one with --kernel"
            )),
        }
    }

    /// Returns the kernel's unpacked form, which is unpacked once into the cache, under its content: of a bzImage the ELF form, which QEMU
    /// enters by PVH, of a compressed Image the Image. `None` if the kernel has no such form, or cannot be unpacked; the file itself
    /// then boots, slower, or not at all: QEMU 7 does not start EFI zboot.
    #[must_use]
    pub fn unpacked(&self, cache: &Cache) -> Option<PathBuf> {
        // Another file than a bzImage or an Image has nothing to unpack.
        self.release.as_ref()?;
        let is_x86 = self.machine == Some(Machine::X86_64);
        if !is_x86 && !image::is_packed_image(&self.vmlinuz).ok()? {
            return None;
        }
        let mut key = Key::new().ok()?;
        key.add_file(&self.vmlinuz).ok()?;
        let path = cache.file(UNPACKED, &key, |output| {
            let content = image::content(&self.vmlinuz).map_err(|error| error.to_string())?;
            // An empty file: the next run need not unpack it to find out.
            let kept = if !is_x86 || elf::has_pvh_entry(&content) { content.as_slice() } else { &[] };
            output.file().write_all(kept).map_err(|error| error.to_string())
        });
        path.ok().filter(|path| path.metadata().is_ok_and(|metadata| metadata.len() > 0))
    }

    /// Limits the modules to those of an initramfs that is given, and those that the kernel's configuration builds in: `candidates`
    /// are modules, each with its option. Nothing changes where neither is known.
    pub fn limit(&mut self, initramfs: &Path, candidates: &[(&str, &str)]) {
        let config = Config::of(&self.vmlinuz).ok().flatten();
        let mut found: Vec<String> = Vec::new();
        if let Some(config) = &config {
            let built_in = candidates.iter().filter(|(_, option)| config.is_set(option));
            found.extend(built_in.map(|(module, _)| (*module).to_owned()));
        }
        let Ok(file) = File::open(initramfs) else { return };
        let mut reader = Reader::new(file);
        // An initramfs that cannot be read is reported where it is used.
        while let Ok(Some(member)) = reader.next_entry() {
            let name = member.name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            let is_file = |module: &&(&str, &str)| name.strip_suffix(b".ko") == Some(module.0.as_bytes());
            found.extend(candidates.iter().find(is_file).map(|(module, _)| (*module).to_owned()));
        }
        if config.is_some() || !found.is_empty() {
            self.only = Some(found);
        }
    }

    /// Returns those of `modules` that are not built into the kernel: it does not contain the names under which they register. None
    /// if the file is no kernel with a release.
    #[must_use]
    pub fn missing<'a>(&self, modules: &[&'a str], cache: &Cache) -> Vec<&'a str> {
        let content = match &self.release {
            Some(_) => image::content(&self.unpacked(cache).unwrap_or_else(|| self.vmlinuz.clone())),
            None => return Vec::new(),
        };
        let Ok(content) = content else { return Vec::new() };
        let name = |module: &str| match module {
            "virtio_pci" => "virtio-pci".to_owned(),
            "virtio_mmio" => "virtio-mmio".to_owned(),
            module => module.to_owned(),
        };
        // Not the names of drivers, or too short.
        let is_known = |module: &&str| !matches!(*module, "sd_mod" | "9p" | "9pnet_virtio");
        let mut missing: Vec<&str> = modules.iter().copied().filter(is_known).collect();
        for text in content.split(|byte| *byte == 0) {
            missing.retain(|module| !text.ends_with(name(module).as_bytes()));
        }
        missing
    }

    /// Returns whether the kernel has a module, built in or as a file. A kernel without known modules counts as having all.
    #[must_use]
    pub fn has(&self, module: &str) -> bool {
        match &self.only {
            Some(only) => only.iter().any(|known| known == module),
            None => self.modules.as_ref().is_none_or(|modules| modules.has(module)),
        }
    }
}

/// Returns the newest kernel in `boot` that is readable and has its modules.
fn of_host(boot: &Path, modules: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(boot).ok()?;
    let usable = entries.filter_map(Result::ok).filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let version = name.strip_prefix("vmlinuz-")?.to_owned();
        let is_usable = modules.join(&version).is_dir() && File::open(entry.path()).is_ok();
        is_usable.then(|| (numbers(&version), entry.path()))
    });
    usable.max().map(|(_, path)| path)
}

/// Returns the numbers of a version, in order: 6.12 is newer than 6.9.
fn numbers(version: &str) -> Vec<u32> {
    let digits = version.split(|character: char| !character.is_ascii_digit());
    digits.filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::bzimage;
    use std::fs;

    #[test]
    fn the_error_for_a_missing_kernel_has_its_path() {
        let absent = Path::new("/absent/vmlinuz");
        assert!(Kernel::given(absent, None).err().unwrap().contains("/absent/vmlinuz: No such file"));
    }

    #[test]
    fn words_that_spare_work_can_be_excluded() {
        assert_eq!(kernel_line(Machine::X86_64, ""), "console=ttyS0 quiet panic=-1 cryptomgr.notests no_timer_check");
        assert_eq!(kernel_line(Machine::X86_64, "fips=1"), "console=ttyS0 quiet panic=-1 no_timer_check");
    }

    #[test]
    fn a_kernel_is_unpacked_once_and_only_with_a_pvh_entry() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("cache")).unwrap();
        let path = folder.path().join("vmlinuz");
        let unpacked = |content: &[u8]| {
            fs::write(&path, bzimage::tests::bzimage("9.8.7", content)).unwrap();
            Kernel::given(&path, None).unwrap().unpacked(&cache)
        };
        let kernel = elf::tests::kernel(b"Xen", 18);
        let first = unpacked(&bzimage::tests::gzip(&kernel)).unwrap();
        assert_eq!(fs::read(&first).unwrap(), kernel);
        assert_eq!(unpacked(&bzimage::tests::gzip(&kernel)), Some(first));
        for other in [&b"no ELF"[..], &elf::tests::kernel(b"GNU", 18), &kernel[..kernel.len() - 1]] {
            assert_eq!(unpacked(&bzimage::tests::gzip(other)), None);
            assert_eq!(unpacked(&bzimage::tests::gzip(other)), None);
        }
        assert_eq!(fs::read_dir(folder.path().join("cache")).unwrap().count(), 4);
        // The file of another kernel, or of none.
        fs::write(&path, &kernel).unwrap();
        assert_eq!(Kernel::given(&path, None).unwrap().unpacked(&cache), None);
    }

    #[test]
    fn a_kernel_without_modules_has_what_it_contains() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("cache")).unwrap();
        let path = folder.path().join("vmlinuz");
        let content = b"code\0virtio-pci\0ext4\0 text of virtio_net: none\0";
        fs::write(&path, bzimage::tests::bzimage("9.8.7", &bzimage::tests::gzip(content))).unwrap();
        let needed = ["virtio_pci", "virtio_blk", "ext4", "virtio_net", "sd_mod", "9p"];
        assert_eq!(Kernel::given(&path, None).unwrap().missing(&needed, &cache), ["virtio_blk", "virtio_net"]);
        fs::write(&path, "no bzImage").unwrap();
        assert_eq!(Kernel::given(&path, None).unwrap().missing(&needed, &cache), [""; 0]);
    }

    #[test]
    fn a_given_initramfs_decides_which_shares_there_are() {
        use crate::compress::Compression;
        use crate::initramfs::{Packing, tree::Tree, write};
        const CANDIDATES: [(&str, &str); 2] = [("virtiofs", "CONFIG_VIRTIO_FS"), ("9p", "CONFIG_9P_FS")];
        let folder = tempfile::tempdir().unwrap();
        let (path, initramfs) = (folder.path().join("vmlinuz"), folder.path().join("initramfs"));
        fs::write(&path, bzimage::tests::bzimage("9.8.7", b"")).unwrap();
        let has = |modules: &[&str]| {
            let mut tree = Tree::default();
            for module in modules {
                tree.bytes(&format!("{module}.ko"), 0o644, Vec::new()).unwrap();
            }
            tree.bytes("init", 0o755, Vec::new()).unwrap();
            write(&tree, &initramfs, &Packing::new(Compression::None)).unwrap();
            let mut kernel = Kernel::given(&path, None).unwrap();
            kernel.limit(&initramfs, &CANDIDATES);
            ["virtiofs", "9p"].map(|module| kernel.has(module))
        };
        assert_eq!(has(&[]), [true, true], "nothing is known");
        assert_eq!(has(&["virtiofs"]), [true, false]);
        assert_eq!(has(&["9p"]), [false, true]);
        fs::write(folder.path().join("config-9.8.7"), "CONFIG_VIRTIO_FS=m\nCONFIG_9P_FS=y\n").unwrap();
        assert_eq!(has(&[]), [false, true]);
    }

    #[test]
    fn the_newest_kernel_with_modules_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (boot, modules) = (folder.path().join("boot"), folder.path().join("modules"));
        assert_eq!(of_host(&boot, &modules), None);
        fs::create_dir(&boot).unwrap();
        for version in ["6.9.1-1", "6.12.3-1", "6.13.0-1"] {
            fs::write(boot.join(format!("vmlinuz-{version}")), "").unwrap();
        }
        assert_eq!(of_host(&boot, &modules), None, "none has modules");
        for version in ["6.9.1-1", "6.12.3-1"] {
            fs::create_dir_all(modules.join(version)).unwrap();
        }
        assert_eq!(of_host(&boot, &modules), Some(boot.join("vmlinuz-6.12.3-1")));
    }
}
