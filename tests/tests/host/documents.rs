//! The documentation: its commands are run, its links lead somewhere.

use std::collections::BTreeSet;
use std::path::Path;

use whit_tests::documents::{self, Tier, blocks, pages, read};
use xtask::workspace;

#[test]
fn every_command_is_run_by_a_test_or_says_why_not() {
    let source = std::fs::read_to_string(workspace::root().join("tests/tests/qemu/documents.rs")).unwrap();
    let mut wrong = Vec::new();
    for page in pages() {
        for block in blocks(&read(&page)) {
            match block.tier() {
                Err(error) => wrong.push(format!("{page}: {error}")),
                Ok(Some(tier)) if tier > Tier::Host && !source.contains(&format!("\"{page}\"")) => {
                    wrong.push(format!("{page}:{}: no test of tests/tests/qemu/documents.rs runs it", block.line));
                }
                Ok(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_commands_that_need_no_machine_do_what_the_pages_show() {
    let has_commands = |page: &String| blocks(&read(page)).iter().any(|block| block.tier() == Ok(Some(Tier::Host)));
    let pages: Vec<String> = pages().into_iter().filter(has_commands).collect();
    assert!(pages.len() > 2, "{pages:?}");
    std::thread::scope(|scope| {
        for page in &pages {
            scope.spawn(|| documents::run(page, Tier::Host));
        }
    });
}

/// The links of a page: `[text](target)`, not in code.
fn links(markdown: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut is_code = false;
    for line in markdown.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        }
        let text: String = line.split('`').step_by(2).collect();
        if !is_code {
            links.extend(text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
        }
    }
    links
}

/// The anchors of a page, as GitHub makes them of its headings.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let headings = markdown.lines().filter(|line| {
        is_code ^= line.starts_with("```");
        !is_code && line.starts_with('#')
    });
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        text.chars().filter(|char| char.is_alphanumeric() || "-_".contains(*char)).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_lead_somewhere() {
    let root = workspace::root();
    let mut broken = Vec::new();
    for page in pages().into_iter().chain(["tests/golden/README.md".to_owned()]) {
        let folder = root.join(&page).parent().unwrap().to_owned();
        let markdown = read(&page);
        for link in links(&markdown).into_iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { root.join(&page) } else { folder.join(path) };
            let has_anchor =
                || anchor.is_empty() || anchors(&std::fs::read_to_string(&target).unwrap()).contains(anchor);
            if !Path::exists(&target) || !has_anchor() {
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn links_and_anchors_are_found() {
    assert_eq!(links("a [b](c#d), `[x](y)`\n```sh\n[e](f)\n```\n![g](h.svg)"), ["c#d", "h.svg"]);
    assert!(anchors("## Coming from `docker run`\n```sh\n# no\n```\n").contains("coming-from-docker-run"));
}

#[test]
fn every_feature_has_a_row() {
    let manifest = read("Cargo.toml");
    let (_, list) = manifest.split_once("\nwhole = [").unwrap();
    let (list, _) = list.split_once(']').unwrap();
    let page = read("docs/smaller-init.md");
    let features: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    assert!(features.len() > 20, "{features:?}");
    for feature in features {
        assert!(page.contains(&format!("\n| `{feature}` |")), "docs/smaller-init.md: no row for {feature}");
    }
}

/// The numbers of a text: digits with `,` between thousands and at most one `.`.
fn numbers(text: &str) -> Vec<&str> {
    let parts = text.split(|char: char| !(char.is_ascii_digit() || ".,".contains(char)));
    let parts = parts.map(|part| part.trim_matches(['.', ',']));
    parts.filter(|part| part.starts_with(|char: char| char.is_ascii_digit())).collect()
}

fn parse(number: &str) -> Option<f64> {
    number.replace(',', "").parse().ok()
}

/// A figure of the documentation is one of `bench/`, rounded.
#[test]
fn every_figure_is_a_measured_one() {
    let files = std::fs::read_dir(workspace::root().join("bench")).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "txt"));
    let results: String = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let measured: Vec<f64> = numbers(&results).into_iter().filter_map(parse).collect();
    let mut unknown = Vec::new();
    for page in ["README.md", "docs/benchmarks.md", "docs/limits.md", "docs/smaller-init.md"] {
        let markdown = read(page);
        // The cells of tables, without the names in the first column; on the front page also the claims with their links.
        let cells = markdown.lines().filter_map(|line| Some(line.strip_prefix("| ")?.split_once(" |")?.1));
        let claims = markdown.split("\n- **").skip(1).map(|claim| claim.split_once("](").map_or("", |(text, _)| text));
        let texts = cells.chain(claims.filter(|_| page == "README.md"));
        let texts: Vec<String> = texts.map(|text| text.split('`').step_by(2).collect()).collect();
        for figure in texts.iter().flat_map(|text| numbers(text)) {
            let decimals = figure.split_once('.').map_or(0, |(_, decimals)| decimals.len());
            let step = 0.1_f64.powi(i32::try_from(decimals).unwrap());
            let is_measured = |value: f64| measured.iter().any(|known| (known - value).abs() <= 0.5001 * step);
            if !parse(figure).is_some_and(is_measured) {
                unknown.push(format!("{page}: {figure} is in no file of bench/"));
            }
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

/// The front page is read in one sitting.
#[test]
fn the_readme_is_short() {
    assert!(read("README.md").lines().count() <= 120);
}
