//! DHCP servers other than dnsmasq, from Debian's packages: fetched, unpacked, and run in a network by their own loader. Nothing is
//! installed.
//!
//! All of them lease .50 to .99 of the first cable's subnet for [`LEASE_S`], with a router that is not the server, two DNS servers,
//! a search list of two domains, a route to 10.60.0.0/16 through .7, and .6 as the NTP server. Each function fetches its server and
//! returns a function that starts it, so that no machine waits for Debian's archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Lan, Server};
use crate::debian::store;
use xtask::images;

/// Seconds of every lease.
const LEASE_S: u32 = 3600;
/// Option 121 of all of them: 10.60.0.0/16 through 10.55.0.7, and the default route through 10.55.0.254.
const ROUTES: [u8; 12] = [16, 10, 60, 10, 55, 0, 7, 0, 10, 55, 0, 254];

/// busybox's udhcpd. It probes an address by ARP for two seconds before it offers it.
pub fn udhcpd(more: &str) -> impl FnOnce(&Lan) -> Server {
    let busybox = store().busybox().unwrap_or_else(|error| panic!("{error}"));
    move |lan| {
        let (directory, configuration) = directory(|path| {
            format!(
                "start 10.55.0.50\nend 10.55.0.99\ninterface lan0\nlease_file {path}/leases\npidfile {path}/pid\n\
                 opt subnet 255.255.255.0\nopt router 10.55.0.254\nopt dns 10.55.0.2 10.55.0.3\n\
                 opt search a.test b.a.test\nopt lease {LEASE_S}\nopt ntpsrv 10.55.0.6\n\
                 opt staticroutes 10.60.0.0/16 10.55.0.7, 0.0.0.0/0 10.55.0.254\n{more}"
            )
        });
        fs::write(directory.path().join("leases"), "").expect("a file");
        let mut command = lan.command(busybox);
        command.args(["udhcpd", "-f"]).arg(configuration);
        Server::start("udhcpd", command, "started", directory)
    }
}

/// ISC's dhcpd. `more` is inserted into the subnet's braces.
pub fn dhcpd(more: &str) -> impl FnOnce(&Lan) -> Server {
    let root = system(&["isc-dhcp-server"]);
    move |lan| {
        let (directory, configuration) = directory(|_| {
            format!(
                "authoritative;\noption routes code 121 = array of unsigned integer 8;\n\
                 default-lease-time {LEASE_S};\nmax-lease-time {LEASE_S};\n\
                 subnet 10.55.0.0 netmask 255.255.255.0 {{\nrange 10.55.0.50 10.55.0.99;\n\
                 option routers 10.55.0.254;\noption domain-name-servers 10.55.0.2, 10.55.0.3;\n\
                 option domain-search \"a.test\", \"b.a.test\";\noption ntp-servers 10.55.0.6;\n\
                 option routes {};\n{more}}}\n",
                ROUTES.map(|byte| byte.to_string()).join(", ")
            )
        });
        let leases = directory.path().join("leases");
        fs::write(&leases, "").expect("a file");
        let mut command = loaded(lan, &root, "usr/sbin/dhcpd");
        command.args(["-4", "-f", "-d", "--no-pid", "-cf"]).arg(configuration).arg("-lf").arg(leases).arg("lan0");
        Server::start("dhcpd", command, "Server starting service", directory)
    }
}

/// Kea's DHCPv4 server. It uses no interface without a carrier: the machine's end must be up first.
pub fn kea() -> impl FnOnce(&Lan) -> Server {
    let root = system(&["kea-dhcp4-server", "kea-common"]);
    move |lan| {
        let (directory, configuration) = directory(|_| {
            let option = |name: &str, data: &str| format!("{{ \"name\": \"{name}\", \"data\": \"{data}\" }}");
            let options = [
                option("routers", "10.55.0.254"),
                option("domain-name-servers", "10.55.0.2, 10.55.0.3"),
                option("domain-search", "a.test, b.a.test"),
                option("ntp-servers", "10.55.0.6"),
                option("routes", &ROUTES.map(|byte| format!("{byte:02x}")).concat()),
            ];
            format!(
                "{{ \"Dhcp4\": {{ \"interfaces-config\": {{ \"interfaces\": [ \"lan0\" ] }},
                \"lease-database\": {{ \"type\": \"memfile\", \"persist\": false }},
                \"option-def\": [ {{ \"name\": \"routes\", \"code\": 121, \"type\": \"binary\" }} ],
                \"valid-lifetime\": {LEASE_S}, \"renew-timer\": 1000, \"rebind-timer\": 2000,
                \"subnet4\": [ {{ \"subnet\": \"10.55.0.0/24\",
                \"pools\": [ {{ \"pool\": \"10.55.0.50 - 10.55.0.99\" }} ],
                \"option-data\": [ {} ] }} ],
                \"loggers\": [ {{ \"name\": \"kea-dhcp4\", \"severity\": \"INFO\",
                \"output_options\": [ {{ \"output\": \"stdout\", \"flush\": true }} ] }} ] }} }}",
                options.join(", ")
            )
        });
        let mut command = loaded(lan, &root, "usr/sbin/kea-dhcp4");
        command.env("KEA_PIDFILE_DIR", directory.path()).env("KEA_LOCKFILE_DIR", directory.path());
        command.arg("-c").arg(configuration);
        Server::start("kea-dhcp4", command, "DHCP4_STARTED", directory)
    }
}

