//! Clients that no library would be: HTTP/2 frame by frame, and gRPC calls whose headers and bytes are the test's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use super::secure::{PREFACE, Secure};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A call that anybody with a role may make, and its empty message.
pub(crate) const GET_HOST: &str = "/bms.agent.v1.HostService/GetHost";
pub(crate) const EMPTY: [u8; 5] = [0; 5];

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("short");
    [&len.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The headers of a gRPC call: each a literal, so that nothing depends on what was sent before.
pub(crate) fn headers(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", path),
        (":authority", "agent"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let short = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], short(name), short(value)].concat()).collect()
}

/// What came back until the last ping was answered, or the connection closed.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Frames of any kind.
    pub(crate) frames: usize,
    /// The code of the last GOAWAY.
    pub(crate) goaway: Option<u32>,
    /// How many RST_STREAM there were of each code.
    pub(crate) resets: BTreeMap<u32, usize>,
    /// Whether the ping was answered.
    pub(crate) ponged: bool,
}

/// Opens a connection, says `script` frame by frame and a ping, and tells what came back.
pub(crate) async fn converse(
    secure: &Secure,
    config: ClientConfig,
    script: impl Iterator<Item = Vec<u8>> + Send + 'static,
) -> Seen {
    let Ok(stream) = secure.open(config).await else { return Seen::default() };
    let (read, mut write) = tokio::io::split(stream);
    let (ponged, again) = (Arc::new(Notify::new()), frame(PING, 0, 0, b"the last"));
    let first = ponged.clone();
    let writer = tokio::spawn(async move {
        let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        for bytes in [begin].into_iter().chain(script).chain([frame(PING, 0, 0, b"one more")]) {
            // Who is thrown out cannot say the rest.
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // A ping is answered before what is to be said of the frames before it, but that is said before the next one is.
        first.notified().await;
        drop(write.write_all(&again).await);
        // Not dropped before the answer is read: half a connection is none over TLS.
        std::future::pending::<()>().await;
    });
    let seen = tokio::time::timeout(PATIENCE, listen(read, &ponged)).await.expect("no answer, and not closed");
    writer.abort();
    seen
}

async fn listen(mut read: impl AsyncRead + Unpin, ponged: &Notify) -> Seen {
    let mut seen = Seen::default();
    loop {
        let mut head = [0; 9];
        if read.read_exact(&mut head).await.is_err() {
            return seen;
        }
        let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; len];
        if read.read_exact(&mut payload).await.is_err() {
            return seen;
        }
        seen.frames += 1;
        let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"));
        match head[3] {
            RST_STREAM => *seen.resets.entry(code(0)).or_default() += 1,
            GOAWAY => seen.goaway = Some(code(4)),
            PING if head[4] == 1 && payload == b"one more" => ponged.notify_one(),
            PING if head[4] == 1 && payload == b"the last" => {
                seen.ponged = true;
                return seen;
            }
            _ => {}
        }
    }
}

/// What a call came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A status of gRPC.
    Grpc(i32),
    /// One of HTTP, and none of gRPC.
    Http(u16),
    /// The stream or the connection ended before.
    Broken,
}

/// A request as a library would make it.
pub(crate) fn request(path: &str, body: &[u8]) -> Request<Full<Bytes>> {
    let builder = Request::post(format!("https://agent{path}")).header("te", "trailers");
    let builder = builder.header("content-type", "application/grpc");
    builder.body(Full::new(Bytes::copy_from_slice(body))).expect("a request")
}

/// A message, framed as gRPC does.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&[0], &u32::try_from(message.len()).expect("short").to_be_bytes()[..], message].concat()
}

/// Makes one call on a connection of its own.
pub(crate) async fn call(secure: &Secure, config: ClientConfig, request: Request<Full<Bytes>>) -> Answer {
    let stream = TokioIo::new(secure.open(config).await.expect("handshake"));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let answer = tokio::time::timeout(PATIENCE, async { answer(sender.send_request(request).await?).await });
    let answer = answer.await.expect("no answer").unwrap_or(Answer::Broken);
    connection.abort();
    answer
}

async fn answer(response: Response<Incoming>) -> hyper::Result<Answer> {
    let status = response.status().as_u16();
    let head = response.headers().clone();
    let body = response.into_body().collect().await?;
    let code = head.get("grpc-status").or_else(|| body.trailers().and_then(|trailers| trailers.get("grpc-status")));
    let code = code.map(|code| code.to_str().expect("ASCII").parse().expect("a number"));
    Ok(code.map_or(Answer::Http(status), Answer::Grpc))
}
