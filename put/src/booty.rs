//! The configuration of a machine as Plunder's BOOTy reads it: JSON by hardware address.

use std::fs;
use std::sync::Arc;

use serde_json::Value;

use crate::lines;
use crate::net::url::Url;
use crate::net::{Net, download};
use crate::options::Options;

/// Limit for a configuration.
const MAX_BYTES: u64 = 64 << 10;
/// Fields that configure the written system: BOOTy mounts it for them.
const OF_THE_SYSTEM: [&str; 4] = ["lvmRootName", "address", "gateway", "nameserver"];

/// Fetches this machine's configuration. An address that ends in `.bty` or `.json` is the file; any other one is the server,
/// with `/booty/MAC.bty` for each of the machine's network interfaces.
///
/// # Errors
/// One line.
pub fn fetch(net: &Arc<Net>, address: &str, options: &mut Options) -> Result<(), String> {
    let base = Url::parse(address)?;
    let is_file = [".bty", ".json"].iter().any(|end| base.path.ends_with(end));
    let named = |mac: &String| base.join(&format!("/booty/{mac}.bty"));
    let urls = if is_file { vec![base] } else { hardware_addresses().iter().map(named).collect::<Result<_, _>>()? };
    for url in &urls {
        if let Some(bytes) = download::small_file(net, url, MAX_BYTES)? {
            return apply(&bytes, options).map_err(|error| format!("{url}: {error}"));
        }
    }
    let tried: Vec<String> = urls.iter().map(ToString::to_string).collect();
    Err(format!("{address}: no configuration for this machine: there is no {}", tried.join(", no ")))
}

/// Returns the addresses of the Ethernet interfaces, with dashes.
fn hardware_addresses() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/class/net") else { return Vec::new() };
    let address = |entry: fs::DirEntry| {
        let read = |name| fs::read_to_string(entry.path().join(name)).ok();
        // ARPHRD_ETHER, and a device of hardware.
        let is_ethernet = read("type")?.trim() == "1" && entry.path().join("device").exists();
        is_ethernet.then_some(read("address")?.trim().replace(':', "-"))
    };
    let mut addresses: Vec<String> = entries.flatten().filter_map(address).collect();
    addresses.sort();
    addresses
}

/// Sets the options of a configuration; those of the command line stay.
///
/// # Errors
/// One line.
pub fn apply(bytes: &[u8], options: &mut Options) -> Result<(), String> {
    let document: Value = serde_json::from_slice(bytes).map_err(|error| format!("no configuration: {error}"))?;
    let text = |name: &str| document.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let is_set = |name: &str| document.get(name).and_then(Value::as_bool).unwrap_or_default();
    match text("action") {
        Some("writeImage") => {}
        Some(other) => return Err(format!("the action {other:?} is not supported, writeImage is")),
        None => return Err("no configuration: it has no action".into()),
    }
    for name in OF_THE_SYSTEM {
        if text(name).is_some() {
            lines::warn(format_args!(
                "warning: {name} of the configuration is ignored: put does not change files of the image"
            ));
        }
    }
    let needed = |name: &str| text(name).map(str::to_owned).ok_or_else(|| format!("no {name}"));
    if options.source.is_empty() {
        options.source = needed("sourceImage")?;
    }
    if options.disk.is_empty() {
        options.disk = needed("destinationDevice")?;
    }
    options.must_be_compressed |= is_set("compressed");
    options.is_dry_run |= is_set("dryRun");
    let partition = document.get("growPartition").and_then(Value::as_u64).unwrap_or_default();
    options.grow |= is_set("growDisk") || partition > 0;
    options.grown_partition = u32::try_from(partition).ok().filter(|number| *number > 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_sets_what_the_command_line_leaves_open() {
        let text = br#"{"action":"writeImage","compressed":true,"sourceImage":"http://10.0.2.2/a.gz",
            "destinationDevice":"/dev/sda","growDisk":false,"growPartition":2,"lvmRootName":"","dryRun":true}"#;
        let mut options = Options { disk: "/dev/vda".into(), ..Options::default() };
        apply(text, &mut options).unwrap();
        assert_eq!((options.source.as_str(), options.disk.as_str()), ("http://10.0.2.2/a.gz", "/dev/vda"));
        assert!(options.must_be_compressed && options.is_dry_run && options.grow);
        assert_eq!(options.grown_partition, Some(2));
    }

    #[test]
    fn other_actions_and_other_files_are_refused() {
        for (text, expected) in [
            (&br#"{"action":"readImage"}"#[..], "the action \"readImage\" is not supported, writeImage is"),
            (b"{}", "no configuration: it has no action"),
            (br#"{"action":"writeImage"}"#, "no sourceImage"),
            (br#"{"action":"writeImage","sourceImage":"a"}"#, "no destinationDevice"),
        ] {
            assert_eq!(apply(text, &mut Options::default()).unwrap_err(), expected);
        }
        assert!(apply(b"<html>", &mut Options::default()).unwrap_err().starts_with("no configuration: "));
    }
}
