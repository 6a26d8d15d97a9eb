//! The power fails while the workload writes, and no acknowledged write is lost.
//!
//! The disk has a write cache that loses unflushed sectors, each as the seed decides (`whit_tests::power`), and QEMU is killed. This
//! proves that whit mounts the root such that fsync(2) reaches the disk, and that each next boot mounts the disk after the failure,
//! also when the failure came during such a boot. One moment in four is during the boot.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use whit_tests::debian::cloud_kernels;
use whit_tests::disks::Disks;
use whit_tests::power::Disk;
use whit_tests::whole::{DEADLINE, Guest, Shell, assert_clean, busybox, machine};
use whit_tools::kernel::debian::Kernel;
use whit_tools::vm::qemu::{CommandLine, Nic};

/// Prints the number of records of each round, and writes records of this round until the power fails. Without a number it ends.
const WRITER: &str = r#"
for log in /logs/*; do
    test -f $log || continue
    count=$(wc -l <$log)
    test "$(head -n $count $log)" = "$(seq $count)" || echo "broken $log"
    echo "have ${log#/logs/} $count."
done
echo "checked"
test -n "$1" || exit 0
# The cache has writes without a sync as well.
while :; do echo noise >/noise; mv /noise /still; done &
number=0
while :; do
    number=$((number + 1))
    echo $number >>/logs/$1
    sync /logs/$1
    echo "wrote $1 $number."
done
"#;

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Parses the complete lines `WORD ROUND COUNT.` of a console; the last one of a round counts.
fn counts(console: &str, word: &str) -> BTreeMap<usize, u64> {
    let whole = console.lines().filter_map(|line| line.trim_end().strip_suffix('.')?.strip_prefix(word));
    let pairs = whole.filter_map(|line| line.trim_start().split_once(' '));
    pairs.map(|(round, count)| (round.parse().unwrap(), count.parse().unwrap())).collect()
}

fn content(busybox: &Path) -> Vec<u8> {
    let disks = Disks::new();
    let tree = disks.tree();
    for name in ["bin", "logs"] {
        fs::create_dir(tree.join(name)).unwrap();
    }
    fs::copy(busybox, tree.join("bin/busybox")).unwrap();
    for applet in ["sh", "wc", "head", "seq", "sync", "mv"] {
        symlink("busybox", tree.join("bin").join(applet)).unwrap();
    }
    fs::write(tree.join("writer"), WRITER).unwrap();
    fs::read(disks.packed("root", &["mkfs.ext4", "-q", "-d", "{tree}", "{disk}", "24M"])).unwrap()
}

/// Returns a machine without a network card and a disk.
fn bare(kernel: &Kernel) -> CommandLine {
    machine(kernel, &["virtio_pci", "virtio_blk", "ext4"], Shell::No).nic(Nic::None)
}

fn start(command: &CommandLine, bus: &str, disk: &Disk, argument: &str) -> Guest {
    let command = command
        .clone()
        .append(&format!("root=/dev/vda whit.net=off entrypoint=/bin/sh -- /writer {argument}"))
        .option("-drive", format!("if=none,id=cut,format=raw,file=nbd:unix:{}", disk.socket().display()))
        .option("-device", format!("virtio-blk-{bus},drive=cut"));
    Guest::start(&command)
}

/// Cuts the power of one machine after the other, `cuts` times; returns the number of acknowledged records. The disk has a busybox, and is
/// on the virtio bus `pci` or `device`.
pub(crate) fn cut(command: &CommandLine, bus: &str, busybox: &Path, seed: u64, cuts: usize) -> u64 {
    let mut random = Random(seed);
    let disk = Disk::new(content(busybox));
    let mut acknowledged = BTreeMap::new();
    let check = |guest: &Guest, console: &str, acknowledged: &BTreeMap<usize, u64>| {
        guest.assert(!console.contains("broken"), "the disk has other data than was written");
        let have = counts(console, "have");
        for (round, count) in acknowledged {
            let there = have.get(round).copied().unwrap_or_default();
            guest.assert(there >= *count, &format!("{there} of {count} acknowledged records of cut {round}"));
        }
    };
    for round in 0..cuts {
        let mut guest = start(command, bus, &disk, &round.to_string());
        let in_boot = round % 4 == 3;
        if !in_boot {
            guest.machine().wait_for(&format!("wrote {round} "), DEADLINE).unwrap();
        }
        // The moment is random.
        let moment_ms = random.below(if in_boot { 4000 } else { 1000 });
        thread::sleep(Duration::from_millis(moment_ms));
        guest.machine().kill();
        let _ = guest.machine().join();
        let console = guest.machine().transcript();
        if console.contains("checked") {
            check(&guest, &console, &acknowledged);
        }
        let wrote = counts(&console, "wrote");
        let (cached, flushes) = disk.lose_power(|| random.below(2) == 0);
        println!(
            "cut {round}: {moment_ms} ms {}, {:?} acknowledged, {cached} sectors in the cache, {flushes} flushes",
            if in_boot { "into the boot" } else { "into writing" },
            wrote.get(&round)
        );
        acknowledged.extend(wrote);
    }
    let mut guest = start(command, bus, &disk, "");
    let console = guest.end();
    check(&guest, &console, &acknowledged);
    let directory = tempfile::tempdir().unwrap();
    let (_, flushes) = disk.lose_power(|| false);
    disk.save(&directory.path().join("disk"));
    assert_clean(&directory.path().join("disk"));
    guest.assert(flushes > acknowledged.values().sum(), "each record was flushed");
    acknowledged.values().sum()
}

/// Returns the seed of the moments: `WHIT_SEED`, or the time.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("WHIT_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = given.unwrap_or(now.as_nanos() as u64) | 1;
    println!("WHIT_SEED={seed}");
    seed
}

/// The last moment is during the boot.
#[test]
#[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest runs it"]
fn no_acknowledged_write_is_lost_when_the_power_fails_at_four_moments() {
    assert!(cut(&bare(&cloud_kernels()[0]), "pci", &busybox(), seed(), 4) > 0);
}

mod long {
    use super::*;

    /// Two series of machines run at the same time.
    #[test]
    #[ignore = "needs QEMU, Debian's archive and mkfs programs: cargo selftest -- --long runs it"]
    fn no_acknowledged_write_is_lost_when_the_power_fails_at_fifty_moments() {
        const CUTS: usize = 25;
        let (seed, command, busybox) = (seed(), bare(&cloud_kernels()[0]), busybox());
        let (command, busybox) = (&command, &busybox);
        thread::scope(|scope| {
            let machines =
                [seed, seed.rotate_left(32)].map(|seed| scope.spawn(move || cut(command, "pci", busybox, seed, CUTS)));
            let records: u64 = machines.map(|machine| machine.join().unwrap()).iter().sum();
            println!("{records} records were acknowledged in {} cuts, and none was lost", 2 * CUTS);
            assert!(records > 0);
        });
    }
}
