//! TCP, with mutual TLS 1.3 and never without. Whoever is not authenticated costs little, and not for long.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use super::identity::{self, Fingerprint};
use super::limit::Limit;
use super::refused::{Cause, Sparingly};
use super::table::TcpTable;
use super::tls::{Tls, TlsError};
use super::{Connection, MAX_CONNECTIONS, MAX_CONNECTIONS_EACH, Sender, after_failure, hand_on};
use crate::metrics::{Listener, OpenConnection};
use crate::rpc::server::ServeError;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Most connections whose peer is not authenticated yet. One more, and the oldest of them goes: a handshake takes
/// milliseconds, so that it is hardly ever that of somebody honest.
const MAX_STRANGERS: usize = 16;
/// Most connections whose peer is authenticated. Strangers have their own room, so that they take none of it.
const MAX_AUTHENTICATED: usize = MAX_CONNECTIONS - MAX_STRANGERS;
/// Connections that the kernel keeps for us.
const BACKLOG: u32 = 128;
/// After how many seconds of silence the kernel asks whether the peer is there, and how often it asks again.
const KEEPALIVE_SECONDS: u32 = 60;
const KEEPALIVE_PROBES: u32 = 3;

/// Sockets that listen for TLS.
#[derive(Debug)]
pub struct TcpSockets {
    listeners: Vec<TcpListener>,
    tls: Arc<Tls>,
}

/// What connections of all sockets share.
#[derive(Debug)]
struct Doorman {
    tls: Arc<Tls>,
    connections: Arc<Semaphore>,
    each: Limit<Fingerprint>,
    strangers: Mutex<VecDeque<AbortHandle>>,
    told: Sparingly,
    sender: Sender,
}

impl TcpSockets {
    /// Reads the files, and listens on all addresses, or on `inherited` sockets if there are such. `credentials` is where
    /// relative paths are.
    ///
    /// # Errors
    /// If the files do not make a server, or an address cannot be had.
    pub fn listen(
        table: &TcpTable,
        credentials: Option<&Path>,
        inherited: Vec<TcpListener>,
    ) -> Result<Self, ServeError> {
        let tls = Arc::new(Tls::load(table, credentials)?);
        let mut listeners = inherited;
        if listeners.is_empty() {
            for &address in &table.listen {
                match bind(address) {
                    Ok(listener) => listeners.push(listener),
                    Err(error) if error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) => {
                        tracing::warn!(%address, "not listened on: the kernel has no such addresses");
                    }
                    Err(source) => return Err(ServeError::Address { address, source }),
                }
            }
        }
        if listeners.is_empty() { Err(TlsError::NoAddress.into()) } else { Ok(Self { listeners, tls }) }
    }

    /// Whom to notify if certificates, key and revocations are to be read again. They are when they change, too.
    pub fn reload(&self) -> Arc<Notify> {
        self.tls.reload()
    }

    /// Accepts until the server is gone.
    pub(in crate::rpc) async fn accept(self, sender: Sender) {
        let doorman = Arc::new(Doorman {
            tls: self.tls.clone(),
            connections: Arc::new(Semaphore::new(MAX_AUTHENTICATED)),
            each: Limit::default(),
            strangers: Mutex::default(),
            told: Sparingly::default(),
            sender: sender.clone(),
        });
        for listener in self.listeners {
            tokio::spawn(accept_on(listener, doorman.clone()));
        }
        tokio::select! {
            () = self.tls.watch() => {}
            () = sender.closed() => {}
        }
    }
}

async fn accept_on(listener: TcpListener, doorman: Arc<Doorman>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = doorman.sender.closed() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                doorman.clone().let_in(stream, address);
                // Whoever was let go is gone only when their task has run.
                tokio::task::yield_now().await;
            }
            Err(error) => after_failure(&error).await,
        }
    }
}

impl Doorman {
    /// Starts the handshake, in a task that ends with it.
    fn let_in(self: Arc<Self>, stream: TcpStream, address: SocketAddr) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.retain(|stranger| !stranger.is_finished());
        if strangers.len() >= MAX_STRANGERS
            && let Some(oldest) = strangers.pop_front()
        {
            oldest.abort();
            Cause::Displaced.count(Listener::Tcp);
        }
        strangers.push_back(tokio::spawn(self.clone().greet(stream, address)).abort_handle());
    }

    async fn greet(self: Arc<Self>, stream: TcpStream, address: SocketAddr) {
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%address, %error, "cannot set options of a connection");
        }
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, self.tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                Cause::of(&error).count(Listener::Tcp);
                if self.told.may_tell() {
                    tracing::warn!(%address, %error, "closed a connection in its TLS handshake");
                }
                return;
            }
            Err(_elapsed) => {
                Cause::Timeout.count(Listener::Tcp);
                if self.told.may_tell() {
                    tracing::warn!(%address, "closed a connection: its TLS handshake took too long");
                }
                return;
            }
        };
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let Some((fingerprint, peer)) = leaf.map(|leaf| identity::peer(leaf)) else {
            Cause::NoCertificate.count(Listener::Tcp);
            return tracing::error!(%address, "closed a connection without a certificate");
        };
        let Some(slot) = self.each.take(fingerprint, MAX_CONNECTIONS_EACH) else {
            Cause::TooMany.count(Listener::Tcp);
            return tracing::warn!(%address, peer = %peer.caller(), "closed a connection: the certificate has too many");
        };
        let Ok(room) = self.connections.clone().try_acquire_owned() else {
            Cause::Full.count(Listener::Tcp);
            return tracing::warn!(%address, peer = %peer.caller(), "closed a connection: there are too many");
        };
        tracing::debug!(%address, peer = %peer.caller(), "connected");
        // No stranger any more; another task, so that nobody who comes later ends it.
        let held = (room, slot, OpenConnection::new(Listener::Tcp));
        tokio::spawn(hand_on(Connection::begin(stream, peer, held), self.sender.clone(), Listener::Tcp));
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    if address.is_ipv6() {
        // Else it would take the port of IPv4 as well.
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &KEEPALIVE_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &KEEPALIVE_SECONDS)?;
    Ok(setsockopt(stream, sockopt::TcpKeepCount, &KEEPALIVE_PROBES)?)
}
