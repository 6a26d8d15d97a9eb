//! The time from /init to the entrypoint for each disk controller and network card, with the drivers of `--for bare-metal`:
//! bench/drivers.txt. One test of `--long`, which is the benchmark's command too.

mod long {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::sync::Mutex;
    use std::thread;
    use std::time::Duration;

    use whit::contract::TIMELINE;
    use whit_tests::debian::{all_cloud_kernels, variant};
    use whit_tests::whole::{Guest, busybox_disk, timeline, unpacked};
    use whit_tests::{init, tool};
    use whit_tools::kernel::debian::Kernel;
    use whit_tools::machine::Machine;
    use whit_tools::vm::qemu::{Board, CommandLine, Nic};
    use xtask::bench::stay_on_one_processor;
    use xtask::workspace;

    const COMMAND: &str = "UPDATE=1 cargo test --test qemu -- --ignored --exact driver_times::long::each_controller_and_card_has_its_time";

    /// A root's controller: its name, the board, QEMU's devices (the disk is `d`), the root, and whether the cloud kernel has a driver.
    type Controller = (&'static str, Board, &'static [&'static str], &'static str, bool);

    const CONTROLLERS: [Controller; 11] = [
        ("virtio-blk", Board::Q35, &["virtio-blk-pci,drive=d"], "vda", true),
        ("virtio-scsi", Board::Q35, &["virtio-scsi-pci", "scsi-hd,drive=d"], "sda", true),
        ("nvme", Board::Q35, &["nvme,drive=d,serial=s"], "nvme0n1", true),
        ("ahci", Board::Q35, &["ide-hd,drive=d"], "sda", false),
        ("piix ide", Board::Pc, &["ide-hd,drive=d"], "sda", false),
        ("megasas", Board::Q35, &["megasas", "scsi-hd,drive=d"], "sda", false),
        ("pvscsi", Board::Q35, &["pvscsi", "scsi-hd,drive=d"], "sda", false),
        ("lsi53c895a", Board::Pc, &["lsi53c895a", "scsi-hd,drive=d"], "sda", false),
        ("sdhci, SD card", Board::Q35, &["sdhci-pci", "sd-card,drive=d"], "mmcblk0", false),
        ("xhci, usb-storage (late)", Board::Q35, &["qemu-xhci", "usb-storage,drive=d"], "sda", false),
        ("xhci, uas (late)", Board::Q35, &["qemu-xhci", "usb-uas,id=u", "scsi-hd,bus=u.0,drive=d"], "sda", false),
    ];

    /// A root beside three SCSI controllers without disks.
    const SLOW: [&str; 3] = ["lsi53c895a"; 3];

    const CARDS: [&str; 9] =
        ["virtio-net-pci", "e1000", "e1000e", "vmxnet3", "rtl8139", "ne2k_pci", "pcnet", "tulip", "usb-net"];

    /// The sets whose sizes are in the table.
    const SETS: [&str; 3] = ["bare-metal", "qemu", "virtio"];

    /// A boot: its row and column, and its machine.
    struct Boot {
        row: String,
        column: usize,
        command: CommandLine,
    }

    /// Milliseconds by row and column.
    type Times = BTreeMap<(String, usize), f64>;

    /// The releases of kernels that are in the table, separated by commas: all without it.
    const ONLY: &str = "WHIT_ONLY";

    /// Makes the initramfs of a kernel; returns it and its bytes after gzip.
    fn initramfs(kernel: &Kernel, set: &str, folder: &Path) -> (PathBuf, u64) {
        let path = folder.join(format!("{}-{set}.cpio", kernel.release));
        let mut mkcpio = Command::new(tool("mkcpio"));
        mkcpio.arg("-o").arg(&path).arg("--init").arg(init()).arg("--modules").arg(&kernel.modules);
        let made = mkcpio.args(["--for", set]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let packed = Command::new("sh").args(["-c", "gzip -6 -c \"$0\" | wc -c"]).arg(&path).output().unwrap();
        (path, String::from_utf8(packed.stdout).unwrap().trim().parse().unwrap())
    }

    /// The disk, below `target`.
    const DISK: &str = "whole/drivers.img";

    /// Makes the disk. QEMU's SD card has a power of two of bytes.
    fn make_disk() {
        let path = workspace::target().join(DISK);
        std::fs::copy(busybox_disk(), &path).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(128 << 20).unwrap();
    }

    fn boot(kernel: &Kernel, initramfs: &Path, board: Board, devices: &[&str], words: &str) -> CommandLine {
        let disk = workspace::target().join(DISK);
        let command = CommandLine::new(unpacked(kernel))
            .board(board)
            .initrd(initramfs)
            .exact_time()
            .memory_mib(1024)
            .nic(Nic::None)
            .option("-drive", format!("if=none,id=d,format=raw,cache=unsafe,file={}", disk.display()))
            .append("console=ttyS0 loglevel=4 panic=-1 cryptomgr.notests whit.timing entrypoint=/bin/busybox")
            .append(words)
            .append("-- true")
            .snapshot();
        devices.iter().fold(command, |command, device| command.option("-device", device))
    }

    /// Guest time under QEMU's exact clock. While a guest waits for its disk it jumps from timer to timer: the threads of a QEMU are on one
    /// processor, where an answer of the disk is complete before the guest goes on, so that the host's load is not in the times.
    #[test]
    #[ignore = "takes a quarter of an hour: cargo selftest -- --long runs it"]
    fn each_controller_and_card_has_its_time() {
        let folder = tempfile::tempdir_in(workspace::target()).unwrap();
        let cloud: [Kernel; 2] = all_cloud_kernels().try_into().expect("6.1 and 6.12");
        let of = |kernel: &Kernel, name: &str| variant(kernel, Machine::X86_64, name);
        let generic = [of(&cloud[0], "amd64"), of(&cloud[1], "amd64"), of(&cloud[1], "rt-amd64")];
        let mut kernels: Vec<Kernel> = generic.into_iter().chain(cloud).collect();
        if let Ok(only) = std::env::var(ONLY) {
            kernels.retain(|kernel| only.split(',').any(|release| release == kernel.release));
        }
        let (mut sizes, mut boots) = (Vec::new(), Vec::new());
        make_disk();
        for (column, kernel) in kernels.iter().enumerate() {
            let (is_cloud, is_rt) = (kernel.release.contains("-cloud-"), kernel.release.contains("-rt-"));
            let made = SETS.map(|set| initramfs(kernel, set, folder.path()));
            sizes.push(made.each_ref().map(|(_, bytes)| *bytes));
            let (initramfs, _) = &made[0];
            for (name, board, devices, root, is_in_cloud) in CONTROLLERS {
                let words = format!("whit.net=off root=/dev/{root}");
                if is_in_cloud || !is_cloud {
                    let command = boot(kernel, initramfs, board, devices, &words);
                    boots.push(Boot { row: name.to_owned(), column, command });
                }
                if !is_cloud && ["nvme", "ahci"].contains(&name) {
                    let command = boot(kernel, initramfs, board, &[devices, &SLOW].concat(), &words);
                    boots.push(Boot { row: format!("{name}, beside three lsi53c895a"), column, command });
                }
            }
            for card in CARDS {
                if !is_cloud && !is_rt || card == "virtio-net-pci" {
                    let usb = if card == "usb-net" { &["qemu-xhci"][..] } else { &[] };
                    let rom = if usb.is_empty() { ",romfile=" } else { "" };
                    let device = format!("{card},netdev=n{rom}");
                    let devices = [&["virtio-blk-pci,drive=d"][..], usb, &[&device]].concat();
                    let words = "root=/dev/vda whit.net=require whit.net.timeout=60";
                    let command = boot(kernel, initramfs, Board::Q35, &devices, words).option("-netdev", "user,id=n");
                    boots.push(Boot { row: format!("{card}, with a lease"), column, command });
                }
            }
        }
        let mut rows: Vec<String> = Vec::new();
        for boot in &boots {
            if !rows.contains(&boot.row) {
                rows.push(boot.row.clone());
            }
        }
        let taken = Mutex::new((boots.into_iter(), Times::new()));
        thread::scope(|scope| {
            for job in 0..2 {
                let taken = &taken;
                scope.spawn(move || {
                    stay_on_one_processor(job);
                    loop {
                        let Some(boot) = taken.lock().unwrap().0.next() else { break };
                        let mut guest = Guest::start(&boot.command);
                        // The guest's clock is exact; the host may be busy.
                        let _ = guest.machine().wait(Duration::from_secs(1200)).unwrap();
                        let console = guest.machine().transcript();
                        guest.assert_has(&console, &[TIMELINE, "whit: exit 0"]);
                        let stages = timeline(&console);
                        let ms = (stages["entrypoint"] - stages["init"]) as f64 / 1000.0;
                        taken.lock().unwrap().1.insert((boot.row, boot.column), ms);
                    }
                });
            }
        });
        let (_, times) = taken.into_inner().unwrap();
        let report = report(&kernels, &sizes, &rows, &times);
        print!("{report}");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(workspace::root().join("bench/drivers.txt"), report).unwrap();
        }
    }

    fn report(kernels: &[Kernel], sizes: &[[u64; 3]], rows: &[String], times: &Times) -> String {
        let only = std::env::var(ONLY).map(|only| format!("{ONLY}={only} ")).unwrap_or_default();
        let mut text = format!("command   {only}{COMMAND}\n");
        text += "time      guest time from /init to the entrypoint, one instruction a nanosecond (-icount shift=0,sleep=off)\n";
        let qemu = Command::new("qemu-system-x86_64").arg("--version").output().unwrap();
        let _ =
            writeln!(text, "qemu      {}", String::from_utf8_lossy(&qemu.stdout).lines().next().unwrap_or_default());
        text += "root      a disk of mkraw's behind each controller; drivers of --for bare-metal, one initramfs for each kernel\n\n";
        let mut line = |first: &str, cells: Vec<String>| {
            let cells: String = cells.iter().map(|cell| format!("  {cell:>26}")).collect();
            let _ = writeln!(text, "{}", format!("{first:<34}{cells}").trim_end());
        };
        line("milliseconds, one boot each", kernels.iter().map(|kernel| kernel.release.clone()).collect());
        for row in rows {
            let time = |column| times.get(&(row.clone(), column)).map_or("-".to_owned(), |ms| format!("{ms:.1}"));
            line(row, (0..kernels.len()).map(time).collect());
        }
        line("", Vec::new());
        line("initramfs, KiB after gzip -6", Vec::new());
        for (place, set) in SETS.iter().enumerate() {
            line(&format!("--for {set}"), sizes.iter().map(|bytes| format!("{}", bytes[place] / 1024)).collect());
        }
        text
    }
}
