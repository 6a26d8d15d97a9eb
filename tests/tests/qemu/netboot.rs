//! The folder of `mkcpio --netboot`, as firmware and boot loaders start it: QEMU's iPXE ROM, PXELINUX, GRUB, UEFI's HTTP boot.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use whit_tests::debian::{kernel, store};
use whit_tests::whole::busybox_tar;
use whit_tests::{deadline, init, tool};
use whit_tools::kernel::debian::Flavour;
use xtask::workspace;

const MAC: &str = "52:54:00:12:34:56";
/// The workload shows what the boot loader passed.
const RECORD: &str =
    "entrypoint /bin/sh\nentrypoint -c\nentrypoint echo got $MAC, $ASSET, two=$TWO; busybox cat /proc/cmdline\n";
const WORDS: &str = "console=ttyS0 panic=-1 quiet whit.on_exit=poweroff whit.net=off whit.env=\"TWO=two words\"";
/// A line of the workload's, and one of the init's.
const EXITED: &str = "whit: exit 0";

/// The folder, and further files.
struct Netboot {
    folder: TempDir,
}

impl Netboot {
    fn new() -> Self {
        Self::with_words(WORDS)
    }

    fn with_words(words: &str) -> Self {
        let folder = tempfile::tempdir_in(workspace::target()).unwrap();
        let record = folder.path().join("record");
        fs::write(&record, RECORD).unwrap();
        let kernel = kernel(Flavour::Cloud, None);
        let mut command = Command::new(tool("mkcpio"));
        command.arg("--netboot").arg(folder.path().join("netboot")).arg("--init").arg(init());
        command.arg("--kernel").arg(&kernel.vmlinuz).arg("--modules").arg(&kernel.modules).args(["--for", "virtio"]);
        command.arg("--rootfs").arg(busybox_tar()).arg("--record").arg(&record).args(["--cmdline", words]);
        let stub = store().package("systemd-boot-efi").unwrap().join("usr/lib/systemd/boot/efi/linuxx64.efi.stub");
        let output = command.arg("--stub").arg(stub).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("netboot").join(name)
    }

    /// Copies a boot loader of Debian's into the folder.
    fn add(&self, package: &str, file: &str) {
        let from = store().package(package).unwrap().join(file);
        fs::copy(&from, self.path(from.file_name().unwrap().to_str().unwrap())).unwrap();
    }

    /// Boots a machine from QEMU's own TFTP server; returns what its console shows.
    fn boot_by_tftp(&self, file: &str, arguments: &[&str]) -> String {
        let network = format!("user,id=net0,tftp={},bootfile={file}", self.path("").display());
        run(qemu(&mut Command::new("qemu-system-x86_64"), &network, arguments))
    }

    /// Boots a machine from dnsmasq and a web server, all in a network of their own.
    fn boot_by_dnsmasq(&self, arguments: &[&str]) -> String {
        let script = format!(
            "ip link set lo up; ip tuntap add tap0 mode tap; ip address add 10.9.0.1/24 dev tap0; ip link set tap0 up\n\
             dnsmasq --conf-file={} --pid-file --user=root --log-facility=-  </dev/null >{} 2>&1 &\n\
             busybox httpd -p 10.9.0.1:80 -h {}\n\
             \"$@\"",
            self.folder.path().join("dnsmasq.conf").display(),
            self.folder.path().join("dnsmasq.log").display(),
            self.path("").display()
        );
        fs::write(self.folder.path().join("dnsmasq.conf"), documented()).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--net", "--pid", "--fork", "--kill-child", "sh", "-ec", &script, "sh", "qemu-system-x86_64"]);
        run(qemu(&mut command, "tap,id=net0,ifname=tap0,script=no,downscript=no", arguments))
    }
}

/// The configuration of dnsmasq in the example's page.
fn documented() -> String {
    let page = whit_tests::documents::read("examples/netboot-installer/README.md");
    let blocks = whit_tests::documents::blocks(&page);
    let block = blocks.into_iter().find(|block| block.text.starts_with("dhcp-range=")).unwrap();
    block.text.replace("tftp-root=/srv/netboot", "no-ping") + "port=0\nkeep-in-foreground\ninterface=tap0\n"
}

