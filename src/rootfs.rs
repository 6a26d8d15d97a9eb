//! The rootfs, a root inside the initramfs, and the files next to it: markers of a complete unpacking, and the extended
//! attributes, which a cpio archive cannot hold. mkcpio writes these files, and the init reads them.
//!
//! The kernel unpacks up to the first file that does not fit into memory, logs "Initramfs unpacking failed: write error", and
//! continues the boot. It skips a file that it cannot create (init/initramfs.c, do_copy() and do_name()). The first entry of the
//! archive holds the text that the init logs if the last entry is missing: the memory that the machine needs.
//!
//! The table of extended attributes consists of blocks of [`BLOCK`] bytes, the last of which may be shorter. It is read block by
//! block, and may have any length. A block has whole records, followed by at least one NUL:
//!
//! | bytes | content |
//! |---|---|
//! | text and NUL | the path from the root of the initramfs, as `/rootfs/bin/ping`; never empty |
//! | text and NUL | the full name of the attribute, as `security.capability` |
//! | text and NUL | the text that the init logs if the file system refuses the attribute; if empty, nothing is logged |
//! | 2 | length of the value, little-endian |
//! | length | the value, for lsetxattr(2) |

/// The longest text of [`ROOTFS_NEEDS`](crate::contract::ROOTFS_NEEDS), in bytes.
pub const MAX_NEEDS: usize = 95;

/// Bytes of a block of the table.
pub const BLOCK: usize = 4096;

/// A record of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The path of the file.
    pub path: &'a [u8],
    /// The name of the attribute.
    pub name: &'a [u8],
    /// The text to log if the attribute cannot be set.
    pub text: &'a [u8],
    /// The value of the attribute.
    pub value: &'a [u8],
}

impl<'a> Record<'a> {
    /// Returns the bytes of the record in the table; `None` if they do not fit a block with its NUL.
    pub fn encode(&self) -> Option<impl Iterator<Item = u8> + use<'a>> {
        let Self { path, name, text, value } = *self;
        let length = u16::try_from(value.len()).ok()?.to_le_bytes();
        let texts = [path, name, text].into_iter().flat_map(|text| text.iter().chain(&[0]));
        let length_bytes = path.len() + name.len() + text.len() + 3 + length.len() + value.len();
        (length_bytes < BLOCK).then(|| texts.copied().chain(length).chain(value.iter().copied()))
    }
}

/// Removes a value and its length from the start of `rest`. Returns `None`, and removes nothing, if it is truncated.
pub fn take_value<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let value;
    (value, *rest) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
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
    fn a_record_has_three_texts_a_length_and_a_value() {
        let bytes: Vec<u8> = PING.encode().unwrap().collect();
        assert_eq!(bytes, b"/rootfs/bin/ping\0security.capability\0lost\0\x08\0\x01\0\0\x02\0\x20\0\0");
        let empty = Record { path: b"/", name: b"user.a", text: b"", value: b"" };
        assert_eq!(empty.encode().unwrap().collect::<Vec<u8>>(), b"/\0user.a\0\0\0\0");
    }

    #[test]
    fn a_record_fits_a_block_with_the_nul_after_it() {
        let room = BLOCK - 1 - (16 + 19 + 4 + 3) - 2;
        let value = std::vec![7; room + 1];
        assert_eq!(Record { value: &value[..room], ..PING }.encode().unwrap().count(), BLOCK - 1);
        assert!(Record { value: &value, ..PING }.encode().is_none());
    }

    #[test]
    fn a_truncated_value_is_not_removed() {
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
