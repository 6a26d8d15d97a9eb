//! The drivers of `--for bare-metal`, by their places in a kernel: those of disks, wired network cards, keyboards and power buttons, and of
//! what these are behind.
//!
//! tests/tests/host/mkcpio/sets.rs has the reason for each driver of Debian's kernels that is not among them.

use super::{Error, Modules};

/// Directories, and files: all their drivers.
const PLACES: &[&str] = &[
    "drivers/acpi",
    "drivers/ata",
    "drivers/block",
    "drivers/char/hw_random",
    "drivers/char/virtio_console.ko",
    "drivers/firewire/firewire-ohci.ko",
    "drivers/firewire/firewire-sbp2.ko",
    // hid-generic leaves these keyboards to drivers of their own (drivers/hid/hid-quirks.c, hid_have_special_driver[]).
    "drivers/hid/hid-apple.ko",
    "drivers/hid/hid-asus.ko",
    "drivers/hid/hid-belkin.ko",
    "drivers/hid/hid-cherry.ko",
    "drivers/hid/hid-chicony.ko",
    "drivers/hid/hid-corsair.ko",
    "drivers/hid/hid-cougar.ko",
    "drivers/hid/hid-ezkey.ko",
    "drivers/hid/hid-generic.ko",
    "drivers/hid/hid-google-hammer.ko",
    "drivers/hid/hid-gt683r.ko",
    "drivers/hid/hid-holtek-kbd.ko",
    "drivers/hid/hid-hyperv.ko",
    "drivers/hid/hid-ite.ko",
    "drivers/hid/hid-keytouch.ko",
    "drivers/hid/hid-lenovo.ko",
    "drivers/hid/hid-lg-g15.ko",
    "drivers/hid/hid-logitech-dj.ko",
    "drivers/hid/hid-logitech-hidpp.ko",
    "drivers/hid/hid-logitech.ko",
    "drivers/hid/hid-macally.ko",
    "drivers/hid/hid-maltron.ko",
    "drivers/hid/hid-microsoft.ko",
    "drivers/hid/hid-monterey.ko",
    "drivers/hid/hid-nti.ko",
    "drivers/hid/hid-ortek.ko",
    "drivers/hid/hid-primax.ko",
    "drivers/hid/hid-prodikeys.ko",
    "drivers/hid/hid-redragon.ko",
    "drivers/hid/hid-roccat-arvo.ko",
    "drivers/hid/hid-roccat-isku.ko",
    "drivers/hid/hid-roccat-ryos.ko",
    "drivers/hid/hid-samsung.ko",
    "drivers/hid/hid-semitek.ko",
    "drivers/hid/hid-sunplus.ko",
    "drivers/hid/hid-topseed.ko",
    "drivers/hid/hid-vivaldi.ko",
    "drivers/hid/i2c-hid",
    "drivers/hid/surface-hid",
    "drivers/hid/usbhid",
    "drivers/hv",
    // This and intel-lpss-pci are buses of keyboards in notebooks.
    "drivers/i2c/busses/i2c-designware-pci.ko",
    "drivers/input/evdev.ko",
    "drivers/input/keyboard",
    "drivers/input/misc/axp20x-pek.ko",
    "drivers/input/misc/pm8941-pwrkey.ko",
    "drivers/input/misc/rk805-pwrkey.ko",
    "drivers/input/misc/soc_button_array.ko",
    "drivers/input/serio/hyperv-keyboard.ko",
    "drivers/iommu",
    "drivers/message/fusion",
    "drivers/mfd/intel-lpss-pci.ko",
    "drivers/misc/cardreader",
    "drivers/mmc",
    "drivers/net/ethernet",
    "drivers/net/fjes",
    "drivers/net/hyperv",
    "drivers/net/mdio",
    "drivers/net/net_failover.ko",
    "drivers/net/phy",
    "drivers/net/usb",
    "drivers/net/virtio_net.ko",
    "drivers/net/vmxnet3",
    "drivers/net/xen-netfront.ko",
    "drivers/nvdimm",
    "drivers/nvme/host",
    "drivers/pci",
    "drivers/phy",
    "drivers/platform/surface/aggregator",
    "drivers/platform/surface/surface_aggregator_registry.ko",
    "drivers/scsi",
    "drivers/staging/rts5208",
    "drivers/ufs",
    "drivers/usb/cdns3",
    "drivers/usb/chipidea",
    "drivers/usb/dwc2",
    "drivers/usb/dwc3",
    "drivers/usb/host",
    "drivers/usb/isp1760",
    "drivers/usb/mtu3",
    "drivers/usb/musb",
    "drivers/usb/roles",
    "drivers/usb/storage",
    "drivers/virtio",
];

/// Directories and files whose drivers are parts of a board that others need: clocks, voltages, pins, buses of a chip. Those for cards in a
/// slot are left out.
const BOARDS: &[&str] = &[
    "drivers/bus",
    "drivers/clk",
    "drivers/dma",
    "drivers/extcon",
    "drivers/firmware/arm_scmi",
    "drivers/firmware/arm_scpi.ko",
    "drivers/firmware/scpi_pm_domain.ko",
    "drivers/firmware/turris-mox-rwtm.ko",
    "drivers/gpio",
    "drivers/hwspinlock",
    "drivers/i2c/busses",
    "drivers/i2c/muxes",
    "drivers/interconnect",
    "drivers/irqchip",
    "drivers/mailbox",
    "drivers/mfd",
    "drivers/mux",
    "drivers/nvmem",
    "drivers/pinctrl",
    "drivers/platform/chrome/cros_ec_i2c.ko",
    "drivers/platform/chrome/cros_ec_lpcs.ko",
    "drivers/platform/chrome/cros_ec_rpmsg.ko",
    "drivers/platform/chrome/cros_ec_spi.ko",
    "drivers/pmdomain",
    "drivers/power/reset",
    "drivers/power/supply/axp20x_usb_power.ko",
    "drivers/pwm",
    "drivers/regulator",
    "drivers/reset",
    "drivers/rpmsg",
    "drivers/rtc",
    "drivers/soc",
    "drivers/spi",
    "drivers/tee",
    "drivers/usb/common",
    "drivers/usb/misc/onboard_usb_dev.ko",
    "drivers/usb/phy",
    "drivers/usb/typec/tcpm",
    // A boot loader may have started one, and some are what switches the machine off.
    "drivers/watchdog",
];

/// Returns the directories and files, below a kernel's `kernel/`, from which `--for bare-metal` takes drivers.
pub fn bare_metal_places() -> impl Iterator<Item = &'static str> {
    PLACES.iter().chain(BOARDS).copied()
}

impl Modules {
    /// Returns the names of the set's modules.
    pub(super) fn bare_metal(&self) -> Result<Vec<String>, Error> {
        let mut names: Vec<String> = self.below(PLACES).collect();
        for name in self.below(BOARDS) {
            // Any other bus is one of the board, or leads to a part of a chip on it.
            let is_of_slot = |pattern: &String| ["pci:", "usb:", "dmi"].iter().any(|bus| pattern.starts_with(bus));
            if !self.index.patterns(&name)?.iter().all(is_of_slot) {
                names.push(name);
            }
        }
        Ok(names)
    }
}
