//! Parameters of modules, as modprobe(8) reads them from the kernel command line: `MODULE.PARAMETER=VALUE`, and `modprobe.blacklist=NAME,…`.

use crate::modalias::matches;
use crate::text::{cut, split, split_once};

/// Returns the parameter that a word of the command line has for a module, and its value, which is empty for a switch. A word is that of
/// [`Record::words`](crate::record::Record::words).
#[inline(always)] // Its one caller is a loop.
pub fn parameter<'a>(word: &'a [u8], module: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (key, value) = cut(word, b' ');
    let (name, parameter) = split_once(key, b'.')?;
    // The name of a module has no wildcards.
    matches(module, name).then_some((parameter, value))
}

/// Returns whether a word of the command line, with a space between key and value, names a module among those that are not loaded for a device.
pub fn is_blacklisting(word: &[u8], module: &[u8]) -> bool {
    let Some(names) = word.strip_prefix(b"modprobe.blacklist ") else { return false };
    split(names, b',').any(|name| matches(name, module))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::cmdline::decode;
    use std::string::String;

    /// Returns the parameters for a module on a command line.
    fn parameters(line: &str, module: &str) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut line = line.as_bytes().to_vec();
        let found = decode(&mut line).0.words().filter_map(|word| {
            let (parameter, value) = parameter(word, module.as_bytes())?;
            Some(text(parameter) + "=" + &text(value) + ";")
        });
        found.collect()
    }

    #[test]
    fn parameters_are_those_of_the_module() {
        for (line, module, expected) in [
            ("nvme.io_queue_depth=16 ro", "nvme", "io_queue_depth=16;"),
            ("nvme_core.x=1 nvme.y=2 nvme=3 nvmex.z=4", "nvme", "y=2;"),
            ("virtio-blk.a=1 virtio_blk.b=2", "virtio-blk", "a=1;b=2;"),
            ("usbcore.nousb usbcore.quirks=\"a b\"", "usbcore", "nousb=;quirks=a b;"),
            ("a.b.c=1", "a", "b.c=1;"),
            ("-- x.p=1", "x", ""),
        ] {
            assert_eq!(parameters(line, module), expected, "{line}");
        }
    }

    #[test]
    fn a_blacklist_has_names_between_commas() {
        for (line, module, expected) in [
            ("modprobe.blacklist=pcspkr", "pcspkr", true),
            ("modprobe.blacklist=a,virtio-rng,b", "virtio_rng", true),
            ("modprobe.blacklist=a,virtio_rng", "virtio-rng", true),
            ("modprobe.blacklist=a modprobe.blacklist=b", "b", true),
            ("modprobe.blacklist=a,bc", "b", false),
            ("modprobe.blacklist= modprobe.blacklist", "b", false),
            ("module_blacklist=b modprobe.black=b x.blacklist=b", "b", false),
            ("-- modprobe.blacklist=b", "b", false),
        ] {
            let mut bytes = line.as_bytes().to_vec();
            let found = decode(&mut bytes).0.words().any(|word| is_blacklisting(word, module.as_bytes()));
            assert_eq!(found, expected, "{line}");
        }
    }
}
