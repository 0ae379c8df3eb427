//! A file on an HTTP server, read like any other stream: from its start to its end, whatever breaks in between.
//!
//! A connection that breaks is made again, and goes on where it broke - if the server still has the very same file, which
//! its validators must tell. Less, more or other bytes than the first answer promised are an error, never an end.

#[cfg(test)]
mod tests;
mod transfer;

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use bms_agent::net::http::{HttpError, HttpSettings};
use bytes::{Buf as _, Bytes};
use reqwest::{Client, StatusCode};
use tokio::sync::mpsc;
use url::Url;

use self::transfer::Transfer;

/// Parts between the connection and whoever reads. A part is what one read of a socket gives, some 400 KiB at most.
const QUEUED_PARTS: usize = 8;

/// When a broken transfer is given up, and how long it rests before it goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    /// Attempts that may bring nothing, one after the other.
    pub(crate) fruitless: u32,
    /// Attempts in all.
    pub(crate) attempts: u32,
    /// The first rest; each fruitless attempt doubles it.
    pub(crate) rest: Duration,
    /// The longest rest.
    pub(crate) longest_rest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { fruitless: 8, attempts: 100, rest: Duration::from_millis(500), longest_rest: Duration::from_secs(30) }
    }
}

/// Why a file cannot be had in full. The URL is printed by who asked for it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    #[error("no HTTP client can be made")]
    Client(#[from] HttpError),
    #[error("no thread or runtime to download with can be made")]
    Runtime { source: io::Error },
    /// The server is not reached, or a redirect is not followed.
    #[error("the server cannot be asked")]
    Request { source: reqwest::Error },
    #[error("the server answers {status}")]
    Status { status: StatusCode },
    #[error("the connection broke after {at_bytes} bytes")]
    Broken { at_bytes: u64, source: reqwest::Error },
    #[error("the answer ended after {at_bytes} bytes instead of {len_bytes}")]
    Short { at_bytes: u64, len_bytes: u64 },
    #[error("the answer goes on beyond its {len_bytes} bytes")]
    Long { len_bytes: u64 },
    /// The end could not be told from a broken connection.
    #[error("the server does not say how much it sends")]
    LengthUnknown,
    #[error("the file on the server is no longer the one of which {at_bytes} bytes were read")]
    Changed { at_bytes: u64 },
    #[error("the server gives neither a strong ETag nor Last-Modified to go on by after {at_bytes} bytes")]
    NotResumable { at_bytes: u64, source: Box<DownloadError> },
    #[error("given up after {attempts} attempts")]
    GivenUp { attempts: u32, source: Box<DownloadError> },
    #[error("the download was lost")]
    Lost,
}

/// What is handed from the connection to the reader.
#[derive(Debug)]
enum Part {
    /// The first answer came, and tells how much there is, unless it comes in parts of unknown number.
    Begin {
        len_bytes: Option<u64>,
    },
    Data(Bytes),
    /// All is there. A channel that ends without it was cut off.
    End,
}

type Parts = mpsc::Sender<Result<Part, DownloadError>>;

/// A file that is being downloaded. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Download {
    len_bytes: Option<u64>,
    parts: mpsc::Receiver<Result<Part, DownloadError>>,
    part: Bytes,
    ended: bool,
}

impl Download {
    /// Asks for the file, and waits for the answer.
    ///
    /// # Errors
    /// If the server cannot be reached or does not give the file. What would only delay a download that has begun ends
    /// one that has not: who began it is there to see.
    ///
    /// # Panics
    /// Within an asynchronous task, as reading does: both block.
    pub(crate) fn start(url: &Url, settings: &HttpSettings, retry: Retry) -> Result<Self, DownloadError> {
        let client = settings.client()?;
        let (sender, parts) = mpsc::channel(QUEUED_PARTS);
        let url = url.clone();
        let spawned = thread::Builder::new().name("download".into()).spawn(move || run(client, url, retry, &sender));
        spawned.map_err(|source| DownloadError::Runtime { source })?;
        let mut download = Self { len_bytes: None, parts, part: Bytes::new(), ended: false };
        download.take_part()?;
        Ok(download)
    }

    /// Length of the file, in bytes, if the server told it.
    pub(crate) fn len_bytes(&self) -> Option<u64> {
        self.len_bytes
    }

    fn take_part(&mut self) -> Result<(), DownloadError> {
        match self.parts.blocking_recv().unwrap_or(Err(DownloadError::Lost))? {
            Part::Begin { len_bytes } => self.len_bytes = len_bytes,
            Part::Data(part) => self.part = part,
            Part::End => self.ended = true,
        }
        Ok(())
    }
}

impl Read for Download {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.part.is_empty() && !self.ended {
            self.take_part().map_err(io::Error::other)?;
        }
        let len = buf.len().min(self.part.len());
        self.part.copy_to_slice(&mut buf[..len]);
        Ok(len)
    }
}

/// Downloads on a runtime of its own, until all is there, nothing more can be had, or nobody reads any more.
fn run(client: Client, url: Url, retry: Retry, parts: &Parts) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => {
            // This is also told by the channel's end, if nobody reads.
            parts.blocking_send(Err(DownloadError::Runtime { source })).ok();
            return;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            ended = Transfer::new(client, url, retry).run(parts) => {
                parts.send(ended.map(|()| Part::End)).await.ok();
            }
            () = parts.closed() => {}
        }
    });
}
