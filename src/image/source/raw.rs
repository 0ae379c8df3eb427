//! Raw content in a regular file or on a block device. Holes of the file are found, never read.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Whence, lseek64};

use super::{RandomAccess, SourceError};

/// Raw content.
#[derive(Debug)]
pub(super) struct Raw {
    file: File,
    path: PathBuf,
    len_bytes: u64,
}

impl Raw {
    /// Takes the whole file as content.
    pub(super) fn new(file: File, path: &Path) -> Result<Self, SourceError> {
        let len_bytes = file_len(&file).map_err(|source| SourceError::Read { path: path.to_owned(), source })?;
        Ok(Self { file, path: path.to_owned(), len_bytes })
    }

    /// A file that was cut short looks like one with a hole at its end.
    fn check_len(&self) -> Result<(), SourceError> {
        let path = || self.path.clone();
        let len_bytes = file_len(&self.file).map_err(|source| SourceError::Read { path: path(), source })?;
        if len_bytes < self.len_bytes { Err(SourceError::Truncated { path: path() }) } else { Ok(()) }
    }

    /// Where the next data or hole begins; none if there is none. Block devices know no holes and are all data.
    fn seek(&self, from: u64, whence: Whence) -> Result<Option<u64>, SourceError> {
        let read = |source| SourceError::Read { path: self.path.clone(), source };
        let Ok(offset) = i64::try_from(from) else {
            return Err(read(Errno::EOVERFLOW.into()));
        };
        match (lseek64(&self.file, offset, whence), whence) {
            (Ok(found), _) => Ok(u64::try_from(found).ok()),
            (Err(Errno::ENXIO), _) => Ok(None),
            (Err(Errno::EINVAL), Whence::SeekData) => Ok(Some(from)),
            (Err(Errno::EINVAL), _) => Ok(None),
            (Err(errno), _) => Err(read(errno.into())),
        }
    }
}

impl RandomAccess for Raw {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>, SourceError> {
        if from >= self.len_bytes {
            return Ok(None);
        }
        let Some(start) = self.seek(from, Whence::SeekData)? else {
            return self.check_len().map(|()| None);
        };
        let end = self.seek(start, Whence::SeekHole)?.unwrap_or(self.len_bytes);
        // A file that grew has data beyond what counts.
        Ok((start < self.len_bytes).then(|| start..end.min(self.len_bytes)))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        self.file.read_exact_at(buf, offset).map_err(|source| {
            let path = self.path.clone();
            if source.kind() == io::ErrorKind::UnexpectedEof {
                SourceError::Truncated { path }
            } else {
                SourceError::Read { path, source }
            }
        })
    }
}

/// Length of a file or block device, in bytes. Moves the file's own offset.
pub(super) fn file_len(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

/// Fills as much of `buf` as the file has from its start.
pub(super) fn read_head(mut file: &File, buf: &mut [u8]) -> io::Result<usize> {
    file.rewind()?;
    let mut len = 0;
    while len < buf.len() {
        match file.read(&mut buf[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}
