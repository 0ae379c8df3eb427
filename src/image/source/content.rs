//! Content that can only be read from its start on, once: looked ahead at, and held to its length.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use liblzma::stream::Error as XzError;

use super::SourceError;
use super::stream::XZ_MEMORY_BYTES;

/// Reads decoded content, never beyond its length where that is known.
pub(in crate::image) struct ContentReader {
    decoder: Box<dyn Read + Send>,
    path: PathBuf,
    /// What was decoded and not read.
    ahead: Vec<u8>,
    /// Whether the decoder has no more to give.
    ended: bool,
    /// Bytes that were read.
    position: u64,
    /// The length that the content must have; none if its end will tell.
    len_bytes: Option<u64>,
}

impl ContentReader {
    /// Reads what `decoder` gives: the content of `path`, of `len_bytes` if that is known.
    pub(super) fn new(decoder: Box<dyn Read + Send>, path: &Path, len_bytes: Option<u64>) -> Self {
        Self { decoder, path: path.to_owned(), ahead: Vec::new(), ended: false, position: 0, len_bytes }
    }

    /// Bytes that were read: at the end, the length.
    pub(in crate::image) fn position(&self) -> u64 {
        self.position
    }

    /// The length that the content must have; none if its end will tell.
    pub(in crate::image) fn len_bytes(&self) -> Option<u64> {
        self.len_bytes
    }

    /// What the content belongs to.
    pub(in crate::image) fn path(&self) -> &Path {
        &self.path
    }

    /// Fills as much of `buf` as there is content, up to the known length. Gives how much that is.
    pub(in crate::image) fn fill(&mut self, buf: &mut [u8]) -> Result<usize, SourceError> {
        let left = self.len_bytes.map_or(u64::MAX, |len| len.saturating_sub(self.position));
        let max = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let ahead = self.ahead.len().min(max);
        buf[..ahead].copy_from_slice(&self.ahead[..ahead]);
        self.ahead.drain(..ahead);
        let filled = ahead + self.decode(&mut buf[ahead..max])?;
        self.position += filled as u64;
        Ok(filled)
    }

    /// Whether everything was read. If so, all checksums were right, and the length is the known one.
    pub(in crate::image) fn at_end(&mut self) -> Result<bool, SourceError> {
        let at_end = self.look_ahead(1)?.is_empty();
        match self.len_bytes {
            Some(declared) if at_end && self.position < declared => {
                Err(SourceError::LengthMismatch { path: self.path.clone(), declared, actual: self.position })
            }
            Some(len_bytes) if !at_end && self.position >= len_bytes => {
                Err(SourceError::LongerThanKnown { path: self.path.clone(), len_bytes })
            }
            _ => Ok(at_end),
        }
    }

    /// The next `len` bytes, which remain to be read; fewer only before the end.
    pub(super) fn look_ahead(&mut self, len: usize) -> Result<&[u8], SourceError> {
        if self.ahead.len() < len {
            let mut ahead = std::mem::take(&mut self.ahead);
            let present = ahead.len();
            ahead.resize(len, 0);
            let decoded = self.decode(&mut ahead[present..])?;
            ahead.truncate(present + decoded);
            self.ahead = ahead;
        }
        Ok(&self.ahead[..len.min(self.ahead.len())])
    }

    /// Decodes until `buf` is full or the decoder is at its end, which it is asked for once.
    fn decode(&mut self, buf: &mut [u8]) -> Result<usize, SourceError> {
        let mut decoded = 0;
        while decoded < buf.len() && !self.ended {
            match self.decoder.read(&mut buf[decoded..]) {
                Ok(0) => self.ended = true,
                Ok(read) => decoded += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(decode_error(&self.path, error)),
            }
        }
        Ok(decoded)
    }
}

impl fmt::Debug for ContentReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentReader")
            .field("path", &self.path)
            .field("position", &self.position)
            .field("len_bytes", &self.len_bytes)
            .finish_non_exhaustive()
    }
}

/// What a decoder reads from. Marks the errors that are not the decoder's own.
pub(super) struct Encoded<R>(pub(super) R);

impl<R: Read> Read for Encoded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted { error } else { io::Error::other(Unreadable(error)) }
        })
    }
}

/// The error of what a decoder reads from, on its way through the decoder.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unreadable(io::Error);

/// Sorts an error of a decoder, which is its own or that of what is below it.
pub(super) fn decode_error(path: &Path, source: io::Error) -> SourceError {
    let path = path.to_owned();
    let source = match source.downcast::<Unreadable>() {
        Ok(Unreadable(source)) => return SourceError::Read { path, source },
        Err(source) => source,
    };
    let codec_error = source.get_ref().and_then(|inner| inner.downcast_ref::<XzError>());
    if matches!(codec_error, Some(XzError::MemLimit)) {
        SourceError::XzMemory { path, max_bytes: XZ_MEMORY_BYTES }
    } else if source.kind() == io::ErrorKind::UnexpectedEof {
        SourceError::Truncated { path }
    } else if source.raw_os_error().is_some() {
        SourceError::Read { path, source }
    } else {
        SourceError::Damaged { path, source }
    }
}
