//! One connection: bytes both ways, the peer, and what it holds of the limits until it is dropped.

use std::any::Any;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use super::PREFACE_TIMEOUT;
use crate::rpc::peer::Peer;

/// How HTTP/2 begins (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What bytes go over.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection whose peer has begun with HTTP/2.
pub(in crate::rpc) struct Connection {
    io: Box<dyn Io>,
    /// What is left of the preface, which was taken off `io` already.
    preface: &'static [u8],
    peer: Peer,
    _held: Box<dyn Any + Send>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Connection {
    /// Waits for the preface. hyper does so without a limit, and its keepalive begins after that only.
    ///
    /// # Errors
    /// If it does not come in time, or something else comes.
    pub(super) async fn begin<I>(mut io: I, peer: Peer, held: impl Any + Send) -> io::Result<Self>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut begin = [0; PREFACE.len()];
        tokio::time::timeout(PREFACE_TIMEOUT, io.read_exact(&mut begin)).await??;
        if begin != *PREFACE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no HTTP/2"));
        }
        Ok(Self { io: Box::new(io), preface: PREFACE, peer, _held: Box::new(held) })
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.preface.is_empty() {
            return Pin::new(&mut self.io).poll_read(context, buf);
        }
        let (now, later) = self.preface.split_at(self.preface.len().min(buf.remaining()));
        buf.put_slice(now);
        self.preface = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::{Connection, PREFACE};
    use crate::rpc::peer::{Peer, Who};

    fn nobody() -> Peer {
        Peer::new(Who::User(7), None)
    }

    #[tokio::test]
    async fn what_was_read_of_a_connection_is_read_again_by_whom_it_is_for() {
        let (mut near, far) = tokio::io::duplex(256);
        near.write_all(PREFACE).await.expect("room");
        near.write_all(b"and more").await.expect("room");
        let mut connection = Connection::begin(far, nobody(), ()).await.expect("HTTP/2");
        drop(near);
        let mut all = Vec::new();
        connection.read_to_end(&mut all).await.expect("bytes");
        assert_eq!(all, [PREFACE.as_slice(), b"and more"].concat());
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_half_or_something_else_is_let_go() {
        for begin in [&b""[..], &PREFACE[..12], b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n"] {
            let (mut near, far) = tokio::io::duplex(256);
            near.write_all(begin).await.expect("room");
            let held = std::sync::Arc::new(());
            Connection::begin(far, nobody(), held.clone()).await.expect_err("no HTTP/2");
            assert_eq!(std::sync::Arc::strong_count(&held), 1);
        }
    }
}
