use super::*;
use std::fs;
use std::io::Write;

use tempfile::TempDir;

/// Creates a modules directory with depmod's files.
fn depmod(dependencies: &str, softdeps: &str, aliases: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let aliases = format!("# Aliases extracted from modules themselves.\n{aliases}");
    for (name, text) in [
        ("modules.dep", dependencies),
        ("modules.softdep", softdeps),
        ("modules.alias", &aliases),
        ("modules.builtin", "kernel/fs/ext4/ext4.ko\nkernel/lib/crc16.ko\nkernel/lib/crc32.ko\n"),
    ] {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn load(directory: &TempDir, names: &[&str]) -> Result<String, String> {
    let closure = Modules::open(directory.path()).unwrap().closure(names).map_err(|error| error.to_string())?;
    Ok(closure.load.into_iter().map(|module| module.name).collect::<Vec<_>>().join(" "))
}

/// Returns the smallest ELF module: a header, two sections, `.modinfo` and the names.
fn module(modinfo: &[u8]) -> Vec<u8> {
    const HEADER: usize = 64;
    let names = b"\0.modinfo\0";
    let mut bytes = Vec::new();
    bytes.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    bytes.extend_from_slice(&[1, 0, 62, 0, 1, 0, 0, 0]); // ET_REL, EM_X86_64, EV_CURRENT
    bytes.extend_from_slice(&[0; 16]); // e_entry, e_phoff
    bytes.extend_from_slice(&((HEADER + modinfo.len() + names.len()) as u64).to_le_bytes()); // e_shoff
    bytes.extend_from_slice(&[0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]); // e_flags .. e_shnum 3, e_shstrndx 2
    bytes.extend_from_slice(modinfo);
    bytes.extend_from_slice(names);
    bytes.extend_from_slice(&[0; 64]);
    for (name, kind, offset, size) in
        [(1_u32, 1_u32, HEADER, modinfo.len()), (0, 3, HEADER + modinfo.len(), names.len())]
    {
        bytes.extend_from_slice(&name.to_le_bytes());
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(&[0; 16]); // sh_flags, sh_addr
        bytes.extend_from_slice(&(offset as u64).to_le_bytes());
        bytes.extend_from_slice(&(size as u64).to_le_bytes());
        bytes.extend_from_slice(&[0; 24]); // sh_link .. sh_entsize
    }
    bytes
}

/// Creates a modules directory as dpkg unpacks it, with each module compressed according to its name.
fn unpacked(modules: &[(&str, &[u8])]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("modules.builtin"), "kernel/fs/ext4/ext4.ko\n").unwrap();
    for (name, modinfo) in modules {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = fs::File::create(&path).unwrap();
        let bytes = module(modinfo);
        match path.extension().unwrap().to_str().unwrap() {
            "xz" => {
                let mut encoder = liblzma::write::XzEncoder::new(file, 6);
                encoder.write_all(&bytes).unwrap();
                encoder.finish().unwrap();
            }
            "zst" => zstd::stream::copy_encode(bytes.as_slice(), file, 3).unwrap(),
            "gz" => flate2::write::GzEncoder::new(file, flate2::Compression::default()).write_all(&bytes).unwrap(),
            _ => fs::write(&path, &bytes).unwrap(),
        }
    }
    directory
}

#[test]
fn dependencies_are_loaded_first_and_once() {
    let directory = depmod(
        "kernel/net/virtio_net.ko: kernel/net/net_failover.ko kernel/net/failover.ko\n\
         kernel/net/net_failover.ko: kernel/net/failover.ko\nkernel/net/failover.ko:\n\
         kernel/rng/virtio-rng.ko.xz:\n",
        "",
        "",
    );
    assert_eq!(load(&directory, &["virtio-net"]).unwrap(), "failover net_failover virtio_net");
    assert_eq!(
        load(&directory, &["failover", "virtio_net", "virtio_rng"]).unwrap(),
        "failover net_failover virtio_net virtio_rng"
    );
    let closure = Modules::open(directory.path()).unwrap().closure(&["ext4", "virtio_rng", "ext4"]).unwrap();
    assert_eq!(closure.builtin, ["ext4"]);
    assert_eq!(closure.load, [Module { name: "virtio_rng".to_owned(), below: "kernel/rng/virtio-rng.ko.xz".into() }]);
}

#[test]
fn soft_dependencies_are_loaded_before_and_after() {
    let directory = depmod(
        "f2fs.ko: lz4.ko\nlz4.ko:\ncrc32_generic.ko:\ncrc32-pclmul.ko:\nlate.ko:\n",
        "# made by depmod\nsoftdep f2fs pre: crc32 absent crc16\nsoftdep f2fs post: late\n",
        "# made by depmod\nalias crypto-crc32 crc32_generic\nalias crc32 crc32_pclmul\nalias crc32 crc32_generic\n",
    );
    assert_eq!(load(&directory, &["f2fs"]).unwrap(), "crc32_generic crc32_pclmul lz4 f2fs late");
}

#[test]
fn soft_cycles_are_broken_and_hard_cycles_are_errors() {
    let soft = depmod("a.ko:\nb.ko:\n", "softdep a pre: b\nsoftdep b pre: a\n", "");
    assert_eq!(load(&soft, &["a"]).unwrap(), "b a");
    let mixed = depmod("a.ko:\nb.ko: a.ko\n", "softdep a post: b\n", "");
    assert_eq!(load(&mixed, &["b"]).unwrap(), "a b");
    let hard = depmod("a.ko: b.ko\nb.ko: c.ko\nc.ko: b.ko\n", "", "");
    assert!(load(&hard, &["a"]).unwrap_err().ends_with("cycle of modules: b -> c -> b"));
}

#[test]
fn without_depmod_the_modules_themselves_are_read() {
    let directory = unpacked(&[
        ("kernel/fs/btrfs.ko.xz", b"softdep=pre: crc32c\0depends=raid6-pq,xor\0"),
        ("kernel/lib/raid6_pq.ko.zst", b"depends=\0"),
        ("kernel/lib/xor.ko.gz", b"name=xor\0"),
        ("kernel/crypto/crc32c_generic.ko", b"alias=crypto-crc32c\0alias=crc32c\0"),
        ("kernel/arch/crypto/crc32c-intel.ko", b"alias=crc32c\0depends=ext4\0"),
        ("kernel/broken.ko", b"depends=gone\0"),
    ]);
    assert_eq!(load(&directory, &["btrfs"]).unwrap(), "crc32c_generic crc32c_intel raid6_pq xor btrfs");
    let error = load(&directory, &["broken"]).unwrap_err();
    assert!(error.contains("module \"broken\" needs \"gone\"") && error.contains(directory.path().to_str().unwrap()));
}

#[test]
fn the_error_for_an_invalid_module_has_its_file() {
    let directory = unpacked(&[("kernel/cut.ko.xz", b""), ("kernel/text.ko", b"")]);
    let path = directory.path().join("kernel/cut.ko.xz");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    fs::write(directory.path().join("kernel/text.ko"), "text").unwrap();
    for (name, file) in [("cut", "kernel/cut.ko.xz: "), ("text", "kernel/text.ko: not a kernel module")] {
        let error = load(&directory, &[name]).unwrap_err();
        assert!(error.contains(file), "{error}");
    }
}

#[test]
fn the_error_for_a_missing_module_has_its_directory() {
    let directory = depmod("a.ko:\n", "", "");
    let error = load(&directory, &["virtio-blk"]).unwrap_err();
    assert!(error.contains("no module \"virtio_blk\"") && error.contains(directory.path().to_str().unwrap()));
}

#[test]
fn the_only_kernel_of_a_package_is_found() {
    let package = tempfile::tempdir().unwrap();
    assert!(matches!(Modules::open(package.path()), Err(Error::NotModules(_))));
    assert!(matches!(Modules::open(&package.path().join("absent")), Err(Error::NotModules(_))));
    let add = |version: &str| {
        let directory = package.path().join("lib/modules").join(version);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("modules.builtin"), "").unwrap();
    };
    add("6.1.0-test");
    let modules = Modules::open(package.path()).unwrap();
    assert_eq!(modules.version(), "6.1.0-test");
    assert_eq!(modules.directory(), package.path().join("lib/modules/6.1.0-test"));
    assert!(Modules::open(&package.path().join("lib/modules")).is_ok());
    add("6.12");
    assert!(matches!(Modules::open(package.path()), Err(Error::Several { versions, .. }) if versions.len() == 2));
}

