//! The bytes that each compiler flag of the init saves: the init is built once without it.

use std::ffi::OsStr;
use std::fmt::Write;

use xtask::init::{self, Flag, Init, flags_of};
use xtask::workspace;

use crate::compile;
use crate::totals::gzip_len;

/// An init's bytes, as a file and compressed by gzip -9; `None` when the compiler refuses the flags.
type Weight = Option<(u64, u64)>;

/// Builds the init with all flags, without each, and without any; returns the table.
pub(crate) fn table() -> Result<String, String> {
    let all = flags_of(std::env::consts::ARCH);
    let mut rows = vec![("with all flags", weigh(&all)?, "")];
    for flag in &all {
        let others: Vec<&Flag> = all.iter().copied().filter(|other| other != flag).collect();
        rows.push((flag.argument, weigh(&others)?, flag.reason));
    }
    rows.push(("without any", weigh(&[])?, "`cargo build --profile init -p whit`, section headers cut"));
    Ok(text(&rows))
}

/// Builds the init with these flags; returns its sizes.
fn weigh(flags: &[&Flag]) -> Result<Weight, String> {
    let target = compile::directory().join("flags");
    let file = target.join("init-of-flags");
    let codegen = flags.iter().map(|flag| OsStr::new(flag.argument));
    let Ok(built) = init::compile_with(&workspace::root().join("Cargo.toml"), Init::Whole.name(), &target, codegen)
    else {
        return Ok(None);
    };
    init::cut(&built, &file)?;
    let bytes = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(Some((bytes.len() as u64, gzip_len(&bytes))))
}

fn text(rows: &[(&str, Weight, &str)]) -> String {
    let least = rows.first().and_then(|(_, weight, _)| *weight).unwrap_or_default();
    let mut out = format!("{:<50}{:>8}{:>8}{:>8}{:>8}\n", "without -C", "bytes", "gzip", "saves", "gzip");
    for (name, weight, reason) in rows {
        // Writing to a `String` cannot fail.
        let _ = match weight {
            Some((file, gzip)) => {
                let saved = |bytes: u64, of_all: u64| i128::from(bytes) - i128::from(of_all);
                let (by_file, by_gzip) = (saved(*file, least.0), saved(*gzip, least.1));
                writeln!(out, "{name:<50}{file:>8}{gzip:>8}{by_file:>8}{by_gzip:>8}  {reason}")
            }
            None => writeln!(out, "{name:<50}{:>8}", "refused"),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_may_save_nothing_and_may_be_refused() {
        let rows = [("with all flags", Some((100, 50)), ""), ("a=b", Some((90, 51)), "r"), ("c", None, "r")];
        let expected = "\
without -C                                           bytes    gzip   saves    gzip
with all flags                                         100      50       0       0  
a=b                                                     90      51     -10       1  r
c                                                  refused
";
        assert_eq!(text(&rows), expected);
    }
}
