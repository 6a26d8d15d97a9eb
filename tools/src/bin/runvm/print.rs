//! Machines for other engines: `--print=KIND --output DIR` writes the files that a machine boots from, and its description in the form
//! of libvirt, Firecracker or KubeVirt. Paths in a description are absolute.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::{Value, json};
use whit_tools::cli::output::Output;
use whit_tools::cli::temporary::Temporary;
use whit_tools::machine::Machine;
use whit_tools::vm::ShareKind;
use whit_tools::vm::qemu::{Board, CommandLine, DiskInterface, Protocol, share_tag};

use crate::arguments::{Arguments, DiskArgument, NicArgument, Printed};
use crate::artefacts::Artefacts;

/// The names of the files.
const KERNEL: &str = "kernel";
const INITRAMFS: &str = "initramfs";
const DISK: &str = "disk.img";

/// The words of a machine of Firecracker's, which ends by a reset: it has no power-off (docs/api_requests/actions.md).
pub(crate) const FIRECRACKER: &str = "reboot=k";
/// The most processors of such a machine (Firecracker's MAX_SUPPORTED_VCPUS).
const FIRECRACKER_CPUS: u32 = 32;

/// Refuses what the engine does not have.
///
/// # Errors
/// A message of one line.
pub(crate) fn check(arguments: &Arguments) -> Result<(), String> {
    let Some(kind) = arguments.print else { return Ok(()) };
    match (kind, &arguments.output) {
        (Printed::Qemu, Some(_)) => {
            return Err("--output is for --print=libvirt, --print=firecracker or --print=kubevirt".to_owned());
        }
        (Printed::Qemu, None) => return Ok(()),
        (_, None) => return Err("--print of another engine's files needs --output DIR".to_owned()),
        (_, Some(folder)) if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) => {
            return Err(format!("--output {}: is not empty; give a new folder", folder.display()));
        }
        _ => {}
    }
    let has_shares = !arguments.volume.is_empty();
    let has_ports = !arguments.publish.is_empty();
    let is_virtio = matches!(arguments.disk_interface, DiskArgument::Virtio) && arguments.nic() != NicArgument::E1000;
    let refused = match kind {
        Printed::Firecracker if has_shares => Some("-v: Firecracker shares no folders"),
        Printed::Firecracker if has_ports => Some("-p: the host forwards to Firecracker's tap, by its own means"),
        Printed::Firecracker if arguments.board() == Board::Virt => Some("only x86-64 machines can be described"),
        Printed::Firecracker if arguments.board() != Board::Microvm => {
            Some("--machine q35 or pc: Firecracker has no PCI bus; leave --machine out")
        }
        Printed::Firecracker if arguments.kaslr => Some("--kaslr: Firecracker boots an ELF file, at its own address"),
        Printed::Firecracker if arguments.cpus > FIRECRACKER_CPUS => {
            return Err(format!(
                "--print=firecracker: --cpus {}: Firecracker has at most {FIRECRACKER_CPUS}",
                arguments.cpus
            ));
        }
        Printed::Firecracker if is_virtio => None,
        Printed::Kubevirt if has_shares => Some("-v: a node's folders are not the pod's; use volumes of Kubernetes"),
        Printed::Kubevirt | Printed::Libvirt if arguments.board() == Board::Microvm => {
            Some("--machine microvm: use q35")
        }
        Printed::Kubevirt if is_virtio => None,
        Printed::Libvirt => None,
        _ => Some("only virtio devices can be described: no --disk-interface ide or nvme, no --nic e1000"),
    };
    refused.map_or(Ok(()), |why| Err(format!("--print={}: {why}", kind.name())))
}

/// Refuses a kernel for Firecracker that is no ELF file: of this bzImage the ELF file could not be unpacked.
fn check_kernel(kind: Printed, kernel: &Path) -> Result<(), String> {
    let mut start = Vec::new();
    let read = File::open(kernel).and_then(|file| file.take(4).read_to_end(&mut start));
    read.map_err(|error| format!("{}: {error}", kernel.display()))?;
    if kind == Printed::Firecracker && start != b"\x7fELF" {
        let name = kernel.display();
        return Err(format!(
            "{name}: Firecracker boots an ELF file; unpack the kernel (the kernel's scripts/extract-vmlinux)"
        ));
    }
    Ok(())
}

