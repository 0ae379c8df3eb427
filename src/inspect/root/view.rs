//! File systems as a root needs them: one that several roots share, a directory of one, and one that is not there.

use std::io::Read;

use crate::inspect::fs::{Entry, FileSystem, FsError, FsKind, Identity, Metadata};

/// A directory of a file system, as a file system of its own; the whole of it if the directory is `""`.
#[derive(Debug)]
pub(super) struct Below<'a> {
    pub(super) fs: &'a dyn FileSystem,
    /// Path of the directory, as [`FileSystem`] wants it.
    pub(super) top: String,
}

impl Below<'_> {
    fn path(&self, path: &str) -> String {
        match (self.top.as_str(), path) {
            ("", path) => path.to_owned(),
            (top, "") => top.to_owned(),
            (top, path) => format!("{top}/{path}"),
        }
    }
}

impl FileSystem for Below<'_> {
    fn kind(&self) -> FsKind {
        self.fs.kind()
    }

    fn identity(&self) -> &Identity {
        self.fs.identity()
    }

    fn metadata(&self, path: &str) -> Result<Option<Metadata>, FsError> {
        self.fs.metadata(&self.path(path))
    }

    fn read_link(&self, path: &str) -> Result<String, FsError> {
        self.fs.read_link(&self.path(path))
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>, FsError> {
        self.fs.open(&self.path(path))
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, FsError> {
        self.fs.list(&self.path(path))
    }
}

/// A file system that could not be joined in: every question about it is answered with the reason, so that nothing in it
/// passes for absent.
#[derive(Debug)]
pub(super) struct Unreached {
    identity: Identity,
    why: String,
}

impl Unreached {
    pub(super) fn new(why: String) -> Self {
        Self { identity: Identity::default(), why }
    }

    fn error<T>(&self) -> Result<T, FsError> {
        Err(FsError::Unreached { why: self.why.clone() })
    }
}

impl FileSystem for Unreached {
    fn kind(&self) -> FsKind {
        // Nobody asks; a kind of its own would have to be known everywhere.
        FsKind::Directory
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn metadata(&self, _: &str) -> Result<Option<Metadata>, FsError> {
        self.error()
    }

    fn read_link(&self, _: &str) -> Result<String, FsError> {
        self.error()
    }

    fn open(&self, _: &str) -> Result<Box<dyn Read + '_>, FsError> {
        self.error()
    }

    fn list(&self, _: &str) -> Result<Vec<Entry>, FsError> {
        self.error()
    }
}
