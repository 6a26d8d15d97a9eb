//! Images by name: from podman or docker, which may have them, or from a registry.
//!
//! An image of podman's or docker's is saved into the cache, under its ID. One from a registry is copied by skopeo, which keeps its blobs by
//! their digests in the cache, or pulled by podman or docker. Each of these programs obeys its own configuration: registries, mirrors,
//! certificates, credentials.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use serde_json::Value;

use super::cache::{Cache, KEPT, Key};
use crate::cli::output::Output;
use crate::cli::temporary::{self, Temporary};
use crate::machine::Machine;
use crate::programs;

/// When a registry is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Policy {
    /// If the image is not on this host.
    #[default]
    Missing,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The programs that have images of their own, in the order in which they are asked.
const ENGINES: [&str; 2] = ["podman", "docker"];
/// The program that copies images.
const SKOPEO: &str = "skopeo";
/// The folder of images in the cache, which skopeo fills.
const FOLDER: &str = "images";
/// The folder of their blobs.
const BLOBS: &str = "blobs";
/// The tag in a copied image.
const TAG: &str = "image";

/// Returns whether a text can be the name of an image (distribution/reference), and not that of a file that is missing.
#[must_use]
pub fn is_name(text: &str) -> bool {
    const ARCHIVES: [&str; 8] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2", ".img", ".oci"];
    let first = text.split(['/', ':', '@']).next().unwrap_or_default();
    first.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/:@._-".contains(&byte))
        && !text.contains("//")
        && !text.ends_with(['/', ':', '@'])
        && !ARCHIVES.iter().any(|end| text.ends_with(end))
}

/// Returns the archive or the folder with an image.
///
/// # Errors
/// A message of one line: no such program, or its own.
pub fn find(cache: &Cache, name: &str, machine: Machine, policy: Policy, say: fn(&str)) -> Result<PathBuf, String> {
    let engines: Vec<&str> = ENGINES.into_iter().filter(|engine| programs::find(engine).is_some()).collect();
    let has_skopeo = programs::find(SKOPEO).is_some();
    if engines.is_empty() && !has_skopeo {
        return Err(format!(
            "{name}: no such file, and no podman, docker or skopeo that could have an image of that name; on Debian: \
             apt-get install skopeo"
        ));
    }
    if policy != Policy::Always {
        for engine in &engines {
            if let Some(id) = local(engine, name, machine) {
                return save(cache, engine, name, &id);
            }
        }
        if let Some(folder) = copied(cache, name, machine) {
            return Ok(folder);
        }
    }
    if policy == Policy::Never {
        let asked = [engines.as_slice(), &["the cache"]].concat().join(" or ");
        return Err(format!("{name}: no such file, and no image in {asked}; --pull never asks no registry"));
    }
    say(&format!("fetching the image {name}"));
    if has_skopeo {
        return copy(cache, name, machine);
    }
    let engine = engines[0];
    let platform = format!("--platform=linux/{}", machine.image());
    run(Command::new(engine).args(["pull", "--quiet", &platform, name])).map_err(|error| describe(name, &error))?;
    let id =
        local(engine, name, machine).ok_or_else(|| format!("{name}: {engine} has it only for another platform"))?;
    save(cache, engine, name, &id)
}

/// Returns the ID of an image that an engine has for this machine.
fn local(engine: &str, name: &str, machine: Machine) -> Option<String> {
    let form = "{{.Id}} {{.Os}}/{{.Architecture}}";
    let found = run(Command::new(engine).args(["image", "inspect", "--format", form, "--", name])).ok()?;
    let (id, platform) = found.trim().split_once(' ')?;
    (platform == format!("linux/{}", machine.image())).then(|| id.to_owned())
}

