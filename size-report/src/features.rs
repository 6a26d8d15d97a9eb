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

/// Builds the init with the features of `whole`, without each, with each that only `fleet` has, and with none; returns the table of sizes.
pub(crate) fn table() -> Result<String, String> {
    let known = Features::of(&metadata()?)?;
    let features = known.within("whole");
    let weigh = |wanted: &[&str]| {
        let file = compile::init_with(wanted)?;
        let bytes = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok::<_, String>(Weight { file: bytes.len() as u64, gzip: gzip_len(&bytes) })
    };
    let all: Vec<&str> = features.iter().map(String::as_str).collect();
    let (whole, least) = (weigh(&["whole"])?, weigh(&[])?);
    let mut rows = Vec::new();
    for &feature in &all {
        // Cargo would add it again for a feature that requires it.
        let (without, others): (Vec<&str>, Vec<&str>) = all.iter().partition(|other| known.requires(other, feature));
        rows.push((format!("without {}", without.join(", ")), weigh(&others)?));
    }
    let mut more = Vec::new();
    for feature in known.within("fleet").iter().filter(|feature| *feature != "whole") {
        more.push((format!("with {feature} too"), weigh(&["whole", feature])?));
    }
    Ok(text(whole, least, rows, more))
}

fn text(whole: Weight, least: Weight, mut rows: Vec<(String, Weight)>, more: Vec<(String, Weight)>) -> String {
    rows.sort_by_key(|(_, without)| without.file);
    let names = rows.iter().chain(&more).map(|(name, _)| name.len());
    let width = names.max().unwrap_or(0).max(20) + 1;
    let mut out = format!("{:<width$}{:>8}{:>8}{:>12}{:>8}\n", "an init", "bytes", "gzip", "less bytes", "gzip");
    let mut line = |name: &str, weight: Weight| {
        let less = |of: fn(&Weight) -> u64| i128::from(of(&whole)) - i128::from(of(&weight));
        let (file, gzip) = (less(|weight| weight.file), less(|weight| weight.gzip));
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "{name:<width$}{:>8}{:>8}{file:>12}{gzip:>8}", weight.file, weight.gzip);
    };
    line("whole", whole);
    for (name, weight) in rows.iter().chain(&more) {
        line(name, *weight);
    }
    line("with none", least);
    out
}

/// The features of the init, each with those that it requires.
struct Features(Vec<(String, Vec<String>)>);

impl Features {
    /// Reads what `cargo metadata` says.
    fn of(metadata: &Value) -> Result<Self, String> {
        let packages = metadata.get("packages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let init = packages.iter().find(|package| package.get("name").is_some_and(|name| name == "whit"));
        let features = init.and_then(|init| init.get("features")?.as_object());
        let features =
            features.filter(|features| features.get("whole").is_some_and(|list| list != &Value::Array(vec![])));
        let features = features.ok_or("cargo metadata: the package whit has no feature \"whole\"")?;
        let list = |value: &Value| {
            value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Ok(Self(features.iter().map(|(name, required)| (name.clone(), list(required))).collect()))
    }

    /// Returns the features that this one requires by name.
    fn within(&self, name: &str) -> &[String] {
        self.0.iter().find(|(feature, _)| feature == name).map_or(&[], |(_, required)| required)
    }

    /// Whether a feature is `other`, or requires it.
    fn requires(&self, feature: &str, other: &str) -> bool {
        feature == other || self.within(feature).iter().any(|required| self.requires(required, other))
    }
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
        let rows = vec![("without light".to_owned(), weight(101, 49)), ("without heavy".to_owned(), weight(60, 30))];
        let more = vec![("with more too".to_owned(), weight(110, 55))];
        let expected = "\
an init                 bytes    gzip  less bytes    gzip
whole                     100      50           0       0
without heavy              60      30          40      20
without light             101      49          -1       1
with more too             110      55         -10      -5
with none                  50      25          50      25
";
        assert_eq!(text(weight(100, 50), weight(50, 25), rows, more), expected);
    }

    #[test]
    fn features_require_others() {
        let package = |name, features| json!({"name": name, "features": features});
        let of = |packages: &[Value]| Features::of(&json!({"packages": packages}));
        let init = package("whit", json!({"default": ["whole"], "whole": ["a", "b"], "a": ["b"], "b": ["c"], "c": []}));
        let features = of(&[package("other", json!({"whole": ["x"]})), init]).unwrap();
        assert_eq!(features.within("whole"), ["a", "b"]);
        for (feature, other, expected) in [("a", "a", true), ("a", "c", true), ("c", "a", false), ("b", "c", true)] {
            assert_eq!(features.requires(feature, other), expected, "{feature} {other}");
        }
        let message = "cargo metadata: the package whit has no feature \"whole\"";
        for packages in [vec![], vec![package("whit", json!({}))], vec![package("other", json!({"whole": []}))]] {
            assert_eq!(of(&packages).err().unwrap(), message);
        }
    }
}
