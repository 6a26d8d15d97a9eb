//! The goals of whit compared with the other inits, and whether these boots meet them.

use super::machine::Card;
use super::run::Measured;
use super::stages::Stage;
use super::table::millis;
use whit_tools::machine::Machine;

/// The compared inits, by the names of their recipes.
const WHIT: &str = "whit";
const SCRIPT: &str = "busybox-script";
const KERNEL: &str = "kernel-alone";
/// Limit for the time from the carrier to the lease.
const LEASE_NS: u64 = 5_000_000;
/// Limit for the time of another architecture, in tenths of x86-64's.
const TENTHS_OF_X86_64: u64 = 12;

/// Returns a line for each goal that these boots measure: held or not, the figure, the limit.
#[must_use]
pub fn goals(measured: &[Measured]) -> Vec<String> {
    let mut lines = Vec::new();
    for whit in measured.iter().filter(|one| one.cell.contender == WHIT) {
        let machine = whit.cell.machine();
        let peer = |name: &str| {
            let same = |one: &&Measured| one.cell.contender == name && one.cell.machine() == machine;
            measured.iter().find(same)?.sample(Stage::Entrypoint)
        };
        let mut goal = |what: &str, figure: Option<u64>, limit: Option<u64>| {
            if let (Some(figure), Some(limit)) = (figure, limit) {
                let held = if figure <= limit { "held" } else { "NOT HELD" };
                lines.push(format!("{held:<8}  {machine}: {what}: {} of {} ms", millis(figure), millis(limit)));
            }
        };
        let entrypoint = whit.sample(Stage::Entrypoint).map(|sample| sample.median());
        let script = peer(SCRIPT).map(|sample| sample.median() / 5);
        goal("init -> entrypoint, a fifth of the busybox script's", entrypoint, script);
        let kernel = peer(KERNEL).map(|sample| sample.median() * 3 / 2);
        goal("init -> entrypoint, 1.5 times the kernel's own mount and exec", entrypoint, kernel);
        if whit.cell.machine != Machine::X86_64 {
            let same = |one: &&Measured| {
                let (one, own) = (&one.cell, &whit.cell);
                one.machine == Machine::X86_64
                    && (&one.contender, &one.kernel, one.card, one.root)
                        == (&own.contender, &own.kernel, own.card, own.root)
            };
            let other = measured.iter().find(same).and_then(|one| one.sample(Stage::Entrypoint));
            let limit = other.map(|sample| sample.median() * TENTHS_OF_X86_64 / 10);
            goal("init -> entrypoint, 1.2 times x86-64's", entrypoint, limit);
        }
        // QEMU's e1000 holds every packet for a second after each change of its receive mode.
        if whit.cell.card != Card::E1000 {
            let carrier = whit.sample(Stage::Carrier).map(|sample| sample.median());
            goal("carrier -> lease", carrier, Some(LEASE_NS));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::measured;
    use super::*;

    #[test]
    fn goals_need_measured_boots() {
        let boots = [measured(WHIT, &[3_000_000]), measured(SCRIPT, &[20_000_000]), measured(KERNEL, &[1_000_000])];
        let machine = "micro, virtio-net, root on memory";
        assert_eq!(
            goals(&boots),
            [
                format!("held      {machine}: init -> entrypoint, a fifth of the busybox script's: 3.000 of 4.000 ms"),
                format!(
                    "NOT HELD  {machine}: init -> entrypoint, 1.5 times the kernel's own mount and exec: 3.000 of 1.500 ms"
                ),
            ]
        );
        let mut arm = measured(WHIT, &[3_700_000]);
        arm.cell.machine = Machine::Aarch64;
        assert_eq!(
            goals(&[arm.clone(), measured(WHIT, &[3_000_000])]),
            ["NOT HELD  micro aarch64, virtio-net, root on memory: init -> entrypoint, 1.2 times x86-64's: \
              3.700 of 3.600 ms"]
        );
        assert_eq!(goals(&[arm]), [""; 0]);
        assert_eq!(goals(&boots[..1]), [""; 0]);
        assert_eq!(goals(&boots[1..]), [""; 0]);
    }
}
