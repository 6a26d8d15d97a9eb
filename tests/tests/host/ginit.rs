//! Checks that each test that `tests/ginit.md` names exists.

#[test]
fn every_test_in_the_table_exists() {
    whit_tests::table::check("ginit.md", 1..=28);
}