/// Saves an image of an engine into the cache.
fn save(cache: &Cache, engine: &str, name: &str, id: &str) -> Result<PathBuf, String> {
    let mut key = Key::new().map_err(|error| describe(name, &error.to_string()))?;
    key.add(id.as_bytes());
    cache.file("image", &key, |output| {
        let mut command = Command::new(engine);
        command.arg("save");
        if engine == "podman" {
            command.args(["--quiet", "--format", "oci-archive"]);
        }
        command.args(["--", id]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |error: io::Error| format!("{engine} save {name}: {error}");
        let mut child = command.spawn().map_err(failed)?;
        let mut archive = child.stdout.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let copied = io::copy(&mut archive, output.file());
        drop(archive);
        let ended = child.wait_with_output().map_err(failed)?;
        copied.map_err(failed)?;
        if ended.status.success() { Ok(()) } else { Err(format!("{engine} save {name}: {}", last_line(&ended.stderr))) }
    })
}

/// Returns the file of the cache with the digest of the image of this name.
fn record(cache: &Cache, name: &str, machine: Machine) -> PathBuf {
    let hash = blake3::hash(format!("{name} {}", machine.image()).as_bytes());
    cache.folder(FOLDER).join(format!("name-{}", &hash.to_hex()[..32]))
}

/// Returns the folder of an image that was copied before, and notes its use.
fn copied(cache: &Cache, name: &str, machine: Machine) -> Option<PathBuf> {
    let digest = fs::read_to_string(record(cache, name, machine)).ok()?;
    let folder = cache.folder(FOLDER).join(digest.replace(':', "-"));
    fs::metadata(folder.join("oci-layout")).ok()?;
    note_use(&folder);
    Some(folder)
}

/// Notes the use of an image: the time of its folder. The times of the files in it belong to the key of its disk. This may fail in a
/// read-only cache.
fn note_use(path: &Path) {
    let times = fs::FileTimes::new().set_modified(SystemTime::now());
    let _ = fs::File::open(path).and_then(|file| file.set_times(times));
}

/// Copies an image from a registry. Its blobs that are in the cache are not fetched again.
fn copy(cache: &Cache, name: &str, machine: Machine) -> Result<PathBuf, String> {
    let failed = |error: &dyn std::fmt::Display| describe(name, &error.to_string());
    let images = cache.folder(FOLDER);
    fs::create_dir_all(images.join(BLOBS)).map_err(|error| failed(&error))?;
    temporary::sweep(&images);
    let made = Temporary::directory(&images, temporary::RUN).map_err(|error| failed(&error))?;
    let mut command = Command::new(SKOPEO);
    command.args(["copy", "--quiet", "--override-os=linux", &format!("--override-arch={}", machine.image())]);
    command.arg("--dest-shared-blob-dir").arg(images.join(BLOBS)).arg(format!("docker://{name}"));
    command.arg(format!("oci:{}:{TAG}", made.path().display()));
    run(&mut command).map_err(|error| failed(&error))?;
    let index = document(&made.path().join("index.json")).map_err(|error| failed(&error))?;
    let digest = index["manifests"][0]["digest"].as_str().filter(|digest| is_digest(digest));
    let digest = digest.ok_or_else(|| failed(&"skopeo's index.json has no digest"))?;
    let folder = images.join(digest.replace(':', "-"));
    if folder.exists() {
        note_use(&folder);
    } else {
        let blobs = made.path().join(BLOBS);
        // skopeo makes an empty one.
        let _ = fs::remove_dir_all(&blobs);
        std::os::unix::fs::symlink(format!("../{BLOBS}"), blobs).map_err(|error| failed(&error))?;
        let renamed = made.settle(|path| fs::rename(path, &folder));
        // Another run may have made it.
        renamed.or_else(|error| if folder.exists() { Ok(()) } else { Err(failed(&error)) })?;
    }
    let path = record(cache, name, machine);
    let mut output = Output::create_private(&path).map_err(|error| failed(&error))?;
    output.file().write_all(digest.as_bytes()).map_err(|error| failed(&error))?;
    output.commit().map_err(|error| failed(&error))?;
    prune(&images);
    Ok(folder)
}

/// Removes images that were not used for as long as the cache keeps files, and blobs that belong to no other. Errors are ignored: what
/// cannot be read or removed stays.
fn prune(images: &Path) {
    let is_old = |path: &Path| {
        let used = path.metadata().and_then(|metadata| metadata.modified());
        used.is_ok_and(|used| used.elapsed().unwrap_or_default() > KEPT)
    };
    let mut kept = BTreeSet::new();
    for entry in fs::read_dir(images).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Some(digest) = name.to_str().and_then(|name| name.strip_prefix("sha256-")) else { continue };
        if is_old(&path) && fs::remove_dir_all(&path).is_ok() {
            continue;
        }
        kept.insert(digest.to_owned());
        let Ok(manifest) = document(&images.join(BLOBS).join("sha256").join(digest)) else { return };
        let layers = manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
        for part in std::iter::once(&manifest["config"]).chain(layers) {
            kept.extend(
                part["digest"].as_str().and_then(|digest| digest.split_once(':')).map(|(_, hex)| hex.to_owned()),
            );
        }
    }
    for entry in fs::read_dir(images.join(BLOBS).join("sha256")).into_iter().flatten().flatten() {
        let path = entry.path();
        // A young one may belong to an image that another run copies now.
        if is_old(&path) && !entry.file_name().to_str().is_some_and(|name| kept.contains(name)) {
            let _ = fs::remove_file(path);
        }
    }
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn document(path: &Path) -> io::Result<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn describe(name: &str, error: &str) -> String {
    format!("{name}: no such file, and no image: {error}")
}

/// Runs a program. Returns its standard output, or the last line of its errors.
fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{name}: {}", last_line(&output.stderr)))
    }
}

