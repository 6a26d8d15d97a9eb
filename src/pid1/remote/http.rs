//! A root over HTTP: an image in memory, as a loop device. Only blocks that are not zero take memory.
//!
//! Neither the server nor the network is trusted: such a root needs `roothash=`.

use rustix::net::{AddressFamily, SocketType};
use whit::error::Errno;
pub(super) use whit::http::parse as url;
use whit::http::{self, Url};
use whit::options::{Options, Value};
use whit::probe::Place;
use whit::text::Text;
use whit::verity::is_hash;

use super::GAP_MS;
use crate::console;
use crate::machine::now_ms;
use crate::message::{info, part};
use crate::sys::fd::{self, Fd};
use crate::sys::net;
use crate::sys::ram_disk::{make_file, make_loop};

/// Bytes of a block: one of zeros is not written.
const BLOCK: u64 = size_of::<Place>() as u64;
/// The time for an attempt to connect, and for the server's header and each block.
const CONNECT_MS: u64 = 3000;
const RECEIVE_MS: u64 = 30_000;

const INCOMPLETE: &str = "the server's answer is incomplete";
const NO_MEMORY: &str = "no memory";

/// Returns whether the root will be verified.
pub(super) fn is_verified(options: &Options<'_>) -> bool {
    is_hash(options.value(Value::RootHash))
}

/// Downloads an image, and makes its device. The attempts to connect end at `deadline_ms`. Returns the reason of a failure.
pub(super) fn attach(url: &Url<'_>, deadline_ms: u64) -> Result<(), &'static str> {
    let server = loop {
        match connect(url) {
            Ok(server) => break server,
            Err(_) if now_ms() < deadline_ms => fd::sleep(GAP_MS),
            Err(_) => return Err("no connection"),
        }
    };
    let (mut room, mut end): (Place, usize) = ([0; _], 0);
    let header_ms = now_ms() + RECEIVE_MS;
    while !room.get(..end).is_some_and(|header| header.ends_with(b"\r\n\r\n")) {
        receive(&server, room.get_mut(end..=end), header_ms)?;
        end += 1;
    }
    let length =
        room.get_mut(..end).and_then(http::body_bytes).ok_or("the server's answer is not 200 with a length")?;
    info!("root: {} KiB over HTTP", length >> 10);
    let image = make_file(length).map_err(|_| NO_MEMORY)?;
    let mut at = 0;
    while at < length {
        let mut block = room.get_mut(..(length - at).min(BLOCK) as usize);
        receive(&server, block.as_deref_mut(), now_ms() + RECEIVE_MS)?;
        let block = block.unwrap_or_default();
        if block.iter().any(|byte| *byte != 0) {
            fd::write_at(&image, block, at).map_err(|_| NO_MEMORY)?;
        }
        at += BLOCK;
    }
    make_loop(&image).map_err(|_| "no loop device (mkcpio --for http)")
}

/// Connects to the server, and sends the request.
fn connect(url: &Url<'_>) -> Result<Fd, Errno> {
    let server = fd::socket(AddressFamily::INET, SocketType::STREAM, 0)?;
    match net::connect(&server, &net::inet(url.address, url.port)) {
        Err(Errno::INPROGRESS) => {
            fd::wait_writable(&server, CONNECT_MS);
        }
        other => other?,
    }
    // The answer to version 1.0 is not chunked, and the server closes the connection after it.
    part!("GET /{} HTTP/1.0\r\nHost: {}\r\n\r\n", Text(url.path), Text(url.authority));
    console::finish(|request| fd::write(&server, request))?;
    Ok(server)
}

/// Receives as many bytes as `room` has; `None`: the header is longer than the buffer.
fn receive(server: &Fd, room: Option<&mut [u8]>, deadline_ms: u64) -> Result<(), &'static str> {
    let mut room = room.ok_or(INCOMPLETE)?;
    while !room.is_empty() {
        match fd::read_into(server, room) {
            Ok(length @ 1..) => room = room.get_mut(length..).unwrap_or_default(),
            Err(Errno::AGAIN) if fd::wait_readable(server, deadline_ms.saturating_sub(now_ms())) => {}
            _ => return Err(INCOMPLETE),
        }
    }
    Ok(())
}
