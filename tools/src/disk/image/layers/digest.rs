//! Digests of content (OCI image specification, "Digests"): `sha256:` or `sha512:` and hexadecimal digits.

use std::fmt::{self, Display, Formatter};
use std::io::{self, Read};

use sha2::{Digest as _, Sha256, Sha512};

/// The expected hash of a content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Digest {
    text: String,
}

/// The content does not match its digest.
#[derive(Debug, thiserror::Error)]
#[error("does not match its digest {0}: the archive is damaged; make it again")]
pub(super) struct Mismatch(Digest);

enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Digest {
    /// Parses a digest of a supported algorithm.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (algorithm, digits) = text.split_once(':')?;
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return None,
        };
        let is_hex = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (is_hex && digits.len() == length).then(|| Self { text: text.to_owned() })
    }

    /// Computes the SHA-256 of a content.
    pub(super) fn of(content: &[u8]) -> Self {
        let mut hasher = Hasher::Sha256(Sha256::new());
        hasher.update(content);
        Self { text: format!("sha256:{}", hasher.finish()) }
    }

    /// Returns the hexadecimal digits.
    pub(super) fn digits(&self) -> &str {
        self.text.split(':').nth(1).unwrap_or_default()
    }

    /// Returns the path of the content in an OCI layout.
    pub(super) fn blob(&self) -> String {
        format!("blobs/{}", self.text.replacen(':', "/", 1))
    }

    /// Returns the first 12 digits.
    pub(super) fn short(&self) -> String {
        self.digits().chars().take(12).collect()
    }

    /// Compares the content with the digest.
    pub(super) fn check(&self, content: &[u8]) -> Result<(), Mismatch> {
        let mut hasher = self.hasher();
        hasher.update(content);
        self.compare(hasher)
    }

    fn hasher(&self) -> Hasher {
        if self.text.starts_with("sha256:") { Hasher::Sha256(Sha256::new()) } else { Hasher::Sha512(Sha512::new()) }
    }

    fn compare(&self, hasher: Hasher) -> Result<(), Mismatch> {
        if self.text.ends_with(&hasher.finish()) { Ok(()) } else { Err(Mismatch(self.clone())) }
    }
}

impl Display for Digest {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Hasher {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// Returns the hash in hexadecimal digits.
    fn finish(self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::Sha512(hasher) => hex(&hasher.finalize()),
        }
    }
}

/// Passes content through, and returns an error at its end if it does not match its digest.
pub(super) struct Verified<R> {
    input: R,
    expected: Option<(Digest, Hasher)>,
}

impl<R: Read> Verified<R> {
    /// Creates the reader; without a digest, nothing is compared.
    pub(super) fn new(input: R, expected: Option<Digest>) -> Self {
        let expected = expected.map(|digest| {
            let hasher = digest.hasher();
            (digest, hasher)
        });
        Self { input, expected }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(target)?;
        if let Some((_, hasher)) = &mut self.expected {
            hasher.update(&target[..count]);
        }
        if count == 0
            && !target.is_empty()
            && let Some((digest, hasher)) = self.expected.take()
        {
            digest.compare(hasher).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf content | sha256sum`, `printf content | sha512sum`.
    const SHA256: &str = "sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
    const SHA512: &str = "sha512:b2d1d285b5199c85f988d03649c37e44fd3dde01e5d69c50fef90651962f48110e9340b60d49a479c4c0b53f5f07d690686dd87d2481937a512e8b85ee7c617f";

    #[test]
    fn content_is_compared_at_its_end() {
        for text in [SHA256, SHA512] {
            let digest = Digest::parse(text).unwrap();
            let read = |content: &[u8]| {
                let mut output = Vec::new();
                Verified::new(content, Some(digest.clone())).read_to_end(&mut output).map(|_| output)
            };
            assert_eq!(read(b"content").unwrap(), b"content");
            for other in [&b"contenT"[..], b"conten", b"content ", b""] {
                let error = read(other).unwrap_err();
                assert!(error.get_ref().is_some_and(|inner| inner.is::<Mismatch>()), "{error}");
                assert!(digest.check(other).is_err());
            }
            assert!(digest.check(b"content").is_ok());
        }
    }

    #[test]
    fn only_complete_digests_are_accepted() {
        assert_eq!(Digest::parse(SHA256).unwrap().blob(), SHA256.replace("sha256:", "blobs/sha256/"));
        assert_eq!(Digest::parse(SHA256).unwrap().short(), "ed7002b439e9");
        for text in ["", "sha256:", "sha256", "md5:0123", &SHA256[..70], &SHA256.to_uppercase(), "sha256:../../x"] {
            assert_eq!(Digest::parse(text), None, "{text}");
        }
    }
}