fn qemu<'a>(command: &'a mut Command, network: &str, arguments: &[&str]) -> &'a mut Command {
    command.args(["-accel", "tcg", "-m", "512", "-display", "none", "-serial", "stdio", "-monitor", "none"]);
    command.args(["-no-reboot", "-smbios", "type=3,asset=rack 7", "-smbios", "type=2,asset=board 1"]);
    command.args(["-netdev", network]).args(arguments).stdin(Stdio::null())
}

fn run(command: &mut Command) -> String {
    let output = deadline::output(command);
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).replace('\r', "")).concat();
    assert!(output.status.success() && text.contains(EXITED), "{command:?}: {}\n{text}", output.status);
    text
}

/// The card with QEMU's iPXE ROM.
const IPXE_CARD: [&str; 2] = ["-device", "virtio-net-pci,netdev=net0,bootindex=1,mac=52:54:00:12:34:56"];
/// The card without a ROM: UEFI has a driver.
const UEFI_CARD: [&str; 2] = ["-device", "virtio-net-pci,netdev=net0,bootindex=1,mac=52:54:00:12:34:56,romfile="];

/// A machine with Debian's OVMF, which keeps no variables.
fn uefi(more: &[&str]) -> Vec<String> {
    let files = store().package("ovmf").unwrap().join("usr/share/OVMF");
    let drive = |unit: &str, name: &str| format!("if=pflash,format=raw,{unit},file={}/{name}", files.display());
    let code = drive("unit=0,readonly=on", "OVMF_CODE_4M.fd");
    let variables = drive("unit=1,snapshot=on", "OVMF_VARS_4M.fd");
    let words = ["-machine", "q35", "-drive", &code, "-drive", &variables];
    words.iter().chain(&UEFI_CARD).chain(more).map(|word| (*word).to_owned()).collect()
}

