//! Compressed content, which can only be read from its start on.

use std::borrow::Borrow;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream as XzStream, TELL_UNSUPPORTED_CHECK};

use super::content::{ContentReader, Encoded, decode_error};
use super::{SourceError, raw, xz_index, zstd_frames};

/// Most memory of an xz decoder: enough for the 64 MiB dictionary of `xz -9`.
pub(super) const XZ_MEMORY_BYTES: u64 = 96 << 20;
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

impl Codec {
    /// The length of the content of a whole file, as far as the file tells. Refuses what shows to be no such file.
    pub(super) fn known_len(self, file: &File, path: &Path) -> Result<Option<u64>, SourceError> {
        let file_bytes = raw::file_len(file).map_err(|source| SourceError::Read { path: path.to_owned(), source })?;
        match self {
            // The length at the end of a gzip member is that of this member alone, modulo 4 GiB.
            Self::Gzip => Ok(None),
            Self::Xz => xz_index::content_len(file, file_bytes).map(Some).map_err(|source| decode_error(path, source)),
            Self::Zstd => zstd_frames::walk(file, path, file_bytes),
        }
    }

    /// Decompresses what `input` gives.
    pub(super) fn decoder(self, input: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
        let input = BufReader::with_capacity(INPUT_BYTES, Encoded(input));
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(input)),
            Self::Xz => {
                let stream = XzStream::new_stream_decoder(XZ_MEMORY_BYTES, CONCATENATED | TELL_UNSUPPORTED_CHECK)?;
                Box::new(XzDecoder::new_stream(input, stream))
            }
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(zstd_frames::WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }
}

/// A compressed file of known length, of which each reader decompresses its own stream.
#[derive(Debug)]
pub(in crate::image) struct Compressed {
    file: Arc<File>,
    path: PathBuf,
    codec: Codec,
    len_bytes: u64,
}

impl Compressed {
    /// Takes a file that holds so many bytes, or decompresses it once to count.
    pub(super) fn new(file: File, path: &Path, codec: Codec, len_bytes: Option<u64>) -> Result<Self, SourceError> {
        let file = Arc::new(file);
        let len_bytes = match len_bytes {
            Some(len_bytes) => len_bytes,
            None => measure(reader(&file, path, codec, None)?)?,
        };
        Ok(Self { file, path: path.to_owned(), codec, len_bytes })
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// A reader of the content from its start.
    pub(in crate::image) fn reader(&self) -> Result<ContentReader, SourceError> {
        reader(&self.file, &self.path, self.codec, Some(self.len_bytes))
    }
}

/// A reader of the content of a file from its start, which must hold `len_bytes` if that is known.
pub(super) fn reader(
    file: &Arc<File>,
    path: &Path,
    codec: Codec,
    len_bytes: Option<u64>,
) -> Result<ContentReader, SourceError> {
    let decoder = codec.decoder(FileReader::new(Arc::clone(file), 0)).map_err(|source| decode_error(path, source))?;
    Ok(ContentReader::new(decoder, path, len_bytes))
}

/// Reads everything, to count it.
fn measure(mut reader: ContentReader) -> Result<u64, SourceError> {
    let mut buf = vec![0; SIZING_BYTES];
    while reader.fill(&mut buf)? > 0 {}
    Ok(reader.position())
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
