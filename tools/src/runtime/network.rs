//! The machine's cards on the interfaces of the container's network namespace.
//!
//! Each interface that the engine has made is joined with a tap by two filters (tc-mirred(8)): every frame that arrives at one leaves by
//! the other. The machine has the interface's MAC and IPv4 address, so that published ports, names and networks of the engine work as
//! for a container. iproute2's `ip` and `tc` do this; they run in the namespace, which this thread has joined.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use serde_json::Value;

use super::config::Network;
use crate::vm::qemu::Tap;

/// The most interfaces that a machine gets.
const MAX_CARDS: usize = 8;

/// The network of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cards {
    /// The taps, in the order of the machine's cards: eth0, eth1.
    pub(super) taps: Vec<Tap>,
    /// The words of the kernel's command line that configure them.
    pub(super) words: String,
}

/// Joins the container's namespace. All processes that this thread starts from now on are in it.
///
/// # Errors
/// A message of one line.
pub(super) fn join(network: &Network) -> Result<(), String> {
    match network {
        Network::Host => Ok(()),
        Network::Namespace(path) => {
            let describe = |error: &dyn std::fmt::Display| format!("network namespace {}: {error}", path.display());
            let file = File::open(path).map_err(|error| describe(&error))?;
            let joined = move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network));
            joined.map_err(|error| describe(&error))
        }
        Network::None => {
            // Deprecated because it can also unshare descriptor tables; this call does not.
            #[expect(deprecated, reason = "the other function is unsafe for flags that are not used here")]
            rustix::thread::unshare(UnshareFlags::NEWNET).map_err(|error| format!("network namespace: {error}"))
        }
    }
}

/// Joins each interface of the namespace with a tap.
///
/// # Errors
/// A message of one line: a program that is missing, or that failed.
pub(super) fn cards(network: &Network) -> Result<Cards, String> {
    if !matches!(network, Network::Namespace(_)) {
        return Ok(Cards::default());
    }
    let interfaces = interfaces(&json(&["-j", "addr", "show"])?, &json(&["-j", "route", "show"])?);
    let mut cards = Cards::default();
    for (number, interface) in interfaces.iter().enumerate() {
        let tap = format!("whit{number}");
        bridge(interface, &tap)?;
        cards.taps.push(Tap { name: tap, mac: interface.mac.clone(), mtu: interface.mtu });
        cards.words.push_str(&format!(" {}", interface.word(number)));
    }
    Ok(cards)
}

/// An interface of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Interface {
    name: String,
    mac: String,
    mtu: u32,
    /// The first IPv4 address, and the length of its prefix.
    address: Option<(String, u32)>,
    gateway: Option<String>,
}

impl Interface {
    /// Returns the word that configures it in the machine.
    fn word(&self, number: usize) -> String {
        match &self.address {
            Some((address, prefix)) => {
                let mask = std::net::Ipv4Addr::from(u32::MAX.checked_shl(32 - prefix.min(&32)).unwrap_or(0));
                let gateway = self.gateway.as_deref().unwrap_or_default();
                format!("ip={address}::{gateway}:{mask}::eth{number}:off")
            }
            None => format!("ip=::::: eth{number}:off").replace(' ', ""),
        }
    }
}

/// Returns the interfaces with a MAC address, except taps of this module, from the output of `ip -j`.
fn interfaces(addresses: &Value, routes: &Value) -> Vec<Interface> {
    let routes = routes.as_array().map(Vec::as_slice).unwrap_or_default();
    let default = |name: &str| {
        let mut routes = routes.iter().filter(|route| route["dst"] == "default" && route["dev"] == name);
        routes.find_map(|route| route["gateway"].as_str().map(str::to_owned))
    };
    let interface = |link: &Value| {
        let name = link["ifname"].as_str()?.to_owned();
        if link["link_type"] != "ether" || name.starts_with("whit") {
            return None;
        }
        let infos = link["addr_info"].as_array().map(Vec::as_slice).unwrap_or_default();
        let address = infos.iter().find(|info| info["family"] == "inet").and_then(|info| {
            Some((info["local"].as_str()?.to_owned(), u32::try_from(info["prefixlen"].as_u64()?).ok()?))
        });
        Some(Interface {
            mac: link["address"].as_str()?.to_owned(),
            mtu: u32::try_from(link["mtu"].as_u64()?).ok()?,
            gateway: default(&name),
            address,
            name,
        })
    };
    addresses.as_array().into_iter().flatten().filter_map(interface).take(MAX_CARDS).collect()
}

