//! Fuzz targets: one function for each parser of foreign bytes.
//!
//! `cargo fuzz` runs them with coverage from `tests/fuzz`; [`Mutator`] feeds them for a bounded time on a stable compiler. A target
//! panics when the parser does, or when its result breaks a promise of its documentation.

mod host;
mod init;
mod put;

use std::fs;
use std::path::{Path, PathBuf};

/// A parser under test.
pub struct Target {
    /// Its name, also the name of its file in `tests/fuzz/fuzz_targets` and of its folder in `tests/fuzz/corpus`.
    pub name: &'static str,
    /// Parses one input.
    pub run: fn(&[u8]),
    /// Generates inputs that are too large to keep in the corpus.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets: first of the init's library, then of the host tools and of put.
pub const TARGETS: &[Target] = &[
    target("command_line", init::command_line),
    target("record", init::record),
    target("root", init::root),
    target("probe", init::probe),
    target("passwd", init::passwd),
    target("interpreter", init::interpreter),
    target("option_values", init::option_values),
    target("datagram", init::datagram),
    target("dhcp_message", init::dhcp_message),
    target("dhcp_client", init::dhcp_client),
    target("dhcpv6_client", init::dhcpv6_client),
    target("netlink", init::netlink),
    target("router_advertisement", init::router_advertisement),
    target("sntp", init::sntp),
    target("modalias", init::modalias),
    target("kernel_tables", init::kernel_tables),
    target("tar", host::tar),
    Target { seeds: host::tar_seeds, ..target("tar_to_disk", host::tar_to_disk) },
    Target { seeds: host::tar_seeds, ..target("tar_to_rootfs", host::tar_to_rootfs) },
    target("initramfs", host::initramfs),
    target("image_layers", host::image_layers),
    target("image_config", host::image_config),
    target("module_index", host::module_index),
    target("kernel_package", host::kernel_package),
    target("kernel_file", host::kernel_file),
    target("put_block_map", put::block_map),
    target("put_configuration", put::configuration),
    Target { seeds: put::table_seeds, ..target("put_table", put::table) },
    Target { seeds: host::disk_seeds, ..target("disk", host::disk) },
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, seeds: Vec::new }
}

/// Runs the target of this name, for the programs of `tests/fuzz`.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of TARGETS").run)(input);
}

impl Target {
    /// Returns the initial inputs: the corpus in the order of its names, then the generated ones.
    pub fn inputs(&self) -> Vec<Vec<u8>> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(self.corpus()).expect("a corpus").map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| fs::read(path).unwrap()).chain((self.seeds)()).collect()
    }

    /// Returns the folder of its corpus.
    pub fn corpus(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(self.name)
    }
}

/// Changes inputs at random. The same seed gives the same changes.
pub struct Mutator(u64);

impl Mutator {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1 << 63)
    }

    /// Returns a number below `limit`, by Marsaglia's xorshift64.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % limit.max(1)
    }

    /// Returns one of the inputs with up to eight changes.
    pub fn mutated(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut input = inputs[self.below(inputs.len())].clone();
        for _ in 0..self.below(9) {
            self.change(&mut input, inputs);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        /// Bytes that parsers look for, and the edges of numbers.
        const BYTES: &[u8] = b"\0\x01\x7f\x80\xff\n :,=/%\\\"'07{}[]";
        let at = self.below(input.len() + 1);
        let longest = if self.below(4) == 0 { 64 } else { 5 };
        let length = self.below(longest);
        let end = (at + length).min(input.len());
        match self.below(8) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..end)),
            2 => input.insert(at, BYTES[self.below(BYTES.len())]),
            3 => {
                let copied = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, copied);
            }
            4 => {
                let other = &inputs[self.below(inputs.len())];
                let from = self.below(other.len() + 1);
                let until = (from + self.below(64)).min(other.len());
                input.splice(at..end, other[from..until].iter().copied());
            }
            5 if at < input.len() => input[at] = BYTES[self.below(BYTES.len())],
            6 if at < input.len() => input[at] ^= 1 << self.below(8),
            _ if at < input.len() => input[at] = u8::try_from(self.below(256)).unwrap_or_default(),
            _ => {}
        }
    }
}
