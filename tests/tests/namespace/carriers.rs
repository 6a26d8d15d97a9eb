//! Interfaces in great number, without a carrier, and with a master.

use std::time::{Duration, Instant};

use whit_tests::namespace::{Lan, Machine, Prepared};

fn prepared(options: &str) -> Prepared {
    Machine::new().script("echo settled; exec sleep 1000").command_line(options).prepare()
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn the_one_cable_of_many_interfaces_is_used() {
    let machine = prepared("");
    let lan = Lan::new();
    for number in 0..12 {
        lan.plug_without_carrier(&machine, &format!("eth{number}"));
    }
    lan.carrier(9, true);
    let _server = lan.serve(&["dhcp-range=10.55.9.50,10.55.9.99,255.255.255.0,1h"]);
    let mut machine = machine.start();
    machine.wait_for("whit: eth9 10.55.9.");
    let logged = machine.wait_for("settled\n");
    assert!(!logged.contains("ignored"), "{logged}");
    // Another cable is plugged in later.
    lan.carrier(11, true);
    machine.wait_for("whit: eth11 ");
    machine.wait_for(": link up\n");
    lan.carrier(0, true);
    machine.wait_for("whit: eth0 ");
    machine.wait_for(": link up\n");
    assert!(!machine.console().contains("ignored"), "{}", machine.console());
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn without_any_carrier_the_wait_ends_after_five_seconds() {
    let machine = prepared("whit.net.timeout=1000");
    let lan = Lan::new();
    lan.plug_without_carrier(&machine, "eth0");
    let began = Instant::now();
    let mut machine = machine.start();
    machine.wait_for("whit: network: no carrier within 5 s; the boot continues, with retries\n");
    assert!(began.elapsed() > Duration::from_millis(4900), "{:?}", began.elapsed());
    machine.wait_for("settled\n");
    let _server = lan.serve(&[]);
    lan.carrier(0, true);
    machine.wait_for("whit: eth0 10.55.0.");
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn a_carrier_is_waited_for_where_a_lease_is_required_and_where_there_is_one() {
    for (options, carrier, waited) in
        [("whit.net=require whit.net.timeout=7", false, 7), ("whit.net.timeout=7", true, 7)]
    {
        let machine = prepared(options);
        let lan = Lan::new();
        lan.plug_without_carrier(&machine, "eth0");
        lan.carrier(0, carrier);
        let mut machine = machine.start();
        machine.wait_for(&format!("whit: network: no lease within {waited} s"));
    }
}

#[test]
#[ignore = "needs root: cargo selftest runs it"]
fn an_interface_with_a_master_gets_no_client() {
    let machine = prepared("");
    let lan = Lan::new();
    lan.plug(&machine, "slave");
    lan.plug_without_carrier(&machine, "eth1");
    lan.carrier(1, true);
    let network = format!("--net=/proc/{}/ns/net", machine.init());
    for command in ["link add br0 type bridge", "link set slave master br0"] {
        let done = std::process::Command::new("nsenter").arg(&network).arg("ip").args(command.split(' ')).status();
        assert!(done.expect("apt-get install util-linux iproute2").success(), "{command}");
    }
    let mut frames = lan.frames();
    let mut server = lan.serve(&["dhcp-range=10.55.1.50,10.55.1.99,255.255.255.0,1h"]);
    let mut machine = machine.start();
    machine.wait_for("whit: eth1 10.55.1.");
    machine.wait_for("settled\n");
    let log = server.wait_for("DHCPACK(lan1)");
    assert!(!log.contains("(lan0)"), "{log}");
    let own = machine.ip(&["link", "show", "dev", "eth1"]);
    let mut queries = 0;
    while let Some(query) = frames.query_within(Duration::ZERO) {
        let [.., a, b, c] = query.chaddr();
        assert!(own.contains(&format!("{a:02x}:{b:02x}:{c:02x} brd")), "{query:?}");
        queries += 1;
    }
    assert!(queries >= 2);
    assert!(!machine.console().contains("slave"), "{}", machine.console());
}