/// Writes the folder.
///
/// # Errors
/// A message of one line; the folder is not there then.
pub(crate) fn write(
    arguments: &Arguments,
    kind: Printed,
    artefacts: &Artefacts,
    command: &CommandLine,
    append: &str,
) -> Result<(), String> {
    let folder = arguments.output.as_deref().unwrap_or(Path::new("."));
    let describe = |error: io::Error| format!("--output {}: {error}", folder.display());
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = parent.canonicalize().map_err(describe)?;
    let folder_path = parent.join(folder.file_name().ok_or_else(|| describe(io::ErrorKind::InvalidInput.into()))?);
    check_kernel(kind, &artefacts.kernel)?;
    // An empty folder is replaced.
    let made = Temporary::directory(&parent, ".whit-").map_err(describe)?;
    copy(&artefacts.kernel, &made.path().join(KERNEL))?;
    copy(&artefacts.initramfs, &made.path().join(INITRAMFS))?;
    if let Some((disk, _)) = &artefacts.disk {
        copy(disk, &made.path().join(DISK))?;
    }
    let machine = Described { arguments, artefacts, command, append, folder: &folder_path };
    let files = match kind {
        Printed::Qemu => Vec::new(),
        Printed::Libvirt => vec![("domain.xml", machine.libvirt()?)],
        Printed::Firecracker => vec![("vm-config.json", machine.firecracker())],
        Printed::Kubevirt => vec![("machine.json", machine.kubevirt()), ("Containerfile", machine.containerfile())],
    };
    for (name, text) in files {
        let mut output = Output::create_private(&made.path().join(name)).map_err(describe)?;
        output.file().write_all(text.as_bytes()).and_then(|()| output.commit()).map_err(describe)?;
    }
    // libvirt gives the files to QEMU's user, which only has to reach them.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    fs::set_permissions(made.path(), mode).map_err(describe)?;
    made.settle(|path| fs::rename(path, &folder_path)).map_err(describe)
}

/// A machine to describe.
struct Described<'a> {
    arguments: &'a Arguments,
    artefacts: &'a Artefacts,
    command: &'a CommandLine,
    append: &'a str,
    folder: &'a Path,
}

