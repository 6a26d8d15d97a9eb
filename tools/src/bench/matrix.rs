//! Which boots there are: inits x kernels x cards x roots, and why some of them cannot be.

use std::path::PathBuf;

use super::build::{Contender, Workshop};
use super::kernel::BenchKernel;
use super::machine::{Card, Clock, RootKind, machine};
use crate::qemu::CommandLine;

/// One machine of the matrix.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The init.
    pub contender: String,
    /// The kernel.
    pub kernel: String,
    /// The card.
    pub card: Card,
    /// The root.
    pub root: RootKind,
    /// The initramfs; none is the kernel alone.
    pub initramfs: Option<PathBuf>,
    /// Its size in bytes.
    pub initramfs_bytes: Option<u64>,
    /// What is run.
    pub command: CommandLine,
}

/// A machine that cannot be.
#[derive(Clone, Debug)]
pub struct Skipped {
    /// Init, kernel, card and root.
    pub name: String,
    /// Why.
    pub why: String,
}

impl Cell {
    /// Init, kernel, card and root in one word.
    #[must_use]
    pub fn name(&self) -> String {
        name(&self.contender, &self.kernel, self.card, self.root)
    }
}

fn name(contender: &str, kernel: &str, card: Card, root: RootKind) -> String {
    format!("{contender}/{kernel}/{}/{}", card.name(), root.name())
}

/// Prepares every machine.
///
/// # Errors
/// A file that cannot be looked at; what only one machine lacks skips that machine.
pub fn matrix(
    workshop: &mut Workshop,
    contenders: &[Contender],
    kernels: &[BenchKernel],
    (cards, roots, clock): (&[Card], &[RootKind], Clock),
) -> Result<(Vec<Cell>, Vec<Skipped>), String> {
    let (mut cells, mut skipped) = (Vec::new(), Vec::new());
    for kernel in kernels {
        for root in roots {
            for card in cards {
                for contender in contenders {
                    let name = name(contender.name(), &kernel.name, *card, *root);
                    let initramfs = match workshop.initramfs(contender, kernel, *card, *root) {
                        _ if *root == RootKind::Initramfs && !matches!(contender, Contender::Whit) => {
                            skipped.push(Skipped { name, why: "it wants a disk".into() });
                            continue;
                        }
                        Ok(initramfs) => initramfs,
                        Err(why) => {
                            skipped.push(Skipped { name, why });
                            continue;
                        }
                    };
                    let size = |path: &PathBuf| {
                        path.metadata().map(|file| file.len()).map_err(|error| format!("{}: {error}", path.display()))
                    };
                    cells.push(Cell {
                        contender: contender.name().to_owned(),
                        kernel: kernel.name.clone(),
                        card: *card,
                        root: *root,
                        initramfs_bytes: initramfs.as_ref().map(size).transpose()?,
                        command: machine(
                            &kernel.vmlinuz,
                            initramfs.as_deref(),
                            &workshop.image,
                            (*card, *root, clock),
                            &contender.words(*root),
                        ),
                        initramfs,
                    });
                }
            }
        }
    }
    Ok((cells, skipped))
}
