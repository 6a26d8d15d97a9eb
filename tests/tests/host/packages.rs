//! The packages of a release (`cargo dist`), and files that are the same wherever and whenever they are made.

use std::fs;
use std::path::Path;
use std::process::Command;

use whit_tests::{init_named, tool};
use xtask::init::{self, Init};
use xtask::workspace;

/// Copies the source tree, without Git's folder and the built files.
fn copy_source(to: &Path) {
    let root = workspace::root();
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let is_source = |path: &std::path::PathBuf| {
        !path.ends_with(".git") && *path != workspace::target() && !path.ends_with("target")
    };
    let copied = Command::new("cp").arg("-R").args(entries.filter(is_source)).arg(to).status().unwrap();
    assert!(copied.success());
}

/// Builds inits from a copy of the source in another folder, and compares them with those of this workspace.
fn assert_same_in_another_folder(inits: &[Init]) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("a folder with a longer name");
    fs::create_dir(&copy).unwrap();
    copy_source(&copy);
    for init in inits {
        let flags = init::accepted().unwrap().iter().map(|flag| flag.argument.as_ref());
        let built = init::compile_with(&copy.join("Cargo.toml"), init.name(), &copy.join("target"), flags).unwrap();
        let again = folder.path().join(init.file_name());
        init::cut(&built, &again).unwrap();
        assert!(fs::read(&again).unwrap() == fs::read(init_named(*init)).unwrap(), "{} differs", init.file_name());
    }
}

#[test]
#[ignore = "compiles an init: cargo selftest runs it"]
fn the_smallest_init_is_the_same_in_another_folder() {
    assert_same_in_another_folder(&[Init::Min]);
}

#[test]
fn a_missing_subcommand_of_cargo_comes_with_the_command_that_installs_it() {
    let home = tempfile::tempdir().unwrap();
    let dist = Command::new(tool("dist")).env("CARGO_HOME", home.path()).env("PATH", "/usr/bin:/bin").output().unwrap();
    let errors = String::from_utf8_lossy(&dist.stderr);
    assert_eq!(errors, "dist: cargo-deb is not installed; run: cargo install --locked cargo-deb\n");
    assert_eq!(dist.status.code(), Some(1));
}

mod long {
    use std::path::PathBuf;

    use xtask::crates::{self, Crate};

    use super::*;

    const CARGO_DEB: Crate = Crate { program: "cargo-deb", name: "cargo-deb", version: "3.8.0", profile: "dev" };
    const AUDITABLE: Crate =
        Crate { program: "cargo-auditable", name: "cargo-auditable", version: "0.7.7", profile: "dev" };

    /// Runs a program that has to succeed; returns its output.
    fn run(command: &mut Command) -> String {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[test]
    #[ignore = "compiles each init: cargo selftest -- --long runs it"]
    fn each_init_is_the_same_in_another_folder() {
        assert_same_in_another_folder(&Init::ALL);
    }

    #[test]
    #[ignore = "compiles cargo-deb and the tools: cargo selftest -- --long runs it"]
    fn the_packages_run_and_are_the_same_in_a_second_run() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let programs = [CARGO_DEB, AUDITABLE].map(|program| crates::build(&program, |_| {}).unwrap());
        let folders = programs.iter().map(|program| program.parent().unwrap().to_owned());
        let path = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths(folders.chain(std::env::split_paths(&path))).unwrap();
        run(Command::new("minisign").args(["-G", "-W", "-p"]).arg(at("public")).arg("-s").arg(at("secret")));
        let dist = |name: &str| -> Vec<PathBuf> {
            let mut dist = Command::new(tool("dist"));
            dist.arg("--output").arg(at(name)).arg("--key").arg(at("secret")).env("PATH", &path);
            let lines = run(&mut dist);
            lines.lines().filter_map(|line| Some(line.rsplit_once(": ")?.0.into())).collect()
        };
        let (first, second) = (dist("first"), dist("second"));
        assert_eq!(first.len(), 2, "{first:?}");
        for (first, second) in first.iter().zip(&second) {
            assert!(fs::read(first).unwrap() == fs::read(second).unwrap(), "{} differs", first.display());
            run(Command::new("minisign").args(["-V", "-p"]).arg(at("public")).arg("-m").arg(first));
        }
        run(Command::new("dpkg-deb").arg("--extract").arg(&first[0]).arg(at("deb")));
        fs::create_dir(at("archive")).unwrap();
        run(Command::new("tar").arg("-xf").arg(&first[1]).arg("-C").arg(at("archive")).arg("--strip-components=1"));
        run(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(at("archive")));
        for prefix in [at("deb/usr"), at("archive")] {
            for tool in ["mkraw", "mkcpio", "runvm", "whit-runtime"] {
                run(Command::new(prefix.join("bin").join(tool)).arg("--version"));
                for document in ["man/man1/TOOL.1", "zsh/vendor-completions/_TOOL"] {
                    let document = prefix.join("share").join(document.replace("TOOL", tool));
                    assert!(fs::metadata(&document).unwrap().len() > 1000, "{}", document.display());
                }
            }
            run(Command::new(prefix.join("bin/put")).arg("--version"));
            for init in Init::ALL {
                let packed = at("initramfs.cpio");
                let mut mkcpio = Command::new(prefix.join("bin/mkcpio"));
                run(mkcpio.args(["--init", init.name(), "-o"]).arg(&packed));
                let built = fs::read(init_named(init)).unwrap();
                assert!(whit_tools::archive::segment::init(&packed).unwrap() == built, "{}", init.name());
            }
            // The list of crates that cargo-auditable embeds.
            let runvm = fs::read(prefix.join("bin/runvm")).unwrap();
            let name = b"\0.dep-v0\0";
            assert!(runvm.windows(name.len()).any(|window| window == name));
        }
    }
}
