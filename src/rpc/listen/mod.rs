//! Connections, from the listening socket to the first byte of a request: who it is, how many there may be, how long they
//! may be silent. `server` serves what comes out.

mod connection;
mod identity;
mod inherited;
mod limit;
mod refused;
mod table;
mod tcp;
mod tls;
mod unix;

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use self::refused::Cause;
use crate::metrics::Listener;

pub(super) use self::connection::Connection;
pub use self::inherited::Inherited;
pub use self::refused::introduce;
pub use self::table::TcpTable;
pub use self::tcp::TcpSockets;
pub use self::tls::TlsError;
pub use self::unix::{UnixSocket, listen_unix};

/// Most connections of each listener.
const MAX_CONNECTIONS: usize = 64;
/// Most connections of one user but root, or of one certificate.
const MAX_CONNECTIONS_EACH: usize = 8;
/// How long a peer may take to begin with HTTP/2.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long nothing is accepted after the kernel had no room for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Everything that the agent listens on.
#[derive(Debug)]
pub struct Listeners {
    /// The Unix socket.
    pub unix: UnixSocket,
    /// TCP, if there is any.
    pub tcp: Option<TcpSockets>,
}

impl Listeners {
    /// Accepts on all of them, until the server is gone.
    pub(super) fn accept(self) -> Incoming {
        let (sender, receiver) = mpsc::channel(1);
        if let Some(tcp) = self.tcp {
            tokio::spawn(tcp.accept(sender.clone()));
        }
        tokio::spawn(self.unix.accept(sender));
        ReceiverStream::new(receiver)
    }
}

/// The way from listeners to the server; it holds nothing up that is not taken.
type Sender = mpsc::Sender<io::Result<Connection>>;
/// Connections whose peers are known, and speak HTTP/2.
pub(super) type Incoming = ReceiverStream<io::Result<Connection>>;

/// Whether a failed accept is of one connection, which is gone, or of the whole process, which has no room.
async fn after_failure(error: &io::Error) {
    use nix::errno::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw);
    if matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)) {
        tracing::warn!(%error, "cannot accept connections for a moment");
        tokio::time::sleep(PAUSE).await;
    } else {
        tracing::debug!(%error, "a connection went away before it was accepted");
    }
}

/// Gives a connection to the server as soon as it has begun.
async fn hand_on(begun: impl Future<Output = io::Result<Connection>>, sender: Sender, listener: Listener) {
    match begun.await {
        Ok(connection) => {
            if sender.send(Ok(connection)).await.is_err() {
                tracing::debug!("closed a connection: the agent is stopping");
            }
        }
        Err(error) => {
            Cause::NoHttp2.count(listener);
            tracing::debug!(%error, "closed a connection that did not begin with HTTP/2");
        }
    }
}
