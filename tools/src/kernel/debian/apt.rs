//! Runs apt-cache(8) and apt-get(8).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use super::{Error, at, run};
use crate::cli::output;
use crate::machine::Machine;

/// The system's package lists.
const SYSTEM_LISTS: &str = "/var/lib/apt/lists";

/// apt, with the system's package lists or with a private copy of them.
pub(super) struct Apt {
    /// The folder of the private copy.
    state: PathBuf,
    /// Cached output of apt-cache, a file for each query.
    answers: PathBuf,
    /// Whether the private copy is in use.
    private: bool,
    /// Whether this process has tried to renew it.
    renewed: bool,
    /// The machine of the packages.
    machine: Machine,
}

impl Apt {
    /// Selects the newer of both lists; private ones, in `folder`, exist if those of the system were insufficient before.
    /// The system's lists have packages of its own machine only: for another one there are private lists.
    pub(super) fn new(folder: &Path, machine: Machine) -> Self {
        let (state, answers) = (folder.join("apt"), folder.join("answers"));
        let ours = modified(&state.join("lists"));
        let is_newer = ours.is_some_and(|ours| modified(Path::new(SYSTEM_LISTS)) < Some(ours));
        Self { state, answers, private: is_newer || machine != Machine::HOST, renewed: false, machine }
    }

    /// Returns the machine of the packages.
    pub(super) fn machine(&self) -> Machine {
        self.machine
    }

    /// Returns whether this process has tried to renew the lists.
    pub(super) fn is_renewed(&self) -> bool {
        self.renewed
    }

    /// Fetches the lists of the system's sources into the private copy, and uses it. Needs no root.
    ///
    /// After an error the copy may still be sufficient, if only one of several sources failed.
    pub(super) fn renew(&mut self) -> Result<(), Error> {
        for folder in ["lists/partial", "cache"] {
            let folder = self.state.join(folder);
            std::fs::create_dir_all(&folder).map_err(at(&folder))?;
        }
        (self.private, self.renewed) = (true, true);
        let mut update = self.command("apt-get");
        // Without this, apt succeeds even if no source answers.
        fetch(update.args(["--option", "APT::Update::Error-Mode=any", "update"]), "package lists")
    }

    /// Returns to the system's lists, because the private copy did not help.
    pub(super) fn discard(&mut self) {
        self.private = self.machine != Machine::HOST;
        // A copy that cannot be removed is fetched again before its next use, or is as good as the system's.
        std::fs::remove_dir_all(&self.state).ok();
    }

    /// Returns the names of packages that begin with `prefix`; some are only mentioned by other packages.
    pub(super) fn names(&self, prefix: &str) -> Result<Vec<String>, Error> {
        Ok(self.ask("package names", &["pkgnames", prefix])?.lines().map(str::to_owned).collect())
    }

    /// Returns the version of each package that apt would fetch; packages without one are left out.
    pub(super) fn candidates(&self, names: &[&str]) -> Result<Vec<(String, String)>, Error> {
        let question: Vec<&str> = ["policy"].iter().chain(names).copied().collect();
        Ok(parse_policy(&self.ask("package versions", &question)?))
    }

    /// Returns the version of one package that apt would fetch.
    pub(super) fn candidate(&self, name: &str) -> Result<String, Error> {
        let mut found = self.candidates(&[name])?.into_iter();
        found.next().map(|(_, version)| version).ok_or_else(|| Error::NotOffered(name.into()))
    }

    /// Returns the direct dependencies of `names`.
    pub(super) fn depends(&self, names: &[&str]) -> Result<Vec<String>, Error> {
        let question: Vec<&str> = ["depends", "--important"].iter().chain(names).copied().collect();
        Ok(parse_depends(&self.ask("dependencies", &question)?))
    }

    /// Runs apt-cache, or returns its cached output if the lists have not changed. apt-cache reads all lists each time.
    fn ask(&self, what: &str, question: &[&str]) -> Result<String, Error> {
        let lists = if self.private { self.state.join("lists") } else { PathBuf::from(SYSTEM_LISTS) };
        let mut hasher = DefaultHasher::new();
        (&lists, question).hash(&mut hasher);
        let kept = self.answers.join(format!("{:016x}", hasher.finish()));
        // apt replaces lists by renaming, which changes the modification time of their folder.
        if let (Some(asked), Some(changed)) = (modified(&kept), modified(&lists))
            && asked > changed
            && let Ok(answer) = std::fs::read_to_string(&kept)
        {
            return Ok(answer);
        }
        let answer = run("apt-cache", self.command("apt-cache").args(question), what)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        // Without the cache, the same query only takes half a second again.
        let _ = std::fs::create_dir_all(&self.answers).and_then(|()| output::write(&kept, answer.as_bytes()));
        Ok(answer)
    }

