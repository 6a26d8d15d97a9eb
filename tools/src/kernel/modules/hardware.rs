//! Drivers for hardware that is only known at boot: sets of modules, and the index from which the init loads modules by
//! device.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use whit::modalias::{MAX_DRIVERS, MAX_LINE};

use super::{Error, Module, Modules, normal_name};

/// A set of modules: for a kind of machine, or for a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum For {
    /// Virtual machines of KVM: virtio on PCI and MMIO.
    Virtio,
    /// QEMU's devices: virtio, IDE, AHCI, NVMe and SCSI disks, network cards.
    Qemu,
    /// Firecracker's virtio on MMIO.
    Firecracker,
    /// Amazon's machines: NVMe and ENA, and the older ones on Xen.
    Aws,
    /// Any machine: all drivers of disks, of wired network cards, and of their buses.
    BareMetal,
    /// What the kernel requests by name while the machine runs.
    OnDemand(&'static OnDemand),
    /// A file system, by the name of its type.
    FileSystem(String),
}

/// A set of modules that the kernel requests by name: of a file system that is mounted, of a rule of a firewall, of a kind of interface.
/// Those that this kernel does not have are left out.
#[derive(Debug, PartialEq, Eq)]
pub struct OnDemand {
    name: &'static str,
    /// Modules that programs load by modprobe(8) alone: they are loaded at the boot.
    always: &'static [&'static str],
    modules: &'static [&'static str],
    /// Files and directories of further ones in a kernel.
    places: &'static [&'static str],
}

impl OnDemand {
    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
}

/// The sets.
static ON_DEMAND: [OnDemand; 8] = [
    OnDemand {
        name: "docker",
        // dockerd runs modprobe in the image for these; of the kernel itself it gets the others.
        always: &["bridge", "br_netfilter", "ip_tables", "ip6_tables"],
        modules: &["overlay", "veth", "macvlan", "ipvlan", "vxlan", "dummy", "tun", "loop", "8021q"],
        places: NETFILTER,
    },
    OnDemand { name: "netfilter", always: &["ip_tables", "ip6_tables"], modules: &[], places: NETFILTER },
    OnDemand { name: "wireguard", always: &[], modules: &["wireguard", "tun"], places: &[] },
    OnDemand {
        name: "nfs",
        always: &[],
        modules: &["nfs", "nfsv2", "nfsv3", "nfsv4", "rpcsec_gss_krb5", "blocklayoutdriver"],
        places: &["fs/nfs"],
    },
    OnDemand {
        name: "cifs",
        always: &[],
        // Algorithms, which it allocates by name.
        modules: &[
            "cifs",
            "cmac",
            "hmac",
            "ccm",
            "gcm",
            "ctr",
            "ecb",
            "md4",
            "md5",
            "sha256_generic",
            "sha512_generic",
            "aes_generic",
        ],
        places: &[],
    },
    // A root over HTTP is verified too.
    OnDemand { name: "http", always: &["loop", "dm_verity"], modules: HTTP, places: &[] },
    OnDemand { name: "nvme-tcp", always: &["nvme_tcp"], modules: &["nvme_tcp"], places: &[] },
    OnDemand { name: "verity", always: &["dm_verity"], modules: VERITY, places: &[] },
];

/// With the implementations of the hash, which the kernel requests as `crypto-sha256`.
const HTTP: &[&str] = &["loop", "dm_verity", "sha256_generic", "sha256_ssse3", "sha256_arm64", "sha2_ce"];
const VERITY: &[&str] = HTTP.split_at(1).1;

const NETFILTER: &[&str] =
    &["net/bridge/netfilter", "net/ipv4/netfilter", "net/ipv6/netfilter", "net/netfilter", "net/ipv4/ip_tables.ko"];

/// The directories of drivers whose loading may take seconds: they look for disks behind a controller, and some wait until the bus has
/// settled. The init loads them while the boot goes on.
const SLOW: &[&str] = &[
    "drivers/ata",
    "drivers/firewire",
    "drivers/message",
    "drivers/mmc",
    "drivers/scsi",
    "drivers/ufs",
    "drivers/usb/storage",
];

/// Parameters of the SCSI core. By default it looks for the disks of all controllers in the background, and a SATA disk appears after
/// those of each other controller that was found before (drivers/ata/libata-core.c, async_port_probe(); drivers/scsi/scsi_scan.c,
/// __scsi_add_device()). With `sync` each driver looks for its own, in the child that loads it.
const SCSI: &str = "async_probe scan=sync";

