//! Images by name: from podman or docker, which may have them, or from a registry.
//!
//! An image of podman's or docker's is saved into the cache, under its ID. One from a registry is copied by skopeo, which keeps its blobs by
//! their digests in the cache, or pulled by podman or docker. Each of these programs obeys its own configuration: registries, mirrors,
//! certificates, credentials.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
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
/// The start of the names of records.
const RECORD: &str = "name-";
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
        let failed = |error: io::Error| format!("{engine} save {name}: {error}");
        // A pipe has room for 64 KiB, and nothing reads its messages before its archive ends.
        let mut messages = tempfile::tempfile().map_err(failed)?;
        command.args(["--", id]).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(messages.try_clone().map_err(failed)?);
        let mut child = command.spawn().map_err(failed)?;
        let mut archive = child.stdout.take().ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let copied = io::copy(&mut archive, output.file());
        drop(archive);
        let status = child.wait().map_err(failed)?;
        copied.map_err(failed)?;
        if status.success() {
            return Ok(());
        }
        let mut text = Vec::new();
        messages.rewind().and_then(|()| messages.read_to_end(&mut text)).map_err(failed)?;
        Err(format!("{engine} save {name}: {}", last_line(&text)))
    })
}

/// Returns the file of the cache with the digest of the image of this name.
fn record(cache: &Cache, name: &str, machine: Machine) -> PathBuf {
    let hash = blake3::hash(format!("{name} {}", machine.image()).as_bytes());
    cache.folder(FOLDER).join(format!("{RECORD}{}", &hash.to_hex()[..32]))
}

/// Returns the folder of an image that was copied before, and notes its use.
fn copied(cache: &Cache, name: &str, machine: Machine) -> Option<PathBuf> {
    let _lock = lock(&cache.folder(FOLDER), FlockOperation::LockShared);
    let record = record(cache, name, machine);
    let digest = fs::read_to_string(&record).ok()?;
    let folder = cache.folder(FOLDER).join(digest.replace(':', "-"));
    fs::metadata(folder.join("oci-layout")).ok()?;
    note_use(&record);
    note_use(&folder);
    Some(folder)
}

/// Notes the use of a record, or of an image: the time of its folder. The times of the files in it belong to the key of its disk. This may
/// fail in a read-only cache.
fn note_use(path: &Path) {
    let times = fs::FileTimes::new().set_modified(SystemTime::now());
    let _ = fs::File::open(path).and_then(|file| file.set_times(times));
}

/// Locks the folder of images until the result is dropped: shared by those that use or copy one, exclusively by the one that removes some.
fn lock(images: &Path, operation: FlockOperation) -> Result<fs::File, Errno> {
    let folder = fs::File::open(images).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    flock(&folder, operation)?;
    Ok(folder)
}

/// Copies an image from a registry. Its blobs that are in the cache are not fetched again.
fn copy(cache: &Cache, name: &str, machine: Machine) -> Result<PathBuf, String> {
    let failed = |error: &dyn std::fmt::Display| describe(name, &error.to_string());
    let images = cache.folder(FOLDER);
    // skopeo ends the path of its target at the first colon.
    if images.as_os_str().as_encoded_bytes().contains(&b':') {
        let cache = cache.folder("");
        return Err(failed(&format!(
            "the path of the cache, {}, has a colon, which skopeo does not take; set WHIT_CACHE to another folder",
            cache.display()
        )));
    }
    fs::create_dir_all(images.join(BLOBS)).map_err(|error| failed(&error))?;
    // Without locks, the age of a blob protects it.
    let _lock = lock(&images, FlockOperation::LockShared);
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
    Ok(folder)
}

