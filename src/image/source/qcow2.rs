//! The content of a qcow2 image, by the `imago` crate behind a storage of our own.
//!
//! The image is one file, open for reading; nothing that it names is ever opened. A read beyond the end of the file is
//! an error, where the crate's own storage gives zeroes: a truncated image must not become one with holes.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use imago::io_buffers::{IoVector, IoVectorMut};
use imago::qcow2::Qcow2 as Driver;
use imago::storage::drivers::CommonStorageHelper;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder as _, Mapping, Storage};

use super::qcow2_header::{self, HeaderError};
use super::{RandomAccess, SourceError, raw};

/// Compressed clusters are measured in sectors of this many bytes; the last one of a file may be shorter.
const SECTOR_BYTES: u64 = 512;

/// A qcow2 image. Reads need no lock of ours: the crate's access is shared between threads.
#[derive(Debug)]
pub(super) struct Qcow2 {
    access: FormatAccess<ReadOnlyFile>,
    path: PathBuf,
    file_bytes: u64,
}

impl Qcow2 {
    /// Checks the header, then opens the image in `file`.
    pub(super) fn new(file: File, path: &Path) -> Result<Self, SourceError> {
        let path = path.to_owned();
        let file_bytes = raw::file_len(&file).map_err(|source| SourceError::Read { path: path.clone(), source })?;
        qcow2_header::check(&file, file_bytes).map_err(|error| match error {
            HeaderError::Refused(reason) => SourceError::Qcow2 { path: path.clone(), reason },
            HeaderError::Read(source) => read_error(&path, source),
        })?;
        let storage = ReadOnlyFile { file, len_bytes: file_bytes, helper: CommonStorageHelper::default() };
        let driver: Driver<ReadOnlyFile> = Driver::builder(storage)
            .open(DenyImplicitOpenGate::default())
            .map_err(|source| read_error(&path, source))?;
        Ok(Self { access: FormatAccess::new(driver), path, file_bytes })
    }

    /// What is at `offset`, and for how many bytes; at least one, at most `max`.
    fn mapping(&self, offset: u64, max: u64) -> Result<(Mapping<'_, ReadOnlyFile>, u64), SourceError> {
        let (mapping, len) = self.access.get_mapping(offset, max).map_err(|source| read_error(&self.path, source))?;
        let truncated = match &mapping {
            Mapping::Raw { offset, .. } => offset.checked_add(len).is_none_or(|end| end > self.file_bytes),
            // The storage checks the bounds of what is compressed.
            Mapping::Zero { .. } | Mapping::Special { .. } => false,
            // The end of the disk, which no caller reaches, or a kind that this crate does not know.
            Mapping::Eof { .. } | _ => true,
        };
        if truncated || len == 0 {
            return Err(SourceError::Truncated { path: self.path.clone() });
        }
        Ok((mapping, len))
    }
}

impl RandomAccess for Qcow2 {
    fn len_bytes(&self) -> u64 {
        self.access.size()
    }

    fn next_data(&self, from: u64) -> Result<Option<Range<u64>>, SourceError> {
        let mut at = from;
        while at < self.len_bytes() {
            let (mapping, len) = self.mapping(at, self.len_bytes() - at)?;
            if !matches!(mapping, Mapping::Zero { .. }) {
                return Ok(Some(at..at + len));
            }
            at += len;
        }
        Ok(None)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), SourceError> {
        // The mapping is looked up for its check of the file's end; the crate looks it up again, from its cache.
        let end = offset + buf.len() as u64;
        let mut at = offset;
        while at < end {
            at += self.mapping(at, end - at)?.1;
        }
        self.access.read(buf, offset).map_err(|source| read_error(&self.path, source))
    }
}

/// Sorts an error of the crate.
fn read_error(path: &Path, source: io::Error) -> SourceError {
    let path = path.to_owned();
    match (source.kind(), source.raw_os_error()) {
        (io::ErrorKind::UnexpectedEof, _) => SourceError::Truncated { path },
        (_, Some(_)) => SourceError::Read { path, source },
        (_, None) => SourceError::Damaged { path, source },
    }
}

/// The file behind an image: it can only be read, has no name, and ends where it ends.
#[derive(Debug)]
struct ReadOnlyFile {
    file: File,
    len_bytes: u64,
    helper: CommonStorageHelper,
}

impl ReadOnlyFile {
    /// Fills `buf`; what is missing in the last sector of the file is zero.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        if end > self.len_bytes.next_multiple_of(SECTOR_BYTES) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let present = usize::try_from(self.len_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (present, padding) = buf.split_at_mut(present.min(buf.len()));
        padding.fill(0);
        self.file.read_exact_at(present, offset)
    }
}

impl fmt::Display for ReadOnlyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("qcow2 image")
    }
}

#[expect(unsafe_code, reason = "the trait declares these unsafe to call; no body here does anything unsafe")]
impl Storage for ReadOnlyFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len_bytes)
    }

    unsafe fn pure_readv(&self, vector: IoVectorMut<'_>, offset: u64) -> io::Result<()> {
        let mut at = offset;
        for mut slice in vector.into_inner() {
            self.read_at(&mut slice, at)?;
            at += slice.len() as u64;
        }
        Ok(())
    }

    unsafe fn pure_writev(&self, _vector: IoVector<'_>, _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    unsafe fn invalidate_cache(&self) -> io::Result<()> {
        Ok(())
    }

    fn get_storage_helper(&self) -> &CommonStorageHelper {
        &self.helper
    }
}