const VIRTIO: &[&str] = &[
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_scsi",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "virtiofs",
    "9pnet_virtio",
    "vmw_vsock_virtio_transport",
    "sd_mod",
    "button",
    "gpio_keys", // the button of QEMU's board virt
    "evdev",
];

/// QEMU's devices other than virtio.
const EMULATED: &[&str] = &[
    "ata_piix",
    "ata_generic",
    "ahci",
    "nvme",
    "sr_mod",
    "sym53c8xx",
    "megaraid_sas",
    "mptspi",
    "mptsas",
    "vmw_pvscsi",
    "lsi53c895a",
    "e1000",
    "e1000e",
    "igb",
    "8139cp",
    "8139too",
    "ne2k_pci",
    "pcnet32",
    "tulip",
    "vmxnet3",
    "xhci_pci",
    "ehci_pci",
    "uhci_hcd",
    "usb_storage",
    "uas",
    "usbhid",
    "hid_generic",
    "sdhci_pci",
    "mmc_block",
    "psmouse",
];

const FIRECRACKER: &[&str] =
    &["virtio_mmio", "virtio_blk", "virtio_net", "virtio_rng", "vmw_vsock_virtio_transport", "i8042"];

const AWS: &[&str] = &["nvme", "ena", "ixgbevf", "xen_blkfront", "xen_netfront", "button", "evdev"];

/// Modules that a file system asks the kernel for while it is mounted, and that are not among its dependencies: the format of quotas
/// (fs/quota/dquot.c), and the code pages of Debian's and the kernel's defaults (fs/fat/inode.c). A set names the file system itself for
/// them. Ciphers and checksums are soft dependencies.
const WHILE_MOUNTING: [(&str, &[&str]); 5] = [
    ("ext2", &["quota_v2"]),
    ("ext4", &["quota_v2"]),
    ("f2fs", &["quota_v2"]),
    ("msdos", &["nls_ascii", "nls_cp437", "nls_iso8859_1", "nls_utf8"]),
    ("vfat", &["nls_ascii", "nls_cp437", "nls_iso8859_1", "nls_utf8"]),
];

impl FromStr for For {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(set) = ON_DEMAND.iter().find(|set| set.name == text) {
            return Ok(Self::OnDemand(set));
        }
        match text {
            "virtio" => Ok(Self::Virtio),
            "qemu" => Ok(Self::Qemu),
            "firecracker" => Ok(Self::Firecracker),
            "aws" => Ok(Self::Aws),
            "bare-metal" => Ok(Self::BareMetal),
            other if !other.is_empty() && other.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) => {
                Ok(Self::FileSystem(other.to_owned()))
            }
            other => {
                let known = "virtio, qemu, firecracker, aws, bare-metal, docker, netfilter, wireguard, nfs, cifs, http, nvme-tcp, verity";
                Err(format!("\"{other}\" is neither one of {known} nor a file system type"))
            }
        }
    }
}

/// The modules of sets, by what loads them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// Those that are loaded at every boot.
    pub always: Vec<String>,
    /// Those that are loaded by device.
    pub by_device: Vec<String>,
    /// Those that are loaded when the kernel requests them.
    pub on_demand: Vec<String>,
}

/// The modules of an initramfs that are loaded by device or on demand.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Drivers {
    /// All modules that may be loaded, sorted by name.
    pub modules: Vec<Module>,
    /// The index for the init (`whit::modalias`).
    pub index: Vec<u8>,
    /// The number of patterns in the index.
    pub patterns: usize,
    /// Files below /lib/firmware that the modules may request.
    pub firmware: BTreeSet<String>,
}