/// Removes images and names that were not used for as long as the cache keeps files, and blobs that belong to no other image. Errors are
/// ignored: what cannot be read or removed stays. While another run copies an image, nothing is removed.
pub(super) fn prune(cache: &Cache) {
    let images = cache.folder(FOLDER);
    let _lock = match lock(&images, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::NOENT | Errno::WOULDBLOCK) => return,
        // Some file systems have no locks.
        lock => lock,
    };
    let is_old = |path: &Path| {
        let used = path.metadata().and_then(|metadata| metadata.modified());
        used.is_ok_and(|used| used.elapsed().unwrap_or_default() > KEPT)
    };
    let mut kept = BTreeSet::new();
    let mut are_all_known = true;
    for entry in fs::read_dir(&images).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_str().unwrap_or_default();
        if name.starts_with(RECORD) && is_old(&path) {
            let _ = fs::remove_file(&path);
        }
        let Some(digest) = name.strip_prefix("sha256-") else { continue };
        // One without a manifest cannot be used.
        let manifest = document(&images.join(BLOBS).join("sha256").join(digest)).ok();
        let Some(manifest) = manifest.filter(|_| !is_old(&path)) else {
            are_all_known &= fs::remove_dir_all(&path).is_ok();
            continue;
        };
        kept.insert(digest.to_owned());
        let layers = manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
        for part in std::iter::once(&manifest["config"]).chain(layers) {
            kept.extend(
                part["digest"].as_str().and_then(|digest| digest.split_once(':')).map(|(_, hex)| hex.to_owned()),
            );
        }
    }
    for entry in fs::read_dir(images.join(BLOBS).join("sha256")).into_iter().flatten().flatten() {
        let path = entry.path();
        // A young one may belong to an image whose copy was interrupted, and is continued later.
        if are_all_known && is_old(&path) && !entry.file_name().to_str().is_some_and(|name| kept.contains(name)) {
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

    /// A cache with images, of which each has a configuration and a layer that all share. All blobs are old.
    fn images(of: &[(&str, bool)]) -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let images = cache.folder(FOLDER);
        let blobs = images.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        for (digest, is_old) in of {
            let image = images.join(format!("sha256-{digest}"));
            fs::create_dir(&image).unwrap();
            fs::write(image.join("oci-layout"), "{}").unwrap();
            let manifest = serde_json::json!({
                "config": { "digest": format!("sha256:{digest}-config") }, "layers": [{ "digest": "sha256:shared" }],
            });
            fs::write(blobs.join(digest), manifest.to_string()).unwrap();
            fs::write(blobs.join(format!("{digest}-config")), "").unwrap();
            if *is_old {
                make_old(&image);
            }
        }
        fs::write(blobs.join("shared"), "").unwrap();
        fs::read_dir(&blobs).unwrap().for_each(|blob| make_old(&blob.unwrap().path()));
        (folder, cache)
    }

    fn make_old(path: &Path) {
        let long_ago = fs::FileTimes::new().set_modified(SystemTime::now() - 2 * KEPT);
        fs::File::open(path).unwrap().set_times(long_ago).unwrap();
    }

    fn blobs(cache: &Cache) -> Vec<String> {
        let blobs = fs::read_dir(cache.folder("images/blobs/sha256")).unwrap();
        let mut names: Vec<_> = blobs.map(|blob| blob.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn unused_images_are_removed_with_their_blobs() {
        let (_folder, cache) = images(&[("aa", false), ("bb", true)]);
        fs::write(cache.folder("images/blobs/sha256/young"), "").unwrap();
        let records = ["images/name-1", "images/name-2"].map(|name| cache.folder(name));
        for record in &records {
            fs::write(record, "sha256:aa").unwrap();
        }
        make_old(&records[1]);
        prune(&cache);
        assert_eq!(blobs(&cache), ["aa", "aa-config", "shared", "young"]);
        assert!(cache.folder("images/sha256-aa").exists() && !cache.folder("images/sha256-bb").exists());
        assert_eq!(records.map(|record| record.exists()), [true, false]);
    }

    #[test]
    fn an_image_without_a_manifest_is_removed_and_hinders_no_other_removal() {
        let (_folder, cache) = images(&[("aa", false), ("bb", true), ("cc", false)]);
        fs::remove_file(cache.folder("images/blobs/sha256/cc")).unwrap();
        prune(&cache);
        assert_eq!(blobs(&cache), ["aa", "aa-config", "shared"]);
        assert!(cache.folder("images/sha256-aa").exists() && !cache.folder("images/sha256-cc").exists());
    }

    #[test]
    fn nothing_is_removed_while_an_image_is_copied() {
        let (_folder, cache) = images(&[("aa", true)]);
        let copying = lock(&cache.folder(FOLDER), FlockOperation::LockShared).unwrap();
        prune(&cache);
        assert_eq!(blobs(&cache).len(), 3);
        drop(copying);
        prune(&cache);
        assert_eq!(blobs(&cache), [""; 0]);
    }

    #[test]
    fn a_used_image_stays_and_keeps_its_hash() {
        let (_folder, cache) = images(&[("aa", true)]);
        let record = record(&cache, "busybox", Machine::HOST);
        fs::write(&record, "sha256:aa").unwrap();
        make_old(&record);
        let hash = || content(&cache.folder("images/sha256-aa")).unwrap();
        let before = hash();
        assert_eq!(copied(&cache, "busybox", Machine::HOST), Some(cache.folder("images/sha256-aa")));
        assert_eq!(hash(), before);
        prune(&cache);
        assert_eq!((blobs(&cache).len(), record.exists()), (3, true));
    }

    #[test]
    fn a_cache_with_a_colon_is_refused_before_the_copy() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("a:b")).unwrap();
        let error = copy(&cache, "busybox", Machine::HOST).unwrap_err();
        assert!(error.contains("a:b/, has a colon") && error.ends_with("set WHIT_CACHE to another folder"), "{error}");
        assert!(!cache.folder(FOLDER).exists());
    }

    #[test]
    fn an_engine_with_many_messages_is_not_blocked() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let engine = folder.path().join("engine");
        let script = "#!/bin/sh\nhead -c 200000 /dev/zero | tr '\\0' '\\n' >&2\necho archive\necho last >&2\nexit $3\n";
        // A program that this process has written may still be open in a child of another test (ETXTBSY).
        fs::write(folder.path().join("script"), script).unwrap();
        let install = ["-m", "755", "script", "engine"];
        assert!(Command::new("install").args(install).current_dir(&folder).status().unwrap().success());
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for status in ["0", "1"] {
                let saved = save(&cache, engine.to_str().unwrap(), "busybox", status);
                sender.send(saved.map(|path| fs::read_to_string(path).unwrap())).unwrap();
            }
        });
        let next = || receiver.recv_timeout(std::time::Duration::from_secs(60)).expect("it hangs");
        assert_eq!(next(), Ok("archive\n".to_owned()));
        assert!(next().unwrap_err().ends_with(" save busybox: last"));
    }
}
