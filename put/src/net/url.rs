//! Addresses of the schemes http and https (RFC 3986), without user information.

use std::fmt;

/// The parts of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether the scheme is https.
    pub is_tls: bool,
    /// A name, or an IP address without brackets.
    pub host: String,
    /// The port, or that of the scheme.
    pub port: u16,
    /// Path and query, from the first slash.
    pub path: String,
}

impl Url {
    /// Returns whether a text has one of the two schemes.
    pub fn is_one(text: &str) -> bool {
        split_scheme(text).is_some()
    }

    /// Parses an address.
    ///
    /// # Errors
    /// One line that names the address.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refused = |why: &str| format!("{text}: {why}");
        let (is_tls, rest) = split_scheme(text).ok_or_else(|| refused("no http:// or https:// address"))?;
        if text.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(refused("a space, a control character or a character that is not ASCII; encode it as %XX"));
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(refused("user names and passwords are not supported"));
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
            None => authority.split_once(':').unwrap_or((authority, "")),
        };
        let port = match port {
            "" => Ok(if is_tls { 443 } else { 80 }),
            port => port.parse().map_err(|_| refused("the port is no number up to 65535")),
        }?;
        if host.is_empty() {
            return Err(refused("no host"));
        }
        let path = path.split('#').next().unwrap_or_default();
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self { is_tls, host: host.to_ascii_lowercase(), port, path: format!("{slash}{path}") })
    }

    /// Resolves the value of a Location field (RFC 9110, section 10.2.2).
    ///
    /// # Errors
    /// One line that names the address.
    pub fn join(&self, location: &str) -> Result<Self, String> {
        if split_scheme(location).is_some() {
            return Self::parse(location);
        }
        let scheme = if self.is_tls { "https" } else { "http" };
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        if location.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':')) {
            return Err(format!("{location}: no http:// or https:// address"));
        }
        let directory = self.path.split('?').next().and_then(|path| path.rfind('/').map(|slash| &path[..=slash]));
        let directory = if location.starts_with('/') { "" } else { directory.unwrap_or("/") };
        Self::parse(&format!("{scheme}://{}{directory}{location}", self.authority()))
    }

    /// Returns host and port, as in the Host field.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.is_tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// Returns the address with this text after its path, before the query.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> Self {
        let (path, query) = self.path.split_at(self.path.find('?').unwrap_or(self.path.len()));
        Self { path: format!("{path}{suffix}{query}"), ..self.clone() }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.is_tls { "https" } else { "http" }, self.authority(), self.path)
    }
}

/// Splits off the scheme; true for https.
fn split_scheme(text: &str) -> Option<(bool, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    match scheme.to_ascii_lowercase().as_str() {
        "https" => Some((true, rest)),
        "http" => Some((false, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_and_printed() {
        for (text, printed) in [
            ("http://Host", "http://host/"),
            ("https://host:443/a?b#c", "https://host/a?b"),
            ("http://10.0.2.2:8765/os.img.gz", "http://10.0.2.2:8765/os.img.gz"),
            ("HTTPS://[fe80::1]:8443?x", "https://[fe80::1]:8443/?x"),
        ] {
            assert_eq!(Url::parse(text).unwrap().to_string(), printed);
        }
        for text in ["ftp://a/", "http:///a", "http://a:b/", "http://u:p@a/", "http://a/b c", "http://a/\r\nX: y", "a"]
        {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn locations_are_resolved() {
        let base = Url::parse("http://host:81/a/b?c").unwrap();
        for (location, expected) in [
            ("/d", "http://host:81/d"),
            ("d?e", "http://host:81/a/d?e"),
            ("//other/d", "http://other/d"),
            ("https://other", "https://other/"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), expected);
        }
        assert!(base.join("file:/etc/passwd").is_err());
        assert_eq!(base.with_suffix(".minisig").to_string(), "http://host:81/a/b.minisig?c");
    }
}
