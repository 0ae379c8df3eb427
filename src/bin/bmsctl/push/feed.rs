//! Reads the source on threads of its own, as far ahead of the agent as the scan's buffers reach.
//!
//! The scan owns the memory: a buffer comes back to it when the last byte of its piece is dropped, wherever that is - in
//! the books, in a queue, or in the transport. So whoever holds content here slows the reading down, and nothing else.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::thread;

use bms_agent::image::group::Layout;
use bms_agent::image::scan::{Piece, scan};
use bms_agent::image::source::{Source, SourceError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::CtlError;

/// Pieces between the scan and the driver.
const QUEUED_PIECES: usize = 16;
const MIN_WORKERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// Threads for work on content: one per core, at least two, so that reading and hashing overlap.
pub(crate) fn workers() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(MIN_WORKERS).max(MIN_WORKERS)
}

/// A source that is being read. Dropping it stops the reading.
#[derive(Debug)]
pub(crate) struct Feed {
    pieces: mpsc::Receiver<Piece>,
    scan: Option<JoinHandle<Result<(), SourceError>>>,
}

impl Feed {
    /// Starts to read `source`.
    pub(crate) fn start(source: Source, layout: Layout) -> Self {
        let (sender, pieces) = mpsc::channel(QUEUED_PIECES);
        let pass = move |piece| match sender.blocking_send(piece) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_stopped) => ControlFlow::Break(()),
        };
        let scan = tokio::task::spawn_blocking(move || scan(&source, layout, workers(), &pass));
        Self { pieces, scan: Some(scan) }
    }

    /// The next piece, in no particular order; `None` once the whole source was given.
    ///
    /// # Errors
    /// If the source cannot be read to its end; what was given is then worth nothing.
    ///
    /// # Cancellation
    /// Safe: no piece is lost.
    pub(crate) async fn next(&mut self) -> Result<Option<Piece>, CtlError> {
        if let Some(piece) = self.pieces.recv().await {
            return Ok(Some(piece));
        }
        if let Some(scan) = self.scan.as_mut() {
            let read = scan.await;
            self.scan = None;
            let read = read.map_err(|source| CtlError::ReaderLost { source })?;
            read.map_err(|source| CtlError::ReadImage { source })?;
        }
        Ok(None)
    }

    /// Stops the reading.
    pub(crate) fn stop(&mut self) {
        self.pieces.close();
    }
}
