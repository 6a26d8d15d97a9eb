//! The size of each feature of the init: the init is built once without it.
//!
//! This is more than the feature's modules in the report: its options, and the code that calls it, go with it. All features together
//! are not the sum of the rows: they share code, and the code that refuses their options has a size too.

use std::ffi::OsString;
use std::fmt::Write;

use serde_json::Value;
use xtask::workspace;

use crate::compile;
use crate::totals::gzip_len;

/// An init's bytes, as a file and compressed by gzip -9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Weight {
    file: u64,
    gzip: u64,
}

/// Builds the init with all features, without each, and with none; returns the table of sizes.
pub(crate) fn table() -> Result<String, String> {
    let features = names(&metadata()?)?;
    let weigh = |wanted: &[&str]| {
        let file = compile::init_with(wanted)?;
        let bytes = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok::<_, String>(Weight { file: bytes.len() as u64, gzip: gzip_len(&bytes) })
    };
    let all: Vec<&str> = features.iter().map(String::as_str).collect();
    let (whole, least) = (weigh(&["whole"])?, weigh(&[])?);
    let mut rows = Vec::new();
    for &feature in &all {
        let others: Vec<&str> = all.iter().copied().filter(|other| *other != feature).collect();
        rows.push((feature, weigh(&others)?));
    }
    Ok(text(whole, least, rows))
}

fn text(whole: Weight, least: Weight, mut rows: Vec<(&str, Weight)>) -> String {
    rows.sort_by_key(|(_, without)| without.file);
    let mut out = format!("{:<20}{:>8}{:>8}{:>12}{:>8}\n", "an init", "bytes", "gzip", "less bytes", "gzip");
    let mut line = |name: &str, weight: Weight| {
        let less = |of: fn(&Weight) -> u64| i128::from(of(&whole)) - i128::from(of(&weight));
        let (file, gzip) = (less(|weight| weight.file), less(|weight| weight.gzip));
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "{name:<20}{:>8}{:>8}{file:>12}{gzip:>8}", weight.file, weight.gzip);
    };
    line("with all features", whole);
    for (name, without) in rows {
        line(&format!("without {name}"), without);
    }
    line("with none", least);
    out
}

/// Returns the features that Cargo.toml has in `whole`.
fn names(metadata: &Value) -> Result<Vec<String>, String> {
    let packages = metadata.get("packages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let init = packages.iter().find(|package| package.get("name").is_some_and(|name| name == "whit"));
    let features = init.and_then(|init| init.get("features")?.get("whole")?.as_array());
    let features = features.ok_or("cargo metadata: the package whit has no feature \"whole\"")?;
    Ok(features.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

fn metadata() -> Result<Value, String> {
    let arguments = ["metadata", "--no-deps", "--format-version", "1"].map(OsString::from);
    let output = workspace::cargo().args(arguments).output().map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_largest_feature_is_first_and_a_size_may_be_negative() {
        let weight = |file, gzip| Weight { file, gzip };
        let rows = vec![("light", weight(101, 49)), ("heavy", weight(60, 30))];
        let expected = "\
an init                bytes    gzip  less bytes    gzip
with all features        100      50           0       0
without heavy             60      30          40      20
without light            101      49          -1       1
with none                 50      25          50      25
";
        assert_eq!(text(weight(100, 50), weight(50, 25), rows), expected);
    }

    #[test]
    fn names_are_the_features_in_whole() {
        let package = |name, features| json!({"name": name, "features": features});
        let of = |packages: &[Value]| names(&json!({"packages": packages}));
        let init = package("whit", json!({"default": ["whole"], "whole": ["a", "b"], "a": [], "b": []}));
        assert_eq!(of(&[package("other", json!({"whole": ["x"]})), init]).unwrap(), ["a", "b"]);
        let message = "cargo metadata: the package whit has no feature \"whole\"";
        for packages in [vec![], vec![package("whit", json!({}))], vec![package("other", json!({"whole": []}))]] {
            assert_eq!(of(&packages).unwrap_err(), message);
        }
    }
}
