//! TLS 1.2 and 1.3 by rustls, with the system's certificates or those of a given file.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{Error, Net};

/// The files of certificates that distributions have: Debian, Fedora, openSUSE, Alpine.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A connection, with or without TLS.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Starts TLS on a connection. The handshake happens with the first write.
pub(super) fn start(net: &Net, host: &str, stream: TcpStream) -> Result<Stream, Error> {
    let config = match net.tls.get() {
        Some(config) => Arc::clone(config),
        None => {
            let config = configure(net.authorities.as_deref()).map_err(Error::Permanent)?;
            Arc::clone(net.tls.get_or_init(|| config))
        }
    };
    let name = host.to_owned().try_into().map_err(|_| Error::Permanent("the host is no name for TLS".into()))?;
    let connection = ClientConnection::new(config, name).map_err(|error| Error::Permanent(error.to_string()))?;
    Ok(Stream::Tls(Box::new(StreamOwned::new(connection, stream))))
}

fn configure(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let file = match authorities {
        Some(file) => file,
        None => SYSTEM.iter().map(Path::new).find(|path| path.exists()).ok_or_else(|| {
            format!("https needs certificates: there is no {}, nor another system's file; pass one by --ca", SYSTEM[0])
        })?,
    };
    let refused = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| refused(&error))? {
        // A system's file may have certificates of old forms, which are not needed.
        let _ = roots.add(certificate.map_err(|error| refused(&error))?);
    }
    if roots.is_empty() {
        return Err(refused(&"no certificate in PEM form"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
