//! The report for programs: all measurements, with each single boot.

use serde_json::{Map, Value, json};

use super::host::Host;
use super::matrix::Skipped;
use super::run::{Boot, Measured};
use super::stages::STAGES;
use crate::workspace;

/// Returns one object: `command`, `host`, `machines` with their `boots` in nanoseconds, `skipped`.
#[must_use]
pub fn json(command: &str, host: &Host, measured: &[Measured], skipped: &[Skipped]) -> String {
    let machines: Vec<Value> = measured.iter().map(machine).collect();
    let skipped: Vec<Value> = skipped.iter().map(|one| json!({ "machine": one.name, "why": one.why })).collect();
    let value = json!({
        "command": command,
        "host": {
            "processor": host.processor,
            "processors": host.processors,
            "memory_mib": host.memory_mib,
            "kernel": host.kernel,
            "qemu": host.qemu,
            "load": host.load,
        },
        "machines": machines,
        "skipped": skipped,
    });
    format!("{value:#}\n")
}

fn machine(one: &Measured) -> Value {
    let here = format!("{}/", workspace::root().display());
    let mut stages = Map::new();
    for stage in STAGES {
        if let Some(sample) = one.sample(stage) {
            stages.insert(
                stage.name().to_owned(),
                json!({ "min_ns": sample.min(), "median_ns": sample.median(), "p95_ns": sample.p95(), "max_ns": sample.max() }),
            );
        }
    }
    let boots: Vec<Value> = one.boots.iter().map(boot).collect();
    json!({
        "init": one.cell.contender,
        "architecture": one.cell.machine.name(),
        "kernel": one.cell.kernel,
        "card": one.cell.card.name(),
        "root": one.cell.root.name(),
        // Paths are relative to the source tree: the file is committed.
        "qemu": one.cell.command(&one.cell.image).to_string().replace(&here, ""),
        "initramfs_bytes": one.cell.initramfs_bytes,
        "peak_kib": one.peak_kib(),
        "network": one.has_network(),
        "stages": stages,
        "boots": boots,
        "failure": one.failure,
    })
}

fn boot(boot: &Boot) -> Value {
    let mut value = Map::new();
    for stage in STAGES {
        if let Some(time_ns) = boot.times.get(stage) {
            value.insert(stage.name().to_owned(), json!(time_ns));
        }
    }
    value.insert("wall_ms".to_owned(), json!(boot.wall.as_millis() as u64)); // 584 million years
    Value::Object(value)
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::measured;
    use super::*;

    #[test]
    fn the_report_is_valid_json() {
        let skipped = [Skipped { name: "m".into(), why: "w".into() }];
        let text = json("c", &Host::look(), &[measured("whit", &[7, 5])], &skipped);
        let value: Value = serde_json::from_str(&text).unwrap();
        let machine = &value["machines"][0];
        assert_eq!(machine["stages"]["entrypoint"]["median_ns"], 5);
        assert_eq!(machine["boots"][0]["entrypoint"], 7);
        assert_eq!(machine["boots"][1]["wall_ms"], 1500);
        assert_eq!((&machine["failure"], &value["skipped"][0]["why"]), (&Value::Null, &json!("w")));
    }
}
