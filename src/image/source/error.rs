//! Why a source cannot be read. Every variant names the file, or what a stream is called.

use std::io;
use std::path::PathBuf;

use super::{Foreign, Format};

/// A source that cannot be opened, or whose content cannot be had in full.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file does not open.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The path is a directory, a pipe, a socket or a character device.
    #[error("{} is neither a regular file nor a block device", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file does not read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not in the format that the user declared.
    #[error("{} was declared to be {declared}, but does not begin like one", path.display())]
    FormatMismatch {
        /// The file.
        path: PathBuf,
        /// What the user said.
        declared: Format,
    },
    /// The file is in a format that is known, but not read.
    #[error("{} is {found}: convert it to raw with `qemu-img` or decompress it, or declare it raw", path.display())]
    FormatUnsupported {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        found: Foreign,
    },
    /// The format cannot be read from its start to its end alone.
    #[error("{} is {format}, which is read from a file alone, and not from a stream", path.display())]
    NoStream {
        /// What the stream is called.
        path: PathBuf,
        /// The format.
        format: Format,
    },
    /// The format can only be read from its start to its end.
    #[error("{} is {format}, which is read from its start alone: import it into a repository, or unpack it", path.display())]
    Sequential {
        /// The file.
        path: PathBuf,
        /// The format.
        format: Format,
    },
    /// The content has another length than was declared.
    #[error("{} was declared to hold {declared} bytes, but holds {actual}", path.display())]
    LengthMismatch {
        /// The file.
        path: PathBuf,
        /// The length that was declared, in bytes.
        declared: u64,
        /// The length that it has, in bytes.
        actual: u64,
    },
    /// The content goes on beyond its length: a wrong length, or a decompression bomb.
    #[error("{} holds more than its {len_bytes} bytes", path.display())]
    LongerThanKnown {
        /// The file.
        path: PathBuf,
        /// The length that was declared or found, in bytes.
        len_bytes: u64,
    },
    /// The file ends before its content does.
    #[error("{} is truncated", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
    },
    /// Bytes follow the end of the compressed content.
    #[error("{} holds bytes at offset {offset_bytes} that are no part of its compressed content", path.display())]
    TrailingGarbage {
        /// The file.
        path: PathBuf,
        /// Where they begin, in bytes of the file.
        offset_bytes: u64,
    },
    /// The compressed content, or the image's own structure, is damaged.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        source: io::Error,
    },
    /// A zstd frame needs a larger window than is given.
    #[error(
        "{} needs a zstd window of {window_bytes} bytes, over {max_bytes}: compress it without `--long` or `--ultra`",
        path.display()
    )]
    ZstdWindow {
        /// The file.
        path: PathBuf,
        /// The window that the frame asks for, in bytes.
        window_bytes: u64,
        /// The largest window, in bytes.
        max_bytes: u64,
    },
    /// A zstd frame needs a dictionary.
    #[error("{} needs the zstd dictionary {id}: compress it without one", path.display())]
    ZstdDictionary {
        /// The file.
        path: PathBuf,
        /// The dictionary's id.
        id: u32,
    },
    /// An xz stream needs more memory than is given.
    #[error("{} needs over {max_bytes} bytes of memory to decompress: use a smaller xz dictionary", path.display())]
    XzMemory {
        /// The file.
        path: PathBuf,
        /// The most memory that a decoder gets, in bytes.
        max_bytes: u64,
    },
    /// A qcow2 image that is refused.
    #[error("{} is refused: {reason}", path.display())]
    Qcow2 {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: Qcow2Refusal,
    },
    /// A thread to read with does not start.
    #[error("cannot start a thread to read {}", path.display())]
    Thread {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Why a qcow2 image is refused by its header alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Qcow2Refusal {
    /// It names a backing file, which could be any file of this machine.
    #[error("it has a backing file; flatten it with `qemu-img convert -O qcow2`")]
    BackingFile,
    /// Its data is in another file, which could be any file of this machine.
    #[error("its data is in an external file; convert it with `qemu-img convert -O raw`")]
    DataFile,
    /// It is encrypted.
    #[error("it is encrypted (method {method})")]
    Encrypted {
        /// The method of the header: 1 is AES, 2 is LUKS.
        method: u32,
    },
    /// Its clusters are not compressed by zlib.
    #[error("its clusters are compressed by zstd; convert it with `qemu-img convert -O raw`")]
    Compression,
    /// It has extended L2 entries.
    #[error("it has extended L2 entries; convert it with `qemu-img convert -O raw`")]
    ExtendedL2,
    /// It was not closed properly, or is marked as damaged.
    #[error("it is marked as in use or damaged; run `qemu-img check -r all` on it")]
    Unclean,
    /// It has features that nobody knew of when this was written.
    #[error("it has unknown incompatible features {bits:#x}; convert it with `qemu-img convert -O raw`")]
    UnknownFeatures {
        /// The feature bits that are not known.
        bits: u64,
    },
    /// It has another version than 2 or 3.
    #[error("it has version {version}, not 2 or 3")]
    Version {
        /// The version of the header.
        version: u32,
    },
    /// A field of its header has an impossible value.
    #[error("its {field} of {value} is impossible")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// It is an ISO 9660 image as well: what it holds depends on who reads it.
    #[error("it is an ISO 9660 image as well")]
    Polyglot,
}
