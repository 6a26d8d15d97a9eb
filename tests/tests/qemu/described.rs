//! Machines described for other engines: the files boot. libvirt's own schema checks the domain. For Firecracker and KubeVirt the tests
//! have lists of fields written by hand: they notice that a field changes or gets another type, not that an engine refuses it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use whit_tests::deadline::output;
use whit_tests::debian::kernel;
use whit_tests::whole::busybox_tar;
use whit_tests::{init, tool};
use whit_tools::kernel::debian::Flavour;
use xtask::workspace;

fn folder() -> TempDir {
    tempfile::tempdir_in(workspace::target()).unwrap()
}

/// Runs a program; returns status, standard output and standard error.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = output(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Runs runvm with the kernel and these options for a machine that says hello.
fn print(folder: &TempDir, options: &[&str]) -> (Option<i32>, String, String) {
    // Of the cloud kernels none has drivers of older devices.
    let kernel = kernel(if options.contains(&"e1000") { Flavour::Generic } else { Flavour::Cloud }, None);
    let mut command = Command::new(tool("runvm"));
    command.arg("--kernel").arg(&kernel.vmlinuz).arg("--modules").arg(&kernel.modules).arg("--init").arg(init());
    command.args(["--accel", "tcg"]).args(options).arg(busybox_tar()).args([
        "/bin/busybox",
        "echo",
        "hello & <good> 'bye'",
    ]);
    command.current_dir(folder.path()).env("WHIT_CACHE", folder.path().join("cache"));
    run(&mut command)
}

/// What a run says that writes nothing.
fn nothing() -> (Option<i32>, String, String) {
    (Some(0), String::new(), String::new())
}

/// Asserts that only the owner can read the files of a folder: the initramfs has the variables of -e.
fn assert_private(folder: &Path) {
    assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o711);
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
}

