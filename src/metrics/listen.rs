//! The page's listener: plain HTTP/1.1 on a loopback address, for a scraper on this machine.
//!
//! Whoever connects costs little, and not for long: few connections at once, one request each, and a limit for the whole.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;

use super::Exposition;

/// The only path.
const PATH: &str = "/metrics";
/// What Prometheus reads.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Most connections; who comes when there is no room waits in the kernel's queue.
const MAX_CONNECTIONS: usize = 8;
/// Connections that the kernel keeps for us.
const BACKLOG: u32 = 16;
/// How long a request may take to be said.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may live: as long as Prometheus waits by default.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest request, in bytes: the least that hyper can be told.
const MAX_REQUEST_BYTES: usize = 8 << 10;
/// How often values are sorted into buckets when nobody asks. A value is 8 bytes, a fast disk answers 100,000 times a second.
const SORT_EVERY: Duration = Duration::from_secs(2);
/// How long nothing is accepted after the kernel had no room for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// The table `[metrics]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsTable {
    /// Where the page is served, on a loopback address; nowhere, if absent.
    #[serde(deserialize_with = "loopback")]
    pub listen: Option<SocketAddr>,
}

fn loopback<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let address = SocketAddr::deserialize(deserializer)?;
    // There is neither TLS nor a role on it.
    let fine = address.ip().is_loopback();
    if fine { Ok(Some(address)) } else { Err(D::Error::custom("metrics are served on loopback addresses alone")) }
}

/// A socket that listens for whoever reads the page.
#[derive(Debug)]
pub struct MetricsListener {
    socket: TcpListener,
    exposition: Exposition,
}

impl MetricsListener {
    /// Listens.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub fn bind(address: SocketAddr, exposition: Exposition) -> io::Result<Self> {
        let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self { socket: socket.listen(BACKLOG)?, exposition })
    }

    /// Serves until it is dropped.
    pub async fn serve(self) {
        let page = Page { exposition: self.exposition, turn: Arc::new(Semaphore::new(1)) };
        tokio::join!(accept(&self.socket, &page), page.sort());
    }
}

async fn accept(socket: &TcpListener, page: &Page) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(room) = connections.clone().acquire_owned().await else { return };
        match socket.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, page.clone(), room))),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// One request of one connection.
async fn serve(stream: TcpStream, page: Page, room: OwnedSemaphorePermit) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_REQUEST_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service_fn(|request| page.answer(request)));
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "closed a connection for metrics"),
        Err(_elapsed) => tracing::debug!("closed a connection for metrics: it took too long"),
    }
    drop(room);
}

/// The page, and who may make it: one at a time.
#[derive(Debug, Clone)]
struct Page {
    exposition: Exposition,
    turn: Arc<Semaphore>,
}

impl Page {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (method, path) = (request.method(), request.uri().path());
        let mut response = Response::new(Full::default());
        if path != PATH {
            *response.status_mut() = StatusCode::NOT_FOUND;
        } else if method != Method::GET {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        } else if let Some(text) = self.make(Exposition::render).await {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
            *response.body_mut() = Full::from(text);
        } else {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        Ok(response)
    }

    /// Works on what was recorded, beside the thread that moves all messages.
    async fn make<T: Send + 'static>(&self, work: impl FnOnce(&Exposition) -> T + Send + 'static) -> Option<T> {
        let turn = self.turn.clone().acquire_owned().await.ok()?;
        let exposition = self.exposition.clone();
        let made = tokio::task::spawn_blocking(move || {
            let made = work(&exposition);
            // Also if whoever asked has gone meanwhile.
            drop(turn);
            made
        });
        made.await.inspect_err(|error| tracing::error!(%error, "cannot make the page of metrics")).ok()
    }

    async fn sort(&self) {
        let mut ticks = tokio::time::interval(SORT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.make(Exposition::sort).await.is_none() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MetricsTable;

    #[test]
    fn only_loopback_addresses_are_listened_on() {
        let of = |address: &str| toml::from_str::<MetricsTable>(&format!("listen = \"{address}\""));
        for fine in ["127.0.0.1:9464", "127.8.9.1:1", "[::1]:9464"] {
            assert_eq!(of(fine).expect(fine).listen, Some(fine.parse().expect("an address")));
        }
        for wrong in ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464", "[::ffff:127.0.0.1]:9464", "[fe80::1]:9464"] {
            let error = of(wrong).expect_err(wrong).to_string();
            assert!(error.contains("loopback addresses alone"), "{error}");
        }
        of("localhost:9464").expect_err("a name is no address");
        assert_eq!(toml::from_str::<MetricsTable>("").expect("empty").listen, None);
    }
}