#[test]
fn drivers_have_an_index_of_their_patterns_and_dependencies() {
    let nic =
        b"depends=mii,crc16\0alias=pci:v00008086d0000100Esv*sd*bc*sc*i*\0alias=pci:v00008086d0000100Fsv*sd*bc*sc*i*\0\
                firmware=nic/a.fw\0";
    let directory = unpacked(&[
        ("kernel/drivers/net/ethernet/nic.ko.xz", nic),
        ("kernel/drivers/net/mii.ko", b"alias=net-pf-9\0"),
        ("kernel/lib/crc16.ko.zst", b"depends=\0"),
        ("kernel/drivers/gpu/screen.ko", b"alias=pci:v*d*sv*sd*bc03sc*i*\0"),
    ]);
    let modules = Modules::open(directory.path()).unwrap();
    let selected = modules.of_sets(&[For::BareMetal]).unwrap();
    assert_eq!(selected, Selected { by_device: vec!["nic".to_owned()], ..Selected::default() }, "no screens");
    let drivers = modules.drivers(&selected.by_device, &[], false).unwrap();
    let index = String::from_utf8(drivers.index).unwrap();
    let expected = format!(
        "/lib/modules/{}\nkernel/drivers/net/mii.ko\tkernel/lib/crc16.ko\tkernel/drivers/net/ethernet/nic.ko\n \
         pci:v00008086d0000100E*\n pci:v00008086d0000100F*\n",
        modules.version()
    );
    assert_eq!(index, expected);
    let names: Vec<&str> = drivers.modules.iter().map(|module| module.name.as_str()).collect();
    assert_eq!((names, drivers.patterns), (vec!["crc16", "mii", "nic"], 2));
    assert_eq!(drivers.firmware.into_iter().collect::<Vec<_>>(), ["nic/a.fw"]);
    for module in &drivers.modules {
        assert!(modules.content(module).unwrap().starts_with(b"\x7fELF"), "decompressed");
        assert!(module.plain().ends_with(b".ko"));
    }
}

