//! Compressed content, which can only be read from its start on.

use std::borrow::Borrow;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Error as XzError, Stream as XzStream, TELL_UNSUPPORTED_CHECK};

use super::{SourceError, raw, xz_index, zstd_frames};

/// Most memory of an xz decoder: enough for the 64 MiB dictionary of `xz -9`.
const XZ_MEMORY_BYTES: u64 = 96 << 20;
/// Compressed bytes that are read as one.
const INPUT_BYTES: usize = 256 << 10;
/// Decompressed bytes that a sizing pass reads as one.
const SIZING_BYTES: usize = 256 << 10;

/// How content is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Gzip,
    Xz,
    Zstd,
}

/// A compressed file, of which each reader decompresses its own stream.
#[derive(Debug)]
pub(in crate::image) struct Compressed {
    file: Arc<File>,
    path: PathBuf,
    codec: Codec,
    len_bytes: u64,
}

impl Compressed {
    /// Finds the length of the content, if it is not declared: see [`super::open`] for what that costs.
    pub(super) fn new(file: File, path: &Path, codec: Codec, declared: Option<u64>) -> Result<Self, SourceError> {
        let known = known_len(&file, path, codec)?;
        let mut compressed = Self { file: Arc::new(file), path: path.to_owned(), codec, len_bytes: u64::MAX };
        compressed.len_bytes = match known.or(declared) {
            Some(len_bytes) => len_bytes,
            None => compressed.measure()?,
        };
        Ok(compressed)
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// A reader of the content from its start.
    pub(in crate::image) fn reader(&self) -> Result<ContentReader, SourceError> {
        let input = BufReader::with_capacity(INPUT_BYTES, FileReader::new(Arc::clone(&self.file), 0));
        let decoder = decoder(self.codec, input).map_err(|source| self.damaged(source))?;
        Ok(ContentReader { decoder, path: self.path.clone(), position: 0, len_bytes: self.len_bytes })
    }

    /// Decompresses everything, to count it.
    fn measure(&self) -> Result<u64, SourceError> {
        let mut reader = self.reader()?;
        let mut buf = vec![0; SIZING_BYTES];
        while reader.read_some(&mut buf)? > 0 {}
        Ok(reader.position)
    }

    fn damaged(&self, source: io::Error) -> SourceError {
        SourceError::Damaged { path: self.path.clone(), source }
    }
}

/// The length of the content, as far as the file tells.
fn known_len(file: &File, path: &Path, codec: Codec) -> Result<Option<u64>, SourceError> {
    let file_bytes = raw::file_len(file).map_err(|source| SourceError::Read { path: path.to_owned(), source })?;
    match codec {
        // The length at the end of a gzip member is that of this member alone, modulo 4 GiB.
        Codec::Gzip => Ok(None),
        Codec::Xz => xz_index::content_len(file, file_bytes).map(Some).map_err(|source| decode_error(path, source)),
        Codec::Zstd => zstd_frames::walk(file, path, file_bytes),
    }
}

fn decoder(codec: Codec, input: BufReader<FileReader<Arc<File>>>) -> io::Result<Box<dyn Read + Send>> {
    Ok(match codec {
        Codec::Gzip => Box::new(MultiGzDecoder::new(input)),
        Codec::Xz => {
            let stream = XzStream::new_stream_decoder(XZ_MEMORY_BYTES, CONCATENATED | TELL_UNSUPPORTED_CHECK)?;
            Box::new(XzDecoder::new_stream(input, stream))
        }
        Codec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(zstd_frames::WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    })
}

/// Reads decompressed content, never beyond its length.
pub(in crate::image) struct ContentReader {
    decoder: Box<dyn Read + Send>,
    path: PathBuf,
    position: u64,
    len_bytes: u64,
}

impl ContentReader {
    /// Fills `buf`, which does not reach beyond the length.
    ///
    /// # Errors
    /// If the content ends before.
    pub(in crate::image) fn read_exact(&mut self, mut buf: &mut [u8]) -> Result<(), SourceError> {
        while !buf.is_empty() {
            let read = self.read_some(buf)?;
            if read == 0 {
                let (path, declared, actual) = (self.path.clone(), self.len_bytes, self.position);
                return Err(SourceError::LengthMismatch { path, declared, actual });
            }
            buf = &mut buf[read..];
        }
        Ok(())
    }

    /// Checks, when everything was read, that nothing follows and that all checksums were right.
    pub(in crate::image) fn finish(&mut self) -> Result<(), SourceError> {
        match self.read_some(&mut [0])? {
            0 => Ok(()),
            _ => Err(SourceError::LongerThanKnown { path: self.path.clone(), len_bytes: self.len_bytes }),
        }
    }

    fn read_some(&mut self, buf: &mut [u8]) -> Result<usize, SourceError> {
        loop {
            match self.decoder.read(buf) {
                Ok(read) => {
                    self.position += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(decode_error(&self.path, error)),
            }
        }
    }
}

impl fmt::Debug for ContentReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, position, len_bytes, decoder: _ } = self;
        f.debug_struct("ContentReader")
            .field("path", path)
            .field("position", position)
            .field("len_bytes", len_bytes)
            .finish_non_exhaustive()
    }
}

/// Sorts an error of a decoder, which is its own or that of the file below it.
fn decode_error(path: &Path, source: io::Error) -> SourceError {
    let path = path.to_owned();
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

/// Reads a file from an offset on, without the file's own offset, which other readers share.
#[derive(Debug)]
pub(super) struct FileReader<F> {
    file: F,
    offset: u64,
}

impl<F: Borrow<File>> FileReader<F> {
    pub(super) fn new(file: F, offset: u64) -> Self {
        Self { file, offset }
    }
}

impl<F: Borrow<File>> Read for FileReader<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.borrow().read_at(buf, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
