//! What llvm-cov exports: for each file, how often each of its lines was reached (geninfo(1)).

use std::collections::BTreeMap;
use std::path::Path;

/// Lines that have code, and whether they were reached, by files below the root.
pub(crate) type Lines = BTreeMap<String, BTreeMap<u32, bool>>;

/// Reads `SF:PATH`, and the `DA:LINE,COUNT` of each.
pub(crate) fn parse(text: &str, root: &Path) -> Lines {
    let mut files = Lines::new();
    let mut file = None;
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            let below = Path::new(path).strip_prefix(root).ok().and_then(Path::to_str);
            file = below.map(|below| files.entry(below.to_owned()).or_default());
        } else if let (Some(file), Some((number, count))) =
            (&mut file, line.strip_prefix("DA:").and_then(|line| line.split_once(',')))
            && let Ok(number) = number.parse()
        {
            *file.entry(number).or_default() |= count != "0";
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_reached_when_any_program_reaches_it() {
        let text =
            "SF:/r/a.rs\nFN:1,f\nDA:1,0\nDA:2,7\nend_of_record\nSF:/else/b.rs\nDA:1,1\nSF:/r/a.rs\nDA:1,3\nDA:4,0\n";
        let lines = parse(text, Path::new("/r"));
        assert_eq!(lines.keys().collect::<Vec<_>>(), ["a.rs"]);
        assert_eq!(lines["a.rs"], BTreeMap::from([(1, true), (2, true), (4, false)]));
    }
}
