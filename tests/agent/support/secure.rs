//! A daemon that listens on TCP, and clients with certificates of all kinds.

use std::cell::Cell;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as Probe};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Endpoint;

use super::authority::{Authority, ClientCertificate, Identity};
use super::client::Client;
use super::{Daemon, LoopDisk, MIB};

pub(crate) const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The serial number that the first list of revocations has.
pub(crate) const REVOKED: u64 = 666;

/// What may stay of the memory that calls took.
const MOST_KEPT: u64 = 2 * MIB;

/// A daemon with TLS, and the authority that it trusts.
#[derive(Debug)]
pub(crate) struct Secure {
    pub(crate) daemon: Daemon,
    pub(crate) authority: Authority,
    pub(crate) files: TempDir,
    pub(crate) address: SocketAddr,
    /// A disk that nobody asks for.
    decoy: LoopDisk,
    /// Writes that the kernel has sent to its device before: the number may have been another disk's.
    writes: u64,
    /// Descriptors of a daemon that nobody calls.
    idle: Cell<usize>,
    /// The memory that the daemon had when the test said that it needs this for what is asked of it.
    resting_bytes: Cell<Option<u64>>,
}

impl Secure {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// The same with these lines in the configuration of the daemon.
    pub(crate) fn start_with(lines: &str) -> Self {
        Self::start_by(|_, table| Daemon::start_with(&format!("allow_loop_devices = true\n{lines}\n{table}")))
    }

    /// The same with a daemon that is started otherwise, for this address and table.
    pub(crate) fn start_by(start: impl FnOnce(SocketAddr, &str) -> Daemon) -> Self {
        let (files, authority) = (tempfile::tempdir().expect("directory"), Authority::new());
        let address = Probe::bind((LOCAL, 0)).and_then(|probe| probe.local_addr()).expect("a port");
        write(files.path(), "ca.pem", &authority.pem());
        write(files.path(), "crl.pem", &authority.revoke(&[REVOKED], 2999));
        put_server(files.path(), &authority.issue(LOCAL));
        let daemon = start(address, &table(files.path(), address));
        let idle = Cell::new(daemon.descriptors());
        let decoy = LoopDisk::new(MIB);
        Self { daemon, authority, files, address, writes: decoy.writes(), decoy, idle, resting_bytes: Cell::new(None) }
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        write(self.files.path(), name, content);
    }

    pub(crate) fn put_server(&self) {
        put_server(self.files.path(), &self.authority.issue(LOCAL));
    }

    /// How a client connects, with a certificate or without.
    pub(crate) fn config(&self, identity: Option<&Identity>) -> ClientConfig {
        self.config_of(identity, &rustls::version::TLS13)
    }

    pub(crate) fn config_of(
        &self,
        identity: Option<&Identity>,
        version: &'static SupportedProtocolVersion,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).expect("PEM")).expect("authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).expect("versions");
        let builder = builder.with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(vec![certificate], key).expect("identity")
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    pub(crate) fn identity(&self, role: &str) -> Identity {
        self.authority.client(&ClientCertificate::of(role))
    }

    /// A connection on which nothing was said yet.
    pub(crate) async fn open(&self, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        open(self.address, Arc::new(config)).await
    }

    /// A client that speaks gRPC.
    pub(crate) async fn client(&self, identity: &Identity) -> Client {
        let (address, config) = (self.address, Arc::new(self.config(Some(identity))));
        let connect = tower::service_fn(move |_| {
            let config = config.clone();
            async move { open(address, config).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://agent").connect_with_connector(connect).await;
        Client { channel: channel.expect("connection") }
    }

    /// Whether the daemon talks HTTP/2 with whoever connects so. If not, it closes the connection.
    pub(crate) async fn lets_in(&self, config: ClientConfig) -> bool {
        let Ok(mut stream) = self.open(config).await else { return false };
        if stream.write_all(PREFACE).await.is_err() || stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.is_err() {
            return false;
        }
        stream.read_u8().await.is_ok()
    }

    /// What the daemon has now, with the clients that there are, is what it needs: `settled` holds it to that, also to the
    /// memory that a call could leak. Pages of the program's file are none: they come and go with the page cache.
    pub(crate) fn rests(&self) {
        self.idle.set(self.daemon.descriptors());
        self.resting_bytes.set(Some(self.daemon.anonymous_bytes()));
    }

    /// Waits until the daemon has the descriptors and children that it has when nobody calls: none. It is alive, then, and has
    /// written nothing that nobody asked for.
    pub(crate) async fn settled(&self) {
        self.settled_after("what was asked of it").await;
    }

    /// The same, after something that has a name.
    pub(crate) async fn settled_after(&self, what: &str) {
        self.settled_but_for_memory(what).await;
        if let Some(resting) = self.resting_bytes.get() {
            let more = || self.daemon.anonymous_bytes().saturating_sub(resting);
            if more() > MOST_KEPT {
                eprintln!("{what}: {} KiB more are in use", more() >> 10);
                soon(&format!("{what}: what it took is given back"), async || more() <= MOST_KEPT).await;
            }
        }
    }

    /// The same where so much was taken that the allocator keeps some of it for the next time.
    pub(crate) async fn settled_but_for_memory(&self, what: &str) {
        let is_idle = async || self.daemon.descriptors() <= self.idle.get() && self.daemon.children().is_empty();
        soon(&format!("{what}: all descriptors are closed, and all children gone"), is_idle).await;
        // The first look may have seen what the start itself had open.
        self.idle.set(self.daemon.descriptors());
        assert_eq!(self.decoy.writes(), self.writes, "{what}");
        assert!(self.decoy.read_all().iter().all(|&byte| byte == 0), "{what}: something was written to another disk");
    }
}

async fn open(address: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    // A call is two small writes; without this the second waits for the kernel's late word on the first.
    stream.set_nodelay(true)?;
    TlsConnector::from(config).connect(ServerName::from(LOCAL), stream).await
}

/// Waits until the daemon closes a connection; gives how long it took.
pub(crate) async fn closed(mut stream: impl tokio::io::AsyncRead + Unpin) -> Duration {
    let begin = std::time::Instant::now();
    let mut rest = Vec::new();
    // Reset or closed: both is gone.
    drop(
        tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await.expect("not closed in 60 s"),
    );
    begin.elapsed()
}

pub(crate) fn table(files: &Path, address: SocketAddr) -> String {
    let file = |name| files.join(name);
    format!(
        "[tcp]\nlisten = [\"{address}\"]\ncertificate = {:?}\nkey = {:?}\nclient_ca = {:?}\ncrl = {:?}",
        file("server.pem"),
        file("server.key"),
        file("ca.pem"),
        file("crl.pem")
    )
}

/// In one step, as those do who renew certificates.
pub(crate) fn write(files: &Path, name: &str, content: &str) {
    let new = files.join("new");
    drop(fs::remove_file(&new));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).expect("file");
    std::io::Write::write_all(&mut file, content.as_bytes()).expect("write");
    fs::rename(new, files.join(name)).expect("rename");
}

pub(crate) fn put_server(files: &Path, identity: &Identity) {
    write(files, "server.key", &identity.key);
    write(files, "server.pem", &identity.certificate);
}

/// Waits until `is_so`; the daemon tells nobody, and clients on this thread go on meanwhile.
pub(crate) async fn soon(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    for _ in 0..1200 {
        ticks.tick().await;
        if is_so().await {
            return;
        }
    }
    panic!("not within 60 s: {what}");
}
