//! The rootfs, a root inside the initramfs, and the files beside it: marks that the kernel unpacked all of it, and the extended
//! attributes that a cpio archive has no place for. mkcpio writes them, the init reads them.
//!
//! The kernel unpacks up to the first file that there is no memory for, logs "Initramfs unpacking failed: write error", and
//! boots on; it skips a file that it cannot create (init/initramfs.c, do_copy() and do_name()). So the first entry of the archive
//! holds the text that the init logs when the last entry is missing: how much memory the machine needs.
//!
//! The table of extended attributes is in blocks of [`BLOCK`] bytes, the last of which may be shorter: it is read block by block,
//! however long it is. A block has whole records, one after the other, and at least one NUL after them:
//!
//! | bytes | |
//! |---|---|
//! | text and NUL | the path from the initramfs's own root on, as `/rootfs/bin/ping`; no file has the empty one |
//! | text and NUL | the attribute's full name, as `security.capability` |
//! | text and NUL | what the init logs when the file system refuses the attribute; nothing when it is empty |
//! | 2 | length of the value, its low byte first |
//! | length | the value, as lsetxattr(2) takes it |

/// The longest text of [`ROOTFS_NEEDS`](crate::contract::ROOTFS_NEEDS).
pub const MAX_NEEDS: usize = 95;

/// Bytes of a block of the table.
pub const BLOCK: usize = 4096;

/// A record of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The file.
    pub path: &'a [u8],
    /// The attribute.
    pub name: &'a [u8],
    /// What is logged when it cannot be set.
    pub text: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record as it stands in the table; `None` when it is longer than a block.
    pub fn encode(&self) -> Option<impl Iterator<Item = u8> + use<'a>> {
        let Self { path, name, text, value } = *self;
        let length = u16::try_from(value.len()).ok()?.to_le_bytes();
        let texts = [path, name, text].into_iter().flat_map(|text| text.iter().chain(&[0]));
        let length_bytes = path.len() + name.len() + text.len() + 3 + length.len() + value.len();
        (length_bytes < BLOCK).then(|| texts.copied().chain(length).chain(value.iter().copied()))
    }
}

/// Takes a value with its length off the rest of a block.
pub fn take_value<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<2>()?;
    let value;
    (value, *rest) = behind.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    Some(value)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    const PING: Record<'_> = Record {
        path: b"/rootfs/bin/ping",
        name: b"security.capability",
        text: b"lost",
        value: &[1, 0, 0, 2, 0, 0x20, 0, 0],
    };

    #[test]
    fn a_record_is_texts_a_length_and_a_value() {
        let bytes: Vec<u8> = PING.encode().unwrap().collect();
        assert_eq!(bytes, b"/rootfs/bin/ping\0security.capability\0lost\0\x08\0\x01\0\0\x02\0\x20\0\0");
        let empty = Record { path: b"/", name: b"user.a", text: b"", value: b"" };
        assert_eq!(empty.encode().unwrap().collect::<Vec<u8>>(), b"/\0user.a\0\0\0\0");
    }

    #[test]
    fn a_record_fits_a_block_with_the_nul_behind_it() {
        let room = BLOCK - 1 - (16 + 19 + 4 + 3) - 2;
        let value = std::vec![7; room + 1];
        assert_eq!(Record { value: &value[..room], ..PING }.encode().unwrap().count(), BLOCK - 1);
        assert!(Record { value: &value, ..PING }.encode().is_none());
    }

    #[test]
    fn a_value_is_taken_whole_or_not_at_all() {
        let bytes = [3, 0, b'a', b'b', b'c', b'/'];
        for end in 0..=bytes.len() {
            let mut rest = &bytes[..end];
            let value = take_value(&mut rest);
            if end < 5 {
                assert_eq!((value, rest), (None, &bytes[..end]), "{end}");
            } else {
                assert_eq!((value, rest), (Some(&b"abc"[..]), &bytes[5..end]), "{end}");
            }
        }
    }
}
