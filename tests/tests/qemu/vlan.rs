//! 802.1Q interfaces of the init `fleet` under real kernels, with a DHCP server that reads and writes the tags.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::thread;

use whit_tests::debian::cloud_kernels;
use whit_tests::init_named;
use whit_tests::namespace::frames::{ACK, Answer, DISCOVER, OFFER, Query, REQUEST};
use whit_tests::whole::{Copy, Guest, VIRTIO, busybox_disk, unpacked};
use whit_tools::compress::Compression;
use whit_tools::initramfs::{self, Packing, Recipe};
use whit_tools::kernel::debian::Kernel;
use whit_tools::vm::qemu::{Accelerator, CommandLine, DiskInterface, Nic};
use xtask::init::Init;

/// The tag of a frame between its addresses and its type: 802.1Q, network 5.
const TAG: [u8; 4] = [0x81, 0, 0, 5];
/// The types of IPv4 and ARP.
const IPV4: [u8; 2] = [8, 0];
const ARP: [u8; 2] = [8, 6];

/// Returns a machine with the init `fleet`, the driver of 802.1Q, and a disk of busybox.
fn machine(kernel: &Kernel, directory: &Path, disk: &Copy) -> CommandLine {
    let initramfs = directory.join(&kernel.release);
    let recipe = Recipe {
        init: init_named(Init::Fleet),
        modules: Some(kernel.modules.clone()),
        load: VIRTIO.iter().chain(&["virtio_net", "8021q"]).map(|&name| name.to_owned()).collect(),
        ..Recipe::default()
    };
    let (tree, _) = recipe.tree().unwrap_or_else(|error| panic!("{error}"));
    initramfs::write(&tree, &initramfs, &Packing::new(Compression::None)).unwrap();
    CommandLine::new(unpacked(kernel))
        .initrd(&initramfs)
        .accelerator(Accelerator::Tcg)
        .disk(DiskInterface::Virtio, disk.path())
        .append("console=ttyS0 loglevel=4 panic=-1 cryptomgr.notests no_timer_check root=/dev/vda whit.net.timeout=60")
}

/// `fleet` has what `whole` has, and 802.1Q interfaces: one on a named interface, with an address of its own.
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn the_fleet_init_makes_vlans() {
    let directory = tempfile::tempdir().unwrap();
    for kernel in cloud_kernels() {
        let disk = Copy::of(&busybox_disk());
        let options = "vlan=eth0.0005:eth0 vlan=vlan7:52:54:00:12:34:56 vlan=wrong:eth0 \
            ip=10.9.0.5:::24::eth0.0005:none ip=10.9.7.5:::25::vlan7:none entrypoint=/bin/sh \
            -- -c \"for a in 10.9.0.5/24 10.9.7.5/25; do until ip address | grep $a; do sleep 0.1; done; done; \
            cat /proc/net/vlan/config; echo shown\"";
        let machine = machine(&kernel, directory.path(), &disk).append(options);
        let mut guest = Guest::start(&machine);
        guest.line("whit: vlan=wrong:eth0: not understood, ignored; it is NAME:DEVICE");
        for line in ["inet 10.9.0.5/24", "inet 10.9.7.5/25", "eth0.0005", "vlan7 ", "shown"] {
            guest.line(line);
        }
        guest.end();
    }
}

/// The other end of a machine's cable: a datagram is a frame.
struct Cable {
    socket: UnixDatagram,
    machine: PathBuf,
    /// The server's messages to the test: the type of each query that was answered, and whether it has an address already.
    seen: Sender<(u8, bool)>,
}

impl Cable {
    /// Answers what comes in network 5, until the machine ends.
    fn serve(self) {
        let mut room = [0; 2048];
        while let Ok(length) = self.socket.recv(&mut room) {
            let Some((addresses, [tag0, tag1, tag2, tag3, rest @ ..])) = room[..length].split_at_checked(12) else {
                continue;
            };
            if [*tag0, *tag1, *tag2, *tag3] != TAG {
                continue;
            }
            let frame = [addresses, rest].concat();
            if let Some(query) = Query::of_frame(&frame) {
                self.answer(&query);
            } else if frame[12..14] == ARP && frame[20..22] == [0, 1] && frame[38..42] == Answer::SERVER {
                self.answer_arp(&frame);
            }
        }
    }

    fn answer(&self, query: &Query) {
        let kind = match query.kind() {
            DISCOVER => OFFER,
            REQUEST => ACK,
            _ => return,
        };
        let is_renewal = query.ciaddr() != [0; 4];
        // It is renewed after 2 seconds.
        let mut answer = Answer::new(query, kind, [10, 55, 0, 55]).with(58, &[0, 0, 0, 2]);
        answer.protocol = [&TAG[..], &IPV4].concat();
        if is_renewal {
            answer.fixed[12..16].copy_from_slice(&query.ciaddr());
            answer.destination.address = whit::ipv4::Address(query.ciaddr());
            answer.to = query.chaddr();
        }
        let _ = self.socket.send_to(&answer.frame(), &self.machine);
        let _ = self.seen.send((query.kind(), is_renewal));
    }

    /// Answers an ARP request (RFC 826).
    fn answer_arp(&self, request: &[u8]) {
        let (sender, machine) = ([2, 0, 0, 0, 0, 1], &request[22..32]);
        let reply = [&machine[..6], &sender, &TAG, &ARP, &request[14..20], &[0, 2], &sender, &Answer::SERVER, machine];
        let _ = self.socket.send_to(&reply.concat(), &self.machine);
    }
}

/// The server hears and answers nothing without the tag.
#[test]
#[ignore = "needs QEMU and Debian's archive: cargo selftest runs it"]
fn a_lease_is_taken_and_renewed_in_a_vlan() {
    let directory = tempfile::tempdir().unwrap();
    for kernel in cloud_kernels() {
        let (ours, theirs) = (directory.path().join("server"), directory.path().join("machine"));
        let disk = Copy::of(&busybox_disk());
        let script = "ip address; ip route; echo shown; while [ ! -e /end ]; do read line; touch /end; done";
        let machine = machine(&kernel, directory.path(), &disk)
            .nic(Nic::None)
            .option(
                "-netdev",
                format!(
                    "dgram,id=cable,local.type=unix,local.path={},remote.type=unix,remote.path={}",
                    theirs.display(),
                    ours.display()
                ),
            )
            .option("-device", "virtio-net-pci,netdev=cable,romfile=")
            .append(&format!("vlan=eth0.5:eth0 ip=eth0.5:dhcp entrypoint=/bin/sh -- -c \"{script}\""));
        let (seen, queries) = mpsc::channel();
        let cable = Cable { socket: UnixDatagram::bind(&ours).unwrap(), machine: theirs, seen };
        thread::spawn(move || cable.serve());
        let mut guest = Guest::start(&machine);
        guest.line("whit: eth0.5 10.55.0.55/24, lease 3600 s");
        guest.line("inet 10.55.0.55/24");
        guest.line("10.55.0.0/24 dev eth0.5");
        guest.line("shown");
        let answered: Vec<(u8, bool)> = queries.iter().take(3).collect();
        assert_eq!(answered, [(DISCOVER, false), (REQUEST, false), (REQUEST, true)]);
        guest.machine().send(b"\n").unwrap();
        guest.end();
        std::fs::remove_file(&ours).unwrap();
    }
}
