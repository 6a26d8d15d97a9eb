//! The commands of the documentation, taken out of its Markdown and executed.
//!
//! A fenced block of the language `sh` (commands) or `console` (commands after `$ `, and their output) carries a mark in its info
//! string: `test` (no root, no QEMU), `test qemu`, `test long`, or `no-test: REASON`. All tested blocks of a page run in order, in one
//! scratch folder. A `…` in an expected line stands for any text, a line of `…` alone for any lines.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use xtask::workspace;

use crate::debian::kernel;
use crate::{deadline, executable, init, tool};

/// The languages of blocks that are commands.
const COMMANDS: [&str; 2] = ["sh", "console"];
/// The languages of other blocks.
const OTHERS: [&str; 5] = ["text", "json", "ini", "rust", "dockerfile"];

/// The requirements of a block. Each tier runs the blocks of the tiers before it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// No root, no QEMU.
    Host,
    /// Root, QEMU and Debian's kernel.
    Qemu,
    /// The same, and minutes.
    Long,
}

/// A fenced block of a page.
#[derive(Debug)]
pub struct Block {
    /// The number of its first line in the page.
    pub line: usize,
    /// The first word of its info string.
    pub language: String,
    /// The rest of its info string.
    pub mark: String,
    /// Its lines.
    pub text: String,
}

impl Block {
    /// Returns the tier that runs the block; `None` for one that is not run.
    ///
    /// # Errors
    /// The block has no valid mark.
    pub fn tier(&self) -> Result<Option<Tier>, String> {
        let wrong = |what: &str| Err(format!("line {}: {what}", self.line));
        if !COMMANDS.contains(&self.language.as_str()) {
            let is_known = OTHERS.contains(&self.language.as_str()) && self.mark.is_empty();
            return if is_known { Ok(None) } else { wrong(&format!("a block of the language \"{}\"", self.language)) };
        }
        match self.mark.as_str() {
            "test" => Ok(Some(Tier::Host)),
            "test qemu" => Ok(Some(Tier::Qemu)),
            "test long" => Ok(Some(Tier::Long)),
            mark => match mark.strip_prefix("no-test: ").map(str::trim) {
                Some("") | None => wrong("commands without a mark: test, test qemu, test long or no-test: REASON"),
                Some(_) => Ok(None),
            },
        }
    }
}

/// Returns the Markdown pages of the documentation, by their paths in the repository.
#[must_use]
pub fn pages() -> Vec<String> {
    let root = workspace::root();
    let mut pages: Vec<String> =
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"].map(str::to_owned).to_vec();
    let folders = fs::read_dir(root.join("examples")).into_iter().flatten().map(|entry| entry.unwrap().path());
    let folders = folders.filter(|path| path.is_dir());
    for folder in folders.chain(["docs", "examples", ".github/ISSUE_TEMPLATE"].map(|folder| root.join(folder))) {
        let files = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "md"));
        pages.extend(files.map(|file| file.strip_prefix(root).unwrap().to_str().unwrap().to_owned()));
    }
    pages.retain(|page| root.join(page).is_file());
    pages.sort();
    pages
}

/// Returns the text of a page.
#[must_use]
pub fn read(page: &str) -> String {
    fs::read_to_string(workspace::root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// Returns the fenced blocks of a page.
#[must_use]
pub fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_inside = false;
    for (index, line) in markdown.lines().enumerate() {
        match (line.strip_prefix("```"), blocks.last_mut()) {
            (None, Some(block)) if is_inside => block.text += &format!("{line}\n"),
            (Some(_), Some(_)) if is_inside => is_inside = false,
            (Some(info), _) => {
                let (language, mark) = info.trim().split_once(' ').unwrap_or((info.trim(), ""));
                blocks.push(Block {
                    line: index + 2,
                    language: language.to_owned(),
                    mark: mark.trim().to_owned(),
                    text: String::new(),
                });
                is_inside = true;
            }
            _ => {}
        }
    }
    blocks
}

/// Executes the blocks of a page up to a tier.
///
/// # Panics
/// When a command fails, or prints other text than the page shows.
pub fn run(page: &str, tier: Tier) {
    let scratch = Scratch::new(tier);
    let markdown = read(page);
    if tier > Tier::Host && markdown.contains("cargo build-put") {
        let put = xtask::put::build().unwrap_or_else(|error| panic!("{error}"));
        symlink(put, scratch.path("bin/put")).unwrap();
    }
    if page.starts_with("examples/") {
        scratch.add_scripts(page);
    }
    let mut ran = 0;
    for block in blocks(&markdown) {
        let wanted = block.tier().unwrap_or_else(|error| panic!("{page}: {error}"));
        if wanted.is_some_and(|wanted| wanted <= tier) {
            let at = format!("{page}:{}", block.line);
            match block.language.as_str() {
                "console" => scratch.run_session(&at, &block.text),
                _ => drop(scratch.run(&at, &block.text)),
            }
            ran += 1;
        }
    }
    assert!(ran > 0, "{page}: no block for {tier:?}");
}

/// A folder with the files that the documentation's commands use, and stand-ins for programs of a user's host.
pub struct Scratch {
    folder: TempDir,
    tier: Tier,
    kernel: Option<(PathBuf, PathBuf)>,
}

/// A stand-in for docker. It returns the image in the scratch folder for any container name.
const DOCKER: &str = r#"#!/bin/sh
here=${0%/bin/docker}/.docker
case $1 in
create) echo 4f66ad9a0b2e ;;
export) cat "$here/web.tar" ;;
inspect) cat "$here/web.json" ;;
*) echo "the stand-in for docker has no $1" >&2; exit 1 ;;
esac
"#;

