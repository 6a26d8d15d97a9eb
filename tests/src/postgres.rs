//! A client of PostgreSQL, for one query.

use std::io::{Read, Write};

use crate::whole::connect;

/// Returns the one value of a query to the server at a local port (PostgreSQL, "Frontend/Backend Protocol", Message Formats).
#[must_use]
pub fn query(port: u16, text: &str) -> String {
    let mut stream = connect(port);
    let message = |body: &[u8]| [&u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat();
    stream.write_all(&message(b"\0\x03\0\0user\0postgres\0\0")).unwrap();
    stream.write_all(&[b"Q", message(&[text.as_bytes(), b"\0"].concat()).as_slice()].concat()).unwrap();
    stream.write_all(&[b"X", message(b"").as_slice()].concat()).unwrap();
    let mut value = None;
    loop {
        let mut head = [0; 5];
        if stream.read_exact(&mut head).is_err() {
            return value.unwrap_or_else(|| "no row".to_owned());
        }
        let [kind, length @ ..] = head;
        let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap() - 4];
        stream.read_exact(&mut body).unwrap();
        match kind {
            // DataRow: a count of 16 bits, then for each value a length of 32 bits and its text.
            b'D' => value = Some(String::from_utf8_lossy(&body[6..]).into_owned()),
            b'E' => return String::from_utf8_lossy(&body).into_owned(),
            _ => {}
        }
    }
}
