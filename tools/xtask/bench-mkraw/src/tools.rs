//! The tools that make an image of an archive.

use std::fs::File;
use std::path::{Path, PathBuf};

use whit_tools::archive::tar::{Entry, Kind, Reader};
use whit_tools::programs;
use xtask::workspace;

use crate::inputs::Input;
use crate::text;

/// A tool on one archive.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) words: Vec<String>,
    /// The files that it writes, to be removed before the next run.
    pub(crate) removed: Vec<PathBuf>,
    /// Limit for its runs: some tools take many seconds.
    pub(crate) most_runs: usize,
    /// Whether it is mkraw or the physical limit, cp.
    pub(crate) is_ours: bool,
}

/// Sizes of an image for tools that do not compute them.
struct Counts {
    inodes: u64,
    /// The size of an image that is surely large enough for the content.
    mib: u64,
}

/// Builds mkraw with its release profile.
pub(crate) fn build_mkraw() -> Result<PathBuf, String> {
    let arguments = ["build", "--quiet", "--release", "--package", "whit-tools", "--bin", "mkraw"];
    let status = workspace::cargo().args(arguments).status().map_err(|error| format!("cargo: {error}"))?;
    if status.success() {
        Ok(workspace::target().join("release/mkraw"))
    } else {
        Err("mkraw does not build".to_owned())
    }
}

/// Returns all installed tools; the limit comes first.
pub(crate) fn all(input: &Input, archive: &Path, folder: &Path, mkraw: &Path) -> Result<Vec<Tool>, String> {
    let own = text(&std::env::current_exe().map_err(|error| error.to_string())?)?;
    let (archive, mkraw) = (text(archive)?, text(mkraw)?);
    let image = folder.join("image");
    let tree = folder.join("tree");
    let (out, dir) = (text(&image)?, text(&tree)?);
    let tool = |name, is_ours, most_runs, words: &[&str]| Tool {
        name,
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        removed: vec![image.clone(), tree.clone()],
        most_runs,
        is_ours,
    };
    // Some tools take minutes for many files.
    let limited = |name, words: &[&str]| tool(name, false, 2, &[&["timeout", "40"], words].concat());
    let mut tools = Vec::new();
    if input.file.ends_with(".gz") {
        tools.push(tool("gzip -dc", true, usize::MAX, &["sh", "-c", "gzip -dc \"$0\" >\"$1\"", &archive, &out]));
        tools.push(tool("mkraw", true, usize::MAX, &[&mkraw, "-o", &out, &archive]));
        return Ok(tools);
    }
    let Counts { inodes, mib } = count(Path::new(&archive))?;
    let is_for_all = inodes < 200_000; // a million files are too many to extract before each run
    let (inodes, mib, size) = (inodes.to_string(), mib.to_string(), format!("{mib}M"));
    tools.push(tool("cp", true, usize::MAX, &["cp", &archive, &out]));
    tools.push(tool("mkraw", true, usize::MAX, &[&mkraw, "-o", &out, &archive]));
    let pipe = "cat \"$1\" | \"$0\" -o \"$2\"";
    tools.push(tool("mkraw from a pipe", true, usize::MAX, &["sh", "-c", pipe, &mkraw, &archive, &out]));
    for library in ["mkext4", "arcbox-ext4"] {
        tools.push(tool(library, false, usize::MAX, &[&own, "drive", library, &archive, &out]));
    }
    if !is_for_all {
        return Ok(tools);
    }
    if programs::find("genext2fs").is_some() {
        let blocks = (mib.parse::<u64>().unwrap_or(0) * 256).to_string();
        let words = ["genext2fs", "-B", "4096", "-b", &blocks, "-N", &inodes, "-a", &archive, &out];
        tools.push(limited("genext2fs -a (ext2)", &words));
    }
    let extract = "mkdir \"$1\" && tar -xpf \"$0\" -C \"$1\"";
    if programs::find("mke2fs").is_some() {
        let script = format!(
            "{extract} && PATH=$PATH:/sbin:/usr/sbin mke2fs -q -t ext4 -b 4096 -N {inodes} -d \"$1\" \"$2\" {size}"
        );
        tools.push(limited("tar -x, mke2fs -d", &["sh", "-c", &script, &archive, &dir, &out]));
    }
    if programs::find("mkfs.erofs").is_some() {
        let script = format!("{extract} && mkfs.erofs --quiet \"$2\" \"$1\"");
        tools.push(limited("tar -x, mkfs.erofs", &["sh", "-c", &script, &archive, &dir, &out]));
    }
    let recipe = format!(
        "PATH=$PATH:/sbin:/usr/sbin; mkdir \"$1\" && dd if=/dev/zero of=\"$2\" bs=1M count={mib} status=none && mkfs.ext4 -q -F -N \
         {inodes} \"$2\" && mount -o loop \"$2\" \"$1\" && tar -xpf \"$0\" -C \"$1\" && umount \"$1\""
    );
    let words = ["unshare", "--mount", "sh", "-ec", &recipe, &archive, &dir, &out];
    tools.push(limited("dd, mkfs, mount, tar -x (root)", &words));
    Ok(tools)
}

/// Computes the sizes of an image for an archive.
fn count(path: &Path) -> Result<Counts, String> {
    let describe = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(|error| describe(&error))?;
    let mut reader = Reader::seekable(&file);
    let mut entry = Entry::default();
    let (mut entries, mut bytes) = (0, 0);
    while reader.next(&mut entry).map_err(|error| describe(&error))? {
        entries += 1;
        bytes += if entry.kind == Kind::File { entry.size.next_multiple_of(4096) } else { 4096 };
    }
    let inodes = entries + 1000;
    let inode_bytes = inodes * 256;
    // 32,768 inodes at most in each group of 128 MiB, and a fifth more of everything.
    let mib = (bytes + inode_bytes) * 6 / 5 / (1 << 20) + 64;
    Ok(Counts { inodes, mib: mib.max(inodes.div_ceil(32_768) * 128) })
}
