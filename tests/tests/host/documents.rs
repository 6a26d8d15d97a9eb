//! The documentation: its commands are run, its links lead somewhere.

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

/// The front page is read in one sitting.
#[test]
fn the_readme_is_short() {
    assert!(read("README.md").lines().count() <= 120);
}
