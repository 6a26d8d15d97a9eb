//! Checks that each test that `tests/dhcp.md` names exists.

#[test]
fn every_test_in_the_table_exists() {
    whit_tests::table::check("dhcp.md", 1..=148);
}
