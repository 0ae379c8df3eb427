//! Connections, from the listening socket to the first byte of a request: who it is, how many there may be, how long they
//! may be silent. `server` serves what comes out.

mod connection;
mod limit;
mod unix;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

pub(super) use self::connection::Connection;
pub use self::unix::{UnixSocket, listen_unix};

/// Most connections of each listener.
const MAX_CONNECTIONS: usize = 64;
/// Most connections of one user but root, or of one certificate.
const MAX_CONNECTIONS_EACH: usize = 8;
/// How long a peer may take to begin with HTTP/2.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long nothing is accepted after the kernel had no room for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// The way from listeners to the server; it holds nothing up that is not taken.
pub(super) type Sender = mpsc::Sender<std::io::Result<Connection>>;
/// Connections whose peers are known, and speak HTTP/2.
pub(super) type Incoming = ReceiverStream<std::io::Result<Connection>>;

/// What all listeners of the agent hand to its server.
pub(super) fn channel() -> (Sender, Incoming) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, ReceiverStream::new(receiver))
}

/// Whether a failed accept is of one connection, which is gone, or of the whole process, which has no room.
async fn after_failure(error: &std::io::Error) {
    use nix::errno::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw);
    if matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)) {
        tracing::warn!(%error, "cannot accept connections for a moment");
        tokio::time::sleep(PAUSE).await;
    } else {
        tracing::debug!(%error, "a connection went away before it was accepted");
    }
}
