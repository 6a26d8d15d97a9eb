//! The machines that there is an init for, and what each is called by the files, programs and kernels of a machine.

use std::fmt;

use object::elf;

use crate::programs::Program;

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86-64, 64-bit x86, amd64.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
}

/// The names of one machine.
struct Names {
    /// In messages and options, as `uname -m` prints it.
    name: &'static str,
    /// rustc's target.
    triple: &'static str,
    /// e_machine of an ELF file.
    elf: u16,
    /// The machine of a PE file, as an EFI kernel is (PE format, section "Machine Types").
    pe: u16,
    /// The type of a root partition (Discoverable Partitions Specification).
    root_type: u128,
    /// The architecture of an image, and of Debian.
    image: &'static str,
    /// The serial port of QEMU's board, in the kernel's words.
    console: &'static str,
    qemu: Program,
}

impl Machine {
    /// All machines.
    pub const ALL: [Self; 3] = [Self::X86_64, Self::Aarch64, Self::Riscv64];

    const fn names(self) -> &'static Names {
        match self {
            Self::X86_64 => &Names {
                name: "x86_64",
                triple: "x86_64-unknown-linux-gnu",
                elf: elf::EM_X86_64,
                pe: 0x8664,
                root_type: 0x4f68_bce3_e8cd_4db1_96e7_fbca_f984_b709,
                image: "amd64",
                console: "ttyS0",
                qemu: Program { name: "qemu-system-x86_64", package: "qemu-system-x86" },
            },
            Self::Aarch64 => &Names {
                name: "aarch64",
                triple: "aarch64-unknown-linux-gnu",
                elf: elf::EM_AARCH64,
                pe: 0xaa64,
                root_type: 0xb921_b045_1df0_41c3_af44_4c6f_280d_3fae,
                image: "arm64",
                console: "ttyAMA0",
                qemu: Program { name: "qemu-system-aarch64", package: "qemu-system-arm" },
            },
            Self::Riscv64 => &Names {
                name: "riscv64",
                triple: "riscv64gc-unknown-linux-gnu",
                elf: elf::EM_RISCV,
                pe: 0x5064,
                root_type: 0x72ec_70a6_cf74_40e6_bd49_4bda_08e8_f224,
                image: "riscv64",
                console: "ttyS0",
                qemu: Program { name: "qemu-system-riscv64", package: "qemu-system-misc" },
            },
        }
    }

    /// The machine that this program runs on; x86-64 if it is none of these.
    pub const HOST: Self = if cfg!(target_arch = "aarch64") {
        Self::Aarch64
    } else if cfg!(target_arch = "riscv64") {
        Self::Riscv64
    } else {
        Self::X86_64
    };

    /// Returns the machine that a person calls by this name: that of `uname -m`, or of images.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::find(|names| names.name == name || names.image == name)
    }

    /// Returns the machine with this e_machine of ELF files.
    #[must_use]
    pub fn of_elf(number: u16) -> Option<Self> {
        Self::find(|names| names.elf == number)
    }

    /// Returns the machine with this number in PE files.
    #[must_use]
    pub fn of_pe(number: u16) -> Option<Self> {
        Self::find(|names| names.pe == number)
    }

    fn find(is_wanted: impl Fn(&Names) -> bool) -> Option<Self> {
        Self::ALL.into_iter().find(|machine| is_wanted(machine.names()))
    }

    /// Returns the name that `uname -m` prints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.names().name
    }

    /// Returns rustc's target, in whose folder below `target` an init is built.
    #[must_use]
    pub const fn triple(self) -> &'static str {
        self.names().triple
    }

    /// Returns the type of its root partitions, as a GUID in the order of its text.
    #[must_use]
    pub const fn root_type(self) -> [u8; 16] {
        self.names().root_type.to_be_bytes()
    }

    /// Returns [`Machine::root_type`] of all machines.
    #[must_use]
    pub fn root_types() -> [[u8; 16]; 3] {
        Self::ALL.map(Self::root_type)
    }

    /// Returns the architecture of its images (OCI image specification), and of Debian's packages.
    #[must_use]
    pub const fn image(self) -> &'static str {
        self.names().image
    }

    /// Returns the kernel's name of the serial port in QEMU.
    #[must_use]
    pub const fn console(self) -> &'static str {
        self.names().console
    }

    /// Returns the QEMU that emulates it.
    #[must_use]
    pub const fn qemu(self) -> Program {
        self.names().qemu
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::HOST
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_the_machine_that_the_kernel_names() {
        assert_eq!(Machine::HOST.name(), std::env::consts::ARCH);
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(Machine::of_elf(u16::from_le_bytes([own[18], own[19]])), Some(Machine::HOST));
    }

    #[test]
    fn each_name_belongs_to_one_machine() {
        for machine in Machine::ALL {
            let names = machine.names();
            assert_eq!(Machine::named(names.name), Some(machine));
            assert_eq!(Machine::named(names.image), Some(machine));
            assert_eq!(Machine::of_elf(names.elf), Some(machine));
            assert_eq!(Machine::of_pe(names.pe), Some(machine));
        }
        assert_eq!((Machine::named("arm"), Machine::of_elf(40), Machine::of_pe(0)), (None, None, None));
    }
}