/// Creates a tap, and joins it with an interface.
fn bridge(interface: &Interface, tap: &str) -> Result<(), String> {
    let name = interface.name.as_str();
    if Path::new("/sys/class/net").join(tap).exists() || json(&["-j", "link", "show", "dev", tap]).is_ok() {
        // Of a machine that was killed. It stays while a machine uses it.
        run("ip", &["tuntap", "del", "dev", tap, "mode", "tap"]).map_err(|_| {
            format!("network: {name} has another machine already; the machines of a pod cannot have one address")
        })?;
        let _ = run("tc", &["qdisc", "del", "dev", name, "ingress"]); // gone with an interface that was made anew
    }
    let mtu = interface.mtu.to_string();
    run("ip", &["tuntap", "add", "dev", tap, "mode", "tap"])?;
    run("ip", &["link", "set", "dev", tap, "mtu", &mtu, "up"])?;
    for (from, to) in [(name, tap), (tap, name)] {
        run("tc", &["qdisc", "add", "dev", from, "ingress"])?;
        let filter = ["filter", "add", "dev", from, "parent", "ffff:", "protocol", "all"];
        let redirect = ["u32", "match", "u32", "0", "0", "action", "mirred", "egress", "redirect", "dev", to];
        run("tc", &[&filter[..], &redirect].concat())?;
    }
    Ok(())
}

/// Runs a program; returns its output.
fn run(program: &str, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().map_err(|error| {
        format!("{program}: {error}; the network of a machine needs iproute2 (or give --network none or host)")
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let message = String::from_utf8_lossy(&output.stderr);
    let message = message.lines().collect::<Vec<_>>().join("; ");
    Err(format!("{program} {}: {message}", arguments.join(" ")))
}

fn json(arguments: &[&str]) -> Result<Value, String> {
    let output = run("ip", arguments)?;
    serde_json::from_slice(&output).map_err(|error| format!("ip {}: {error}", arguments.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `ip -j addr` and `ip -j route` (iproute2 6.1) in a container of podman 4.3.
    const ADDRESSES: &str = r#"[
        {"ifindex":1,"ifname":"lo","mtu":65536,"link_type":"loopback","address":"00:00:00:00:00:00",
         "addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host"}]},
        {"ifindex":2,"ifname":"eth0","mtu":1500,"link_type":"ether","address":"7e:68:4a:0b:a4:5d",
         "addr_info":[{"family":"inet6","local":"fe80::1","prefixlen":64},
                      {"family":"inet","local":"10.88.0.2","prefixlen":16,"broadcast":"10.88.255.255"}]},
        {"ifindex":3,"ifname":"eth1","mtu":9000,"link_type":"ether","address":"7e:68:4a:0b:a4:5e","addr_info":[]},
        {"ifindex":4,"ifname":"whit0","mtu":1500,"link_type":"ether","address":"7e:68:4a:0b:a4:5f","addr_info":[]}]"#;
    const ROUTES: &str = r#"[{"dst":"default","gateway":"10.88.0.1","dev":"eth0","metric":100,"flags":[]},
        {"dst":"10.88.0.0/16","dev":"eth0","protocol":"kernel","prefsrc":"10.88.0.2","flags":[]}]"#;

    #[test]
    fn a_card_has_the_address_of_its_interface() {
        let parse = |text| serde_json::from_str::<Value>(text).unwrap();
        let found = interfaces(&parse(ADDRESSES), &parse(ROUTES));
        let words: Vec<_> = found.iter().enumerate().map(|(number, interface)| interface.word(number)).collect();
        assert_eq!(words, ["ip=10.88.0.2::10.88.0.1:255.255.0.0::eth0:off", "ip=:::::eth1:off"]);
        assert_eq!((found[0].mac.as_str(), found[1].mtu), ("7e:68:4a:0b:a4:5d", 9000));
        assert!(interfaces(&Value::Null, &Value::Null).is_empty());
    }

    #[test]
    fn words_without_a_gateway_or_a_network_are_valid() {
        let interface = |address: &str, prefix| Interface {
            name: "eth0".into(),
            mac: String::new(),
            mtu: 1500,
            address: Some((address.into(), prefix)),
            gateway: None,
        };
        for (prefix, mask) in [(32, "255.255.255.255"), (24, "255.255.255.0"), (0, "0.0.0.0")] {
            assert_eq!(interface("1.2.3.4", prefix).word(0), format!("ip=1.2.3.4:::{mask}::eth0:off"));
        }
    }
}
