//! Whether an init smaller than `whole` has all that an initramfs asks for.

use whit::contract::{RECORD, relative};
use whit::features::Feature;
use whit::options::table::TABLE;
use whit::record::Record;

use super::Recipe;
use super::tree::Tree;
use crate::kernel::modules::Settings;

/// The features of `seed` that options belong to (Cargo.toml). What else it has are `hardware` and `rootfs`, for what `--for` and
/// `--rootfs` put in.
const SEED: [Feature; 2] = [Feature::Dhcp, Feature::Etc];

/// Returns the name of a smaller init, which has the features that the inputs and the options of the run records need. `min` is none: a
/// network is never asked for. `None` also where a record cannot be known: in an archive that is copied, or in the image.
#[must_use]
pub fn smaller_init(recipe: &Recipe, tree: &Tree) -> Option<&'static str> {
    let (before, behind) = tree.archives();
    let has_settings = recipe.settings != Settings::default();
    if has_settings || tree.has_seed() || !before.is_empty() || !behind.is_empty() {
        return None;
    }
    let image_record = match (&recipe.config, tree.rootfs()) {
        (Some(config), _) if !config.is_empty() => config.encode().ok()?.into_bytes(),
        (_, Some(rootfs)) if rootfs.has_record() => return None,
        _ => Vec::new(),
    };
    let own_record = tree.content(relative(RECORD)).ok()?.unwrap_or_default();
    [image_record, own_record].into_iter().all(needs_no_more_than_seed).then_some("seed")
}

fn needs_no_more_than_seed(mut record: Vec<u8>) -> bool {
    Record::decode(&mut record).lines().all(|line| {
        let row = TABLE.iter().find(|row| row.name.as_bytes() == line.key);
        row.is_some_and(|row| row.feature.is_none_or(|feature| SEED.contains(&feature)))
            && match line.key {
                // Feature::DeviceNames: `UUID=` and the like
                b"root" => !line.value.contains(&b'='),
                // Feature::StaticIp
                b"ip" => matches!(line.value, b"dhcp" | b"off"),
                // Feature::Ipv6
                b"net" => line.value != b"wait6",
                _ => true,
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_features_and_some_values_too() {
        for (record, expected) in [
            ("", true),
            ("entrypoint /bin/serve\ncmd 80\nenv A=1\nuser web\ntime 1700000000\n", true),
            ("root /dev/vda\nip dhcp\nnet require\nnameserver 10.0.0.1\ndhcp rfc\n", true),
            ("root virtiofs:share0\n", true),
            ("root UUID=1A2B-3C4D\n", false),
            ("root SERIAL=disk0\n", false),
            ("ip 10.0.0.5::10.0.0.1:255.255.255.0::eth0:off\n", false),
            ("net wait6\n", false),
            ("mount /dev/vdb:/data\n", false),
            ("rlimit nofile=100\n", false),
            ("unknown 1\n", false),
            ("\\x\n", false),
        ] {
            assert_eq!(needs_no_more_than_seed(record.into()), expected, "{record}");
        }
    }

    #[test]
    fn the_features_of_seed_are_those_of_the_manifest() {
        let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).unwrap();
        let list = manifest.lines().find_map(|line| line.strip_prefix("seed = ")).unwrap();
        for feature in TABLE.iter().filter_map(|row| row.feature) {
            // None of these has two words.
            let name = format!("\"{}\"", format!("{feature:?}").to_lowercase());
            assert_eq!(list.contains(&name), SEED.contains(&feature), "{name}");
        }
        for name in ["button", "hardware", "port", "rootfs"] {
            assert!(list.contains(name), "{name}");
        }
        for name in ["device-names", "entropy", "ipv6", "static-ip"] {
            assert!(!list.contains(name), "{name}");
        }
    }
}
