//! Peers that are libraries, with the code around them that makes an image of an archive.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use mkext4::sink::FileSink;
use mkext4::{FsBuilder, InodeCount, InodeHandle, Meta, Options, ROOT, SpecialKind};
use whit_tools::archive::tar::{Entry, Kind, Reader};

/// Makes an image of an archive.
pub(crate) fn drive(library: &str, input: &Path, image: &Path) -> Result<(), String> {
    match library {
        "mkext4" => drive_mkext4(input, image),
        "arcbox-ext4" => drive_arcbox(input, image),
        other => Err(format!("{other}: no such library")),
    }
}

fn drive_arcbox(input: &Path, image: &Path) -> Result<(), String> {
    let describe = |error: &dyn std::fmt::Display| error.to_string();
    let tar = File::open(input).map_err(|error| describe(&error))?;
    let least = 256 << 10;
    let mut formatter = arcbox_ext4::Formatter::new(image, 4096, least).map_err(|error| describe(&error))?;
    formatter.unpack_tar(tar).map_err(|error| describe(&error))?;
    formatter.close().map_err(|error| describe(&error))
}

/// Makes an image by mkext4, in two passes: it needs the size of the image first, and every file's size before the first content.
fn drive_mkext4(input: &Path, image: &Path) -> Result<(), String> {
    let describe = |error: &dyn std::fmt::Display| error.to_string();
    let mut file = File::open(input).map_err(|error| describe(&error))?;
    let (mut entries, mut bytes) = (0_u64, 0_u64);
    let mut reader = Reader::seekable(&file);
    let mut entry = Entry::default();
    while reader.next(&mut entry).map_err(|error| describe(&error))? {
        entries += 1;
        bytes += entry.size.next_multiple_of(4096);
    }
    let inodes = (entries + 1000).next_multiple_of(16);
    let size = (bytes + bytes / 5 + inodes * 256 + (64 << 20)).max(inodes.div_ceil(32_000) << 27);
    let mut options = Options::new(size.next_multiple_of(4096), *b"bench-mkraw-uuid", 0);
    options.inodes = InodeCount::Exact(u32::try_from(inodes).map_err(|error| describe(&error))?);
    let mut builder = FsBuilder::new(options).map_err(|error| describe(&error))?;

    file.seek(SeekFrom::Start(0)).map_err(|error| describe(&error))?;
    let mut reader = Reader::seekable(&file);
    let mut paths: HashMap<String, InodeHandle> = HashMap::new();
    let mut contents = Vec::new();
    while reader.next(&mut entry).map_err(|error| describe(&error))? {
        let path = String::from_utf8(entry.path.clone()).map_err(|error| describe(&error))?;
        let path = path.trim_start_matches("./").trim_matches('/').to_owned();
        if path.is_empty() {
            continue;
        }
        let handle = declare(&mut builder, &mut paths, &path, &entry)?;
        if entry.kind == Kind::File && entry.size > 0 {
            contents.push((handle, reader.content_offset(), entry.size));
        }
        paths.insert(path, handle);
    }
    let layout = builder.seal().map_err(|error| describe(&error))?;
    let mut sink = FileSink::create(image, layout.image_len()).map_err(|error| describe(&error))?;
    let mut writer = layout.writer(&mut sink).map_err(|error| describe(&error))?;
    for (handle, offset, size) in contents {
        file.seek(SeekFrom::Start(offset)).map_err(|error| describe(&error))?;
        writer.fill(handle, &mut (&file).take(size)).map_err(|error| describe(&error))?;
    }
    writer.finish().map_err(|error| describe(&error))?;
    Ok(())
}

fn declare(
    builder: &mut FsBuilder,
    paths: &mut HashMap<String, InodeHandle>,
    path: &str,
    entry: &Entry,
) -> Result<InodeHandle, String> {
    let describe = |error: mkext4::Error| format!("{path}: {error}");
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let meta = Meta::new(entry.mode, entry.uid, entry.gid, (entry.mtime.seconds, entry.mtime.nanoseconds));
    let parent = directory(builder, paths, parent)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (major, minor) = entry.device;
    match entry.kind {
        Kind::File => builder.file(parent, name, meta, entry.size).map_err(describe),
        // Made for an earlier child.
        Kind::Directory if paths.contains_key(path) => Ok(paths[path]),
        Kind::Directory => builder.mkdir(parent, name, meta).map_err(describe),
        Kind::Symlink => builder.symlink(parent, name, &text(&entry.link), meta).map_err(describe),
        Kind::HardLink => {
            let target = text(&entry.link);
            let target = target.trim_start_matches("./").trim_matches('/');
            let target = *paths.get(target).ok_or_else(|| format!("{path}: a link to nothing"))?;
            builder.hardlink(parent, name, target).map_err(describe)?;
            Ok(target)
        }
        Kind::CharacterDevice => {
            builder.mknod(parent, name, meta, SpecialKind::Char { major, minor }).map_err(describe)
        }
        Kind::BlockDevice => builder.mknod(parent, name, meta, SpecialKind::Block { major, minor }).map_err(describe),
        Kind::Fifo => builder.mknod(parent, name, meta, SpecialKind::Fifo).map_err(describe),
    }
}

fn directory(
    builder: &mut FsBuilder,
    paths: &mut HashMap<String, InodeHandle>,
    path: &str,
) -> Result<InodeHandle, String> {
    if path.is_empty() {
        return Ok(ROOT);
    }
    if let Some(handle) = paths.get(path) {
        return Ok(*handle);
    }
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = directory(builder, paths, parent)?;
    let made =
        builder.mkdir(parent, name, Meta::new(0o755, 0, 0, (0, 0))).map_err(|error| format!("{path}: {error}"))?;
    paths.insert(path.to_owned(), made);
    Ok(made)
}