impl Modules {
    /// Returns the names of the sets' modules that this kernel has as files.
    ///
    /// # Errors
    /// A file system that this kernel has neither as a module nor built in; a set of which it has nothing.
    pub fn of_sets(&self, sets: &[For]) -> Result<Selected, Error> {
        let (mut always, mut by_device, mut on_demand) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        // What a file system asks for while it mounts.
        let mut more = BTreeSet::new();
        // The file system of mkraw's disks; no device has it as an alias.
        let is_machine = |set: &For| !matches!(set, For::FileSystem(_) | For::OnDemand(_));
        if sets.iter().any(is_machine) && self.index.paths.contains_key("ext4") {
            always.push("ext4".to_owned());
        }
        for set in sets {
            let named: Vec<&[&str]> = match set {
                For::Virtio => vec![VIRTIO],
                For::Qemu => vec![VIRTIO, EMULATED],
                For::Firecracker => vec![FIRECRACKER],
                For::Aws => vec![AWS],
                For::BareMetal => {
                    by_device.extend(self.bare_metal()?);
                    vec![VIRTIO]
                }
                For::OnDemand(set) => {
                    let is_there = |name: &&&str| self.index.paths.contains_key(**name);
                    always.extend(set.always.iter().filter(is_there).map(|name| (*name).to_owned()));
                    let named = set.modules.iter().filter(is_there).map(|name| (*name).to_owned());
                    let names: Vec<String> = named.chain(self.below(set.places)).collect();
                    if names.is_empty() && !set.modules.iter().any(|name| self.has(name)) {
                        return Err(Error::NoSet { directory: self.directory.clone(), name: set.name });
                    }
                    on_demand.extend(names);
                    continue;
                }
                For::FileSystem(name) => {
                    // The kernel loads the module for a type by this alias (fs/filesystems.c, get_fs_type()): isofs for iso9660.
                    let found = self.named(name, &format!("fs-{name}"))?;
                    for (_, wanted) in WHILE_MOUNTING.iter().filter(|(kind, _)| found.iter().any(|name| name == kind)) {
                        let wanted = wanted.iter().filter(|name| self.index.paths.contains_key(**name));
                        more.extend(wanted.map(|name| (*name).to_owned()));
                    }
                    always.extend(found);
                    continue;
                }
            };
            let names = named.into_iter().flatten().map(|name| normal_name(name));
            by_device.extend(names.filter(|name| self.index.paths.contains_key(name)));
            // A file system; no device has it as an alias.
            if self.index.paths.contains_key("9p") && matches!(set, For::Virtio | For::Qemu) {
                always.push("9p".to_owned());
            }
        }
        always.extend(more);
        let (by_device, on_demand) = (by_device.into_iter().collect(), on_demand.into_iter().collect());
        Ok(Selected { always, by_device, on_demand })
    }

    /// Returns the names of the modules whose files are among `places` in `kernel/`, or below them.
    pub(super) fn below(&self, places: &[&str]) -> impl Iterator<Item = String> {
        self.index.paths.iter().filter_map(move |(name, path)| {
            let path = path.strip_prefix("kernel").unwrap_or(path);
            let plain = PathBuf::from(path.to_string_lossy().split(".ko").next().unwrap_or_default());
            let is_there = |place: &&str| match place.strip_suffix(".ko") {
                Some(file) => plain == Path::new(file),
                None => path.starts_with(place),
            };
            places.iter().any(is_there).then(|| name.clone())
        })
    }

    /// Makes the index of those modules `by_device` that have a device pattern, and of their dependencies that have one: a bus of a card
    /// reader may be a module that others need, and a device of its own. The modules `on_demand` and their dependencies are in it by
    /// their names and all their aliases. Blacklisted modules are not in it.
    ///
    /// The `full` index has parameters, and two parts, the second after an empty line: see `whit::modalias`.
    ///
    /// # Errors
    /// A missing module; a dependency cycle; a file that is not a module.
    pub fn drivers(&self, by_device: &[String], on_demand: &[String], is_full: bool) -> Result<Drivers, Error> {
        // The directory of the files in the initramfs.
        let index = format!("/lib/modules/{}\n", self.version()).into_bytes();
        let mut drivers = Drivers { index, ..Drivers::default() };
        let mut modules = BTreeMap::new();
        for name in by_device {
            if !self.settings.is_blacklisted(name) && !self.index.patterns(name)?.is_empty() {
                modules.extend(self.closure(&[name])?.load.into_iter().map(|module| (module.name, module.below)));
            }
        }
        let requested: BTreeMap<String, PathBuf> =
            self.closure(on_demand)?.load.into_iter().map(|module| (module.name, module.below)).collect();
        modules.extend(requested.clone());
        let is_late = |name: &String| is_full && SLOW.iter().any(|place| is_in(&self.index.paths[name], place));
        let (mut late, first): (Vec<_>, Vec<_>) = modules.keys().partition(|name| is_late(name));
        // Disks get their names in the order in which they are found, and a parallel SCSI bus takes the longest: its reset has to settle
        // (drivers/scsi/sym53c8xx_2/sym_glue.c, sym53c8xx_timer()).
        let is_parallel_scsi = |name: &str| {
            let load = self.closure(&[name]).map(|closure| closure.load).unwrap_or_default();
            load.iter().any(|module| module.name == "scsi_transport_spi")
        };
        if modules.len() > MAX_DRIVERS {
            let what = format!("has {} modules for the init's index, which takes {MAX_DRIVERS}", modules.len());
            return Err(Error::Unreadable { path: self.directory.clone(), what });
        }
        late.sort_by_cached_key(|name| is_parallel_scsi(name));
        for (number, name) in first.iter().chain(&late).enumerate() {
            if number == first.len() {
                drivers.index.push(b'\n');
            }
            let mut patterns = self.index.patterns(name)?;
            if requested.contains_key(*name) {
                patterns.extend(self.index.names(name)?);
            }
            if patterns.is_empty() || self.settings.is_blacklisted(name) {
                continue;
            }
            let load = self.closure(&[name])?.load;
            let mut lines = Vec::new();
            for module in &load {
                // With this parameter the kernel does not wait until other controllers have looked for their disks
                // (kernel/module/main.c, do_init_module()). A driver of a device would also look for its own device later: two disks
                // could change their names from one boot to the next.
                let is_driver = &module.name == *name || !self.index.patterns(&module.name)?.is_empty();
                let own = match module.name.as_str() {
                    "scsi_mod" => SCSI,
                    _ if is_driver => "",
                    _ => "async_probe",
                };
                lines.push(if is_full { self.line(module, own) } else { module.plain().to_vec() });
            }
            let line = lines.join(&b'\t');
            if line.len() >= MAX_LINE {
                let what = format!("needs {} modules, more than fit in one line of the init's index", load.len());
                return Err(Error::Unreadable { path: self.directory.join(&self.index.paths[*name]), what });
            }
            drivers.index.extend([&line[..], b"\n"].concat());
            for pattern in patterns.iter().filter(|pattern| pattern.len() + 2 < MAX_LINE) {
                drivers.index.extend([b" ", pattern.as_bytes(), b"\n"].concat());
                drivers.patterns += 1;
            }
        }
        for (name, below) in modules {
            drivers.firmware.extend(self.index.modinfo(&name)?.firmware.iter().cloned());
            drivers.modules.push(Module { name, below });
        }
        Ok(drivers)
    }
}

