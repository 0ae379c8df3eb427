//! What is read once, from its start to its end: a file, or a stream whose length only its end tells.
//!
//! A source that is installed from must say its length before anything is done with it. One that is imported or hashed
//! need not, so that a pipe or a download does as well as a file, and no file is decompressed only to count.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Chain, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::group::GroupSize;
use super::content::{ContentReader, Encoded, decode_error};
use super::format::{MAGIC_BYTES, told_format};
use super::stream::{self, Codec};
use super::{Format, HEAD_BYTES, OpenOptions, Source, SourceError, logical_block_size, open_file, zstd_frames};

/// Content to be read once.
#[derive(Debug)]
pub enum Input {
    /// A file whose length is known.
    Source(Source),
    /// Content whose length only its end tells, unless it was declared.
    Stream(Stream),
}

impl Input {
    /// Opens a disk image. Unlike [`super::open`], never reads it only to count.
    ///
    /// # Errors
    /// As [`super::open`].
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self, SourceError> {
        let file = open_file(path)?;
        let format = super::decide_format(&file, path, options.format)?;
        let Some(codec) = format.codec() else {
            return super::open_as(file, path, format, options.len_bytes).map(Self::Source);
        };
        match codec.known_len(&file, path)?.or(options.len_bytes) {
            Some(_) => super::open_as(file, path, format, options.len_bytes).map(Self::Source),
            None => {
                let content = stream::reader(&Arc::new(file), path, codec, None)?;
                Stream::new(format, content).map(Self::Stream)
            }
        }
    }

    /// The file, or what the stream is called.
    pub fn path(&self) -> &Path {
        match self {
            Self::Source(source) => source.path(),
            Self::Stream(stream) => stream.content.path(),
        }
    }

    /// The format.
    pub fn format(&self) -> Format {
        match self {
            Self::Source(source) => source.format(),
            Self::Stream(stream) => stream.format,
        }
    }

    /// Length of the raw content, in bytes, where it is known before the end.
    pub fn len_bytes(&self) -> Option<u64> {
        match self {
            Self::Source(source) => Some(source.len_bytes()),
            Self::Stream(stream) => stream.content.len_bytes(),
        }
    }

    /// The logical block size that the image's GPT was built for, in bytes; none if it has no GPT.
    pub fn logical_block_size(&self) -> Option<u32> {
        match self {
            Self::Source(source) => source.logical_block_size(),
            Self::Stream(stream) => stream.logical_block_size,
        }
    }

    /// The group size where none is named: what fits the length, or the default where that is not known.
    pub fn group_size(&self) -> GroupSize {
        self.len_bytes().map_or_else(GroupSize::default, GroupSize::for_image)
    }
}

/// A stream of content, at its start.
#[derive(Debug)]
pub struct Stream {
    format: Format,
    logical_block_size: Option<u32>,
    content: ContentReader,
}

impl Stream {
    fn new(format: Format, mut content: ContentReader) -> Result<Self, SourceError> {
        let logical_block_size = logical_block_size(content.look_ahead(HEAD_BYTES)?);
        Ok(Self { format, logical_block_size, content })
    }

    /// The content.
    pub(in crate::image) fn into_content(self) -> ContentReader {
        self.content
    }
}

/// A stream of a file in any format, of which the first bytes are known. Reading it gives all bytes, as they came.
pub struct Peeked {
    path: PathBuf,
    head: Vec<u8>,
    stream: Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>>,
}

impl Peeked {
    /// Waits for the first bytes of a stream, which errors call `path`.
    ///
    /// # Errors
    /// If the stream does not read.
    pub fn new(path: &Path, mut stream: Box<dyn Read + Send>) -> Result<Self, SourceError> {
        let mut head = Vec::new();
        let read = stream.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut head);
        read.map_err(|source| SourceError::Read { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), stream: Cursor::new(head.clone()).chain(stream), head })
    }

    /// What the stream is called.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The declared format, if the stream begins like one; else what its first bytes tell.
    ///
    /// # Errors
    /// If the stream is not what was declared, or in a format that is not read.
    pub fn format(&self, declared: Option<Format>) -> Result<Format, SourceError> {
        told_format(&self.head, &self.path, declared)
    }

    /// The content. What is declared to be so many bytes long must be.
    ///
    /// # Errors
    /// If the format is not known or not to be read from a stream, and if the first bytes cannot be decoded.
    pub fn into_input(self, options: &OpenOptions) -> Result<Input, SourceError> {
        let Self { path, head, stream } = self;
        let format = told_format(&head, &path, options.format)?;
        let decoder: Box<dyn Read + Send> = match (format, format.codec()) {
            (Format::Raw, _) => Box::new(Encoded(stream)),
            (_, Some(codec)) => {
                if codec == Codec::Zstd {
                    zstd_frames::check_head(&head, &path)?;
                }
                codec.decoder(stream).map_err(|source| decode_error(&path, source))?
            }
            (format, None) => return Err(SourceError::NoStream { path, format }),
        };
        Stream::new(format, ContentReader::new(decoder, &path, options.len_bytes)).map(Input::Stream)
    }
}

impl Read for Peeked {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buf)
    }
}

impl fmt::Debug for Peeked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peeked").field("path", &self.path).field("head", &self.head).finish_non_exhaustive()
    }
}
