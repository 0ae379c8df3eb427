//! ext2, ext3 and ext4, through `ext4-view`. The changes that a journal holds are seen as if they had been made.
//!
//! That parser trusts some numbers of the superblock with its memory, so [`superblock`] looks at them first.

mod superblock;

use std::fmt;
use std::io::{self, Read};
use std::rc::Rc;

use ext4_view::{Ext4, Ext4Error, FileType, Path};

use super::source::{Allowance, Source};
use super::{Entry, FileSystem, FsError, FsKind, Identity, Kind, MAX_ENTRIES, Metadata};
use crate::inspect::reader::DiskReader;

/// The journal, of which the largest that mke2fs makes has 1 GiB; what is read of it is bounded by the inspection's limit.
const JOURNAL: Allowance = Allowance { what: "a journal", limit_bytes: 256 << 20 };
/// Directories on the way to a name, and the tree of a file's extents.
const LOOK_UP: Allowance = Allowance { what: "a look-up", limit_bytes: 64 << 20 };
/// One piece of a file.
const CONTENT: Allowance = Allowance { what: "a piece of a file", limit_bytes: 64 << 20 };
/// Longest target of a link, in bytes: a path of Linux.
const MAX_LINK_BYTES: u64 = 4096;

/// An ext2, ext3 or ext4 file system.
pub struct ExtFs {
    fs: Ext4,
    source: Source,
    identity: Identity,
}

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
        Ok(Self { fs, source, identity })
    }

    /// Asks the parser, and says what went wrong as this project does.
    fn ask<T>(&self, question: impl FnOnce(&Ext4) -> Result<T, Ext4Error>) -> Result<T, FsError> {
        self.source.begin(LOOK_UP);
        question(&self.fs).map_err(|error| self.source.blame(error, failed))
    }

    /// What a path stands for; none if it is not there, or leads through a link.
    fn look_up(&self, path: &str) -> Result<Option<ext4_view::Metadata>, FsError> {
        let full = format!("/{path}");
        let Ok(full) = Path::try_from(full.as_str()) else { return Ok(None) };
        self.source.begin(LOOK_UP);
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let found = self.is_without_links(parent).and_then(|direct| match direct {
            true => self.fs.symlink_metadata(full).map(Some),
            false => Ok(None),
        });
        match found {
            Ok(found) => Ok(found),
            Err(Ext4Error::NotFound | Ext4Error::NotADirectory) => self.source.check().map(|()| None),
            Err(error) => Err(self.source.blame(error, failed)),
        }
    }

    /// Whether no part of a path is a link, which the parser would follow.
    fn is_without_links(&self, path: &str) -> Result<bool, Ext4Error> {
        let path = format!("/{path}");
        Ok(self.fs.canonicalize(path.as_str())?.as_ref() == path.as_bytes())
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
        self.must(path, FileType::is_dir)?;
        let directory = self.ask(|fs| fs.read_dir(format!("/{path}").as_str()))?;
        self.source.begin(LOOK_UP);
        let mut entries = Vec::new();
        for entry in directory {
            let entry = entry.map_err(|error| self.source.blame(error, failed))?;
            let name = entry.file_name();
            if name == "." || name == ".." {
                continue;
            }
            if entries.len() == MAX_ENTRIES {
                return Err(FsError::Limit { what: "a directory", limit: MAX_ENTRIES as u64 });
            }
            let file_type = entry.file_type().map_err(failed)?;
            entries.push(Entry { name: super::name(name.as_ref()), kind: kind_of(file_type) });
        }
        Ok(entries)
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

fn failed(error: Ext4Error) -> FsError {
    match error {
        Ext4Error::Incompatible(feature) => FsError::unsupported(format!("ext4 with {feature}")),
        Ext4Error::Encrypted => FsError::unsupported("an encrypted file"),
        error => FsError::malformed(error.to_string()),
    }
}
