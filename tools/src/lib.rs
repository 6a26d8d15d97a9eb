//! The host half of whit: turns a container image and a kernel into files that boot, and boots them.
//!
//! Each program in `bin/` has its own module: [`disk`] for mkraw, [`initramfs`] and [`netboot`] for mkcpio, [`vm`] for runvm,
//! [`runtime`] for whit-runtime, which uses [`vm`] too. All use [`kernel`], [`archive`] and [`compress`]; everything uses [`cli`], and [`machine`], the
//! list of architectures. No dependency goes the other way.
//!
//! The programs are thin: they parse arguments, call this library and print a message. Bad input gets one line that names the
//! problem, the place and the remedy, and a non-zero exit status. It leaves no output file.
//!
//! # A disk from a tar
//!
//! The same input gives the same bytes, in any folder and at any time:
//!
//! ```
//! use std::fs::File;
//! use whit_tools::disk::image::{self, Options};
//!
//! let folder = tempfile::tempdir()?;
//! let disk = File::create(folder.path().join("disk.img"))?;
//! // An empty archive: two blocks of zeros. Otherwise, the output of `docker export`.
//! let tar = [0; 1024];
//! let options = Options { run_record: "entrypoint /bin/web\n".into(), ..Options::default() };
//! let summary = image::build(&tar[..], &disk, &options)?;
//! assert!(summary.is_empty && disk.metadata()?.len() > 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # An initramfs
//!
//! [`initramfs::Recipe`] names the inputs, [`initramfs::write`] writes the file once it is complete:
//!
//! ```no_run
//! use whit_tools::compress::Compression;
//! use whit_tools::initramfs::{self, Packing, Recipe};
//! use whit_tools::machine::Machine;
//!
//! let init = initramfs::find_init(None, Machine::HOST)?;
//! let recipe = Recipe { init, load: vec!["virtio_net".into()], modules: Some("modules".into()), ..Recipe::default() };
//! let (tree, _) = recipe.tree()?;
//! initramfs::write(&tree, "initramfs.cpio.gz".as_ref(), &Packing::new(Compression::Gzip(9)))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`vm::qemu`] has the example that boots both.
#![deny(unsafe_code)]

pub mod archive;
pub mod cli;
pub mod compress;
pub mod disk;
pub mod initramfs;
pub mod kernel;
pub mod machine;
pub mod netboot;
pub mod programs;
pub mod runrecord;
pub mod runtime;
pub mod vm;
