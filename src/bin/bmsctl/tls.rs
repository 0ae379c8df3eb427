//! Connections to an agent on another server: TCP with mutual TLS 1.3, and what to do about one that fails.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where agents listen if nobody says it.
const PORT: u16 = 7443;

/// A server, as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// What its certificate must be for.
    name: ServerName<'static>,
    host: String,
    port: u16,
}

/// The text names no server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a name or address, perhaps with a port, as `server.example`, `10.0.0.1:7443` or `[2001:db8::1]:7443`")]
pub(crate) struct HostInvalid;

impl FromStr for Host {
    type Err = HostInvalid;

    fn from_str(text: &str) -> Result<Self, HostInvalid> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let (host, port) = if let Ok(address) = text.parse::<SocketAddr>() {
            (address.ip().to_string(), address.port())
        } else if let Ok(ip) = bare.parse::<IpAddr>() {
            (ip.to_string(), PORT)
        } else if let Some((name, port)) = text.split_once(':') {
            (name.to_owned(), port.parse().map_err(|_not_a_number| HostInvalid)?)
        } else {
            (text.to_owned(), PORT)
        };
        let name = ServerName::try_from(host.clone()).map_err(|_not_a_name| HostInvalid)?;
        Ok(Self { name, host, port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The files that a connection takes, all of them PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    /// The caller's certificate, then those between it and its authority.
    pub(crate) cert: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
    /// The authorities of agents.
    pub(crate) ca: PathBuf,
}

/// Why the files are of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    /// One cannot be read, or is not PEM.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: pem::Error },
    /// There is no certificate in it.
    #[error("{} has no certificate", path.display())]
    Empty { path: PathBuf },
    /// An authority is none.
    #[error("{} has a certificate that cannot be used", path.display())]
    Authority { path: PathBuf, source: rustls::Error },
    /// The certificate and the key do not belong together.
    #[error("{} and {} cannot be used together", cert.display(), key.display())]
    Identity { cert: PathBuf, key: PathBuf, source: rustls::Error },
}

impl Files {
    /// Reads them.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, FilesError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.ca)? {
            roots.add(authority).map_err(|source| FilesError::Authority { path: self.ca.clone(), source })?;
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|source| FilesError::Read { path: self.key.clone(), source })?;
        let refused = |source| FilesError::Identity { cert: self.cert.clone(), key: self.key.clone(), source };
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(refused)?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&self.cert)?, key)
            .map_err(refused)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FilesError> {
    let read = |source| FilesError::Read { path: path.to_owned(), source };
    let all: Vec<_> = CertificateDer::pem_file_iter(path).map_err(read)?.collect::<Result<_, _>>().map_err(read)?;
    if all.is_empty() { Err(FilesError::Empty { path: path.to_owned() }) } else { Ok(all) }
}

/// What to do about a connection that broke, once it did.
pub(crate) type Broken = Arc<OnceLock<&'static str>>;

/// A stream that remembers why it broke: with TLS 1.3 a client learns that its certificate is refused when it reads, and
/// HTTP/2 has only words for it. Whoever writes to a connection that is closed already may never read the reason.
#[derive(Debug)]
pub(crate) struct Watched {
    stream: TlsStream<TcpStream>,
    broken: Broken,
}

impl Watched {
    fn note(&self, error: &io::Error) {
        // The first reason is the one.
        self.broken.get_or_init(|| hint(error));
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        match &read {
            Poll::Ready(Err(error)) => self.note(error),
            Poll::Ready(Ok(())) if buf.filled().len() == before => self.note(&io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Connects.
pub(crate) async fn open(host: Host, config: Arc<ClientConfig>, broken: Broken) -> io::Result<Watched> {
    let stream = TcpStream::connect((host.host.as_str(), host.port)).await?;
    stream.set_nodelay(true)?;
    let stream = TlsConnector::from(config).connect(host.name, stream).await?;
    Ok(Watched { stream, broken })
}

/// What to do about a connection that could not be made.
#[expect(clippy::wildcard_enum_match_arm, reason = "the kinds are another crate's, and may become more")]
pub(crate) fn hint(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(problem)) => hint_on_certificate(problem),
        Some(rustls::Error::AlertReceived(_)) => {
            "it refuses the certificate of --cert, which may be expired, revoked, of another authority, or not for clients"
        }
        Some(_) => "it does not speak TLS 1.3 as an agent does; is the port right?",
        None => match error.kind() {
            io::ErrorKind::ConnectionRefused => "nobody listens there; has the agent's configuration a table [tcp]?",
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                "it closed the connection; it may have too many, or refuse the certificate of --cert: its log says which"
            }
            _ => "is the name right, and can this machine reach it?",
        },
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the kinds are another crate's, and may become more")]
fn hint_on_certificate(problem: &CertificateError) -> &'static str {
    match problem {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is of none of the authorities of --ca"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; are both clocks right?"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name; --host must be one that it has"
        }
        _ => "its certificate cannot be used",
    }
}

#[cfg(test)]
mod tests {
    use super::{Files, FilesError, Host, HostInvalid};

    #[test]
    fn hosts_are_names_or_addresses_with_or_without_a_port() {
        for (text, shown) in [
            ("server.example", "server.example:7443"),
            ("server.example:1", "server.example:1"),
            ("10.0.0.1", "10.0.0.1:7443"),
            ("10.0.0.1:65535", "10.0.0.1:65535"),
            ("2001:db8::1", "[2001:db8::1]:7443"),
            ("[2001:db8::1]", "[2001:db8::1]:7443"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
        ] {
            assert_eq!(text.parse::<Host>().expect(text).to_string(), shown, "{text}");
        }
        for text in ["", ":7443", "server:", "server:x", "server:65536", "https://server", "a b", "[::1", "server:1:2"]
        {
            assert_eq!(text.parse::<Host>(), Err(HostInvalid), "{text}");
        }
    }

    #[test]
    fn files_that_are_no_certificates_are_named() {
        let dir = tempfile::tempdir().expect("directory");
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "nothing\n").expect("written");
        let files = |ca| Files { cert: empty.clone(), key: empty.clone(), ca };
        assert!(
            matches!(files(dir.path().join("missing")).config(), Err(FilesError::Read { path, .. }) if path.ends_with("missing"))
        );
        assert!(matches!(files(empty.clone()).config(), Err(FilesError::Empty { path }) if path == empty));
    }
}
