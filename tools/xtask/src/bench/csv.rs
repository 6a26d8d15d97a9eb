//! The report for spreadsheets (RFC 4180, except for line ends): one line for each machine and stage.

use super::matrix::of_machine;
use super::run::Measured;
use super::stages::STAGES;

/// Returns head lines as comments, then the names of the columns, then nanoseconds.
#[must_use]
pub fn csv(head: &[String], measured: &[Measured]) -> String {
    let mut text: String = head.iter().map(|line| format!("# {line}\n")).collect();
    text.push_str("init,kernel,card,root,stage,runs,min_ns,median_ns,p95_ns,max_ns,peak_kib,initramfs_bytes\n");
    let or_empty = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    for one in measured {
        for stage in STAGES {
            let Some(sample) = one.sample(stage) else { continue };
            let cell = &one.cell;
            let kernel = of_machine(&cell.kernel, cell.machine);
            let names = [&cell.contender, &kernel].map(|name| quoted(name)).join(",");
            text.push_str(&format!(
                "{names},{},{},{},{},{},{},{},{},{},{}\n",
                cell.card.name(),
                cell.root.name(),
                stage.name(),
                sample.count(),
                sample.min(),
                sample.median(),
                sample.p95(),
                sample.max(),
                or_empty(one.peak_kib()),
                or_empty(cell.initramfs_bytes),
            ));
        }
    }
    text
}

/// Quotes a field if necessary.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::measured;
    use super::*;

    #[test]
    fn a_line_for_each_stage_that_happened() {
        let text = csv(&["command x".to_owned()], &[measured("a,\"b\"", &[3, 1, 2])]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "# command x");
        assert_eq!(
            lines[2],
            "\"a,\"\"b\"\"\",micro,virtio-net,memory,kernel,3,100000000,100000000,100000000,100000000,112,20480"
        );
        assert_eq!(lines[4], "\"a,\"\"b\"\"\",micro,virtio-net,memory,entrypoint,3,1,2,3,3,112,20480");
        assert_eq!(lines.len(), 5);
    }
}
