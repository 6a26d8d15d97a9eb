//! The benchmark of DHCP clients, as far as it can be tested: that it runs, and says of each table what it found.

use whit_tests::deadline::output;
use whit_tools::workspace;

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_benchmark_of_dhcp_fills_its_tables() {
    let output = output(workspace::cargo().args(["bench-dhcp", "--", "--quick"]));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for (table, clients) in [("normal", 2), ("dnsmasq", 2), ("late", 2), ("lost", 1)] {
        let lines = text.split_once(&format!("\n{table}: ")).expect(table).1.lines();
        // A title, the columns, and a row for each client: its name, median, least and p90.
        let rows: Vec<Vec<&str>> = lines.skip(2).take(clients).map(|row| row.split_whitespace().collect()).collect();
        for row in &rows {
            let figures: Vec<f64> = row.iter().skip(1).filter_map(|figure| figure.parse().ok()).collect();
            let [median, least, p90, ..] = figures[..] else { panic!("{table}: {row:?}\n{text}") };
            assert!(0.0 < least && least <= median && median <= p90, "{table}: {row:?}\n{text}");
        }
        assert_eq!(rows.iter().filter(|row| row[0] == "whit").count(), 1, "{table}\n{text}");
    }
}
