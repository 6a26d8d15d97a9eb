//! Measures waits of small clients: the kernel waits for a grace period of RCU when a packet socket that receives already is bound
//! again, and when one is closed (net/packet/af_packet.c, packet_do_bind() and packet_release()).

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, bind, socket_with};
use whit_tests::namespace::Lan;
use whit_tests::namespace::frames::in_network_of;
use xtask::bench::Sample;

use crate::goals::{median_ms, ms};
use crate::monitor::Monitor;

/// include/uapi/linux/if_ether.h
const ETH_P_IP: u16 = 0x0800;

/// Nanoseconds of the three calls.
struct Calls {
    /// bind(2) of a socket that was created with a protocol.
    bind_again: u64,
    /// bind(2) of a socket that was created without one.
    bind_first: u64,
    close: u64,
}

/// struct sockaddr_ll: the IPv4 packets of an interface.
#[repr(C)]
struct Packets {
    family: u16,
    protocol: u16,
    index: u32,
    rest: [u8; 12],
}

// SAFETY: the pointer is to a complete sockaddr_ll that outlives the call of `f`.
unsafe impl SocketAddrArg for Packets {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        f(std::ptr::from_ref(self).cast(), size_of::<Self>() as u32)
    }
}

/// Measures the calls in a network of their own.
pub(crate) fn table(rounds: u16) -> Result<String, String> {
    let (lan, other) = (Lan::new(), Lan::new());
    lan.connect_to(&other, "eth0");
    let (lan0, eth0) = (Monitor::open(lan.process(), "lan0")?, Monitor::open(other.process(), "eth0")?);
    eth0.bring_up()?;
    lan0.wait_until_running()?;
    let calls = || (0..rounds).map(|_| measure()).collect::<rustix::io::Result<Vec<Calls>>>();
    let calls = in_network_of(lan.process(), calls).map_err(|error| format!("packet socket: {error}"))?;
    let line = |name: &str, call: fn(&Calls) -> u64| {
        let sample = Sample::new(calls.iter().map(call).collect());
        let figures = sample.map(|sample| [median_ms(&sample), ms(sample.min()), ms(sample.percentile(90))]);
        let [median, least, p90] = figures.unwrap_or([f64::NAN; 3]);
        format!("{name:<42}{median:>9.2}{least:>9.2}{p90:>9.2}\n")
    };
    Ok(format!(
        "\ncalls of a packet socket              {:>12}{:>9}{:>9}\n{}{}{}",
        "median",
        "least",
        "p90",
        line("bind, when it was created with a protocol", |calls| calls.bind_again),
        line("bind, when it was created without", |calls| calls.bind_first),
        line("close", |calls| calls.close),
    ))
}

fn measure() -> rustix::io::Result<Calls> {
    let protocol = Protocol::from_raw(u32::from(ETH_P_IP.to_be()).try_into().expect("not zero"));
    let (_again, bind_again) = bound(Some(protocol))?;
    let (socket, bind_first) = bound(None)?;
    let ((), close) = time(|| {
        drop(socket);
        Ok(())
    })?;
    Ok(Calls { bind_again, bind_first, close })
}

/// Binds a socket to the interface; returns it with the time of the call.
fn bound(protocol: Option<Protocol>) -> rustix::io::Result<(OwnedFd, u64)> {
    let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, protocol)?;
    let index = name_to_index(&socket, "lan0")?;
    let address = Packets { family: AddressFamily::PACKET.as_raw(), protocol: ETH_P_IP.to_be(), index, rest: [0; 12] };
    let ((), took) = time(|| bind(&socket, &address))?;
    Ok((socket, took))
}

fn time<T>(call: impl FnOnce() -> rustix::io::Result<T>) -> rustix::io::Result<(T, u64)> {
    let start = Instant::now();
    let done = call()?;
    Ok((done, u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)))
}
