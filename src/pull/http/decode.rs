//! The blocking half: a thread that reads the download, decompresses, hashes, and hands stretches of groups on in order.
//!
//! One thread decodes and hashes by itself, run by run, in three buffers that go round. The workers hash each group once
//! more before they write it, as they do whatever the source. That is done on other cores, and costs less than what came
//! before it on this one: it hashes the same bytes, and decompresses them as well.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use super::{HttpSource, HttpSourceError};
use crate::image::group::{ChainingValue, Layout};
use crate::image::scan::{Piece, scan_once};
use crate::image::source::{OpenOptions, Peeked};
use crate::net::download::Download;
use crate::provision::feed::Budget;

/// What was found in the content, in order.
pub(super) enum Found {
    /// Groups of zeroes.
    Hole { first: u64, count: u64 },
    /// Groups none of which is all zero.
    Data { first: u64, values: Vec<ChainingValue>, content: Bytes, reserved: Option<OwnedSemaphorePermit> },
    /// All of it was there, and what it was packed into was whole.
    End,
}

type Told = mpsc::Sender<Result<Found, HttpSourceError>>;

/// Starts the thread. It ends when all was told, nobody listens any more, or `halt` is set.
pub(super) fn spawn_decode(
    source: HttpSource,
    layout: Layout,
    told: Told,
    (budget, halt): (Budget, CancellationToken),
) -> Result<(), HttpSourceError> {
    let (handle, url) = (Handle::current(), source.url.to_string());
    let body = move || {
        let end = decode(&source, layout, &halt, &|piece| tell(piece, &told, &budget, &handle));
        // Who does not listen any more has a reason of its own.
        told.blocking_send(end.map(|()| Found::End)).unwrap_or_default();
    };
    let thread = thread::Builder::new().name("decode".to_owned()).spawn(body);
    thread.map(drop).map_err(|source| HttpSourceError::Thread { url, source })
}

/// Begins to download; gives the length of the file, if the server tells it, and the file.
pub(super) fn open(source: &HttpSource, stop: CancellationToken) -> Result<(Option<u64>, Peeked), HttpSourceError> {
    let HttpSource { url, settings, retry, .. } = source;
    let download = Download::start(&url.0, settings, *retry, stop);
    let download = download.map_err(|source| HttpSourceError::Download { url: url.to_string(), source })?;
    let file_bytes = download.len_bytes();
    let peeked = Peeked::new(Path::new(&url.to_string()), Box::new(download));
    Ok((file_bytes, peeked.map_err(|source| HttpSourceError::of(url, source))?))
}

fn decode(
    source: &HttpSource,
    layout: Layout,
    halt: &CancellationToken,
    sink: &(dyn Fn(Piece) -> ControlFlow<()> + Sync),
) -> Result<(), HttpSourceError> {
    let (_, peeked) = open(source, halt.clone())?;
    let options = OpenOptions { format: source.format, len_bytes: Some(layout.len_bytes()) };
    let scanned = peeked.into_input(&options).and_then(|input| {
        // One thread alone tells pieces in their order.
        scan_once(input, layout.group_size(), NonZeroUsize::MIN, sink)
    });
    scanned.map(drop).map_err(|error| HttpSourceError::of(&source.url, error))
}

/// Hands a piece on, once there is memory for it on its way.
fn tell(piece: Piece, told: &Told, budget: &Budget, handle: &Handle) -> ControlFlow<()> {
    let found = match piece {
        Piece::Hole { first, count } => Found::Hole { first, count },
        Piece::Data { first, chaining_values: values, content } => {
            let reserved = handle.block_on(budget.reserve(content.len()));
            Found::Data { first, values, content, reserved }
        }
    };
    if told.blocking_send(Ok(found)).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}
