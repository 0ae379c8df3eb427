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

use bytes::{Buf as _, Bytes};
use reqwest::StatusCode;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::transfer::Transfer;
use super::http::{self, HttpError, HttpSettings, RedirectRefusal};

/// Parts between the connection and whoever reads. A part is what one read of a socket gives, some 400 KiB at most.
const QUEUED_PARTS: usize = 8;

/// When a broken transfer is given up, and how long it rests before it goes on.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Attempts that may bring nothing, one after the other.
    pub fruitless: u32,
    /// How long they may bring nothing.
    pub fruitless_for: Duration,
    /// Attempts in all.
    pub attempts: u32,
    /// Whether the very first request is made again as well; not where somebody is there to see that it failed.
    pub from_start: bool,
    /// The first rest; each fruitless attempt doubles it.
    pub rest: Duration,
    /// The longest rest.
    pub longest_rest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            fruitless: 8,
            fruitless_for: Duration::MAX,
            attempts: 100,
            from_start: false,
            rest: Duration::from_millis(500),
            longest_rest: Duration::from_secs(30),
        }
    }
}

/// Why a file cannot be had in full. The URL is printed by who asked for it.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The settings are wrong.
    #[error("no HTTP client can be made")]
    Client(#[from] HttpError),
    /// The system has no more.
    #[error("no thread or runtime to download with can be made")]
    Runtime {
        /// What the system says.
        source: io::Error,
    },
    /// The server is not reached, or a redirect is not followed.
    #[error("the server cannot be asked")]
    Request {
        /// Why.
        source: reqwest::Error,
    },
    /// The server says no.
    #[error("the server answers {status}")]
    Status {
        /// The status.
        status: StatusCode,
    },
    /// Bytes came, and then no more.
    #[error("the connection broke after {at_bytes} bytes")]
    Broken {
        /// How many.
        at_bytes: u64,
        /// Why.
        source: reqwest::Error,
    },
    /// The connection was closed in good order, but too early.
    #[error("the answer ended after {at_bytes} bytes instead of {len_bytes}")]
    Short {
        /// What came, in bytes.
        at_bytes: u64,
        /// What was announced, in bytes.
        len_bytes: u64,
    },
    /// More came than was announced.
    #[error("the answer goes on beyond its {len_bytes} bytes")]
    Long {
        /// What was announced, in bytes.
        len_bytes: u64,
    },
    /// The end could not be told from a broken connection.
    #[error("the server does not say how much it sends")]
    LengthUnknown,
    /// What was read cannot be joined to what is there now.
    #[error("the file on the server is no longer the one of which {at_bytes} bytes were read")]
    Changed {
        /// How many bytes were read.
        at_bytes: u64,
    },
    /// A connection broke, and no other may take its place.
    #[error("the server gives neither a strong ETag nor Last-Modified to go on by after {at_bytes} bytes")]
    NotResumable {
        /// How many bytes were read.
        at_bytes: u64,
        /// How it broke.
        source: Box<DownloadError>,
    },
    /// Again and again.
    #[error("given up after {attempts} attempts")]
    GivenUp {
        /// How often it was tried.
        attempts: u32,
        /// How the last attempt ended.
        source: Box<DownloadError>,
    },
    /// The thread that downloads ended without a word, or was stopped.
    #[error("the download was lost")]
    Lost,
}

impl DownloadError {
    /// Why a redirect was not followed, if that is what ended it.
    pub fn refusal(&self) -> Option<RedirectRefusal> {
        http::cause(self).copied()
    }

    /// Whether the server's certificate is not trusted, or it speaks no TLS that is.
    pub fn is_untrusted(&self) -> bool {
        http::cause::<rustls::Error>(self).is_some()
    }
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
pub struct Download {
    len_bytes: Option<u64>,
    parts: mpsc::Receiver<Result<Part, DownloadError>>,
    part: Bytes,
    ended: bool,
}

impl Download {
    /// Asks for the file, and waits for the answer. Once `stop` is set, nothing is waited for any more: the download is
    /// lost.
    ///
    /// # Errors
    /// If the server cannot be reached or does not give the file. Unless `retry` says otherwise, what would only delay a
    /// download that has begun ends one that has not: who began it is there to see.
    ///
    /// # Panics
    /// Within an asynchronous task, as reading does: both block.
    pub fn start(
        url: &Url,
        settings: &HttpSettings,
        retry: Retry,
        stop: CancellationToken,
    ) -> Result<Self, DownloadError> {
        let client = settings.client()?;
        let (sender, parts) = mpsc::channel(QUEUED_PARTS);
        let transfer = Transfer::new(client, url.clone(), retry);
        let spawned = thread::Builder::new().name("download".into()).spawn(move || run(transfer, &stop, &sender));
        spawned.map_err(|source| DownloadError::Runtime { source })?;
        let mut download = Self { len_bytes: None, parts, part: Bytes::new(), ended: false };
        download.take_part()?;
        Ok(download)
    }

    /// Length of the file, in bytes, if the server told it.
    pub fn len_bytes(&self) -> Option<u64> {
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
fn run(transfer: Transfer, stop: &CancellationToken, parts: &Parts) {
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
            ended = transfer.run(parts) => {
                parts.send(ended.map(|()| Part::End)).await.ok();
            }
            () = parts.closed() => {}
            () = stop.cancelled() => {}
        }
    });
}
