//! SNTP: a query to an NTP server, and the validation of its reply (RFC 4330 §5, RFC 5905 §7.3).

/// The length of a query, and of a reply without extensions, in bytes.
pub const MESSAGE: usize = 48;
/// Seconds from 1900, NTP's epoch, to 1970.
const UNIX_EPOCH_S: u64 = 2_208_988_800;

/// Encodes a query. `nonce` is sent as the transmit time, and a reply returns it: only a host that sees the query can reply to
/// it, and the clock is not disclosed.
pub fn query(nonce: u64) -> [u8; MESSAGE] {
    let mut message = [0; MESSAGE];
    let [first, .., t0, t1, t2, t3, t4, t5, t6, t7] = &mut message;
    *first = 0x23; // version 4, mode 3: a client
    [*t0, *t1, *t2, *t3, *t4, *t5, *t6, *t7] = nonce.to_be_bytes();
    message
}

/// Returns the transmit time of a reply, in nanoseconds since 1970. Returns `None` if the message is not the reply to the query
/// with this `nonce`, or if its server is not synchronised.
pub fn time_ns(message: &[u8], nonce: u64) -> Option<u64> {
    let [first, stratum, rest @ ..] = message.first_chunk::<MESSAGE>()?;
    // Leap indicator 3 is "not synchronised"; mode 4 is a server; stratum 0 is a kiss of death, 16 and more are unsynchronised.
    if first >> 6 == 3 || first & 7 != 4 || !matches!(stratum, 1..=15) {
        return None;
    }
    let (origin, rest) = rest.get(22..)?.split_first_chunk::<8>()?;
    let [_, _, _, _, _, _, _, _, s0, s1, s2, s3, f0, f1, f2, f3] = *rest.first_chunk::<16>()?;
    let (seconds, fraction) = (u32::from_be_bytes([s0, s1, s2, s3]), u32::from_be_bytes([f0, f1, f2, f3]));
    if u64::from_be_bytes(*origin) != nonce || seconds == 0 {
        return None;
    }
    // RFC 4330 §3: without the highest bit, the seconds count from 2036.
    let era_s = if seconds >> 31 == 0 { 1u64 << 32 } else { 0 };
    let seconds = (era_s | u64::from(seconds)).wrapping_sub(UNIX_EPOCH_S);
    Some(seconds.wrapping_mul(1_000_000_000).wrapping_add(u64::from(fraction).wrapping_mul(1_000_000_000) >> 32))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    const NONCE: u64 = 0x0123_4567_89ab_cdef;

    /// A reply to [`query`], sent at 2026-11-26 00:00:00.5.
    fn reply() -> [u8; MESSAGE] {
        let mut message = [0; MESSAGE];
        message[..4].copy_from_slice(&[0x24, 10, 0, 0xe9]);
        message[24..32].copy_from_slice(&NONCE.to_be_bytes());
        message[40..44].copy_from_slice(&4_004_640_000u32.to_be_bytes());
        message[44..48].copy_from_slice(&0x8000_0000u32.to_be_bytes());
        message
    }

    #[test]
    fn a_query_has_these_bytes() {
        let mut expected = [0; MESSAGE];
        expected[0] = 0x23;
        expected[40..].copy_from_slice(&[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
        assert_eq!(query(NONCE), expected);
    }

    #[test]
    fn the_time_of_a_reply_is_read() {
        assert_eq!(time_ns(&reply(), NONCE), Some(1_795_651_200_500_000_000));
        let signed: std::vec::Vec<u8> = reply().into_iter().chain([0; 20]).collect();
        assert_eq!(time_ns(&signed, NONCE), Some(1_795_651_200_500_000_000), "a signature follows");
        // The first second of 2037, in the era that begins in 2036.
        let mut later = reply();
        later[40..48].copy_from_slice(&[0x01, 0xb1, 0x62, 0x80, 0, 0, 0, 0]);
        assert_eq!(time_ns(&later, NONCE), Some(2_114_380_800_000_000_000));
    }

    #[test]
    fn one_mutation_for_each_refusal() {
        for (place, value, why) in [
            (0, 0xe4, "leap indicator 3: not synchronised"),
            (0, 0x23, "a client"),
            (0, 0x25, "a broadcast"),
            (1, 0, "a kiss of death"),
            (1, 16, "stratum 16: not synchronised"),
            (24, 0, "a reply to another query"),
            (31, 0, "a reply to another query"),
        ] {
            let mut message = reply();
            message[place] = value;
            assert_eq!(time_ns(&message, NONCE), None, "{why}");
        }
        let mut message = reply();
        message[40..48].fill(0);
        assert_eq!(time_ns(&message, NONCE), None, "no time");
        for length in 0..MESSAGE {
            assert_eq!(time_ns(&reply()[..length], NONCE), None);
        }
    }
}