fn assert_shows(console: &str, expected: &str) {
    assert!(console.contains(expected), "no {expected:?} in\n{console}");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn ipxe_boots_by_tftp_and_passes_the_address_and_the_asset_tag() {
    let console = Netboot::new().boot_by_tftp("boot.ipxe", &IPXE_CARD);
    assert_shows(&console, &format!("got {MAC}, rack%207, two=two words"));
    assert_shows(&console, "BOOTIF=01-52-54-00-12-34-56 ");
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn ipxe_boots_by_http_from_the_documented_dnsmasq() {
    let console = Netboot::new().boot_by_dnsmasq(&IPXE_CARD);
    assert_shows(&console, &format!("got {MAC}, rack%207, two=two words"));
}

#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn uefi_boots_the_unified_image_by_http() {
    // OVMF would try PXE first, for a minute.
    let no_pxe = ["IPv4PXESupport", "IPv6PXESupport"].map(|name| format!("name=opt/org.tianocore/{name},string=n"));
    let arguments = uefi(&["-fw_cfg", &no_pxe[0], "-fw_cfg", &no_pxe[1]]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let console = Netboot::new().boot_by_dnsmasq(&arguments);
    assert_shows(&console, "UEFI HTTPv4");
    // The image has one command line for all machines.
    assert_shows(&console, "got , , two=two words");
}

mod long {
    use std::fs::File;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, OnceLock};
    use std::thread;
    use std::time::Instant;

    use whit_tests::documents::{Scratch, Tier};
    use whit_tests::http::{Server, send_file};

    use super::*;

    /// Machines of the fleet, and their memory in MiB.
    const FLEET: usize = 20;
    const FLEET_MIB: &str = "96";

    /// The folder of `examples/netboot-installer`: each machine writes its disk from HTTP, checks it and powers off; then its system starts. As
    /// many run at a time as there are processors.
    #[test]
    #[ignore = "needs QEMU and Debian's archive: cargo selftest -- --long runs it"]
    fn twenty_machines_of_96_mib_install_themselves_from_one_folder() {
        let scratch = Scratch::new(Tier::Long);
        symlink(xtask::put::build().unwrap(), scratch.path("bin/put")).unwrap();
        let image = Arc::new(OnceLock::new());
        let served = Arc::clone(&image);
        let server = Server::start(move |request, stream| {
            let content: &Vec<u8> = served.get().expect("the image is there before a machine");
            send_file(request, stream, content, content.len());
        });
        // The host, as QEMU's network shows it.
        let url = server.url.replace("127.0.0.1", "10.0.2.2");
        let config =
            r#"[{"Config": {"Env": ["PATH=/bin"], "Entrypoint": ["/bin/sh", "-c", "echo the system has started"]}}]"#;
        fs::write(scratch.path("web.json"), config).unwrap();
        let script = workspace::root().join("examples/netboot-installer/make.sh");
        let make = format!("THEN=poweroff sh {} web.tar web.json {url}", script.display());
        scratch.run("make.sh", &make);
        image.set(fs::read(scratch.path("netboot/os.img.zst")).unwrap()).unwrap();
        let length = fs::metadata(scratch.path("os.img")).unwrap().len();
        let (next, started) = (AtomicUsize::new(0), Instant::now());
        let processors = thread::available_parallelism().unwrap().get();
        thread::scope(|scope| {
            for _ in 0..processors {
                scope.spawn(|| {
                    while let number @ 0..FLEET = next.fetch_add(1, Ordering::SeqCst) {
                        let (machine, line) = (Instant::now(), install(&scratch, number, length));
                        println!("machine {number}: {:.1} s; {line}", machine.elapsed().as_secs_f64());
                    }
                });
            }
        });
        println!(
            "{FLEET} machines of {FLEET_MIB} MiB, {processors} at a time: {:.1} s",
            started.elapsed().as_secs_f64()
        );
        assert_eq!(server.requests().len(), FLEET);
    }

    /// Boots one machine of the fleet; returns what it says of the disk.
    fn install(scratch: &Scratch, number: usize, length: u64) -> String {
        let disk = scratch.path(&format!("disk{number}"));
        File::create(&disk).unwrap().set_len(256 << 20).unwrap();
        let network = format!("user,id=net0,tftp={},bootfile=boot.ipxe", scratch.path("netboot").display());
        let card = format!("virtio-net-pci,netdev=net0,bootindex=1,mac=52:54:00:00:00:{number:02x}");
        let drive = format!("file={},format=raw,if=virtio", disk.display());
        let mut command = Command::new("qemu-system-x86_64");
        let arguments = ["-device", &card, "-drive", &drive, "-m", FLEET_MIB];
        let output = deadline::output(qemu(&mut command, &network, &arguments));
        let console = String::from_utf8_lossy(&output.stdout).into_owned();
        let [kernel, initramfs] = ["system/boot/vmlinuz", "system/boot/initrd"].map(|name| scratch.path(name));
        let words = "root=LABEL=system whit.grow console=ttyS0 quiet panic=-1 whit.net=off";
        let mut command = Command::new("qemu-system-x86_64");
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs).args(["-append", words]);
        let system = run(qemu(&mut command, "user,id=net0", &arguments));
        assert_shows(&system, "the system has started");
        let written = format!("/dev/vda: {length} bytes in ");
        let line = console.split(['\n', '\x1b']).find_map(|line| Some(&line[line.find(&written)?..]));
        let line = line.unwrap_or_else(|| panic!("machine {number}: no {written:?} in\n{console}")).to_owned();
        fs::remove_file(disk).unwrap();
        line
    }

    #[test]
    #[ignore = "needs QEMU and Debian's archive: cargo selftest -- --long runs it"]
    fn pxelinux_boots_and_names_the_interface_and_the_board() {
        let boot = |words: &str| {
            let netboot = Netboot::with_words(words);
            netboot.add("pxelinux", "usr/lib/PXELINUX/pxelinux.0");
            netboot.add("syslinux-common", "usr/lib/syslinux/modules/bios/ldlinux.c32");
            netboot.boot_by_tftp("pxelinux.0", &IPXE_CARD)
        };
        // Nothing follows an argument of the workload.
        let console = boot(&format!("{WORDS} -- argument"));
        let line = console.lines().find(|line| line.contains(" -- argument")).unwrap_or_default();
        assert!(line.trim_end().ends_with(" -- argument"), "{console}");
        let console = boot(WORDS);
        assert_shows(&console, "got , , two=two words");
        assert_shows(&console, "BOOTIF=01-52-54-00-12-34-56 MBASSET=board_1");
    }

    #[test]
    #[ignore = "needs QEMU and Debian's archive: cargo selftest -- --long runs it"]
    fn grub_boots_and_passes_the_address_and_the_asset_tag() {
        let netboot = Netboot::new();
        netboot.add("grub-efi-amd64-signed", "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed");
        let arguments = uefi(&[]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let console = netboot.boot_by_tftp("grubnetx64.efi.signed", &arguments);
        assert_shows(&console, &format!("got {MAC}, rack 7, two=two words"));
    }
}
