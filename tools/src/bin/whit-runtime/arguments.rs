//! The command line of an OCI runtime, as runc defined it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use whit_tools::initramfs::INIT_HELP;

/// Run containers as virtual machines: an OCI runtime for podman.
///
/// podman calls it; docs/engines.md says how. Docker is not supported: its hook sets the network up too late, and a machine would have none. The container's root folder is the machine's root, shared by virtiofs.
#[derive(Parser)]
#[command(
    name = "whit-runtime",
    version,
    after_help = "Examples:\n  podman --runtime /usr/bin/whit-runtime run --rm busybox echo hello\n  \
                  podman --runtime /usr/bin/whit-runtime --runtime-flag kernel=/srv/vmlinuz run --rm busybox uname -r",
    max_term_width = 100
)]
pub(crate) struct Arguments {
    /// The folder for the state of containers [default: /run/whit-runtime, or whit-runtime in $XDG_RUNTIME_DIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// A file for error messages
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// The form of these messages
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Accepted for compatibility with runc
    #[arg(long, hide = true)]
    pub(crate) debug: bool,
    /// Accepted for compatibility with runc: the machine's processes stay in the engine's cgroup
    #[arg(long, hide = true)]
    pub(crate) systemd_cgroup: bool,
    /// Accepted for compatibility with runc
    #[arg(long, hide = true, value_name = "WHEN")]
    pub(crate) rootless: Option<String>,
    /// The kernel, as bzImage or, for aarch64, Image [default: Debian's from the cache, or the host's, or Debian's, fetched]
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,
    /// Its modules [default: the host's for its release; if there are none, everything is built in]
    #[arg(long, value_name = "DIR")]
    pub(crate) modules: Option<PathBuf>,
    #[arg(long, help = INIT_HELP, value_name = "FILE")]
    pub(crate) init: Option<PathBuf>,
    /// What executes the guest: auto, kvm or tcg
    #[arg(long, value_name = "KIND")]
    pub(crate) accel: Option<String>,
    /// Take settings from annotations, io.whit.NAME: also from those of images, which may then choose files of the host and privileges
    #[arg(long)]
    pub(crate) allow_annotations: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Prepare a machine, without booting it
    Create(CreateArguments),
    /// Boot it
    Start {
        /// The container
        id: String,
    },
    /// Print its state as JSON
    State {
        /// The container
        id: String,
    },
    /// Send a signal to its workload
    Kill {
        /// The container
        id: String,
        /// A name or a number
        #[arg(default_value = "TERM")]
        signal: String,
        /// Accepted for compatibility with runc: the machine ends with its workload
        #[arg(short, long, hide = true)]
        all: bool,
    },
    /// Remove what is left of a machine that has ended
    Delete {
        /// The container
        id: String,
        /// End it before; a container that does not exist is no error
        #[arg(short, long)]
        force: bool,
    },
    /// Print the states of all containers as JSON
    List {
        /// Their ids alone
        #[arg(short, long)]
        quiet: bool,
        /// Accepted for compatibility with runc: the format is JSON
        #[arg(short, long, hide = true)]
        format: Option<String>,
    },
    /// Run a program beside the workload
    Exec(ExecArguments),
    /// Print what the runtime supports as JSON
    Features,
    /// Those of other runtimes, as `pause`
    #[command(external_subcommand)]
    Other(Vec<OsString>),
    /// The process of a program beside the workload; `exec` starts it
    #[command(hide = true)]
    Client {
        #[arg(long)]
        folder: PathBuf,
        #[arg(long)]
        report: u32,
        #[arg(long)]
        options: u32,
        #[arg(long)]
        tty: bool,
    },
    /// The process of a container; `create` starts it
    #[command(hide = true)]
    Shim {
        #[arg(long)]
        bundle: PathBuf,
        #[arg(long)]
        report: u32,
        #[arg(long)]
        persist: Option<PathBuf>,
    },
}

#[derive(Args)]
pub(crate) struct CreateArguments {
    /// The container
    pub(crate) id: String,
    /// The folder with config.json
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// A socket that gets the terminal
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// A file that gets the id of the container's process
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Accepted for compatibility with runc: a machine gets no descriptors of its host
    #[arg(long, hide = true, value_name = "N")]
    pub(crate) preserve_fds: Option<u32>,
    /// Accepted for compatibility with runc
    #[arg(long, hide = true)]
    pub(crate) no_pivot: bool,
    /// Accepted for compatibility with runc
    #[arg(long, hide = true)]
    pub(crate) no_new_keyring: bool,
}

#[derive(Args)]
pub(crate) struct ExecArguments {
    /// The container
    pub(crate) id: String,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required_unless_present = "process")]
    pub(crate) args: Vec<String>,
    /// A file with the process as JSON, in place of the options
    #[arg(short, long, value_name = "FILE")]
    pub(crate) process: Option<PathBuf>,
    /// An environment variable; repeatable
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<String>,
    /// The working directory
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,
    /// The user
    #[arg(short, long, value_name = "UID[:GID]")]
    pub(crate) user: Option<String>,
    /// A further group; repeatable
    #[arg(short = 'g', long, value_name = "GID")]
    pub(crate) additional_gids: Vec<u32>,
    /// Give the program a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Return once it was started
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// A socket that gets the terminal
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// A file that gets the id of the program's process
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Accepted for compatibility with runc
    #[arg(long, hide = true, value_name = "N")]
    pub(crate) preserve_fds: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_valid() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_names_the_engine_that_is_not_supported() {
        assert!(Arguments::command().render_long_help().to_string().contains("Docker is not supported"));
    }
}
