use super::*;
use std::fs;
use std::os::unix::fs::symlink;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn committed_output_replaces_what_was_there_and_keeps_its_mode() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    fs::write(&path, "old and longer").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let mut output = Output::create(&path).unwrap();
    output.file().write_all(b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old and longer");
    output.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!((mode(&path), fs::read_dir(directory.path()).unwrap().count()), (0o640, 1));
    Output::create_private(&path).unwrap().commit().unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn standard_output_is_suggested_only_where_it_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let checked = check(directory.path()).unwrap_err().to_string();
    assert_eq!(checked, "is a directory; name a file or a block device");
    let created = Output::create(directory.path()).err().unwrap().to_string();
    assert_eq!(created, "is a directory; name a file or a block device, or - for standard output");
}

#[test]
fn root_keeps_the_owner() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    fs::write(&path, "old").unwrap();
    std::os::unix::fs::chown(&path, Some(12345), Some(54321)).unwrap();
    write(&path, b"new").unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (12345, 54321));
}

#[test]
fn a_new_file_has_the_mode_that_any_program_would_give_it() {
    let directory = tempfile::tempdir().unwrap();
    let (path, usual) = (directory.path().join("image"), directory.path().join("usual"));
    write(&path, b"new").unwrap();
    fs::write(&usual, "").unwrap();
    assert_eq!(mode(&path), mode(&usual));
    let secret = directory.path().join("secret");
    Output::create_private(&secret).unwrap().commit().unwrap();
    assert_eq!(mode(&secret), 0o600);
}

#[test]
fn dropped_output_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut output = Output::create(&directory.path().join("image")).unwrap();
    output.file().write_all(b"half").unwrap();
    drop(output);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn links_are_followed_and_stay() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("far")).unwrap();
    symlink("far/target", at("second")).unwrap();
    symlink("second", at("first")).unwrap();
    for content in ["made through a dangling link", "replaced"] {
        write(&at("first"), content.as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(at("far/target")).unwrap(), content);
        assert!(at("first").is_symlink() && at("second").is_symlink());
    }
    assert_eq!(fs::read_dir(at("far")).unwrap().count(), 1);
    symlink("loop", at("loop")).unwrap();
    assert!(write(&at("loop"), b"").is_err());
}

#[test]
fn a_name_that_gets_new_files_all_the_time_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("image"), "").unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                fs::write(at("new"), "").unwrap();
                fs::rename(at("new"), at("image")).unwrap();
            }
        });
        let failed = (0..20_000).find_map(|_| check(&at("image")).err());
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(failed.is_none(), "{failed:?}");
    });
    // What never has its name stays refused.
    let file = fs::File::open(at("image")).unwrap();
    fs::remove_file(at("image")).unwrap();
    let link = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file)));
    assert!(check(&link).unwrap_err().to_string().starts_with("is an open file without a name"));
}

#[test]
fn what_is_no_file_is_refused_and_stays() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    rustix::fs::mknodat(CWD, at("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    symlink("/dev/full", at("full")).unwrap();
    for (path, what) in [
        (at("pipe"), "is a pipe; name a file"),
        (at("socket"), "is a socket; "),
        (at("folder"), "is a directory; "),
        (at("full"), "is a character device; "),
        (PathBuf::from("/dev/null"), "is a character device; "),
        (at("absent/"), "names no file"),
        (PathBuf::new(), "names no file"),
        (at("absent/file"), "cannot be written: its directory does not exist"),
    ] {
        let before = fs::symlink_metadata(&path).ok().map(|metadata| metadata.mode());
        let error = Output::create(&path).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with(what), "{}: {error}", path.display());
        assert_eq!(fs::symlink_metadata(&path).ok().map(|metadata| metadata.mode()), before);
    }
}

#[test]
fn an_output_that_is_an_input_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("input"), "").unwrap();
    fs::hard_link(at("input"), at("hard")).unwrap();
    symlink("hard", at("soft")).unwrap();
    let input = fs::metadata(at("input")).unwrap();
    for name in ["input", "hard", "soft"] {
        let error = check_apart(&at(name), &"input", &input).unwrap_err();
        assert_eq!(error, "is the input input as well; name another output");
    }
    assert_eq!(check_apart(&at("absent"), &"input", &input), Ok(()));
    let folder = fs::metadata(directory.path()).unwrap();
    assert_eq!(check_apart(directory.path(), &"folder", &folder), Ok(()));
}
