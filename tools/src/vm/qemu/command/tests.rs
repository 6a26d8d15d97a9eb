//! QEMU's arguments.

use super::*;

fn words(command: &CommandLine) -> String {
    command.to_string()
}

#[test]
fn a_complete_machine_is_printed_as_a_shell_line() {
    let command = CommandLine::new("my kernel")
        .accelerator(Accelerator::Tcg)
        .initrd("init.gz")
        .append("console=ttyS0")
        .append("")
        .append("root=/dev/vda it's")
        .disk(DiskInterface::Virtio, "a,b.img")
        .disk(DiskInterface::Nvme, "c.img")
        .forward("8080:80".parse().unwrap())
        .forward("0.0.0.0:2222:22".parse().unwrap())
        .snapshot();
    assert_eq!(
        words(&command),
        "qemu-system-x86_64 -display none -vga none -serial mon:stdio -no-reboot -nodefaults -machine pc -accel tcg -cpu max,-la57 -m 256M -smp 1 -kernel 'my kernel' \
         -initrd init.gz -append 'console=ttyS0 root=/dev/vda it'\\''s' \
         -drive if=none,id=disk0,format=raw,file=a,,b.img -device virtio-blk-pci,drive=disk0 \
         -drive if=none,id=disk1,format=raw,file=c.img -device nvme,drive=disk1,serial=disk1 -snapshot \
         -netdev user,id=net0,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=tcp:0.0.0.0:2222-:22 \
         -device virtio-net-pci,netdev=net0,romfile="
    );
}

#[test]
fn exact_time_uses_tcg() {
    let command =
        CommandLine::new("k").accelerator(Accelerator::Kvm).exact_time().nic(Nic::None).memory_mib(64).cpus(2);
    let command = command.option("-device", "e1000,mac=52:54:00:00:00:01");
    assert_eq!(
        words(&command),
        "qemu-system-x86_64 -display none -vga none -serial mon:stdio -no-reboot -nodefaults -machine pc -accel tcg -icount shift=0,sleep=off \
         -rtc base=2026-01-01T00:00:00,clock=vm -seed 1 -m 64M -smp 2 -kernel k -nic none \
         -device e1000,mac=52:54:00:00:00:01"
    );
}

#[test]
fn a_microvm_has_no_pci_devices() {
    let command =
        CommandLine::new("k").accelerator(Accelerator::Tcg).board(Board::Microvm).disk(DiskInterface::Virtio, "d");
    assert!(words(&command).contains("virtio-blk-device,drive=disk0") && !words(&command).contains("-pci"));
}

#[test]
fn folders_and_ports_have_devices() {
    let plan9 = Share::Plan9 { folder: "/a,b".into(), read_only: true };
    let virtiofs = Share::Virtiofs { socket: "/run/s".into() };
    let command =
        CommandLine::new("k").accelerator(Accelerator::Tcg).share(plan9).share(virtiofs).port("org.x", "/run/p");
    let command = command.port_into("org.y", "/run/f").memory_mib(64);
    let line = words(&command);
    for part in [
        "-machine pc,memory-backend=memory -object memory-backend-memfd,id=memory,size=64M,share=on",
        "readonly=on,path=/a,,b -device virtio-9p-pci,fsdev=share0,mount_tag=share0",
        "-chardev socket,id=share1,path=/run/s -device vhost-user-fs-pci,chardev=share1,tag=share1",
        "-device virtio-serial-pci -fsdev",
        "-chardev socket,id=port0,path=/run/p -device virtserialport,chardev=port0,id=org.x,name=org.x",
        "-chardev file,id=port1,path=/run/f -device virtserialport,chardev=port1,id=org.y,name=org.y",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let line = words(&command.board(Board::Microvm));
    assert!(
        line.contains("virtio-9p-device,") && line.contains("virtio-serial-device") && !line.contains("-pci,fsdev")
    );
}

#[test]
fn no_path_is_parsed_as_an_option_or_a_protocol() {
    let share = |folder: &str| Share::Plan9 { folder: folder.into(), read_only: false };
    let command = CommandLine::new("k")
        .accelerator(Accelerator::Tcg)
        .disk(DiskInterface::Virtio, "nbd:host:1")
        .disk(DiskInterface::Virtio, "json:{\"driver\": \"raw\"},x")
        .disk(DiskInterface::Virtio, "/a:b,readonly=off")
        .disk(DiskInterface::Virtio, "a/b:c\nd")
        .share(share("d,path=/etc"));
    let arguments = command.arguments();
    for expected in [
        "if=none,id=disk0,format=raw,file=./nbd:host:1",
        "if=none,id=disk1,format=raw,file=./json:{\"driver\": \"raw\"},,x",
        "if=none,id=disk2,format=raw,file=/a:b,,readonly=off",
        "if=none,id=disk3,format=raw,file=a/b:c\nd",
    ] {
        assert!(arguments.iter().any(|argument| argument == expected), "{expected}: {command}");
    }
    assert!(arguments.iter().any(|argument| argument.to_string_lossy().ends_with(",path=d,,path=/etc")), "{command}");
}
