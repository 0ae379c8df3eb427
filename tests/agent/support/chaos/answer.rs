//! The server's answer, and what a fault makes of it on its way to the client.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::head::Head;
use super::memory::Remembered;
use super::{Fault, Proxy};

/// Bodies up to this length are held, and may be remembered. Longer ones are passed on as they come.
const MOST_HELD_BYTES: u64 = 16 << 20;

const PAGE: &[u8] = b"<!DOCTYPE html><html><body>Please sign in to use this network.</body></html>\n";

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Answer {
    head: Head,
    /// The body, or its beginning; the rest is still to come from the server.
    held: Vec<u8>,
    /// Of the whole body; unknown if only the end of the connection is its end.
    len_bytes: Option<u64>,
    /// A byte of the body that gets another bit.
    flip: Option<u64>,
    cut: Option<Cut>,
    /// Whether the body comes byte by byte.
    is_slow: bool,
}

/// The end of an answer that does not come to its end.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// Bytes of the body that are still sent; none: not even the head.
    after: Option<u64>,
    end: End,
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The next request may come.
    KeptOpen,
    Closed,
    Reset,
    Stalled,
}

impl Answer {
    fn whole(head: Head, body: Vec<u8>) -> Self {
        Self { head, len_bytes: u64::try_from(body.len()).ok(), held: body, flip: None, cut: None, is_slow: false }
    }

    pub(super) fn server_error(proxy: &Proxy) -> Self {
        let status = if proxy.toss() { "500 Internal Server Error" } else { "503 Service Unavailable" };
        Self::whole(Head::answer(status, "text/plain", 0), Vec::new())
    }

    fn html_page(request: &Head) -> Self {
        let body = if request.method() == "HEAD" { Vec::new() } else { PAGE.to_vec() };
        Self::whole(Head::answer("200 OK", "text/html", PAGE.len()), body)
    }

