//! File systems that a stranger wrote, read by offset and never mounted.
//!
//! Each kind is a leaf of this module; all of them answer through [`FileSystem`], one name at a time, and never follow a
//! link: that is the work of [`super::root`], which knows where a link leads inside an image. What cannot be read is an
//! [`FsError`] with its reason; only what the file system says is not there counts as absent.

use std::fmt;
use std::io::{self, Read};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

pub mod btrfs;
pub mod directory;
pub mod ext;
pub mod fat;
mod kept;
pub mod ntfs;
mod probe;
mod source;
mod stream;
pub mod xfs;

pub use self::probe::{Content, probe};
use super::reader::{DiskReader, ReadLimit};

/// Most entries of one directory that are read.
pub const MAX_ENTRIES: usize = 100_000;

/// Why something in a file system cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// The file system uses what nothing here can read.
    #[error("{what} is not supported")]
    Unsupported {
        /// A feature, or a kind of file system.
        what: String,
    },
    /// The file system contradicts itself.
    #[error("the file system is malformed: {what}")]
    Malformed {
        /// Where.
        what: String,
    },
    /// More than is read of any file system.
    #[error("{what} is beyond the limit of {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much would be read.
        limit: u64,
    },
    /// It belongs to the tree of files, but is not at hand.
    #[error("{why}")]
    Unreached {
        /// Why, and where if it is joined in.
        why: String,
    },
    /// The disk or image below it cannot be read.
    #[error("cannot read the disk or image")]
    Read(#[source] io::Error),
}

impl From<io::Error> for FsError {
    /// The error inside, where it is one of these that went through a [`Read`].
    fn from(error: io::Error) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(inner) => return inner,
            Err(error) => error,
        };
        match error.downcast::<ReadLimit>() {
            Ok(ReadLimit { limit_bytes }) => Self::Limit { what: "what is read of one disk", limit: limit_bytes },
            Err(error) => Self::Read(error),
        }
    }
}

impl FsError {
    fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed { what: what.into() }
    }

    fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }
}

/// The file system of a volume; none if the volume bears the signature of nothing that is known.
///
/// # Errors
/// [`FsError::Unsupported`] names what the volume holds instead, such as LUKS or swap, or what of its file system is not
/// read here. Otherwise as [`FsError`] says.
pub fn open(volume: &Rc<dyn DiskReader>) -> Result<Option<Box<dyn FileSystem>>, FsError> {
    let fs: Box<dyn FileSystem> = match probe(volume)? {
        Content::Unknown => return Ok(None),
        Content::Foreign(owner) => return Err(FsError::unsupported(owner.to_string())),
        Content::Ext => Box::new(ext::ExtFs::open(volume)?),
        Content::Xfs => Box::new(xfs::XfsFs::open(volume)?),
        Content::Btrfs => Box::new(btrfs::BtrfsFs::open(volume)?),
        Content::Fat => Box::new(fat::FatFs::open(volume)?),
        Content::Ntfs => Box::new(ntfs::NtfsFs::open(volume)?),
    };
    Ok(Some(fs))
}

/// A kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FsKind {
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS, version 4 or 5.
    Xfs,
    /// btrfs on one device.
    Btrfs,
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// NTFS.
    Ntfs,
    /// A directory of the running system.
    Directory,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An ordinary file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, FIFO or socket.
    Special,
}

/// What a file system says of a name, without following it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// Length of its content, in bytes.
    pub size_bytes: u64,
    /// The twelve permission bits; none where the file system has none.
    pub mode: Option<u32>,
}

/// A name in a directory. Names that are not UTF-8 are given with their odd bytes as `\xNN`, and cannot be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, one component.
    pub name: String,
    /// What it stands for.
    pub kind: Kind,
}

/// What tells one file system from others, as `blkid` prints it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// `UUID=`, in the file system's own form.
    pub uuid: Option<String>,
    /// `LABEL=`.
    pub label: Option<String>,
}

/// A subvolume, as an option of a mount names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subvolume<'a> {
    /// `subvol=`: its path from the top of the file system, with or without a slash at its begin.
    Path(&'a str),
    /// `subvolid=`: its number; 0 and 5 are the top.
    Number(u64),
}

impl fmt::Display for Subvolume<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// A file system that can be read.
///
/// A path has neither a slash at its begin nor at its end; `""` is the top directory. Its components are names: never
/// empty, `.` or `..`. None of them but the last may be a symbolic link, and the last is not followed.
pub trait FileSystem: fmt::Debug {
    /// Its kind.
    fn kind(&self) -> FsKind;

    /// What it is called.
    fn identity(&self) -> &Identity;

    /// What a path stands for; none if it is not there, or a component before the last is no directory.
    ///
    /// # Errors
    /// [`FsError`], if the file system cannot tell.
    fn metadata(&self, path: &str) -> Result<Option<Metadata>, FsError>;

    /// Where a symbolic link leads, as it is written there.
    ///
    /// # Errors
    /// [`FsError`]; malformed also if the path is no link.
    fn read_link(&self, path: &str) -> Result<String, FsError>;

    /// The content of an ordinary file, from its begin. What goes wrong later is an `io::Error` with an [`FsError`] inside.
    ///
    /// # Errors
    /// [`FsError`]; malformed also if the path is no ordinary file.
    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>, FsError>;

    /// The names in a directory, without `.` and `..`, in the order of the file system; at most [`MAX_ENTRIES`].
    ///
    /// # Errors
    /// [`FsError`]; malformed also if the path is no directory.
    fn list(&self, path: &str) -> Result<Vec<Entry>, FsError>;

    /// Another subvolume, as a file system of its own; none if there is no such subvolume.
    ///
    /// # Errors
    /// [`FsError`], if it cannot be read.
    fn subvolume(&self, _: Subvolume<'_>) -> Result<Option<Box<dyn FileSystem>>, FsError> {
        Ok(None)
    }
}

/// A name as text: bytes that are not UTF-8 become `\xNN`. It may hold control characters, which whoever shows it escapes.
pub(crate) fn name(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for part in bytes.utf8_chunks() {
        text.push_str(part.valid());
        text.extend(part.invalid().iter().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()).map(char::from));
    }
    text
}

/// A name of UTF-16 as text: halves of pairs become `\xNN\xNN`.
fn utf16(units: impl Iterator<Item = u16>) -> String {
    let mut shown = String::new();
    for unit in char::decode_utf16(units) {
        match unit {
            Ok(letter) => shown.push(letter),
            Err(half) => {
                let [high, low] = half.unpaired_surrogate().to_be_bytes();
                shown.push_str(&format!("\\x{high:02x}\\x{low:02x}"));
            }
        }
    }
    shown
}