/// Boots the files of a folder, with further words for the kernel.
fn boot(folder: &TempDir, name: &str, options: &[&str]) -> String {
    let mut command = Command::new(tool("runvm"));
    let at = |file: &str| folder.path().join(name).join(file);
    command.arg("--kernel").arg(at("kernel")).arg("--initrd").arg(at("initramfs")).arg("--disk").arg(at("disk.img"));
    command.args(["--accel", "tcg", "--network", "none"]).args(options);
    let (status, shown, errors) = run(command.env("WHIT_CACHE", folder.path().join("cache")));
    assert_eq!(status, Some(0), "{errors}");
    shown
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_domain_has_the_form_of_libvirts_schema() {
    let folder = folder();
    fs::create_dir(folder.path().join("a & b")).unwrap();
    for (name, options) in [
        ("plain", &["--network", "none"][..]),
        ("all", &["-p", "8080:80", "-p", "127.0.0.2:53:53/udp", "-v", "a & b:/data:ro", "-m", "512M", "--cpus", "2"]),
        ("old", &["--disk-interface", "ide", "--nic", "e1000"]),
        ("memory", &["--no-disk", "--append", "loglevel=4"]),
    ] {
        let options = [&["--print=libvirt", "--output", name], options].concat();
        assert_eq!(print(&folder, &options), nothing(), "{name}");
        assert_private(&folder.path().join(name));
        let domain = folder.path().join(name).join("domain.xml");
        let schema = "/usr/share/libvirt/schemas/domain.rng";
        let (status, _, errors) = run(Command::new("xmllint").args(["--noout", "--relaxng", schema]).arg(&domain));
        assert_eq!(status, Some(0), "{errors}{}", fs::read_to_string(&domain).unwrap());
        let (status, shown, errors) = run(Command::new("virt-xml-validate").arg(&domain));
        assert_eq!(status, Some(0), "{shown}{errors}");
    }
    let domain = fs::read_to_string(folder.path().join("all/domain.xml")).unwrap();
    for part in ["<range start='8080' to='80'/>", "/a &amp; b'/>", "<readonly/>", "<memory unit='MiB'>512</memory>"] {
        assert!(domain.contains(part), "{part}: {domain}");
    }
    assert!(boot(&folder, "plain", &[]).contains("hello & <good> 'bye'"));
    // Holes stay holes.
    let disk = folder.path().join("plain/disk.img").metadata().unwrap();
    assert!(disk.blocks() * 512 < disk.len() / 2, "{} of {}", disk.blocks() * 512, disk.len());
    let (status, _, errors) = print(&folder, &["--print=libvirt", "--output", "plain"]);
    assert_eq!((status, errors.contains("--output plain: is not empty")), (Some(125), true), "{errors}");
    let (status, _, errors) = print(&folder, &["--print=libvirt"]);
    assert_eq!((status, errors.contains("needs --output DIR")), (Some(125), true), "{errors}");
}

/// Asserts that a value has fields of a table only, `PATH TYPE`, and those that are marked by `!`. `*` is each element of a list.
fn check(value: &Value, fields: &[&str]) {
    let mut found = Vec::new();
    walk(value, "", &mut found);
    for (path, kind) in &found {
        let is_known = |field: &&&str| field.trim_start_matches('!') == format!("{path} {kind}");
        assert!(fields.iter().any(|field| is_known(&field)), "{path} {kind}: {value:#}");
    }
    for field in fields.iter().filter_map(|field| field.strip_prefix('!')) {
        assert!(found.iter().any(|(path, kind)| field == format!("{path} {kind}")), "{field}: {value:#}");
    }
}

fn walk(value: &Value, path: &str, found: &mut Vec<(String, &'static str)>) {
    match value {
        Value::Object(fields) if fields.is_empty() => found.push((path.to_owned(), "object")),
        Value::Object(fields) => {
            for (name, value) in fields {
                walk(value, format!("{path}.{name}").trim_start_matches('.'), found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| walk(value, &format!("{path}.*"), found)),
        Value::String(_) => found.push((path.to_owned(), "string")),
        Value::Bool(_) => found.push((path.to_owned(), "boolean")),
        Value::Number(number) if number.is_u64() => found.push((path.to_owned(), "integer")),
        other => panic!("{path}: {other}"),
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_configuration_has_the_fields_of_firecracker() {
    let folder = folder();
    assert_eq!(print(&folder, &["--print=firecracker", "--output", "fc"]), nothing());
    assert_private(&folder.path().join("fc"));
    let machine = json(&folder.path().join("fc/vm-config.json"));
    check(
        &machine,
        &[
            "!boot-source.kernel_image_path string",
            "boot-source.initrd_path string",
            "boot-source.boot_args string",
            "!drives.*.drive_id string",
            "!drives.*.is_root_device boolean",
            "!drives.*.path_on_host string",
            "drives.*.is_read_only boolean",
            "!machine-config.vcpu_count integer",
            "!machine-config.mem_size_mib integer",
            "!network-interfaces.*.iface_id string",
            "!network-interfaces.*.host_dev_name string",
        ],
    );
    // Firecracker boots an ELF file only.
    assert_eq!(fs::read(folder.path().join("fc/kernel")).unwrap()[..4], *b"\x7fELF");
    // QEMU's microvm has the same devices: virtio-mmio, a serial port, no PCI.
    assert!(boot(&folder, "fc", &["--machine", "microvm"]).contains("hello & <good> 'bye'"));
    for (options, error) in [(["-v", "fc:/x"], "-v: Firecracker shares no folders"), (["-p", "1:1"], "-p: ")] {
        let (status, _, errors) = print(&folder, &[&["--print=firecracker", "--output", "no"], &options[..]].concat());
        assert_eq!((status, errors.contains(error)), (Some(125), true), "{errors}");
    }
    assert!(!folder.path().join("no").exists());
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_manifest_has_the_fields_of_kubevirt() {
    let folder = folder();
    assert_eq!(print(&folder, &["--print=kubevirt", "--output", "kv", "-p", "8080:80"]), nothing());
    assert_eq!(print(&folder, &["--print=kubevirt", "--output", "alone", "--network", "none", "--no-disk"]), nothing());
    for name in ["kv", "alone"] {
        assert_private(&folder.path().join(name));
        check(
            &json(&folder.path().join(name).join("machine.json")),
            &[
                "!apiVersion string",
                "!kind string",
                "!metadata.name string",
                "!spec.runStrategy string",
                "spec.template.metadata.labels.app string",
                "spec.template.spec.terminationGracePeriodSeconds integer",
                "spec.template.spec.domain.machine.type string",
                "spec.template.spec.domain.cpu.cores integer",
                "spec.template.spec.domain.memory.guest string",
                "!spec.template.spec.domain.firmware.kernelBoot.container.image string",
                "spec.template.spec.domain.firmware.kernelBoot.container.kernelPath string",
                "spec.template.spec.domain.firmware.kernelBoot.container.initrdPath string",
                "spec.template.spec.domain.firmware.kernelBoot.kernelArgs string",
                "spec.template.spec.domain.devices.rng object",
                "spec.template.spec.domain.devices.autoattachPodInterface boolean",
                "spec.template.spec.domain.devices.disks.*.name string",
                "spec.template.spec.domain.devices.disks.*.disk.bus string",
                "spec.template.spec.domain.devices.interfaces.*.name string",
                "spec.template.spec.domain.devices.interfaces.*.model string",
                "spec.template.spec.domain.devices.interfaces.*.masquerade object",
                "spec.template.spec.domain.devices.interfaces.*.ports.*.port integer",
                "spec.template.spec.domain.devices.interfaces.*.ports.*.protocol string",
                "spec.template.spec.networks.*.name string",
                "spec.template.spec.networks.*.pod object",
                "spec.template.spec.volumes.*.name string",
                "spec.template.spec.volumes.*.containerDisk.image string",
                "spec.template.spec.volumes.*.containerDisk.path string",
            ],
        );
    }
    // `Always` starts a workload that has ended for ever.
    assert_eq!(json(&folder.path().join("kv/machine.json"))["spec"]["runStrategy"], "RerunOnFailure");
    // The container image of the Containerfile.
    let mut build = Command::new("buildah");
    build.arg("--root").arg(folder.path().join("storage")).arg("--runroot").arg(folder.path().join("run"));
    build.args(["--storage-driver=vfs", "build", "--quiet", "--isolation=chroot", "-t"]);
    let archive = format!("oci-archive:{}", folder.path().join("image.tar").display());
    let (status, _, errors) = run(build.arg(&archive).arg(folder.path().join("kv")).env("TMPDIR", folder.path()));
    assert_eq!(status, Some(0), "{errors}");
    let disk = folder.path().join("image.img");
    let (status, _, errors) =
        run(Command::new(tool("mkraw")).arg("-o").arg(&disk).arg(folder.path().join("image.tar")));
    assert_eq!(status, Some(0), "{errors}");
    let (_, shown, errors) = run(Command::new(tool("mkraw")).arg("inspect").arg(&disk).arg("--tree"));
    for file in ["/boot/kernel", "/boot/initramfs", "/disk/disk.img"] {
        let line = shown.lines().find(|line| line.ends_with(&format!(" {file}"))).unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(matches!(words[..], ["-rw-------", "1", "107:107", ..]), "{file}: {shown}{errors}");
    }
}