    /// Downloads the archives of packages into the empty folder `into`; apt checks their hashes against the signed lists.
    pub(super) fn download(&self, names: &[&str], into: &Path) -> Result<Vec<PathBuf>, Error> {
        let what = names.join(", ");
        fetch(self.command("apt-get").arg("download").args(names).current_dir(into), &what)?;
        let found = archives(into)?;
        if found.len() < names.len() {
            return Err(Error::Fetch { what, detail: "apt-get left fewer archives than packages".into() });
        }
        Ok(found)
    }

    fn command(&self, program: &'static str) -> Command {
        let mut command = Command::new(program);
        if self.private {
            for (option, folder) in [("Dir::State::Lists", "lists"), ("Dir::Cache", "cache")] {
                command.arg("--option").arg(format!("{option}={}", self.state.join(folder).display()));
            }
        }
        if self.machine != Machine::HOST {
            let image = self.machine.image();
            command.args(["--option", &format!("APT::Architecture={image}")]);
            command.args(["--option", &format!("APT::Architectures={image}")]);
        }
        // As root, apt would fetch as its own user, which has no write permission here, and print a warning.
        command.args(["--option", "APT::Sandbox::User=root"]);
        command
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}

/// Returns the package archives in a folder.
fn archives(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut archives = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            archives.push(path);
        }
    }
    archives.sort();
    Ok(archives)
}

/// Runs a command that uses the network.
fn fetch(command: &mut Command, what: &str) -> Result<(), Error> {
    match run("apt-get", command, what) {
        Ok(_) => Ok(()),
        Err(Error::Package { what, detail }) => Err(Error::Fetch { what, detail }),
        Err(error) => Err(error),
    }
}

fn parse_policy(text: &str) -> Vec<(String, String)> {
    let mut candidates = Vec::new();
    let mut package = "";
    for line in text.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            package = name;
        } else if let Some(version) = line.strip_prefix("  Candidate: ").filter(|version| *version != "(none)") {
            candidates.push((package.to_owned(), version.to_owned()));
        }
    }
    candidates
}

/// Parses the output of `apt-cache depends`: all alternatives (`|Depends: a`, then `Depends: b`), but no `<virtual>` packages.
fn parse_depends(text: &str) -> Vec<String> {
    let fields = text.lines().filter_map(|line| line.trim_start_matches([' ', '|']).split_once("epends: "));
    let mut names: Vec<String> =
        fields.map(|(_, name)| name.trim().to_owned()).filter(|name| !name.starts_with('<')).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_cached_until_the_lists_change() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("apt/lists/partial")).unwrap();
        let apt = Apt { private: true, ..Apt::new(folder.path(), Machine::HOST) };
        let question = ["policy", "no-such-package-anywhere"];
        assert_eq!(apt.ask("versions", &question).unwrap(), "");
        let kept = std::fs::read_dir(&apt.answers).unwrap().next().unwrap().unwrap().path();
        std::fs::write(&kept, "kept").unwrap();
        assert_eq!(apt.ask("versions", &question).unwrap(), "kept");
        assert_eq!(apt.ask("versions", &["policy", "another"]).unwrap(), "");
        let lists = std::fs::File::open(folder.path().join("apt/lists")).unwrap();
        lists.set_modified(modified(&kept).unwrap()).unwrap();
        assert_eq!(apt.ask("versions", &question).unwrap(), "");
    }

    #[test]
    fn policy_gives_the_versions_that_can_be_fetched() {
        let text = "\
nginx:
  Installed: (none)
  Candidate: 1.22.1-9+deb12u11
  Version table:
     1.22.1-9+deb12u11 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
linux-image-6.1.0-1-cloud-amd64:
  Installed: (none)
  Candidate: (none)
  Version table:
libc6:
  Installed: 2.36-9+deb12u10
  Candidate: 2.36-9+deb12u14
";
        let expected = [("nginx", "1.22.1-9+deb12u11"), ("libc6", "2.36-9+deb12u14")];
        assert_eq!(parse_policy(text), expected.map(|(name, version)| (name.to_owned(), version.to_owned())));
        assert_eq!(parse_policy(""), []);
    }

    #[test]
    fn depends_gives_each_name_once() {
        let text = "\
nginx-common
 |Depends: debconf
  Depends: <debconf-2.0>
    cdebconf
    debconf
  PreDepends: dpkg
  Depends: libc6
  Depends: libc6
";
        assert_eq!(parse_depends(text), ["debconf", "dpkg", "libc6"]);
    }
}
