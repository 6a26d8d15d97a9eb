//! Reads the description of a kernel module: the `.modinfo` section, NUL-separated `key=value` (include/linux/moduleparam.h).

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::{Error, Needs, normal_name};
use crate::compress;

/// The largest decompressed module; Debian's largest has 11 MB.
const MODULE_MAX_BYTES: u64 = 256 << 20;

/// The description of a module, as far as it affects loading.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Modinfo {
    pub(super) needs: Needs,
    /// Its aliases, with wildcards.
    pub(super) aliases: Vec<String>,
    /// Files below /lib/firmware that it may request.
    pub(super) firmware: Vec<String>,
    /// The names of its parameters.
    pub(super) parameters: Vec<String>,
    /// The release of the kernel that it was built for; empty if unknown.
    pub(super) release: String,
}

/// Reads the `.modinfo` of the module in `path`, plain or compressed.
pub(super) fn read(path: &Path) -> Result<Modinfo, Error> {
    let bytes =
        decompressed(path).map_err(|error| Error::Unreadable { path: path.to_owned(), what: error.to_string() })?;
    let malformed = |what: String| Error::Unreadable { path: path.to_owned(), what };
    let section = crate::kernel::elf::section(&bytes, ".modinfo")
        .map_err(|error| malformed(format!("not a kernel module ({error})")))?
        .ok_or_else(|| malformed("not a kernel module (no .modinfo section)".to_owned()))?;
    Ok(parse(section))
}

/// Returns the content of a file, plain or compressed.
pub(crate) fn decompressed(path: &Path) -> io::Result<Vec<u8>> {
    let (_, decoder) = compress::decoder(BufReader::new(File::open(path)?))?;
    let mut bytes = Vec::new();
    decoder.take(MODULE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MODULE_MAX_BYTES {
        return Err(io::Error::other("larger than 256 MiB"));
    }
    Ok(bytes)
}

fn parse(section: &[u8]) -> Modinfo {
    let mut modinfo = Modinfo::default();
    for line in section.split(|byte| *byte == 0) {
        let line = String::from_utf8_lossy(line);
        match line.split_once('=') {
            Some(("depends", value)) => {
                modinfo.needs.modules.extend(value.split(',').filter(|name| !name.is_empty()).map(normal_name));
            }
            Some(("softdep", value)) => modinfo.needs.add_softdep(value),
            Some(("alias", value)) => modinfo.aliases.push(value.to_owned()),
            // include/linux/vermagic.h: the release, and other properties that must match.
            Some(("vermagic", value)) => modinfo.release = value.split(' ').next().unwrap_or_default().to_owned(),
            // NAME:TYPE, and NAME:DESCRIPTION (include/linux/moduleparam.h); one with a function of its own has no type.
            Some(("parmtype" | "parm", value)) => {
                let name = normal_name(value.split(':').next().unwrap_or_default());
                if !modinfo.parameters.contains(&name) {
                    modinfo.parameters.push(name);
                }
            }
            Some(("firmware", value)) => modinfo.firmware.push(value.to_owned()),
            _ => {}
        }
    }
    modinfo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_are_collected_and_others_are_skipped() {
        let section = b"license=GPL\0softdep=pre: crc32c\0\0alias=fs-ext4\0alias=ext3\0depends=jbd2,crypto-x,\0\
                        softdep=post: b-c pre: d\0depends\0name=ext4\0";
        let modinfo = parse(section);
        assert_eq!(modinfo.needs.modules, ["jbd2", "crypto_x"]);
        assert_eq!(modinfo.needs.before, ["crc32c", "d"]);
        assert_eq!(modinfo.needs.after, ["b_c"]);
        assert_eq!(modinfo.aliases, ["fs-ext4", "ext3"]);
        assert_eq!(parse(b"depends=\0"), Modinfo::default());
        assert_eq!(parse(b"vermagic=6.1.0-9-amd64 SMP preempt mod_unload \0").release, "6.1.0-9-amd64");
        assert_eq!(parse(b"firmware=bnx2/a.fw\0firmware=b\0").firmware, ["bnx2/a.fw", "b"]);
    }
}