impl Described<'_> {
    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// The machine's name: that of the folder, in the letters of a host name.
    fn name(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let name = name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        let name = name.trim_matches('-');
        if name.is_empty() { "whit".to_owned() } else { name.chars().take(63).collect() }
    }

    fn has_card(&self) -> bool {
        self.arguments.nic() != NicArgument::None
    }

    /// Describes a domain (libvirt.org/formatdomain.html).
    fn libvirt(&self) -> Result<String, String> {
        let arguments = self.arguments;
        let is_emulated = self.command.is_emulated();
        let (domain, processor) =
            if is_emulated { ("qemu", "<cpu mode='maximum'/>") } else { ("kvm", "<cpu mode='host-passthrough'/>") };
        let (board, machine) = match arguments.board() {
            Board::Pc => ("pc", Machine::X86_64),
            Board::Virt => ("virt", Machine::Aarch64),
            Board::Q35 | Board::Microvm => ("q35", Machine::X86_64),
        };
        let mut devices = String::new();
        if self.artefacts.disk.is_some() {
            let target = match DiskInterface::from(arguments.disk_interface) {
                DiskInterface::Virtio => "<target dev='vda' bus='virtio'/>",
                DiskInterface::Ide if board == "q35" => "<target dev='sda' bus='sata'/>",
                DiskInterface::Ide => "<target dev='hda' bus='ide'/>",
                DiskInterface::Nvme => {
                    return Err("--print=libvirt: --disk-interface nvme: libvirt has no such disk".into());
                }
            };
            devices.push_str(&format!(
                "    <disk type='file' device='disk'>\n      <driver name='qemu' type='raw'/>\n      <source file='{}'/>\n      {target}\n    </disk>\n",
                escaped(&self.path(DISK))
            ));
        }
        if self.has_card() {
            let model = if arguments.nic() == NicArgument::E1000 { "e1000" } else { "virtio" };
            // libvirt forwards ports by passt alone.
            let backend = if arguments.publish.is_empty() { "" } else { "      <backend type='passt'/>\n" };
            let mut forwards = String::new();
            for forward in &arguments.publish {
                let protocol = if forward.protocol == Protocol::Udp { "udp" } else { "tcp" };
                forwards.push_str(&format!(
                    "      <portForward proto='{protocol}' address='{}'>\n        <range start='{}' to='{}'/>\n      </portForward>\n",
                    forward.address, forward.host, forward.guest
                ));
            }
            devices.push_str(&format!(
                "    <interface type='user'>\n{backend}      <model type='{model}'/>\n{forwards}    </interface>\n"
            ));
        }
        for (number, (volume, kind)) in arguments.volume.iter().zip(&self.artefacts.shares).enumerate() {
            let source =
                volume.folder.canonicalize().map_err(|error| format!("-v {}: {error}", volume.folder.display()))?;
            let driver = if *kind == ShareKind::Virtiofs { "virtiofs" } else { "path" };
            let access = if volume.read_only { "      <readonly/>\n" } else { "" };
            devices.push_str(&format!(
                "    <filesystem type='mount' accessmode='passthrough'>\n      <driver type='{driver}'/>\n      <source dir='{}'/>\n      <target dir='{}'/>\n{access}    </filesystem>\n",
                escaped(&source.display().to_string()),
                share_tag(number)
            ));
        }
        let backing = if self.artefacts.shares.contains(&ShareKind::Virtiofs) {
            "  <memoryBacking>\n    <source type='memfd'/>\n    <access mode='shared'/>\n  </memoryBacking>\n"
        } else {
            ""
        };
        // On aarch64, ACPI needs UEFI firmware; without it there is a device tree.
        let has_acpi = machine == Machine::X86_64;
        let features = if has_acpi { "  <features>\n    <acpi/>\n  </features>\n" } else { "" };
        Ok(format!(
            "<domain type='{domain}'>\n  <name>{name}</name>\n  <memory unit='MiB'>{memory}</memory>\n{backing}  <vcpu>{cpus}</vcpu>\n  \
             <os>\n    <type arch='{machine}' machine='{board}'>hvm</type>\n    <kernel>{kernel}</kernel>\n    \
             <initrd>{initramfs}</initrd>\n    <cmdline>{append}</cmdline>\n  </os>\n{features}  \
             {processor}\n  <on_reboot>destroy</on_reboot>\n  <devices>\n{devices}    <serial type='pty'/>\n    \
             <console type='pty'/>\n  </devices>\n</domain>\n",
            name = self.name(),
            memory = self.artefacts.memory_mib,
            cpus = arguments.cpus,
            kernel = escaped(&self.path(KERNEL)),
            initramfs = escaped(&self.path(INITRAMFS)),
            append = escaped(self.append),
        ))
    }

    /// Describes a machine for `firecracker --config-file` (Firecracker's src/firecracker/swagger/firecracker.yaml).
    fn firecracker(&self) -> String {
        let mut drives = Vec::new();
        if self.artefacts.disk.is_some() {
            drives.push(json!({
                "drive_id": "root", "path_on_host": self.path(DISK), "is_root_device": false,
                "is_read_only": self.arguments.read_only,
            }));
        }
        let mut machine = json!({
            "boot-source": {
                "kernel_image_path": self.path(KERNEL), "initrd_path": self.path(INITRAMFS), "boot_args": self.append,
            },
            "drives": drives,
            "machine-config": { "vcpu_count": self.arguments.cpus, "mem_size_mib": self.artefacts.memory_mib },
        });
        if self.has_card() {
            machine["network-interfaces"] = json!([{ "iface_id": "eth0", "host_dev_name": "tap0" }]);
        }
        pretty(&machine)
    }

    /// Describes a VirtualMachine for `kubectl apply` (KubeVirt's api/openapi-spec/swagger.json, v1.VirtualMachine).
    fn kubevirt(&self) -> String {
        let image = self.image();
        let ports: Vec<Value> = (self.arguments.publish.iter())
            .map(|forward| {
                let protocol = if forward.protocol == Protocol::Udp { "UDP" } else { "TCP" };
                json!({ "port": forward.guest, "protocol": protocol })
            })
            .collect();
        let mut devices = json!({ "rng": {} });
        let mut spec = json!({
            "domain": {
                "machine": { "type": if self.arguments.board() == Board::Virt { "virt" } else { "q35" } },
                "cpu": { "cores": self.arguments.cpus },
                "memory": { "guest": format!("{}Mi", self.artefacts.memory_mib) },
                "firmware": { "kernelBoot": {
                    "container": { "image": image, "kernelPath": format!("/boot/{KERNEL}"), "initrdPath": format!("/boot/{INITRAMFS}") },
                    "kernelArgs": self.append,
                } },
            },
            "terminationGracePeriodSeconds": self.artefacts.grace.as_secs() + 30,
        });
        if self.artefacts.disk.is_some() {
            devices["disks"] = json!([{ "name": "root", "disk": { "bus": "virtio" } }]);
            spec["volumes"] =
                json!([{ "name": "root", "containerDisk": { "image": image, "path": format!("/disk/{DISK}") } }]);
        }
        if self.has_card() {
            devices["interfaces"] = json!([{ "name": "default", "model": "virtio", "masquerade": {}, "ports": ports }]);
            spec["networks"] = json!([{ "name": "default", "pod": {} }]);
        } else {
            devices["autoattachPodInterface"] = json!(false);
        }
        spec["domain"]["devices"] = devices;
        pretty(&json!({
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachine",
            "metadata": { "name": self.name() },
            "spec": { "runStrategy": "RerunOnFailure", "template": { "metadata": { "labels": { "app": self.name() } }, "spec": spec } },
        }))
    }

    /// The name of the container image with the kernel and the disk.
    fn image(&self) -> String {
        format!("localhost/{}:latest", self.name())
    }

    /// Describes that container image: KubeVirt's user is 107, in the image of its launcher.
    fn containerfile(&self) -> String {
        let disk =
            if self.artefacts.disk.is_some() { format!("ADD --chown=107:107 {DISK} /disk/\n") } else { String::new() };
        format!(
            "# podman build -t REGISTRY/{name} . && podman push REGISTRY/{name}; then replace {image} in machine.json\n\
             FROM scratch\nADD --chown=107:107 {KERNEL} {INITRAMFS} /boot/\n{disk}",
            name = self.name(),
            image = self.image()
        )
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Escapes a text for XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&apos;")
}

