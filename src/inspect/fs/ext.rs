//! ext2, ext3 and ext4, through `ext4-view`. The changes that a journal holds are seen as if they had been made.
//!
//! That parser trusts some numbers of the superblock with its memory, so `superblock` looks at them first.

pub(in crate::inspect) mod superblock;

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read};
use std::rc::Rc;

use ext4_view::{DirEntry, Ext4, Ext4Error, FileType};

use super::kept::{self, Kept};
use super::source::{Allowance, Source};
use super::{Entry, FileSystem, FsError, FsKind, Identity, Kind, MAX_ENTRIES, Metadata};
use crate::inspect::reader::DiskReader;

/// The journal, of which the largest that mke2fs makes has 1 GiB; what is read of it is bounded by the inspection's limit.
const JOURNAL: Allowance = Allowance { what: "a journal", limit_bytes: 256 << 20 };
/// Directories on the way to a name, and the tree of a file's extents.
const LOOK_UP: Allowance = Allowance { what: "a look-up", limit_bytes: 64 << 20 };
/// One piece of a file.
const CONTENT: Allowance = Allowance { what: "a piece of a file", limit_bytes: 64 << 20 };
/// Deepest directory that is read. Each is found through the one above it, on the stack.
const MAX_DEPTH: usize = 64;
/// Longest target of a link, in bytes: a path of Linux.
const MAX_LINK_BYTES: u64 = 4096;

/// An ext2, ext3 or ext4 file system.
pub struct ExtFs {
    fs: Ext4,
    source: Source,
    identity: Identity,
    kept: RefCell<Kept<DirEntry>>,
}

/// The names of a directory.
type Directory = kept::Directory<DirEntry>;

impl ExtFs {
    /// The file system of a volume.
    ///
    /// # Errors
    /// [`FsError`], if it cannot be read.
    pub fn open(volume: &Rc<dyn DiskReader>) -> Result<Self, FsError> {
        let identity = superblock::check(volume)?;
        let source = Source::new(Rc::clone(volume));
        source.begin(JOURNAL);
        let fs = Ext4::load(Box::new(source.clone())).map_err(|error| source.blame(error, failed))?;
        Ok(Self { fs, source, identity, kept: RefCell::default() })
    }

    /// Asks the parser, and says what went wrong as this project does.
    fn ask<T>(&self, question: impl FnOnce(&Ext4) -> Result<T, Ext4Error>) -> Result<T, FsError> {
        self.source.begin(LOOK_UP);
        question(&self.fs).map_err(|error| self.source.blame(error, failed))
    }

    /// What a path stands for; none if it is not there, or leads through a link.
    fn look_up(&self, path: &str) -> Result<Option<ext4_view::Metadata>, FsError> {
        let Some((parent, name)) = kept::split(path) else { return self.ask(|fs| fs.metadata("/")).map(Some) };
        let Some(directory) = self.directory(parent)? else { return Ok(None) };
        directory.get(name.as_bytes()).map(|entry| self.ask(|_| entry.metadata())).transpose()
    }

    /// The names in a directory; none if there is no directory of that path. The parser would follow links on the way, so
    /// each directory is found in the one above it.
    fn directory(&self, path: &str) -> Result<Option<Rc<Directory>>, FsError> {
        let kept = self.kept.borrow().get(path);
        if kept.is_some() {
            return Ok(kept);
        }
        if path.matches('/').count() > MAX_DEPTH {
            return Err(FsError::Limit { what: "the depth of a directory", limit: MAX_DEPTH as u64 });
        }
        if !self.look_up(path)?.is_some_and(|found| found.is_dir()) {
            return Ok(None);
        }
        let entries = self.ask(|fs| fs.read_dir(format!("/{path}").as_str()))?;
        self.source.begin(LOOK_UP);
        let mut directory = Directory::new();
        for entry in entries {
            let entry = entry.map_err(|error| self.source.blame(error, failed))?;
            let name = entry.file_name();
            if name == "." || name == ".." {
                continue;
            }
            if directory.len() == MAX_ENTRIES {
                return Err(FsError::Limit { what: "a directory", limit: MAX_ENTRIES as u64 });
            }
            directory.insert(name.as_ref().to_vec(), entry);
        }
        let directory = Rc::new(directory);
        self.kept.borrow_mut().keep(path, &directory);
        Ok(Some(directory))
    }

    /// What a path that must be there stands for.
    fn must(&self, path: &str, is: fn(FileType) -> bool) -> Result<ext4_view::Metadata, FsError> {
        let found = self.look_up(path)?.filter(|found| is(found.file_type()));
        found.ok_or_else(|| FsError::malformed(format!("/{path} is not what it was")))
    }
}

impl fmt::Debug for ExtFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtFs").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl FileSystem for ExtFs {
    fn kind(&self) -> FsKind {
        FsKind::Ext
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn metadata(&self, path: &str) -> Result<Option<Metadata>, FsError> {
        let found = self.look_up(path)?;
        Ok(found.map(|found| Metadata {
            kind: kind_of(found.file_type()),
            size_bytes: found.len(),
            mode: Some(u32::from(found.mode())),
        }))
    }

    fn read_link(&self, path: &str) -> Result<String, FsError> {
        if self.must(path, FileType::is_symlink)?.len() > MAX_LINK_BYTES {
            return Err(FsError::malformed(format!("the link /{path}, which is too long")));
        }
        let target = self.ask(|fs| fs.read_link(format!("/{path}").as_str()))?;
        Ok(super::name(target.as_ref()))
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>, FsError> {
        self.must(path, FileType::is_regular_file)?;
        let file = self.ask(|fs| fs.open(format!("/{path}").as_str()))?;
        Ok(Box::new(File { file, source: &self.source, failure: None }))
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, FsError> {
        let directory = self.directory(path)?;
        let directory = directory.ok_or_else(|| FsError::malformed(format!("/{path} is no directory")))?;
        let entry = |(name, entry): (&Vec<u8>, &DirEntry)| {
            Ok(Entry { name: super::name(name), kind: kind_of(entry.file_type()?) })
        };
        directory.iter().map(entry).collect::<Result<_, _>>().map_err(failed)
    }
}

/// An open file.
struct File<'a> {
    file: ext4_view::File,
    source: &'a Source,
    /// What went wrong after some bytes had been read. The parser must not be asked again then: it would panic.
    failure: Option<FsError>,
}

impl Read for File<'_> {
    /// The parser gives a block at a time; this fills `out`, which saves whoever asks for more a question for each.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(failure) = self.failure.take() {
            self.failure = Some(FsError::malformed("a file that could not be read before"));
            return Err(io::Error::other(failure));
        }
        self.source.begin(CONTENT);
        let mut done = 0;
        while done < out.len() {
            match self.file.read_bytes(&mut out[done..]) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) => {
                    self.failure = Some(self.source.blame(error, failed));
                    return if done > 0 { Ok(done) } else { self.read(out) };
                }
            }
        }
        Ok(done)
    }
}

fn kind_of(file_type: FileType) -> Kind {
    match file_type {
        FileType::Regular => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::BlockDevice | FileType::CharacterDevice | FileType::Fifo | FileType::Socket => Kind::Special,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the parser has many words for what is malformed")]
fn failed(error: Ext4Error) -> FsError {
    match error {
        Ext4Error::Incompatible(feature) => FsError::unsupported(format!("ext4 with {feature}")),
        Ext4Error::Encrypted => FsError::unsupported("an encrypted file"),
        error => FsError::malformed(error.to_string()),
    }
}