/// As with rtsx_pci, which rtsx_pci_sdmmc needs: its device is on PCI, and makes that of the other.
#[test]
fn a_dependency_is_in_the_index_with_its_own_patterns() {
    let directory = unpacked(&[
        ("kernel/drivers/mmc/reader.ko", b"depends=bus\0alias=platform:reader\0"),
        ("kernel/drivers/misc/bus.ko", b"depends=core\0alias=pci:v00000001d00000002sv*sd*bc*sc*i*\0"),
        ("kernel/lib/core.ko", b"alias=crypto-core\0"),
    ]);
    let modules = Modules::open(directory.path()).unwrap();
    let index = String::from_utf8(modules.drivers(&["reader".to_owned()], &[], false).unwrap().index).unwrap();
    let lines: Vec<&str> = index.lines().skip(1).collect();
    let expected = [
        "kernel/lib/core.ko\tkernel/drivers/misc/bus.ko",
        " pci:v00000001d00000002*",
        "kernel/lib/core.ko\tkernel/drivers/misc/bus.ko\tkernel/drivers/mmc/reader.ko",
        " platform:reader",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn modules_on_demand_are_in_the_index_by_their_names_and_all_aliases() {
    let directory = unpacked(&[
        (
            "kernel/drivers/net/wireguard/wireguard.ko",
            b"depends=tunnel\0alias=net-pf-16-proto-16-family-wireguard\0alias=rtnl-link-wireguard\0",
        ),
        ("kernel/net/tunnel.ko", b"softdep=pre: hash\0"),
        ("kernel/crypto/fast.ko", b"alias=crypto-hash\0alias=hash\0"),
        ("kernel/net/netfilter/nf_tables.ko", b""),
    ]);
    let modules = Modules::open(directory.path()).unwrap();
    let selected = modules.of_sets(&["wireguard".parse().unwrap()]).unwrap();
    assert_eq!(selected, Selected { on_demand: vec!["wireguard".to_owned()], ..Selected::default() });
    let drivers = modules.drivers(&[], &selected.on_demand, false).unwrap();
    let index = String::from_utf8(drivers.index).unwrap();
    let lines: Vec<&str> = index.lines().skip(1).collect();
    let expected = [
        "kernel/crypto/fast.ko",
        " crypto-hash",
        " fast",
        " hash",
        "kernel/crypto/fast.ko\tkernel/net/tunnel.ko",
        " tunnel",
        "kernel/crypto/fast.ko\tkernel/net/tunnel.ko\tkernel/drivers/net/wireguard/wireguard.ko",
        " net-pf-16-proto-16-family-wireguard",
        " rtnl-link-wireguard",
        " wireguard",
    ];
    assert_eq!(lines, expected);
    assert_eq!(modules.of_sets(&["netfilter".parse().unwrap()]).unwrap().on_demand, ["nf_tables"]);
    let missing = modules.of_sets(&["nfs".parse().unwrap()]).unwrap_err().to_string();
    assert!(missing.ends_with("has no modules of the set \"nfs\""), "{missing}");
}

#[test]
fn file_systems_and_modules_are_found_by_alias() {
    for has_depmod in [false, true] {
        let directory = unpacked(&[
            ("kernel/fs/isofs/isofs.ko", b"alias=fs-iso9660\0alias=iso9660\0"),
            ("kernel/fs/fat/vfat.ko", b"alias=fs-vfat\0"),
            ("kernel/fs/nls/nls_cp437.ko", b"alias=nls_cp437\0"),
            ("kernel/drivers/nic.ko", b"alias=pci:v00000001d*\0"),
        ]);
        fs::write(directory.path().join("modules.builtin.modinfo"), "ext4.alias=fs-ext3\0ext4.license=GPL\0").unwrap();
        if has_depmod {
            let files = ["fs/isofs/isofs", "fs/fat/vfat", "fs/nls/nls_cp437", "drivers/nic"];
            let dependencies: String = files.map(|file| format!("kernel/{file}.ko:\n")).concat();
            fs::write(directory.path().join("modules.dep"), dependencies).unwrap();
            let aliases = "alias fs-iso9660 isofs\nalias fs-vfat vfat\nalias pci:v00000001d* nic\n";
            fs::write(directory.path().join("modules.alias"), aliases).unwrap();
        }
        let modules = Modules::open(directory.path()).unwrap();
        let always = |name: &str| modules.of_sets(&[name.parse().unwrap()]).map(|selected| selected.always.join(" "));
        assert_eq!(always("iso9660").unwrap(), "isofs");
        assert_eq!(always("ext3").unwrap(), "ext4");
        assert_eq!(always("vfat").unwrap(), "vfat nls_cp437");
        assert!(always("zfs").unwrap_err().to_string().contains("no module \"zfs\""));
        assert_eq!(load(&directory, &["pci:v00000001d00000002"]).unwrap(), "nic");
    }
}

/// A slow controller's driver comes last, and does not wait for others where it has no devices; parameters follow the files.
#[test]
fn the_full_index_has_two_parts_and_parameters() {
    let directory = unpacked(&[
        ("kernel/drivers/ata/ahci.ko", b"depends=libahci\0alias=pci:v1*\0parmtype=mobile:int\0"),
        ("kernel/drivers/ata/libahci.ko", b"depends=scsi_mod\0"),
        ("kernel/drivers/scsi/scsi_mod.ko", b"depends=\0"),
        ("kernel/drivers/net/nic.ko", b"alias=pci:v2*\0softdep=pre: helper\0"),
        ("kernel/drivers/net/helper.ko", b"depends=\0"),
        ("kernel/drivers/net/unwanted.ko", b"alias=pci:v3*\0"),
    ]);
    let mut settings = Settings::default();
    settings.add("ahci:mobile=1").unwrap();
    let file = directory.path().join("modprobe.conf");
    fs::write(&file, "options libahci a=b\nblacklist unwanted\n").unwrap();
    settings.read(&file).unwrap();
    let modules = Modules::open(directory.path()).unwrap().with_settings(settings);
    let names: Vec<String> = ["ahci", "nic", "unwanted"].map(str::to_owned).to_vec();
    let index = String::from_utf8(modules.drivers(&names, &[], true).unwrap().index).unwrap();
    let expected = [
        "kernel/drivers/net/helper.ko async_probe\tkernel/drivers/net/nic.ko",
        " pci:v2*",
        "",
        "kernel/drivers/scsi/scsi_mod.ko async_probe scan=sync\tkernel/drivers/ata/libahci.ko async_probe a=b\tkernel/drivers/ata/ahci.ko mobile=1",
        " pci:v1*",
    ];
    assert_eq!(index.lines().skip(1).collect::<Vec<_>>(), expected);

    let check = |options: &str, loaded: &[&str]| {
        let mut settings = Settings::default();
        settings.add(options).unwrap();
        let modules = Modules::open(directory.path()).unwrap().with_settings(settings);
        modules.check_parameters(&loaded.iter().copied().collect()).map_err(|error| error.to_string())
    };
    check("ahci:mobile", &["ahci"]).unwrap();
    let problem = |options, loaded: &[&str]| check(options, loaded).unwrap_err();
    assert!(problem("ahci:mobil=1", &["ahci"]).ends_with("ahci has no parameter \"mobil\"; it has mobile"));
    assert!(problem("ahci:mobile=1", &["nic"]).contains("not among the modules of this initramfs"));
    assert!(problem("ext4:x=1", &["nic"]).contains("ext4.PARAMETER= on the kernel command line"));
}

#[test]
fn a_soft_dependency_of_modprobe_d_is_loaded_too() {
    let directory = depmod("a.ko:\nb.ko:\nc.ko:\n", "", "");
    let file = directory.path().join("x.conf");
    fs::write(&file, "softdep a pre: b post: c\n").unwrap();
    let mut settings = Settings::default();
    settings.read(&file).unwrap();
    let modules = Modules::open(directory.path()).unwrap().with_settings(settings);
    let load = modules.closure(&["a"]).unwrap().load;
    assert_eq!(load.iter().map(|module| module.name.as_str()).collect::<Vec<_>>(), ["b", "a", "c"]);
}

#[test]
fn an_incomplete_depmod_is_an_error() {
    let modules = "kernel/drivers/nic.ko:\n";
    for (dependencies, aliases, expected) in [
        (modules, None, Some("modules.alias: is missing")),
        (modules, Some(""), Some("modules.alias: is empty")),
        (modules, Some("# Aliases extracted from modules themselves.\n"), None),
        ("", Some("# Aliases extracted from modules themselves.\n"), Some("modules.dep: is empty")),
    ] {
        let directory = depmod(dependencies, "", "");
        fs::create_dir_all(directory.path().join("kernel/drivers")).unwrap();
        fs::write(directory.path().join("kernel/drivers/nic.ko"), module(b"")).unwrap();
        let path = directory.path().join("modules.alias");
        match aliases {
            Some(aliases) => fs::write(path, aliases).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        let error = Modules::open(directory.path()).err().map(|error| error.to_string());
        assert_eq!(error.is_some(), expected.is_some(), "{error:?}");
        assert!(expected.is_none_or(|expected| error.unwrap().contains(expected)));
    }
    assert!(Modules::open(depmod("", "", "").path()).is_ok(), "a kernel without modules");
}

#[test]
fn patterns_are_read_from_depmods_files() {
    let directory = depmod(
        "kernel/drivers/net/virtio_net.ko:\nkernel/fs/xfs/xfs.ko:\nkernel/fs/9p/9p.ko:\n",
        "",
        "alias virtio:d00000001v* virtio_net\nalias fs-xfs xfs\n",
    );
    // The module's file is read for its firmware.
    let nic = directory.path().join("kernel/drivers/net/virtio_net.ko");
    fs::create_dir_all(nic.parent().unwrap()).unwrap();
    fs::write(nic, module(b"")).unwrap();
    let modules = Modules::open(directory.path()).unwrap();
    let selected = modules.of_sets(&[For::Virtio, For::FileSystem("xfs".to_owned())]).unwrap();
    assert_eq!(selected.always, ["9p", "xfs"]);
    assert_eq!(selected.by_device, ["virtio_net"]);
    let drivers = modules.drivers(&selected.by_device, &[], false).unwrap();
    assert!(String::from_utf8(drivers.index).unwrap().ends_with("virtio_net.ko\n virtio:d00000001*\n"));
    assert!(matches!(modules.of_sets(&[For::FileSystem("zfs".to_owned())]), Err(Error::Missing { .. })));
}

#[test]
fn a_signature_is_cut_off() {
    let mark = b"~Module signature appended~\n";
    let signed =
        |length: u32| [&b"ELF"[..], b"PKCS#7", &[0, 0, 2, 0, 0, 0, 0, 0], &length.to_be_bytes(), mark].concat();
    assert_eq!(unsigned_length(&signed(6)), 3);
    assert_eq!(unsigned_length(&signed(9)), 0);
    for whole in [signed(10), signed(u32::MAX), b"ELF".to_vec(), mark.to_vec(), vec![]] {
        assert_eq!(unsigned_length(&whole), whole.len());
    }
}