/// Copies a file; blocks of zeros become holes. Only its owner may read the copy: an initramfs has the values of -e.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    const BLOCK: usize = 1 << 16;
    let run = || -> io::Result<()> {
        let (mut source, mut output) = (File::open(from)?, Output::create_private(to)?);
        let target = output.file();
        let mut block = vec![0; BLOCK];
        loop {
            let mut length = 0;
            while length < BLOCK {
                match source.read(&mut block[length..])? {
                    0 => break,
                    count => length += count,
                }
            }
            if block[..length].iter().all(|byte| *byte == 0) {
                target.seek(SeekFrom::Current(length as i64))?;
            } else {
                target.write_all(&block[..length])?;
            }
            if length < BLOCK {
                break;
            }
        }
        let end = target.stream_position()?;
        target.set_len(end)?;
        output.commit()
    };
    run().map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;

    fn parse(line: &str) -> Arguments {
        Arguments::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn what_firecracker_cannot_boot_is_refused() {
        for (options, expected) in [
            ("", None),
            ("--machine microvm --cpus 32", None),
            ("--machine q35", Some("--machine")),
            ("--machine pc", Some("--machine")),
            ("--machine virt", Some("x86-64")),
            ("--platform linux/arm64", Some("x86-64")),
            ("--kaslr", Some("--kaslr")),
            ("--cpus 33", Some("--cpus 33: Firecracker has at most 32")),
            ("-v a:/b", Some("-v: ")),
            ("-p 1:1", Some("-p: ")),
        ] {
            let options = if options.is_empty() { String::new() } else { format!("{options} ") };
            let platform = if options.contains("--platform") { "" } else { "--platform linux/amd64 " };
            let platform = if options.contains("virt") { "" } else { platform };
            let arguments = parse(&format!("runvm --print=firecracker --output new {platform}{options}image"));
            let error = check(&arguments).err();
            let is_right = match (&error, expected) {
                (Some(error), Some(part)) => error.contains(part) && error.lines().count() == 1,
                (error, part) => error.is_none() && part.is_none(),
            };
            assert!(is_right, "{options}: {error:?}");
        }
    }

    #[test]
    fn a_kernel_of_firecracker_is_an_elf_file() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = folder.path().join("kernel");
        for (content, is_right) in [(&b"\x7fELF\x02"[..], true), (b"MZ", false), (b"", false)] {
            fs::write(&kernel, content).unwrap();
            let error = check_kernel(Printed::Firecracker, &kernel).err();
            assert_eq!(error.is_none(), is_right, "{error:?}");
            assert!(error.is_none_or(|error| error.contains("kernel: Firecracker boots an ELF file")));
            assert_eq!(check_kernel(Printed::Libvirt, &kernel), Ok(()));
        }
    }

    /// libvirt refuses `acpi` for a machine of aarch64 without UEFI firmware (src/qemu/qemu_validate.c, qemuValidateDomainDefFeatures()).
    #[test]
    fn a_domain_has_acpi_on_x86_64_alone() {
        for (options, has_acpi) in [("--machine q35", true), ("--machine pc", true), ("--machine virt", false)] {
            let arguments = parse(&format!("runvm --print=libvirt --output new {options} --network none image"));
            let artefacts = Artefacts {
                kernel: "k".into(),
                initramfs: "i".into(),
                disk: None,
                memory_mib: 256,
                shares: Vec::new(),
                has_button: true,
                has_streams: false,
                grace: Duration::ZERO,
                has_exec: false,
                temporary: None,
            };
            let command = CommandLine::new("k").board(arguments.board());
            let folder = Path::new("/new");
            let machine =
                Described { arguments: &arguments, artefacts: &artefacts, command: &command, append: "", folder };
            let domain = machine.libvirt().unwrap();
            assert_eq!(domain.contains("<acpi/>"), has_acpi, "{domain}");
            assert_eq!(domain.contains("<features>"), has_acpi, "{domain}");
        }
    }
}
