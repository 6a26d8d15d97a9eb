//! The applets of a busybox, read from its file: it may be for another machine, and need not run here.
//!
//! busybox has two tables (applets/applet_tables.c): `applet_names`, the names in the order of strcmp, each with its NUL, and
//! `applet_install_loc`, the folder of each in four bits.

/// The folders of `applet_install_loc`, by number (include/applets.h, bb_install_loc_t).
const FOLDERS: [&str; 5] = ["", "bin/", "sbin/", "usr/bin/", "usr/sbin/"];
/// The text of every busybox.
const BANNER: &[u8] = b"BusyBox v";
/// The longest name of an applet.
const MAX_NAME: usize = 32;
/// The smallest table that is accepted: a shell and few more.
const MIN_APPLETS: usize = 4;
/// Applets with a folder of their own in every busybox. They find the table of folders.
const KNOWN: [(&str, u8); 12] = [
    ("[", 3),
    ("cat", 1),
    ("chroot", 4),
    ("cp", 1),
    ("cut", 3),
    ("halt", 2),
    ("ifconfig", 2),
    ("ls", 1),
    ("mount", 1),
    ("sh", 1),
    ("sort", 3),
    ("udhcpd", 4),
];

/// Returns the paths of the applets, without the leading slash. Without a table of folders, all are in `bin/`. `None` if the file is no
/// busybox.
pub(super) fn applets(file: &[u8]) -> Option<Vec<String>> {
    memchr::memmem::find(file, BANNER)?;
    let names = longest_table(file);
    if names.len() < MIN_APPLETS {
        return None;
    }
    let folders = folders(file, &names);
    let path = |(index, name): (usize, &&[u8])| {
        let number = folders.map_or(1, |table| four_bits(table, index));
        let folder = FOLDERS.get(usize::from(number)).copied().unwrap_or("bin/");
        format!("{folder}{}", String::from_utf8_lossy(name))
    };
    Some(names.iter().enumerate().map(path).collect())
}

/// Returns the longest run of names in ascending order.
fn longest_table(file: &[u8]) -> Vec<&[u8]> {
    let (mut best, mut run): (Vec<&[u8]>, Vec<&[u8]>) = (Vec::new(), Vec::new());
    for text in file.split(|byte| *byte == 0) {
        // Before the first name there may be another byte than NUL.
        let is_next = is_name(text) && run.last().is_none_or(|last| *last < text);
        if !is_next {
            if run.len() > best.len() {
                best = std::mem::take(&mut run);
            }
            run.clear();
        }
        if is_name(text) {
            run.push(text);
        }
    }
    if run.len() > best.len() { run } else { best }
}

fn is_name(text: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"[_-.".contains(byte);
    (1..=MAX_NAME).contains(&text.len())
        && text.iter().all(is_part)
        && (text[0] == b'[' || text[0].is_ascii_lowercase())
}

fn four_bits(table: &[u8], index: usize) -> u8 {
    let byte = table.get(index / 2).copied().unwrap_or_default();
    if index.is_multiple_of(2) { byte & 0xf } else { byte >> 4 }
}

/// Finds the table of the folders of these names.
fn folders<'a>(file: &'a [u8], names: &[&[u8]]) -> Option<&'a [u8]> {
    let place = |name: &str| names.iter().position(|other| *other == name.as_bytes());
    let known: Vec<(usize, u8)> = KNOWN.iter().filter_map(|(name, folder)| Some((place(name)?, *folder))).collect();
    // A few names fit anywhere.
    if known.len() < MIN_APPLETS {
        return None;
    }
    let fits = |table: &&[u8]| {
        known.iter().all(|(index, folder)| four_bits(table, *index) == *folder)
            && (0..names.len()).all(|index| usize::from(four_bits(table, index)) < FOLDERS.len())
    };
    file.windows(names.len().div_ceil(2)).find(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_applets_are_those_that_busybox_itself_lists() {
        let listed = Command::new("/bin/busybox").arg("--list-full").output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let file = std::fs::read("/bin/busybox").unwrap();
        assert_eq!(applets(&file).unwrap(), listed.lines().collect::<Vec<_>>());
    }

    #[test]
    fn a_busybox_without_the_table_of_folders_has_all_in_bin() {
        let file = b"BusyBox v1.36.1\0\x01\0ash\0cat\0ls\0sh\0\x02\0zzz\0";
        assert_eq!(applets(file).unwrap(), ["bin/ash", "bin/cat", "bin/ls", "bin/sh"]);
        assert_eq!(applets(&file[1..]), None);
        assert_eq!(applets(b"BusyBox v1.36.1\0ls\0"), None);
    }
}