/// Kea's DHCPv6 server, without rapid commit: addresses of these, and two DNS servers and two domains. `renewal_s` is T1.
pub fn kea6(pool: &str, renewal_s: u32) -> impl FnOnce(&Lan) -> Server {
    let root = system(&["kea-dhcp6-server", "kea-common"]);
    move |lan| {
        let (directory, configuration) = directory(|path| {
            format!(
                "{{ \"Dhcp6\": {{ \"interfaces-config\": {{ \"interfaces\": [ \"lan0\" ] }},
                \"lease-database\": {{ \"type\": \"memfile\", \"persist\": false }}, \"data-directory\": \"{path}\",
                \"server-id\": {{ \"type\": \"LL\", \"persist\": false }},
                \"preferred-lifetime\": {LEASE_S}, \"valid-lifetime\": {LEASE_S}, \"renew-timer\": {renewal_s},
                \"rebind-timer\": 2000, \"subnet6\": [ {{ \"subnet\": \"fd55::/64\", \"interface\": \"lan0\",
                \"pools\": [ {{ \"pool\": \"{pool}\" }} ], \"option-data\": [
                {{ \"name\": \"dns-servers\", \"data\": \"fd55::53, fd55::54\" }},
                {{ \"name\": \"domain-search\", \"data\": \"a.test, b.a.test\" }} ] }} ],
                \"loggers\": [ {{ \"name\": \"kea-dhcp6\", \"severity\": \"INFO\",
                \"output_options\": [ {{ \"output\": \"stdout\", \"flush\": true }} ] }} ] }} }}"
            )
        });
        let mut command = loaded(lan, &root, "usr/sbin/kea-dhcp6");
        command.env("KEA_PIDFILE_DIR", directory.path()).env("KEA_LOCKFILE_DIR", directory.path());
        command.arg("-c").arg(configuration);
        Server::start("kea-dhcp6", command, "DHCP6_STARTED", directory)
    }
}

/// radvd, which advertises fd55::/64 without SLAAC, and these options.
pub fn radvd(options: &str) -> impl FnOnce(&Lan) -> Server {
    let root = system(&["radvd"]);
    move |lan| {
        let (directory, configuration) = directory(|_| {
            format!(
                "interface lan0 {{ AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; {options}\n\
                 prefix fd55::/64 {{ AdvAutonomous off; }}; }};\n"
            )
        });
        lan.set("ipv6/conf/all/forwarding", "1");
        let mut command = loaded(lan, &root, "usr/sbin/radvd");
        command.args(["-n", "-m", "stderr", "-d", "1", "-C"]).arg(configuration);
        command.arg("-p").arg(directory.path().join("pid"));
        Server::start("radvd", command, "started", directory)
    }
}

/// ISC's relay between two interfaces of the network, to this server.
pub fn relay(down: &str, up: &str, server: &str) -> impl FnOnce(&Lan) -> Server {
    let root = system(&["isc-dhcp-relay"]);
    move |lan| {
        let (directory, _) = directory(|_| String::new());
        let mut command = loaded(lan, &root, "usr/sbin/dhcrelay");
        command.args(["-4", "-d", "--no-pid", "-id", down, "-iu", up, server]);
        Server::start("dhcrelay", command, "Sending on   Socket", directory)
    }
}

/// chrony's NTP server, which does not set the clock and serves it as correct.
pub fn chronyd() -> impl FnOnce(&Lan) -> Server {
    let root = system(&["chrony"]);
    move |lan| {
        let (directory, configuration) =
            directory(|path| format!("local stratum 8\nallow\ncmdport 0\nbindcmdaddress /\npidfile {path}/pid\n"));
        let mut command = loaded(lan, &root, "usr/sbin/chronyd");
        command.args(["-x", "-d", "-u", "root", "-f"]).arg(configuration);
        Server::start("chronyd", command, "Disabled control of system clock", directory)
    }
}

/// Returns a command for a program of an unpacked system, with that system's libraries.
fn loaded(lan: &Lan, root: &Path, program: &str) -> Command {
    let mut command = lan.command(root.join("lib64/ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(root.join("usr/lib/x86_64-linux-gnu")).arg(root.join(program));
    command
}

fn system(packages: &[&str]) -> PathBuf {
    let names: Vec<String> = packages.iter().map(|&name| name.to_owned()).collect();
    images::system::root(&mut store(), &names).unwrap_or_else(|error| panic!("{error}"))
}

/// Creates a directory for a server, and in it its configuration; `text` gets the directory's path.
fn directory(text: impl FnOnce(&str) -> String) -> (TempDir, PathBuf) {
    let directory = tempfile::Builder::new().prefix("whit-server-").tempdir().expect("a temporary directory");
    let path = directory.path().join("configuration");
    fs::write(&path, text(directory.path().to_str().expect("a path in UTF-8"))).expect("a file");
    (directory, path)
}