/// QEMU on a host without KVM. A busy host may run it too late for the kernel's check of its timer, which would be reported
/// (arch/x86/kernel/apic/io_apic.c, check_timer()).
const QEMU: &str = r#"#!/bin/bash
case " $* " in *" -accel kvm "*) echo "no KVM in tests" >&2; exit 1 ;; esac
arguments=()
for argument; do
    test "$previous" != -append || argument="no_timer_check $argument"
    arguments+=("$argument") previous=$argument
done
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin exec qemu-system-x86_64 "${arguments[@]}"
"#;

/// The start of the warning of runvm on such a host; the pages leave it out.
const EMULATED: &str = "runvm: KVM cannot be used here: ";

/// The output of `docker inspect` for the container `web`.
const INSPECTED: &str = r#"[{"Config": {"Hostname": "web", "User": "", "Env": ["PATH=/bin"], "WorkingDir": "/www",
    "Entrypoint": ["/bin/serve"], "Cmd": ["80"], "StopSignal": "SIGTERM"}}]
"#;

/// The program of the container `web`. busybox's httpd has no handler for SIGTERM.
const SERVE: &str = "#!/bin/sh\ntrap 'kill $!; exit 0' TERM\nhttpd -f -p $1 -h /www & wait\n";

impl Scratch {
    /// Makes the folder. It has a container with a web server as `web.tar` and `web.json`; mkraw, mkcpio, runvm and stand-ins for docker
    /// and QEMU are in PATH.
    #[must_use]
    pub fn new(tier: Tier) -> Self {
        let folder = tempfile::tempdir_in(workspace::target()).unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("bin")).unwrap();
        for name in ["mkraw", "mkcpio", "runvm", "whit-runtime"] {
            symlink(tool(name), at("bin").join(name)).unwrap();
        }
        executable::write_program(&at("bin/docker"), DOCKER.as_bytes());
        executable::write_program(&at("bin/qemu-system-x86_64"), QEMU.as_bytes());
        init();
        fs::create_dir(at(".docker")).unwrap();
        make_web(&at(".docker/files"), &at("web.tar"));
        fs::write(at("web.json"), INSPECTED).unwrap();
        for name in ["web.tar", "web.json"] {
            fs::copy(at(name), at(".docker").join(name)).unwrap();
        }
        fs::create_dir_all(at("site")).unwrap();
        fs::write(at("site/index.html"), "hello from the host\n").unwrap();
        fs::create_dir(at("cache")).unwrap();
        let kernel = (tier > Tier::Host).then(|| {
            let kernel = kernel(whit_tools::kernel::debian::Flavour::Cloud, None);
            // runvm boots the kernel that is kept here.
            symlink(workspace::target().join("debian"), at("cache/debian")).unwrap();
            (kernel.vmlinuz, kernel.modules)
        });
        Self { folder, tier, kernel }
    }

    /// Returns the path of a file of the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds the scripts beside a page.
    fn add_scripts(&self, page: &str) {
        let page = workspace::root().join(page);
        for file in fs::read_dir(page.parent().expect("a folder")).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "sh") {
                symlink(&file, self.path(file.file_name().unwrap().to_str().unwrap())).unwrap();
            }
        }
    }

    /// Runs commands with `bash -e`; returns what they print.
    ///
    /// # Panics
    /// When they fail. `at` is their place in the page.
    pub fn run(&self, at: &str, commands: &str) -> String {
        self.execute(at, &format!("set -euo pipefail\n{commands}"))
    }

    fn execute(&self, at: &str, commands: &str) -> String {
        let script = format!("exec 2>&1\n{commands}");
        let mut command = if self.tier > Tier::Host {
            // A network of its own: pages are tested at the same time and use the same ports. The processes that a block leaves end with
            // its shell, which is their PID 1.
            let mut command = self.command("unshare");
            command.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
            command.args(["sh", "-c", "ip link set lo up; exec \"$@\"", "sh", "bash"]);
            command
        } else {
            self.command("bash")
        };
        let output = deadline::output(command.arg("-c").arg(script));
        let shown = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        assert!(output.status.success(), "{at}: {}\n{commands}\nshowed:\n{shown}", output.status);
        shown
    }

    /// Returns a command in the folder, with the environment of the documentation's commands.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("PATH", path).env("WHIT_CACHE", self.path("cache"));
        command.env("HOME", self.folder.path()).env_remove("SOURCE_DATE_EPOCH").stdin(Stdio::null());
        if let Some((vmlinuz, modules)) = &self.kernel {
            command.env("KERNEL", vmlinuz).env("MODULES", modules);
        }
        command
    }

    /// Runs each command of a session, and compares what it prints.
    fn run_session(&self, at: &str, session: &str) {
        let mut rest = session.lines().peekable();
        while let Some(line) = rest.next() {
            let mut command = line.strip_prefix("$ ").unwrap_or_else(|| panic!("{at}: no command: {line}")).to_owned();
            while command.ends_with('\\') {
                command += &format!("\n{}", rest.next().unwrap_or_default());
            }
            let mut expected = Vec::new();
            while let Some(line) = rest.next_if(|line| !line.starts_with("$ ")) {
                expected.push(line);
            }
            let shown = self.execute(at, &command);
            let lines: Vec<&str> = shown.lines().filter(|line| !line.starts_with(EMULATED)).collect();
            assert!(
                is_like(&lines, &expected),
                "{at}: {command}\nshowed:\n{shown}\nexpected:\n{}",
                expected.join("\n")
            );
        }
    }
}

