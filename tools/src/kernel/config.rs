//! The configuration of a kernel: which compressions of an initramfs it supports.
//!
//! It is a file beside the kernel, as distributions install it, or in the kernel itself (CONFIG_IKCONFIG).

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::image;
use crate::compress::{Compression, Decoder, Method};

/// The largest configuration; a distribution's has 300 KiB.
const CONFIG_MAX_BYTES: u64 = 16 << 20;

/// The configuration of a kernel.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file with the configuration.
    pub place: PathBuf,
    text: String,
}

impl Config {
    /// Finds the configuration of the kernel `path`, or reads `path` itself if it is a configuration. `None` if there is none.
    ///
    /// # Errors
    /// Errors of reading.
    pub fn of(path: &Path) -> io::Result<Option<Self>> {
        let mut start = String::new();
        // A kernel is not UTF-8; the error is ignored.
        let _ = crate::cli::input::open(path)?.take(CONFIG_MAX_BYTES).read_to_string(&mut start);
        if start.contains("CONFIG_") {
            return Ok(Some(Self { place: path.to_owned(), text: start }));
        }
        let of_name = |path: &Path| Some(path.file_name()?.to_str()?.split_once('-')?.1.to_owned());
        let release = image::release(path)?.or_else(|| of_name(path)).or_else(|| of_name(&path.canonicalize().ok()?));
        for place in places(path, release.as_deref()) {
            match fs::read_to_string(&place) {
                Ok(text) => return Ok(Some(Self { place, text })),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(embedded(path)?.map(|text| Self { place: path.to_owned(), text }))
    }

    /// Returns whether an option is built in.
    #[must_use]
    pub fn is_set(&self, option: &str) -> bool {
        self.text.lines().any(|line| line.strip_prefix(option).is_some_and(|value| value == "=y"))
    }

    /// Returns the option by which the kernel refuses modules without a signature (kernel/module/signing.c, `module_sig_check()`).
    #[must_use]
    pub fn requires_signatures(&self) -> Option<&'static str> {
        const REQUIRED: [&str; 3] = [
            "CONFIG_MODULE_SIG_FORCE",
            "CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY",
            "CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY",
        ];
        REQUIRED.into_iter().find(|option| self.is_set(option))
    }

    /// Returns whether the kernel can decompress this compression of an initramfs.
    #[must_use]
    pub fn has(&self, method: Method) -> bool {
        self.is_set("CONFIG_BLK_DEV_INITRD")
            && self.is_set(&format!("CONFIG_RD_{}", method.name().to_ascii_uppercase()))
    }

    /// Returns the best compression that the kernel supports: zstd is small and fast to decompress, gzip is common.
    #[must_use]
    pub fn best_compression(&self) -> Compression {
        let best = [Compression::Zstd(9), Compression::Gzip(9), Compression::Lz4(9), Compression::Xz(6)];
        let has = |compression: &Compression| compression.method().is_some_and(|method| self.has(method));
        best.into_iter().find(has).unwrap_or(Compression::None)
    }
}

/// Returns the places of a kernel's configuration in distributions: beside it (Debian, Fedora's /lib/modules/VERSION), by its release also
/// beside the file that a link leads to, in /boot, with the modules.
fn places(path: &Path, release: Option<&str>) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut places = Vec::new();
    if let Some(release) = release {
        let name = format!("config-{release}");
        let file = path.canonicalize().unwrap_or_default();
        places.push(folder.join(&name));
        places.extend(file.parent().map(|folder| folder.join(&name)));
        places.push(Path::new("/boot").join(&name));
        places.push(Path::new("/lib/modules").join(release).join("config"));
    }
    places.insert(places.len().min(1), folder.join("config"));
    places
}

/// Returns the embedded configuration of a kernel: kernel/configs.c stores it between two marks, compressed by gzip.
fn embedded(path: &Path) -> io::Result<Option<String>> {
    const MARK: &[u8] = b"IKCFG_ST";
    let kernel = image::content(path)?;
    let Some(start) = kernel.windows(MARK.len()).position(|window| window == MARK) else { return Ok(None) };
    let mut text = String::new();
    let config = Decoder::new(Method::Gzip, &kernel[start + MARK.len()..])?;
    Ok(config.take(CONFIG_MAX_BYTES).read_to_string(&mut text).is_ok().then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::bzimage::tests::{bzimage, gzip};
    use std::io::Write;

    const TEXT: &str = "CONFIG_BLK_DEV_INITRD=y\nCONFIG_RD_GZIP=y\n# CONFIG_RD_XZ is not set\nCONFIG_RD_LZ4=m\n";

    #[test]
    fn a_configuration_beside_the_kernel_is_found_by_its_release() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = folder.path().join("bzImage");
        fs::write(&kernel, bzimage("9.8.7-whit (me) #1", b"")).unwrap();
        assert!(Config::of(&kernel).unwrap().is_none());
        fs::write(folder.path().join("config-9.8.7-whit"), TEXT).unwrap();
        let config = Config::of(&kernel).unwrap().unwrap();
        assert_eq!(config.place, folder.path().join("config-9.8.7-whit"));
        let has = [Method::Gzip, Method::Xz, Method::Lz4, Method::Zstd].map(|method| config.has(method));
        assert_eq!(has, [true, false, false, false]);
        // The configuration itself, and a kernel of another architecture, which has no release in its header.
        assert!(Config::of(&config.place).unwrap().unwrap().has(Method::Gzip));
        let image = folder.path().join("Image-9.8.7-whit");
        fs::write(&image, [0xff; 100]).unwrap();
        assert_eq!(Config::of(&image).unwrap().unwrap().place, config.place);
        // A link to the kernel, without a configuration of its own beside it.
        let links = tempfile::tempdir().unwrap();
        let link = links.path().join("vmlinuz");
        std::os::unix::fs::symlink(&kernel, &link).unwrap();
        let beside_it = Config::of(&link).unwrap().unwrap().place;
        assert_eq!(beside_it, config.place.canonicalize().unwrap());
        let other = links.path().join("Image");
        std::os::unix::fs::symlink(&image, &other).unwrap();
        assert_eq!(Config::of(&other).unwrap().unwrap().place, beside_it);
        let own = links.path().join("config");
        fs::write(&own, TEXT).unwrap();
        assert_eq!(Config::of(&link).unwrap().unwrap().place, own);
    }

    #[test]
    fn an_embedded_configuration_is_found_for_every_compression() {
        let inside = [&b"code IKCFG_ST"[..], &gzip(TEXT.as_bytes()), b"IKCFG_ED code"].concat();
        let lz4 = {
            let mut writer = crate::compress::lz4::Writer::new(Vec::new(), 9).unwrap();
            writer.write_all(&inside).unwrap();
            writer.finish().unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernel");
        for kernel in [
            bzimage("9.8.7", &gzip(&inside)),
            bzimage("9.8.7", &zstd::encode_all(inside.as_slice(), 3).unwrap()),
            bzimage("9.8.7", &lz4),
            inside.clone(),
        ] {
            fs::write(&path, &kernel).unwrap();
            let config = Config::of(&path).unwrap().unwrap();
            assert!(config.place == path && config.has(Method::Gzip));
        }
        for kernel in [bzimage("9.8.7", b"none"), vec![], b"IKCFG_ST no gzip".to_vec()] {
            fs::write(&path, &kernel).unwrap();
            assert!(Config::of(&path).unwrap().is_none());
        }
        assert!(Config::of(&folder.path().join("absent")).is_err());
    }
}
