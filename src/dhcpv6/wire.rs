//! DHCPv6 messages (RFC 8415 §8) and their options (§21).
//!
//! [`Message::parse`] accepts any bytes and returns; every accessor after it is total.

use crate::ipv6::Address;
use crate::text::strip_prefix;

/// Option codes (RFC 8415 §21).
pub mod code {
    #![allow(missing_docs, reason = "each is named as in the RFC")]
    pub const CLIENT_ID: u16 = 1;
    pub const SERVER_ID: u16 = 2;
    pub const IA_NA: u16 = 3;
    pub const IA_ADDRESS: u16 = 5;
    pub const OPTION_REQUEST: u16 = 6;
    pub const ELAPSED_TIME: u16 = 8;
    pub const STATUS: u16 = 13;
    pub const RAPID_COMMIT: u16 = 14;
    /// RFC 3646.
    pub const DNS_SERVERS: u16 = 23;
    /// RFC 3646.
    pub const DOMAIN_LIST: u16 = 24;
    pub const REFRESH_TIME: u16 = 32;
    pub const SOL_MAX_RT: u16 = 82;
    pub const INF_MAX_RT: u16 = 83;
}

/// The messages of a server.
pub(super) const ADVERTISE: u32 = 2;
pub(super) const REPLY: u32 = 7;

/// Status codes (RFC 8415 §21.13).
pub(super) const SUCCESS: u16 = 0;
pub(super) const NO_BINDING: u16 = 3;

/// An address with its lifetimes in seconds; all ones are infinite (RFC 8415 §7.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Lease {
    /// The address.
    pub address: Address,
    /// The preferred lifetime.
    pub preferred_s: u32,
    /// The valid lifetime.
    pub valid_s: u32,
    /// T1: when the server is asked for more time.
    pub renewal_s: u32,
    /// T2: when any server is asked.
    pub rebinding_s: u32,
}

/// A server's message. Options after one that is cut are ignored.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its type, and below it the transaction identifier, of 24 bits.
    pub head: u32,
    options: &'a [u8],
}

impl<'a> Message<'a> {
    /// Parses a message; `None` if its header is cut.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (head, options) = bytes.split_first_chunk()?;
        Some(Self { head: u32::from_be_bytes(*head), options })
    }

    /// Returns the value of the first such option.
    pub fn option(&self, code: u16) -> Option<&'a [u8]> {
        find(self.options, code)
    }

    /// Returns the value of an option of 32 bits; 0 if absent.
    pub fn number(&self, code: u16) -> u32 {
        number(self.option(code).unwrap_or_default(), 0)
    }

    /// Returns the status of the message; that of success if there is none.
    pub fn status(&self) -> u16 {
        status(self.options)
    }

    /// Returns the first usable address of the IA_NA with this identifier, with valid times, or else the status of the IA_NA. There is none
    /// where T1 is after T2 (RFC 8415 §21.4).
    #[inline(never)]
    pub fn lease(&self, iaid: &[u8]) -> Result<Lease, u16> {
        let mut associations = Options(self.options).filter(|(code, _)| *code == code::IA_NA);
        let times = associations.find_map(|(_, value)| strip_prefix(value, iaid)).unwrap_or_default();
        let (t1, t2, options) = (number(times, 0), number(times, 4), times.get(8..).unwrap_or_default());
        let status = status(options);
        if t1 > t2 && t2 > 0 || status != SUCCESS {
            return Err(status);
        }
        for (_, value) in Options(options).filter(|(code, _)| *code == code::IA_ADDRESS) {
            let (preferred_s, valid_s) = (number(value, 16), number(value, 20));
            // Not `::`, `::1`, link-local or multicast. RFC 8415 §21.6: a preferred lifetime that is longer than the valid one is discarded.
            let Some(address @ [1..=0xfd, ..]) = value.first_chunk::<16>() else { continue };
            if preferred_s > valid_s || valid_s == 0 {
                continue;
            }
            // A T1 or T2 of 0 is the client's choice (RFC 8415 §21.4): 0.5 and 0.75 times the preferred lifetime. One second at least: a
            // server must not make the client send without a pause.
            let base_s = if preferred_s == 0 { valid_s } else { preferred_s };
            let rebinding_s = if t2 == 0 { base_s.wrapping_sub(base_s / 4) } else { t2 };
            let renewal_s = if t1 == 0 { base_s / 2 } else { t1 }.min(rebinding_s).max(1);
            return Ok(Lease { address: Address(*address), preferred_s, valid_s, renewal_s, rebinding_s });
        }
        Err(SUCCESS)
    }
}

/// The options of a message, or of an option that has options. Ends early at one that is cut.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    #[inline(never)]
    fn next(&mut self) -> Option<Self::Item> {
        let ([c0, c1, l0, l1], rest) = self.0.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*l0, *l1])))?;
        self.0 = rest;
        Some((u16::from_be_bytes([*c0, *c1]), value))
    }
}

/// Returns the value of the first such option.
#[inline(never)]
fn find(options: &[u8], wanted: u16) -> Option<&[u8]> {
    Options(options).find(|(code, _)| *code == wanted).map(|(_, value)| value)
}

/// Returns the status code among options; that of success if there is none (RFC 8415 §21.13).
#[inline(never)]
fn status(options: &[u8]) -> u16 {
    find(options, code::STATUS).and_then(|value| value.first_chunk()).map_or(SUCCESS, |code| u16::from_be_bytes(*code))
}

/// Returns the number of 32 bits at a place; 0 if there is none.
#[inline(never)]
fn number(bytes: &[u8], place: usize) -> u32 {
    bytes.get(place..).and_then(|rest| rest.first_chunk()).map_or(0, |number| u32::from_be_bytes(*number))
}
