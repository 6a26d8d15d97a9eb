//! Certificates of a Docker server and its client, in a folder with the names of Docker's manual ("Protect the Docker daemon socket").

use std::path::{Path, PathBuf};
use std::process::Command;

use whit_tools::programs::{self, Program};

use super::finish;
use crate::prepare::progress;

const OPENSSL: Program = Program { name: "openssl", package: "openssl" };
/// The certificate of the authority, which signs both others.
const CA: &str = "ca.pem";
/// Certificate and key of the server.
const SERVER: [&str; 2] = ["server-cert.pem", "server-key.pem"];
/// Certificate and key of the client: the names by which docker finds them in `DOCKER_CERT_PATH`.
const CLIENT: [&str; 2] = ["cert.pem", "key.pem"];
/// The authority's key, which no program needs once the certificates are there.
const CA_KEY: &str = "ca-key.pem";
/// The server's folder in the machine.
const IN_MACHINE: &str = "etc/docker";

/// A folder with certificates and keys.
pub(super) struct Tls {
    folder: PathBuf,
}

impl Tls {
    /// Takes the files of a folder. If it has none of them, makes them.
    pub(super) fn open(folder: &Path) -> Result<Self, String> {
        let at = |error: std::io::Error| format!("{}: {error}", folder.display());
        let names = [[CA].as_slice(), &SERVER, &CLIENT].concat();
        let missing: Vec<&str> = names.iter().filter(|name| !folder.join(name).exists()).copied().collect();
        if missing.len() == names.len() {
            std::fs::create_dir_all(folder).map_err(at)?;
            make(folder)?;
        } else if !missing.is_empty() {
            return Err(format!("{}: no {}", folder.display(), missing.join(", no ")));
        }
        Ok(Self { folder: folder.canonicalize().map_err(at)? })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.folder.join(CA)
    }

    /// Returns dockerd's options.
    pub(super) fn server_words(&self) -> [String; 4] {
        let [certificate, key] = SERVER;
        [
            "--tlsverify".to_owned(),
            format!("--tlscacert=/{IN_MACHINE}/{CA}"),
            format!("--tlscert=/{IN_MACHINE}/{certificate}"),
            format!("--tlskey=/{IN_MACHINE}/{key}"),
        ]
    }

    /// Writes a copy of a root's tar, with the server's files; returns its path.
    pub(super) fn with_server_files(&self, root: &Path, copy: &Path) -> Result<PathBuf, String> {
        std::fs::copy(root, copy).map_err(|error| format!("{}: {error}", copy.display()))?;
        let mut tar = Command::new("tar");
        tar.args(["--append", "--dereference", "--owner=root:0", "--group=root:0"]);
        tar.arg(format!("--transform=s,^,{IN_MACHINE}/,")).arg("--file").arg(copy);
        finish(tar.arg("--directory").arg(&self.folder).arg(CA).args(SERVER))?;
        Ok(copy.to_owned())
    }
}

/// Makes an authority, and a certificate for the server at 127.0.0.1 and one for the client, all for ten years.
fn make(folder: &Path) -> Result<(), String> {
    programs::install(&[OPENSSL], progress)?;
    progress("making certificates");
    // Keys get their names with their certificates.
    let new = tempfile::tempdir_in(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let path = |name: &str| new.path().join(name);
    let request = |subject: &str, [certificate, key]: [&str; 2]| {
        let mut command = Command::new("openssl");
        command.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-noenc",
            "-days",
            "3650",
        ]);
        command.arg("-subj").arg(format!("/CN={subject}"));
        command.arg("-out").arg(path(certificate)).arg("-keyout").arg(path(key));
        command
    };
    finish(request("whit demo", [CA, CA_KEY]).args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]))?;
    for (names, subject, usage) in [(SERVER, "127.0.0.1", "serverAuth"), (CLIENT, "client", "clientAuth")] {
        let mut command = request(subject, names);
        command.arg("-CA").arg(path(CA)).arg("-CAkey").arg(path(CA_KEY));
        command.args(["-addext", "basicConstraints=critical,CA:FALSE", "-addext"]);
        command.arg(format!("extendedKeyUsage={usage}"));
        if names == SERVER {
            command.args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]);
        }
        finish(&mut command)?;
    }
    for name in [[CA, CA_KEY].as_slice(), &SERVER, &CLIENT].concat() {
        std::fs::rename(path(name), folder.join(name)).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_folder_gets_certificates_and_keeps_them() {
        let folder = tempfile::tempdir().unwrap();
        let tls = Tls::open(folder.path()).unwrap();
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        for [certificate, key] in [SERVER, CLIENT] {
            let purpose = if [certificate, key] == SERVER { "sslserver" } else { "sslclient" };
            let verify = |purpose: &str| {
                let mut command = Command::new("openssl");
                command.args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"]).arg(tls.ca());
                finish(command.arg(folder.path().join(certificate)))
            };
            assert_eq!(verify(purpose), Ok(()));
            let other = if purpose == "sslserver" { "sslclient" } else { "sslserver" };
            assert!(verify(other).is_err(), "{certificate} is for {purpose} alone");
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&folder.path().join(key).metadata().unwrap().permissions());
            assert_eq!(mode & 0o077, 0, "{key} is for its owner alone");
        }
        let server = read(SERVER[0]);
        Tls::open(folder.path()).unwrap();
        assert_eq!(read(SERVER[0]), server);
    }

    #[test]
    fn a_folder_that_lacks_a_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CA), "").unwrap();
        std::fs::write(folder.path().join(CLIENT[0]), "").unwrap();
        let error = Tls::open(folder.path()).err().unwrap();
        assert_eq!(error, format!("{}: no server-cert.pem, no server-key.pem, no key.pem", folder.path().display()));
    }

    #[test]
    fn the_server_gets_its_own_key_and_not_the_clients() {
        let folder = tempfile::tempdir().unwrap();
        let tls = Tls::open(&folder.path().join("tls")).unwrap();
        let [root, copy] = ["root.tar", "copy.tar"].map(|name| folder.path().join(name));
        finish(Command::new("tar").arg("--create").arg("--file").arg(&root).args(["--files-from", "/dev/null"]))
            .unwrap();
        tls.with_server_files(&root, &copy).unwrap();
        let listed = Command::new("tar").args(["--list", "--verbose", "--numeric-owner", "--file"]).arg(&copy).output();
        let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
        let entries: Vec<_> = listed
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .map(|words| (words[0], words[1], words[5]))
            .collect();
        let public = "-rw-r--r--";
        assert_eq!(
            entries,
            [
                (public, "0/0", "etc/docker/ca.pem"),
                (public, "0/0", "etc/docker/server-cert.pem"),
                ("-rw-------", "0/0", "etc/docker/server-key.pem")
            ]
        );
    }
}
