//! Certificates, keys and revocations of the TCP listener: read at start, and again when they change. What is wrong with a new
//! file is logged, and the old ones stay.

use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use nix::errno::Errno;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::table::{TcpTable, resolve};
use crate::disk::sysfs;
use crate::text;

/// How often it is looked whether files have changed.
const LOOK: Duration = Duration::from_secs(2);
/// Longest file, in bytes: a list of many revocations.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The files do not make a server.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing to listen on.
    #[error("tcp.listen has no address that could be listened on")]
    NoAddress,
    /// Sockets for TLS, and nothing that they could be served with.
    #[error("the agent was started with sockets for TCP, but its configuration has no table [tcp]")]
    NoTable,
    /// A relative path, and no credentials that it could be below.
    #[error("tcp: {} is not absolute, and the service has no credentials", .path.display())]
    Relative {
        /// The file.
        path: PathBuf,
    },
    /// Others could take the key.
    #[error("the key {} is not the agent's alone (mode {mode:04o})", .path.display())]
    KeyReadable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file is no PEM, or has nothing of what it should have.
    #[error("{} has no usable {what}", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should have.
        what: &'static str,
        /// What is wrong, if something is.
        source: Option<pem::Error>,
    },
    /// An authority of clients is none.
    #[error("{} has a certificate that cannot be an authority", .path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Clients cannot be verified with this.
    #[error("clients cannot be verified")]
    Verifier(#[from] VerifierBuilderError),
    /// Certificate and key do not fit, or are of a kind that is not known.
    #[error("certificate and key cannot be used")]
    Identity(#[from] rustls::Error),
}

impl TlsError {
    /// Whether it is the agent that lacks something, not the files.
    fn is_for_the_moment(&self) -> bool {
        let Self::Unreadable { source, .. } = self else { return false };
        let errno = source.raw_os_error().map(Errno::from_raw);
        matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM))
    }
}

/// Where the files are.
#[derive(Debug, Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: PathBuf,
    crl: Option<PathBuf>,
}

/// What a file is known by: another one in its place, or other content, has another. `None`: it is not there.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// What connections are accepted with.
#[derive(Debug)]
pub(super) struct Tls {
    files: Files,
    current: ArcSwap<ServerConfig>,
    /// Of the files that were read, or could not be used, last.
    stamps: Mutex<Vec<Stamp>>,
    asked: Arc<Notify>,
}

impl Tls {
    pub(super) fn load(table: &TcpTable, credentials: Option<&Path>) -> Result<Self, TlsError> {
        let file = |path: &Path| resolve(path, credentials).ok_or_else(|| TlsError::Relative { path: path.to_owned() });
        let files = Files {
            certificate: file(&table.certificate)?,
            key: file(&table.key)?,
            client_ca: file(&table.client_ca)?,
            crl: table.crl.as_deref().map(file).transpose()?,
        };
        // Before they are read: what changes meanwhile is another file than these.
        let stamps = Mutex::new(files.stamps());
        let current = ArcSwap::new(Arc::new(files.load()?));
        Ok(Self { files, current, stamps, asked: Arc::default() })
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Whom to notify if the files are to be read again.
    pub(super) fn reload(&self) -> Arc<Notify> {
        self.asked.clone()
    }

    /// Reads the files again when they change, or when somebody asks for it.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let asked = tokio::select! {
                _ = ticks.tick() => false,
                () = self.asked.notified() => true,
            };
            let tls = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || tls.look(asked)).await {
                tracing::error!(%error, "cannot look for new certificates");
            }
        }
    }

    fn look(&self, asked: bool) {
        let now = self.files.stamps();
        let mut last = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked && now == *last {
            return;
        }
        match self.files.load() {
            Ok(config) => {
                self.current.store(Arc::new(config));
                *last = now;
                tracing::info!("new connections use the certificates that are there now");
            }
            Err(error) => {
                // Files that are wrong are told once; where the agent had no room to read them, they are tried again.
                if !error.is_for_the_moment() {
                    *last = now;
                }
                tracing::error!(error = text::chain(&error), "the new certificates are not used; the old ones stay");
            }
        }
    }
}

impl Files {
    fn stamps(&self) -> Vec<Stamp> {
        let paths = [&self.certificate, &self.key, &self.client_ca].into_iter().chain(&self.crl);
        let stamp = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec(), metadata.len()))
        };
        paths.map(stamp).collect()
    }

    fn load(&self) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        for authority in all::<CertificateDer<'static>>(&self.client_ca, "certificate")? {
            roots.add(authority).map_err(|source| TlsError::Authority { path: self.client_ca.clone(), source })?;
        }
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        if let Some(crl) = &self.crl {
            // A leaf that no list says anything of is refused, and so is one whose list is too old to be believed.
            verifier = verifier
                .with_crls(all::<CertificateRevocationListDer<'static>>(crl, "revocation list")?)
                .only_check_end_entity_revocation()
                .enforce_revocation_expiration();
        }
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier.build()?)
            .with_single_cert(all(&self.certificate, "certificate")?, self.private_key()?)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A session that is resumed brings its certificate along unasked, and may have been revoked since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let (bytes, mode) = read(&self.key)?;
        // A group may read it, as `ssl-cert` does.
        if mode & 0o027 != 0 {
            return Err(TlsError::KeyReadable { path: self.key.clone(), mode });
        }
        let pem = |source| TlsError::Pem { path: self.key.clone(), what: "key", source: Some(source) };
        PrivateKeyDer::from_pem_slice(&bytes).map_err(pem)
    }
}

/// All objects of a kind in a PEM file, at least one.
fn all<T: PemObject>(path: &Path, what: &'static str) -> Result<Vec<T>, TlsError> {
    let pem = |source| TlsError::Pem { path: path.to_owned(), what, source };
    let (bytes, _) = read(path)?;
    let all: Vec<T> = T::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|source| pem(Some(source)))?;
    if all.is_empty() { Err(pem(None)) } else { Ok(all) }
}

/// A file, and its permission bits as they are on the open file.
fn read(path: &Path) -> Result<(Vec<u8>, u32), TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let file = sysfs::open_regular(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(unreadable(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok((bytes, metadata.mode() & 0o7777))
}
