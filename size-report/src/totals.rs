//! The sizes that `budget.txt` limits.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::image::Image;

/// Name and bytes, in the order of the budget.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Totals(pub(crate) Vec<(&'static str, u64)>);

/// Returns the sizes of the shipped file, with the sections of the same program in `named`, and of the smaller inits.
pub(crate) fn totals(shipped: &Image, named: &Image, [min, seed, fleet]: [&[u8]; 3]) -> Totals {
    let file = u64::try_from(shipped.file.len()).unwrap_or(u64::MAX);
    let mut totals = vec![("file", file), ("gzip", gzip_len(&shipped.file))];
    totals.extend(["text", "rodata", "data", "bss"].map(|name| (name, section_size(named, name))));
    for (file, [name, gzip]) in
        [(min, ["min", "min.gzip"]), (seed, ["seed", "seed.gzip"]), (fleet, ["fleet", "fleet.gzip"])]
    {
        totals.push((name, u64::try_from(file.len()).unwrap_or(u64::MAX)));
        totals.push((gzip, gzip_len(file)));
    }
    Totals(totals)
}

/// Returns the kind of a section: `.rodata.cst16` and `.rodata` are both `rodata`, and a linker may keep them separate.
pub(crate) fn kind(section: &str) -> &str {
    section.split('.').nth(1).unwrap_or(section)
}

fn section_size(image: &Image, name: &str) -> u64 {
    image.loaded_sections().filter(|(_, section)| kind(&section.name) == name).map(|(_, section)| section.size).sum()
}

/// Returns the length of `file` after `gzip -9`, as mkcpio writes it.
pub(crate) fn gzip_len(file: &[u8]) -> u64 {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let compressed = encoder.write_all(file).and_then(|()| encoder.finish());
    // Writing to memory cannot fail; a failure would give a size over every limit.
    compressed.map_or(u64::MAX, |bytes| bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::image;

    #[test]
    fn totals_add_sections_that_the_linker_kept_separate() {
        let named =
            image(&[(".text", &[0; 10]), (".text.unlikely", &[0; 5]), (".textile", &[0; 3]), (".bss", &[0; 7])]);
        let mut shipped = image(&[]);
        shipped.file = vec![0; 100];
        let totals = totals(&shipped, &named, [b"abc", b"", b""]);
        assert_eq!(totals.0[0], ("file", 100));
        assert!(totals.0[1].1 > 18 && totals.0[1].1 < 60, "gzip's frame is 18 bytes, a hundred zeroes are a few more");
        assert_eq!(totals.0[2..6], [("text", 15), ("rodata", 0), ("data", 0), ("bss", 7)]);
        assert_eq!(
            totals.0[6..],
            [("min", 3), ("min.gzip", 23), ("seed", 0), ("seed.gzip", 20), ("fleet", 0), ("fleet.gzip", 20)]
        );
    }
}
