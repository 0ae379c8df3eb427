//! Reading a disk image in whatever format it has as sparse raw content, on the client's side: the daemon parses no image
//! format. All that it takes from here are streams that are raw, or compressed by gzip, xz or zstd ([`Peeked`]).
//!
//! A source is one file, opened for reading: whatever it names, no other file is ever opened. Images are hostile until
//! proven otherwise: nothing is allocated by a number from the file that the file's own length does not bound.

pub(super) mod content;
mod error;
mod format;
mod input;
pub(super) mod pool;
mod qcow2;
mod qcow2_header;
mod raw;
pub(super) mod stream;
#[cfg(test)]
mod tests;
mod xz_index;
mod zstd_frames;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

pub use error::{Qcow2Refusal, SourceError};
pub use format::{Foreign, Format, FormatUnknown};
use format::{MAGIC_BYTES, told_format};
pub use input::{Input, Peeked, Stream};
use stream::Compressed;

/// Logical block sizes that an image can be built for, in bytes.
const LOGICAL_BLOCK_SIZES: [u32; 2] = [512, 4096];
/// What a GPT begins with, in the second logical block.
const GPT_MARK: &[u8] = b"EFI PART";
/// Content that may hold the mark.
const HEAD_BYTES: usize = 4096 + GPT_MARK.len();

/// What the user says of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Its format; else its first bytes tell.
    pub format: Option<Format>,
    /// The length of its content, in bytes; else the file tells, or is decompressed once to count.
    pub len_bytes: Option<u64>,
}

/// An open disk image.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    format: Format,
    len_bytes: u64,
    logical_block_size: Option<u32>,
    content: Content,
}

/// The two ways in which content can be read.
#[derive(Debug)]
pub(super) enum Content {
    /// Any part, from several threads.
    Random(Box<dyn RandomAccess>),
    /// From the start to the end.
    Stream(Compressed),
}

/// Content of which any part can be read, by several threads at once.
pub(super) trait RandomAccess: fmt::Debug + Send + Sync {
    /// Length, in bytes.
    fn len_bytes(&self) -> u64;

    /// The first range at or after `from` that may hold anything but zeroes; none if zeroes follow to the end. Never
    /// empty, and never beyond the length.
    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>, SourceError>;

    /// Fills `buf` with what is at `offset`, holes as zeroes. `buf` does not reach beyond the length.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError>;
}

/// Opens a disk image.
///
/// The length of compressed content comes from the headers of zstd frames or the indexes of xz streams, where they are.
/// gzip has no such thing, and neither has zstd that was written through a pipe: unless the length is declared, such a
/// file is **decompressed once to count**, which costs as much time as reading it.
///
/// # Errors
/// If the file does not open, is not what was declared, is in a format that is not read, or is refused or damaged as
/// far as that shows by now: see [`SourceError`].
pub fn open(path: &Path, options: &OpenOptions) -> Result<Source, SourceError> {
    open_as_told(open_file(path)?, path, options)
}

/// Opens a disk image in a file that is open already, which errors call `path`.
///
/// # Errors
/// As [`open`].
pub fn open_as_told(file: File, path: &Path, options: &OpenOptions) -> Result<Source, SourceError> {
    let format = decide_format(&file, path, options.format)?;
    open_as(file, path, format, options.len_bytes)
}

/// Opens an image of a format that is settled.
fn open_as(file: File, path: &Path, format: Format, declared: Option<u64>) -> Result<Source, SourceError> {
    let content = match format.codec() {
        Some(codec) => {
            let len_bytes = codec.known_len(&file, path)?.or(declared);
            Content::Stream(Compressed::new(file, path, codec, len_bytes)?)
        }
        None if format == Format::Qcow2 => Content::Random(Box::new(qcow2::Qcow2::new(file, path)?)),
        None => Content::Random(Box::new(raw::Raw::new(file, path)?)),
    };
    let len_bytes = content.len_bytes();
    if let Some(declared) = declared.filter(|&declared| declared != len_bytes) {
        return Err(SourceError::LengthMismatch { path: path.to_owned(), declared, actual: len_bytes });
    }
    let logical_block_size = content.logical_block_size()?;
    Ok(Source { path: path.to_owned(), format, len_bytes, logical_block_size, content })
}

impl Source {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format of the file.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Length of the raw content, in bytes.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// The logical block size that the image's GPT was built for, in bytes; none if it has no GPT.
    pub fn logical_block_size(&self) -> Option<u32> {
        self.logical_block_size
    }

    /// Fills `out` with what is at `offset`, holes as zeroes.
    ///
    /// # Errors
    /// [`SourceError::Sequential`] if the format can only be read from its start, and what reading it gives.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), SourceError> {
        match &self.content {
            Content::Random(random) => random.read_at(out, offset),
            Content::Stream(_) => Err(SourceError::Sequential { path: self.path.clone(), format: self.format }),
        }
    }

    /// The content.
    pub(super) fn content(&self) -> &Content {
        &self.content
    }
}

impl Content {
    fn len_bytes(&self) -> u64 {
        match self {
            Self::Random(random) => random.len_bytes(),
            Self::Stream(stream) => stream.len_bytes(),
        }
    }

    /// What the first bytes tell of the GPT.
    fn logical_block_size(&self) -> Result<Option<u32>, SourceError> {
        match self {
            Self::Random(random) => {
                let mut head =
                    vec![0; usize::try_from(random.len_bytes()).map_or(HEAD_BYTES, |len| len.min(HEAD_BYTES))];
                random.read_at(&mut head, 0)?;
                Ok(logical_block_size(&head))
            }
            Self::Stream(stream) => Ok(logical_block_size(stream.reader()?.look_ahead(HEAD_BYTES)?)),
        }
    }
}

/// Opens a regular file or block device. Nothing else: a pipe would wait for its writer, and has no length.
fn open_file(path: &Path) -> Result<File, SourceError> {
    let open = |source| SourceError::Open { path: path.to_owned(), source };
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map_err(open)?;
    let kind = file.metadata().map_err(open)?.file_type();
    if kind.is_file() || kind.is_block_device() {
        Ok(file)
    } else {
        Err(SourceError::NotAFile { path: path.to_owned() })
    }
}

/// The declared format, if the file begins like one; else what its first bytes tell.
fn decide_format(file: &File, path: &Path, declared: Option<Format>) -> Result<Format, SourceError> {
    let mut head = [0; MAGIC_BYTES];
    let read = |source: io::Error| SourceError::Read { path: path.to_owned(), source };
    let len = raw::read_head(file, &mut head).map_err(read)?;
    told_format(&head[..len], path, declared)
}

/// A GPT header is in the second logical block, so its place tells their size.
fn logical_block_size(head: &[u8]) -> Option<u32> {
    LOGICAL_BLOCK_SIZES.into_iter().find(|&size| {
        let second_block = usize::try_from(size).ok().and_then(|at| head.get(at..));
        second_block.is_some_and(|block| block.starts_with(GPT_MARK))
    })
}
