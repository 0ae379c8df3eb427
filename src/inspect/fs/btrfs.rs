//! btrfs on one device, through `lambutter`: the default subvolume as a mount shows it, or one that is named. What fsync
//! wrote ahead of a commit is in a tree of its own, which nothing here replays, so such a file system is not supported.

use std::cell::RefCell;
use std::fmt;
use std::io::Read;
use std::rc::Rc;

use lambutter::{Btrfs, Error, Inode, Path, SuperblockReason};

use super::source::{Allowance, Source};
use super::stream::{self, ContentAt};
use super::{Entry, FileSystem, FsError, FsKind, Identity, Kind, MAX_ENTRIES, Metadata, Subvolume};
use crate::inspect::reader::DiskReader;

/// The superblock, and fields in it; those of the kernel's `btrfs_super_block`.
const SUPERBLOCK_AT: u64 = 0x1_0000;
const SUPERBLOCK_BYTES: usize = 4096;
const FSID_AT: usize = 0x20;
const LOG_ROOT_AT: usize = 0x60;
const DEVICES_AT: usize = 0x88;
const LABEL_AT: usize = 0x12b;
const LABEL_BYTES: usize = 256;

/// All chunks, of which a disk of 100 TiB has 100,000.
const CHUNKS: Allowance = Allowance { what: "a chunk tree", limit_bytes: 64 << 20 };
/// A directory of 100,000 names has 16 MiB, and each leaf of it is reached through five nodes.
const DIRECTORY: Allowance = Allowance { what: "a directory", limit_bytes: 128 << 20 };
/// One piece of a file, and the items of the extents before it.
const CONTENT: Allowance = Allowance { what: "a piece of a file", limit_bytes: 128 << 20 };
/// Longest target of a link, in bytes: a path of Linux.
const MAX_LINK_BYTES: u64 = 4096;

/// File types of directory entries, as Linux numbers them.
const FT_FILE: u8 = 1;
const FT_DIRECTORY: u8 = 2;
const FT_SYMLINK: u8 = 7;
/// The subvolume that all others lie in.
const TOP_SUBVOLUME: u64 = 5;

/// One subvolume of a btrfs file system, with those nested in it.
pub struct BtrfsFs {
    volume: Rc<dyn DiskReader>,
    fs: RefCell<Btrfs<Source>>,
    source: Source,
    identity: Identity,
}

impl BtrfsFs {
    /// The default subvolume of a volume.
    ///
    /// # Errors
    /// [`FsError`], if it cannot be read.
    pub fn open(volume: &Rc<dyn DiskReader>) -> Result<Self, FsError> {
        Self::opened(volume, Btrfs::open)
    }

    /// A subvolume by its path from the top of the file system, as `subvol=` names it, with or without a slash at its
    /// begin; none if there is no such subvolume.
    ///
    /// # Errors
    /// [`FsError`], if it cannot be read.
    pub fn open_subvolume(volume: &Rc<dyn DiskReader>, path: &str) -> Result<Option<Self>, FsError> {
        let path = format!("/{}", path.trim_matches('/'));
        let mut absent = false;
        let fs = Self::opened(volume, |source, len| {
            let opened = Btrfs::open_subvol_path(source, len, Path::from(path.as_str()));
            absent = matches!(opened, Err(Error::NotFound | Error::NotASubvolume));
            opened
        });
        if absent { Ok(None) } else { fs.map(Some) }
    }

    /// A subvolume by its number, as `subvolid=` names it; none if there is no such subvolume. 5 is the top.
    ///
    /// # Errors
    /// [`FsError`], if it cannot be read.
    pub fn open_subvolume_id(volume: &Rc<dyn DiskReader>, id: u64) -> Result<Option<Self>, FsError> {
        let mut absent = false;
        let fs = Self::opened(volume, |source, len| {
            let opened = Btrfs::open_subvol_id(source, len, id);
            absent = matches!(opened, Err(Error::NotFound));
            opened
        });
        if absent { Ok(None) } else { fs.map(Some) }
    }

    fn opened(
        volume: &Rc<dyn DiskReader>,
        open: impl FnOnce(Source, u64) -> Result<Btrfs<Source>, Error>,
    ) -> Result<Self, FsError> {
        let identity = check(volume)?;
        let source = Source::new(Rc::clone(volume));
        source.begin(CHUNKS);
        let fs = open(source.clone(), volume.len_bytes()).map_err(|error| source.blame(error, failed))?;
        Ok(Self { volume: Rc::clone(volume), fs: RefCell::new(fs), source, identity })
    }

    /// Asks the parser, and says what went wrong as this project does.
    fn ask<T>(
        &self,
        allowance: Allowance,
        question: impl FnOnce(&mut Btrfs<Source>) -> Result<T, Error>,
    ) -> Result<T, FsError> {
        self.source.begin(allowance);
        let answer = question(&mut self.fs.borrow_mut());
        answer.map_err(|error| self.source.blame(error, failed))
    }