/// Returns whether a module's file is in a directory of the kernel, or in that of an update.
fn is_in(path: &Path, directory: &str) -> bool {
    path.iter().skip(1).collect::<PathBuf>().starts_with(directory)
}

/// Shortens a pattern: one star replaces the trailing fields that match any value. A device of these buses always has all
/// fields.
pub(super) fn shortened(pattern: &str) -> String {
    let is_value = |c: char| matches!(c, '*' | ']') || c.is_ascii_digit() || c.is_ascii_uppercase();
    let mut rest = pattern;
    if ["pci:", "usb:", "virtio:"].iter().any(|bus| pattern.starts_with(bus)) {
        // A field such as `v*`, after a value.
        while let Some(field) =
            rest.strip_suffix('*').map(|rest| rest.trim_end_matches(|c: char| c.is_ascii_lowercase()))
            && field.len() + 1 < rest.len()
            && field.ends_with(is_value)
        {
            rest = field;
        }
    }
    if rest.len() < pattern.len() && !rest.ends_with('*') { format!("{rest}*") } else { rest.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_star_replaces_trailing_fields_that_match_any_value() {
        for (pattern, expected) in [
            ("pci:v00008086d0000100Esv*sd*bc*sc*i*", "pci:v00008086d0000100E*"),
            ("pci:v*d*sv*sd*bc01sc06i01*", "pci:v*d*sv*sd*bc01sc06i01*"),
            ("pci:v*d*sv*sd*bc02sc00i*", "pci:v*d*sv*sd*bc02sc00*"),
            ("pci:v00001AF4d*sv*sd*bc*sc*i*", "pci:v00001AF4*"),
            ("virtio:d00000001v*", "virtio:d00000001*"),
            ("usb:v0421p0019d000[2-9]dc*dsc*dp*ic*isc*ip*in*", "usb:v0421p0019d000[2-9]*"),
            ("usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*", "usb:v*p*d*dc*dsc*dp*ic08isc06ip50*"),
            ("pci:v*d*sv*sd*bc*sc*i*", "pci:v*"),
            ("acpi*:PNP0C0C:*", "acpi*:PNP0C0C:*"),
            ("platform:pcspkr", "platform:pcspkr"),
            ("hid:b*g*v*p*", "hid:b*g*v*p*"),
        ] {
            assert_eq!(shortened(pattern), expected);
        }
    }

    #[test]
    fn sets_have_names() {
        assert_eq!("bare-metal".parse(), Ok(For::BareMetal));
        assert_eq!("xfs".parse(), Ok(For::FileSystem("xfs".to_owned())));
        assert!(matches!("nfs".parse(), Ok(For::OnDemand(OnDemand { name: "nfs", .. }))));
        for bad in ["", "a b", "../x"] {
            assert!(bad.parse::<For>().unwrap_err().contains("bare-metal"), "{bad}");
        }
    }
}