    /// Reads the head of the answer to `request`, and the body if it is short.
    pub(super) async fn read(request: &Head, server: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> io::Result<Self> {
        let mut head = Head::read(server).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        // These two are about the connection between proxy and server.
        head.remove("connection");
        head.remove("keep-alive");
        let has_body = request.method() != "HEAD" && !matches!(head.status(), 204 | 304);
        let len_bytes = if has_body { head.content_len() } else { Some(0) };
        let mut held = Vec::new();
        if let Some(len) = len_bytes.filter(|len| *len <= MOST_HELD_BYTES) {
            server.take(len).read_to_end(&mut held).await?;
        }
        Ok(Self { head, held, len_bytes, flip: None, cut: None, is_slow: false })
    }

    /// What is remembered of it: of answers to GET those that are held and say what an object is, or that there is none.
    pub(super) fn memorable(&self, request: &Head) -> Option<Remembered> {
        let is_told = request.method() == "GET" && matches!(self.head.status(), 200 | 206 | 404);
        let is_held = self.len_bytes == u64::try_from(self.held.len()).ok();
        (is_told && is_held).then(|| Remembered::new(request, &self.head, &self.held))
    }

    /// Lets a fault happen to it; false if it cannot happen to such an answer.
    pub(super) fn spoil(&mut self, fault: Fault, request: &Head, proxy: &Proxy) -> bool {
        match fault {
            Fault::Reset => self.cut_anywhere(End::Reset, proxy),
            Fault::Stall => self.cut_anywhere(End::Stalled, proxy),
            Fault::Truncate => self.cut_body(proxy),
            Fault::FlipBit => self.flip_bit(proxy),
            Fault::ServerError => self.replace(Self::server_error(proxy)),
            Fault::HtmlPage => self.replace(Self::html_page(request)),
            Fault::OtherObject => self.put_other_object(request, proxy),
            Fault::OldContent => self.put_old_content(request, proxy),
            Fault::WrongRange => self.shift_range(),
            // The request has lost its range already.
            Fault::WholeObject => self.head.status() == 200,
            Fault::Trickle => {
                self.is_slow = self.object_len().is_some();
                self.is_slow
            }
        }
    }

    fn cut_anywhere(&mut self, end: End, proxy: &Proxy) -> bool {
        let len = self.len_bytes.unwrap_or(0);
        let after = (len > 0 && proxy.toss()).then(|| proxy.place(len));
        self.cut = Some(Cut { after, end });
        true
    }

    fn cut_body(&mut self, proxy: &Proxy) -> bool {
        self.cut = self.object_len().map(|len| Cut { after: Some(proxy.place(len)), end: End::Closed });
        self.cut.is_some()
    }

    fn flip_bit(&mut self, proxy: &Proxy) -> bool {
        self.flip = self.object_len().map(|len| proxy.place(len));
        self.flip.is_some()
    }

    /// The length of a body that is an object's.
    fn object_len(&self) -> Option<u64> {
        self.len_bytes.filter(|len| *len > 0 && matches!(self.head.status(), 200 | 206))
    }

    fn replace(&mut self, other: Self) -> bool {
        *self = other;
        true
    }

    fn put_other_object(&mut self, request: &Head, proxy: &Proxy) -> bool {
        let Some(answer) = self.memorable(request) else { return false };
        let other = proxy.with(|state| state.memory.lookalike(&answer).map(|other| other.body.clone()));
        other.is_some_and(|body| self.replace(Self::whole(self.head.clone(), body)))
    }

    fn put_old_content(&mut self, request: &Head, proxy: &Proxy) -> bool {
        let Some(answer) = self.memorable(request) else { return false };
        let old = proxy.with(|state| state.memory.older(&answer).cloned());
        old.is_some_and(|old| self.replace(Self::whole(old.head, old.body)))
    }

    /// The bytes stay: what is wrong is where they are said to belong.
    fn shift_range(&mut self) -> bool {
        let range = self.head.field("content-range").and_then(|text| {
            let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
            let (first, last) = range.split_once('-')?;
            Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, total.to_owned()))
        });
        let Some((first, last, total)) = range.filter(|_| self.head.status() == 206) else { return false };
        self.head.set("Content-Range", &format!("bytes {}-{}/{total}", first + 1, last + 1));
        true
    }

    /// Sends it, and says what is to become of the connection.
    pub(super) async fn send(
        self,
        server: &mut (impl AsyncRead + Unpin),
        client: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<End> {
        let limit = match self.cut {
            Some(Cut { after: None, end }) => return Ok(end),
            Some(Cut { after: Some(len), .. }) => len,
            None => self.len_bytes.unwrap_or(u64::MAX),
        };
        client.write_all(&self.head.to_bytes()).await?;
        if self.is_slow {
            trickle(&self.held, client).await?;
            return Ok(End::Stalled);
        }
        let sent = pour(&mut self.held.as_slice().chain(server), client, limit, self.flip).await?;
        match (self.cut, self.len_bytes) {
            (Some(cut), _) => Ok(cut.end),
            (None, None) => Ok(End::Closed),
            (None, Some(len)) if sent == len => Ok(End::KeptOpen),
            (None, Some(_)) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Sends a byte a second, for as long as the client listens.
async fn trickle(body: &[u8], client: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for byte in body {
        ticks.tick().await;
        client.write_u8(*byte).await?;
        client.flush().await?;
    }
    Ok(())
}

/// Passes on up to so many bytes, one of which may get another bit, and says how many came.
async fn pour(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    limit: u64,
    flip: Option<u64>,
) -> io::Result<u64> {
    let Some(place) = flip else { return tokio::io::copy(&mut from.take(limit), to).await };
    tokio::io::copy(&mut from.take(place), to).await?;
    to.write_u8(from.read_u8().await? ^ 1).await?;
    Ok(place + 1 + tokio::io::copy(&mut from.take(limit - place - 1), to).await?)
}