/// Returns the last line that a program has written; in skopeo's form, its message.
fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("failed").trim().to_owned();
    let message = line.split_once("msg=\"").and_then(|(_, message)| message.strip_suffix('"'));
    message.map_or_else(|| line.clone(), |message| message.replace("\\\"", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::cache::content;

    #[test]
    fn names_are_not_files() {
        for name in ["busybox", "alpine:3.20", "localhost:5000/a/b@sha256:00", "docker.io/library/nginx", "Web"] {
            assert!(is_name(name), "{name}");
        }
        for file in ["web.tar", "./web", "/srv/web", "../web", "web.tar.gz", "a b", "-", "web/", "a//b", ""] {
            assert!(!is_name(file), "{file}");
        }
    }

    #[test]
    fn a_message_is_the_last_line() {
        let line = |text: &str| last_line(text.as_bytes());
        assert_eq!(line("time=\"x\" level=fatal msg=\"a \\\"b\\\"\"\n"), "a \"b\"");
        assert_eq!((line("one\nError: two\n\n").as_str(), line("").as_str()), ("Error: two", "failed"));
    }

    #[test]
    fn the_use_of_an_image_does_not_change_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let image = cache.folder("images/sha256-aa");
        fs::create_dir_all(&image).unwrap();
        fs::write(image.join("oci-layout"), "{}").unwrap();
        fs::write(record(&cache, "busybox", Machine::HOST), "sha256:aa").unwrap();
        let before = content(&image).unwrap();
        assert_eq!(copied(&cache, "busybox", Machine::HOST).as_ref(), Some(&image));
        assert_eq!(content(&image).unwrap(), before);
    }

    #[test]
    fn unused_images_are_removed_with_their_blobs() {
        let folder = tempfile::tempdir().unwrap();
        let images = folder.path();
        let blobs = images.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let long_ago = fs::FileTimes::new().set_modified(SystemTime::now() - 2 * KEPT);
        let write = |path: PathBuf, text: &str, is_old: bool| {
            fs::write(&path, text).unwrap();
            if is_old {
                fs::File::open(path).unwrap().set_times(long_ago).unwrap();
            }
        };
        for (digest, config, is_old) in [("aa", "c1", false), ("bb", "c2", true)] {
            fs::create_dir(images.join(format!("sha256-{digest}"))).unwrap();
            fs::write(images.join(format!("sha256-{digest}/oci-layout")), "{}").unwrap();
            if is_old {
                fs::File::open(images.join(format!("sha256-{digest}"))).unwrap().set_times(long_ago).unwrap();
            }
            let manifest = serde_json::json!({
                "config": { "digest": format!("sha256:{config}") }, "layers": [{ "digest": "sha256:both" }],
            });
            write(blobs.join(digest), &manifest.to_string(), true);
            write(blobs.join(config), "", true);
        }
        write(blobs.join("both"), "", true);
        write(blobs.join("young"), "", false);
        prune(images);
        let mut left: Vec<_> = fs::read_dir(&blobs).unwrap().map(|blob| blob.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["aa", "both", "c1", "young"]);
        assert!(images.join("sha256-aa").exists() && !images.join("sha256-bb").exists());
    }
}
