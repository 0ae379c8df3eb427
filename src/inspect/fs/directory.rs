//! A directory of a running system, read as if it were a file system of its own.
//!
//! Every look-up goes through `openat2`, beneath the directory and without following a single link, so that names that
//! change meanwhile cannot lead out of it.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use super::{Entry, FileSystem, FsError, FsKind, Identity, Kind, MAX_ENTRIES, Metadata};

/// A directory, and what is below it.
#[derive(Debug)]
pub struct DirectoryFs {
    directory: OwnedFd,
    identity: Identity,
}

impl DirectoryFs {
    /// A directory, by a path of this system.
    ///
    /// # Errors
    /// [`FsError::Read`] if it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, FsError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // Not `open`, which the child's sandbox does not let through.
        let directory =
            rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), ResolveFlags::empty()).map_err(read)?;
        Ok(Self { directory, identity: Identity::default() })
    }

    /// Opens what a path stands for, even if it is a link; none if it is not there.
    fn at(&self, path: &str, flags: OFlags) -> Result<Option<OwnedFd>, FsError> {
        let path = if path.is_empty() { "." } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), resolve) {
            Ok(fd) => Ok(Some(fd)),
            // A component that is a link makes no path that the trait allows; so nothing is there either.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(read(errno)),
        }
    }

    /// The same, of something that is known to be there.
    fn must(&self, path: &str, flags: OFlags) -> Result<OwnedFd, FsError> {
        self.at(path, flags)?.ok_or_else(|| read(Errno::NOENT))
    }
}

impl FileSystem for DirectoryFs {
    fn kind(&self) -> FsKind {
        FsKind::Directory
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn metadata(&self, path: &str) -> Result<Option<Metadata>, FsError> {
        let Some(fd) = self.at(path, OFlags::PATH)? else { return Ok(None) };
        let wanted = StatxFlags::TYPE | StatxFlags::MODE | StatxFlags::SIZE;
        let seen = rustix::fs::statx(&fd, c"", rustix::fs::AtFlags::EMPTY_PATH, wanted).map_err(read)?;
        let mode = u32::from(seen.stx_mode);
        let kind = kind_of(FileType::from_raw_mode(mode));
        Ok(Some(Metadata { kind, size_bytes: seen.stx_size, mode: Some(mode & 0o7777) }))
    }

    fn read_link(&self, path: &str) -> Result<String, FsError> {
        let link = self.must(path, OFlags::PATH)?;
        let target = rustix::fs::readlinkat(&link, c"", Vec::new()).map_err(read)?;
        Ok(text(&target))
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>, FsError> {
        // What has become a FIFO meanwhile must not make anybody wait.
        let file = File::from(self.must(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
        if !file.metadata()?.is_file() {
            return Err(FsError::Malformed { what: format!("/{path} is no ordinary file") });
        }
        Ok(Box::new(file))
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, FsError> {
        let directory = self.must(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::new(directory).map_err(read)? {
            let entry = entry.map_err(read)?;
            if [c".", c".."].contains(&entry.file_name()) {
                continue;
            }
            if entries.len() == MAX_ENTRIES {
                return Err(FsError::Limit { what: "a directory", limit: MAX_ENTRIES as u64 });
            }
            entries.push(Entry { name: text(entry.file_name()), kind: kind_of(entry.file_type()) });
        }
        Ok(entries)
    }
}

fn kind_of(file_type: FileType) -> Kind {
    match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
            Kind::Special
        }
    }
}

fn text(name: &CStr) -> String {
    super::name(name.to_bytes())
}

fn read(errno: Errno) -> FsError {
    FsError::Read(errno.into())
}
