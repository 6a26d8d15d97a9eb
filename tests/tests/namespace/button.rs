//! The power button. /sys and the devices are made up: a FIFO is the button.

use std::fs;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use whit_tests::namespace::{Machine, Prepared};

/// Keys as sysfs shows them: KEY_POWER alone, and a keyboard with it.
const POWER_ALONE: &str = "10000000000000 0\n";
const KEYBOARD: &str = "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\n";
/// struct input_event: the time, EV_KEY, KEY_POWER, pressed (include/uapi/linux/input.h).
const PRESSED: &[u8] = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x74\0\x01\0\0\0";

/// Makes an input device without a node.
fn device(machine: &Prepared, name: &str, keys: &str) {
    let folder = format!("/proc/{}/root/sys/class/input/{name}/device/capabilities", machine.init());
    fs::create_dir_all(&folder).expect("a tmpfs");
    fs::write(format!("{folder}/key"), keys).expect("a tmpfs");
}

/// The path of a device's node; its folder exists.
fn node(machine: &Prepared, name: &str) -> String {
    let folder = format!("/proc/{}/root/dev/input", machine.init());
    fs::create_dir_all(&folder).expect("a tmpfs");
    format!("{folder}/{name}")
}

/// Makes a device's node, and returns the other end of it.
fn fifo(machine: &Prepared, name: &str) -> File {
    let node = node(machine, name);
    mknodat(CWD, &node, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
    OpenOptions::new().read(true).write(true).open(node).expect("a FIFO")
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_button_is_found_after_gaps_and_devices_that_cannot_be_opened() {
    let machine = Machine::new().mounted("/sys").script("echo up; exec sleep 1000").prepare();
    device(&machine, "event1", KEYBOARD);
    // A link that leads to itself.
    device(&machine, "event3", POWER_ALONE);
    symlink("event3", node(&machine, "event3")).expect("a tmpfs");
    device(&machine, "event9", POWER_ALONE);
    let mut button = fifo(&machine, "event9");
    let mut machine = machine.start();
    machine.wait_for("whit: /dev/input/event3: ELOOP\n");
    machine.wait_for("up\n");
    button.write_all(PRESSED).expect("PID 1 reads");
    machine.finish().powered_off_saying(&["up", "whit: power off"]);
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_power_key_of_a_keyboard_is_the_keyboards() {
    let machine = Machine::new().mounted("/sys").script("echo up; exec sleep 1000").prepare();
    device(&machine, "event0", KEYBOARD);
    let mut keyboard = fifo(&machine, "event0");
    // One without a node is no error: the kernel of this machine may not make any.
    device(&machine, "event1", POWER_ALONE);
    let mut machine = machine.start();
    let before = machine.wait_for("up\n");
    assert!(!before.contains("input"), "{before}");
    keyboard.write_all(PRESSED).expect("room");
    assert!(!machine.descriptors_of_init().iter().any(|(_, path)| path.ends_with("event0")));
}