    /// The inode of a path; none if it is not there, or something before its last component is no directory.
    fn find(&self, path: &str) -> Result<Option<(Inode, Metadata)>, FsError> {
        let full = format!("/{path}");
        let absent = |answer: Result<_, Error>| match answer {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        };
        let inode = self.ask(DIRECTORY, |fs| absent(fs.resolve(Path::from(full.as_str()))))?;
        let Some(inode) = inode else { return Ok(None) };
        let metadata = self.ask(DIRECTORY, |fs| fs.metadata(&inode))?;
        let kind = match metadata {
            metadata if metadata.is_file() => Kind::File,
            metadata if metadata.is_dir() => Kind::Directory,
            metadata if metadata.is_symlink() => Kind::Symlink,
            _ => Kind::Special,
        };
        let metadata = Metadata { kind, size_bytes: metadata.size, mode: Some(metadata.mode & 0o7777) };
        Ok(Some((inode, metadata)))
    }

    /// The inode of a path that must be there, as what it was found to be.
    fn must(&self, path: &str, kind: Kind) -> Result<(Inode, Metadata), FsError> {
        let found = self.find(path)?.filter(|(_, metadata)| metadata.kind == kind);
        found.ok_or_else(|| FsError::malformed(format!("/{path} is not what it was")))
    }
}

impl fmt::Debug for BtrfsFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BtrfsFs").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl FileSystem for BtrfsFs {
    fn kind(&self) -> FsKind {
        FsKind::Btrfs
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn metadata(&self, path: &str) -> Result<Option<Metadata>, FsError> {
        Ok(self.find(path)?.map(|(_, metadata)| metadata))
    }

    fn read_link(&self, path: &str) -> Result<String, FsError> {
        let (_, metadata) = self.must(path, Kind::Symlink)?;
        if metadata.size_bytes > MAX_LINK_BYTES {
            return Err(FsError::malformed(format!("the link /{path}, which is too long")));
        }
        let full = format!("/{path}");
        Ok(super::name(&self.ask(DIRECTORY, |fs| fs.read_link(Path::from(full.as_str())))?))
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>, FsError> {
        let (inode, metadata) = self.must(path, Kind::File)?;
        Ok(stream::read(Content { fs: self, inode }, metadata.size_bytes))
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, FsError> {
        self.must(path, Kind::Directory)?;
        let full = format!("/{path}");
        let entries = self.ask(DIRECTORY, |fs| fs.read_dir(Path::from(full.as_str())))?;
        if entries.len() > MAX_ENTRIES {
            return Err(FsError::Limit { what: "a directory", limit: MAX_ENTRIES as u64 });
        }
        let entry =
            |entry: &lambutter::DirEntry| Entry { name: super::name(&entry.name), kind: kind_of(entry.kind_byte) };
        Ok(entries.iter().map(entry).collect())
    }

    fn subvolume(&self, subvolume: Subvolume<'_>) -> Result<Option<Box<dyn FileSystem>>, FsError> {
        let fs = match subvolume {
            Subvolume::Path(path) => Self::open_subvolume(&self.volume, path)?,
            Subvolume::Number(0) => Self::open_subvolume_id(&self.volume, TOP_SUBVOLUME)?,
            Subvolume::Number(number) => Self::open_subvolume_id(&self.volume, number)?,
        };
        Ok(fs.map(|fs| Box::new(fs) as Box<dyn FileSystem>))
    }
}

/// The content of a file.
struct Content<'a> {
    fs: &'a BtrfsFs,
    inode: Inode,
}

impl ContentAt for Content<'_> {
    fn content_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, FsError> {
        self.fs.ask(CONTENT, |fs| fs.read_file_at(&self.inode, offset, out))
    }
}

const fn kind_of(file_type: u8) -> Kind {
    match file_type {
        FT_FILE => Kind::File,
        FT_DIRECTORY => Kind::Directory,
        FT_SYMLINK => Kind::Symlink,
        _ => Kind::Special,
    }
}

/// Fails on what the parser does not look at; gives what the file system is called.
fn check(volume: &dyn DiskReader) -> Result<Identity, FsError> {
    let mut bytes = [0; SUPERBLOCK_BYTES];
    volume.read_at(SUPERBLOCK_AT, &mut bytes)?;
    let le64 = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
    if le64(DEVICES_AT) != 1 {
        return Err(FsError::unsupported("btrfs on several devices"));
    }
    if le64(LOG_ROOT_AT) != 0 {
        return Err(FsError::unsupported("a btrfs log to replay"));
    }
    let label: Vec<u8> =
        bytes[LABEL_AT..LABEL_AT + LABEL_BYTES].iter().copied().take_while(|byte| *byte != 0).collect();
    let uuid = uuid::Uuid::from_bytes(std::array::from_fn(|byte| bytes[FSID_AT + byte]));
    Ok(Identity { uuid: Some(uuid.to_string()), label: (!label.is_empty()).then(|| super::name(&label)) })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the parser has many words for what is malformed")]
fn failed(error: Error) -> FsError {
    match error {
        Error::UnsupportedFeature(what) | Error::UnsupportedProfile(what) | Error::UnsupportedChecksum(what) => {
            FsError::unsupported(format!("btrfs with {what}"))
        }
        Error::BadSuperblock(SuperblockReason::UnsupportedCsumType) => {
            FsError::unsupported("btrfs with this kind of checksum")
        }
        Error::BadSuperblock(SuperblockReason::UnsupportedIncompat) => {
            FsError::unsupported("btrfs with features that are not known")
        }
        error => FsError::malformed(error.to_string()),
    }
}