/// Makes the container's files, and the tar that `docker export` would write.
fn make_web(image: &Path, tar: &Path) {
    crate::use_standard_umask();
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp", "data", "www"] {
        fs::create_dir_all(image.join(folder)).unwrap();
    }
    fs::copy("/bin/busybox", image.join("bin/busybox")).expect("apt-get install busybox-static");
    for applet in
        ["sh", "httpd", "cat", "echo", "hostname", "id", "ip", "mount", "sleep", "uname", "wc", "df", "ls", "env"]
    {
        symlink("busybox", image.join("bin").join(applet)).unwrap();
    }
    executable::write_program(&image.join("bin/serve"), SERVE.as_bytes());
    fs::write(image.join("www/index.html"), "hello from a machine\n").unwrap();
    fs::write(image.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\nwww:x:33:33:www:/www:/bin/sh\n").unwrap();
    let mut command = Command::new("tar");
    command.arg("--directory").arg(image).args(["--sort=name", "--owner=0", "--group=0", "--mtime=@1735689600"]);
    let made = command.arg("--create").arg("--file").arg(tar).arg(".").status().unwrap();
    assert!(made.success());
}

/// Returns whether lines match those of a page.
fn is_like(lines: &[&str], expected: &[&str]) -> bool {
    match (lines, expected) {
        ([], []) => true,
        (_, ["…", rest @ ..]) => (0..=lines.len()).any(|count| is_like(&lines[count..], rest)),
        ([line, lines @ ..], [pattern, rest @ ..]) => is_line_like(line.trim_end(), pattern) && is_like(lines, rest),
        _ => false,
    }
}

/// Returns whether a line matches a pattern, in which each `…` stands for any text.
fn is_line_like(line: &str, pattern: &str) -> bool {
    match pattern.split_once('…') {
        None => line == pattern,
        Some((before, after)) => line.strip_prefix(before).is_some_and(|rest| {
            let places = rest.char_indices().map(|(place, _)| place).chain([rest.len()]);
            places.into_iter().any(|place| is_line_like(&rest[place..], after))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_languages_marks_and_lines() {
        let found = blocks("a\n```sh test qemu\nx\ny\n```\n```text\n$\n```\n```sh no-test: needs docker\nz\n```\n");
        assert_eq!(found.len(), 3);
        assert_eq!((found[0].line, found[0].text.as_str()), (3, "x\ny\n"));
        assert_eq!(found[0].tier(), Ok(Some(Tier::Qemu)));
        assert_eq!(found[1].tier(), Ok(None));
        assert_eq!(found[2].tier(), Ok(None));
    }

    #[test]
    fn a_command_without_a_mark_is_refused() {
        for info in ["sh", "sh tested", "sh no-test:", "console", "bash test", ""] {
            assert!(blocks(&format!("```{info}\n```\n"))[0].tier().is_err(), "{info}");
        }
    }

    #[test]
    fn an_ellipsis_stands_for_anything() {
        assert!(is_like(&["a 1 b", "x", "y", "c"], &["a … b", "…", "c"]));
        assert!(is_like(&["a"], &["…", "a", "…"]));
        assert!(!is_like(&["a 1 b"], &["a … c"]));
        assert!(!is_like(&["a", "b"], &["a"]));
    }
}
