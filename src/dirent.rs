//! Names in a directory, as getdents64(2) returns them.

use crate::text::position;

/// Returns the names in the result of one call, each with its NUL, without `.` and `..`. Ends at a truncated entry.
pub fn names(entries: &[u8]) -> Names<'_> {
    Names { rest: entries }
}

/// The iterator of [`names`].
#[derive(Clone, Debug)]
pub struct Names<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            // struct linux_dirent64: d_ino and d_off of 8 bytes, d_reclen of 2, d_type of 1, then d_name.
            let (head, _) = self.rest.split_at_checked(19)?;
            let length = u16::from_ne_bytes([*head.get(16)?, *head.get(17)?]);
            let (entry, rest) = self.rest.split_at_checked(length.into())?;
            self.rest = rest;
            let name = entry.get(19..)?;
            let end = name.iter().position(|byte| *byte == 0)?;
            if position(b". ..", b' ', name.get(..end)?).is_none() {
                return name.get(..=end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn entry(name: &[u8]) -> Vec<u8> {
        let length = (19 + name.len() + 1).next_multiple_of(8);
        let mut entry = Vec::from([0; 16]);
        entry.extend((length as u16).to_ne_bytes());
        entry.push(8);
        entry.extend(name);
        entry.resize(length, 0);
        entry
    }

    #[test]
    fn dot_and_dot_dot_are_skipped() {
        let listed = [entry(b"."), entry(b"init"), entry(b".."), entry(b"..."), entry(b"lib64")].concat();
        assert!(names(&listed).eq([&b"init\0"[..], b"...\0", b"lib64\0"]));
        assert_eq!(names(&[]).next(), None);
    }

    #[test]
    fn every_truncation_terminates() {
        let listed = [entry(b"one"), entry(b"two")].concat();
        for end in 0..listed.len() {
            assert!(names(&listed[..end]).count() < 2, "{end}");
        }
        let mut endless = entry(b".");
        endless[16..18].copy_from_slice(&[0, 0]);
        assert_eq!(names(&endless).next(), None);
    }
}
