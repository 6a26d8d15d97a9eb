//! `tests/dhcp.md` names tests; each of them is there.

#[test]
fn every_test_that_the_table_names_is_there() {
    whit_tests::table::check("dhcp.md", 1..=115);
}
