//! XFS of versions 4 and 5, through `lamxfs`. What a log of version 5 holds is seen as if it had been written; a log of
//! version 4 that holds something makes the file system one that is not supported.
//!
//! That parser reads a directory whole to find one name in it, and all directories above it for each question. So the
//! names of directories are kept here, and paths are walked here.

use std::cell::RefCell;
use std::fmt;
use std::io::Read;
use std::rc::Rc;

use lamxfs::{EntryKind, Error, Inode, SuperblockReason, Xfs};

use super::kept::{self, Kept};
use super::source::{Allowance, Source};
use super::stream::{self, ContentAt};
use super::{Entry, FileSystem, FsError, FsKind, Identity, Kind, MAX_ENTRIES, Metadata};
use crate::inspect::reader::DiskReader;

/// The part of the log that holds changes, of which the parser keeps a hundredth.
const LOG: Allowance = Allowance { what: "an XFS log", limit_bytes: 256 << 20 };
/// One directory and those above it: 100,000 of the longest names have 27 MiB.
const DIRECTORY: Allowance = Allowance { what: "a directory", limit_bytes: 48 << 20 };
/// One piece of a file, and the tree of its extents.
const CONTENT: Allowance = Allowance { what: "a piece of a file", limit_bytes: 48 << 20 };
/// Longest target of a link, in bytes: a path of Linux.
const MAX_LINK_BYTES: u64 = 4096;

/// An XFS file system.
pub struct XfsFs {
    fs: RefCell<Xfs<Source>>,
    source: Source,
    identity: Identity,
    kept: RefCell<Kept<(Inode, Kind)>>,
}

/// The names of a directory, each with its inode and what it says that this is.
type Directory = kept::Directory<(Inode, Kind)>;

impl XfsFs {
    /// The file system of a volume.
    ///
    /// # Errors
    /// [`FsError`], if it cannot be read.
    pub fn open(volume: &Rc<dyn DiskReader>) -> Result<Self, FsError> {
        let source = Source::new(Rc::clone(volume));
        source.begin(LOG);
        let fs = Xfs::open(source.clone(), volume.len_bytes()).map_err(|error| source.blame(error, failed))?;
        let identity = Identity {
            uuid: Some(uuid::Uuid::from_bytes(fs.uuid()).to_string()),
            label: fs.label().map(|label| super::name(label.as_bytes())),
        };
        Ok(Self { fs: RefCell::new(fs), source, identity, kept: RefCell::default() })
    }

    /// Asks the parser, and says what went wrong as this project does.
    fn ask<T>(
        &self,
        allowance: Allowance,
        question: impl FnOnce(&mut Xfs<Source>) -> Result<T, Error>,
    ) -> Result<T, FsError> {
        self.source.begin(allowance);
        let answer = question(&mut self.fs.borrow_mut());
        let answer = answer.map_err(|error| self.source.blame(error, failed))?;
        self.source.check()?;
        Ok(answer)
    }

    /// The inode of a path; none if it is not there, or something before its last component is no directory.
    fn find(&self, path: &str) -> Result<Option<(Inode, Metadata)>, FsError> {
        let mut inode = self.ask(DIRECTORY, |fs| fs.resolve(lamxfs::Path::new(b"/")))?;
        let mut metadata = self.stat(inode)?;
        let mut parent = String::new();
        for component in path.split('/').filter(|component| !component.is_empty()) {
            if metadata.kind != Kind::Directory {
                return Ok(None);
            }
            let directory = self.directory(&parent)?;
            let Some((found, _)) = directory.get(component.as_bytes()) else { return Ok(None) };
            inode = *found;
            metadata = self.stat(inode)?;
            parent = kept::join(&parent, component);
        }
        Ok(Some((inode, metadata)))
    }

    /// The inode of a path that must be there, as what it was found to be.
    fn must(&self, path: &str, kind: Kind) -> Result<(Inode, Metadata), FsError> {
        let found = self.find(path)?.filter(|(_, metadata)| metadata.kind == kind);
        found.ok_or_else(|| FsError::malformed(format!("/{path} is not what it was")))
    }

    fn stat(&self, inode: Inode) -> Result<Metadata, FsError> {
        let metadata = self.ask(DIRECTORY, |fs| fs.metadata(&inode))?;
        let kind = match metadata {
            metadata if metadata.is_file() => Kind::File,
            metadata if metadata.is_dir() => Kind::Directory,
            metadata if metadata.is_symlink() => Kind::Symlink,
            _ => Kind::Special,
        };
        Ok(Metadata { kind, size_bytes: metadata.size(), mode: Some(metadata.mode() & 0o7777) })
    }

    /// The names in a directory that is there.
    fn directory(&self, path: &str) -> Result<Rc<Directory>, FsError> {
        if let Some(directory) = self.kept.borrow().get(path) {
            return Ok(directory);
        }
        let full = format!("/{path}");
        let entries = self.ask(DIRECTORY, |fs| fs.read_dir(lamxfs::Path::new(full.as_bytes())))?;
        if entries.len() > MAX_ENTRIES {
            return Err(FsError::Limit { what: "a directory", limit: MAX_ENTRIES as u64 });
        }
        let named = |entry: lamxfs::DirEntry| (entry.name, (Inode { ino: entry.inode_number }, kind_of(entry.kind)));
        let directory: Rc<Directory> = Rc::new(entries.into_iter().map(named).collect());
        self.kept.borrow_mut().keep(path, &directory);
        Ok(directory)
    }
}

impl fmt::Debug for XfsFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XfsFs").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl FileSystem for XfsFs {
    fn kind(&self) -> FsKind {
        FsKind::Xfs
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
        let target = self.ask(DIRECTORY, |fs| fs.read_link(lamxfs::Path::new(full.as_bytes())))?;
        Ok(super::name(&target))
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>, FsError> {
        let (inode, metadata) = self.must(path, Kind::File)?;
        Ok(stream::read(Content { fs: self, inode }, metadata.size_bytes))
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, FsError> {
        self.must(path, Kind::Directory)?;
        let directory = self.directory(path)?;
        Ok(directory.iter().map(|(name, (_, kind))| Entry { name: super::name(name), kind: *kind }).collect())
    }
}

/// The content of a file.
struct Content<'a> {
    fs: &'a XfsFs,
    inode: Inode,
}

impl ContentAt for Content<'_> {
    fn content_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, FsError> {
        self.fs.ask(CONTENT, |fs| fs.read_file_at(&self.inode, offset, out))
    }
}

const fn kind_of(kind: EntryKind) -> Kind {
    match kind {
        EntryKind::Regular => Kind::File,
        EntryKind::Directory => Kind::Directory,
        EntryKind::Symlink => Kind::Symlink,
        EntryKind::Other => Kind::Special,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the parser has many words for what is malformed")]
fn failed(error: Error) -> FsError {
    match error {
        Error::BadSuperblock(SuperblockReason::DirtyLog) => FsError::unsupported("an XFS log to replay"),
        Error::BadSuperblock(SuperblockReason::ExternalLog) => FsError::unsupported("an XFS log on another device"),
        Error::BadSuperblock(SuperblockReason::RealtimeDevice) => FsError::unsupported("an XFS real-time device"),
        Error::BadSuperblock(SuperblockReason::UnsupportedVersion) => FsError::unsupported("this version of XFS"),
        Error::UnsupportedFeature(feature) => FsError::unsupported(format!("XFS with {feature}")),
        error => FsError::malformed(error.token()),
    }
}
