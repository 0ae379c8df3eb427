//! The end of the chain, where lines are added.
//!
//! A line is written at once and flushed. If either fails, the file is cut back to its last good line before anything else
//! is written: nothing ever stands behind a half-written line.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::error::AuditError;
use super::line::{Link, MAX_LINE_BYTES};
use super::ring::{self, Limits};
use super::walk::{Torn, verify};

/// The newest file, and where the chain is.
#[derive(Debug)]
pub(super) struct Tail {
    dir: PathBuf,
    limits: Limits,
    /// The directory, which this process alone has locked.
    lock: File,
    /// Numbers of the first lines of all files, the oldest first.
    files: VecDeque<u64>,
    /// The newest of them; none in an empty directory.
    newest: Option<Newest>,
    last: Link,
}

/// The file that is written.
#[derive(Debug)]
struct Newest {
    path: PathBuf,
    file: File,
    /// Bytes of whole, durable lines.
    len: u64,
    /// Whether there is nothing else in the file, and the file in the directory.
    is_intact: bool,
}

impl Tail {
    /// Finds the end of the chain, and removes what a crash has left behind it.
    pub(super) fn open(dir: &Path, limits: Limits) -> Result<(Self, Option<Torn>), AuditError> {
        make(dir)?;
        let lock = File::open(dir).map_err(AuditError::io(dir))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => AuditError::InUse { dir: dir.to_owned() },
            TryLockError::Error(source) => AuditError::io(dir)(source),
        })?;
        let verified = verify(dir)?;
        let files = ring::list(dir)?;
        let open = |first_seq: &u64| Newest::open(ring::path(dir, *first_seq), verified.newest_bytes, &lock);
        let newest = files.back().map(open).transpose()?;
        let last = Link { seq: verified.last_seq, hash: verified.last_hash };
        let dir = dir.to_owned();
        Ok((Self { dir, limits, lock, files, newest, last }, verified.torn))
    }

    /// Adds the line that `encode` makes of its place in the chain. It is durable when this returns its own place.
    pub(super) fn append(
        &mut self,
        encode: impl FnOnce(Link) -> Result<Vec<u8>, AuditError>,
    ) -> Result<Link, AuditError> {
        if let Some(newest) = &mut self.newest {
            newest.settle(&self.lock)?;
        }
        let mut line = encode(self.last)?;
        let link = Link { seq: self.last.seq + 1, hash: blake3::hash(&line) };
        line.push(b'\n');
        if line.len() > MAX_LINE_BYTES {
            return Err(AuditError::EventTooLong { bytes: line.len() });
        }
        self.make_room(line.len() as u64)?;
        self.write(&line)?;
        self.last = link;
        self.drop_oldest();
        Ok(link)
    }

    /// Begins another file, if the line does not fit into the newest.
    fn make_room(&mut self, line_bytes: u64) -> Result<(), AuditError> {
        let fits = |newest: &Newest| newest.len == 0 || newest.len + line_bytes <= self.limits.file_bytes;
        if self.newest.as_ref().is_some_and(fits) {
            return Ok(());
        }
        let first_seq = self.last.seq + 1;
        let newest = self.newest.insert(Newest::create(ring::path(&self.dir, first_seq))?);
        self.files.push_back(first_seq);
        newest.settle(&self.lock)
    }

    fn write(&mut self, line: &[u8]) -> Result<(), AuditError> {
        let Some(newest) = &mut self.newest else { return Ok(()) };
        if let Err(error) = newest.write(line) {
            if let Err(again) = newest.settle(&self.lock) {
                tracing::error!(error = crate::text::chain(&again), "half a line is left in the audit log for now");
            }
            return Err(error);
        }
        Ok(())
    }

    /// Keeps the ring as short as it may be. What cannot be removed now is removed after the next line.
    fn drop_oldest(&mut self) {
        while self.files.len() > self.limits.files
            && let Some(first_seq) = self.files.front()
        {
            let path = ring::path(&self.dir, *first_seq);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "the oldest file of the audit log cannot be removed");
                    return;
                }
                _ => self.files.pop_front(),
            };
        }
    }
}

impl Newest {
    /// Opens the file and cuts off what is behind its whole lines.
    fn open(path: PathBuf, len: u64, dir: &File) -> Result<Self, AuditError> {
        let file = options().open(&path).map_err(AuditError::io(&path))?;
        // A crash may have come between the file and its directory, too.
        let mut newest = Self { path, file, len, is_intact: false };
        newest.settle(dir)?;
        Ok(newest)
    }

    /// Makes the file. It is not intact before the directory has it for good.
    fn create(path: PathBuf) -> Result<Self, AuditError> {
        let file = options().create_new(true).mode(0o600).open(&path).map_err(AuditError::io(&path))?;
        Ok(Self { path, file, len: 0, is_intact: false })
    }

    fn write(&mut self, line: &[u8]) -> Result<(), AuditError> {
        self.is_intact = false;
        #[cfg(test)]
        fault::write(&self.file, line).map_err(AuditError::io(&self.path))?;
        let written = self.file.write_all(line).and_then(|()| self.file.sync_data());
        written.map_err(AuditError::io(&self.path))?;
        self.len += line.len() as u64;
        self.is_intact = true;
        Ok(())
    }

    /// Makes sure that the file ends with its last line and is still the one in the directory.
    fn settle(&mut self, dir: &File) -> Result<(), AuditError> {
        if !self.is_intact {
            #[cfg(test)]
            fault::cut().map_err(AuditError::io(&self.path))?;
            // Cut longer, a file that somebody else has shortened would be filled up with zeroes.
            if self.file.metadata().map_err(AuditError::io(&self.path))?.len() < self.len {
                return Err(AuditError::Changed { path: self.path.clone() });
            }
            let cut = self.file.set_len(self.len).and_then(|()| self.file.sync_all()).and_then(|()| dir.sync_all());
            cut.map_err(AuditError::io(&self.path))?;
            self.is_intact = true;
        }
        self.assert_unchanged()
    }

    /// A file that was removed would take lines that nobody sees again; one that was written by others breaks the chain.
    fn assert_unchanged(&self) -> Result<(), AuditError> {
        let here = fs::symlink_metadata(&self.path).map_err(AuditError::io(&self.path))?;
        let ours = self.file.metadata().map_err(AuditError::io(&self.path))?;
        let is_ours = (here.dev(), here.ino()) == (ours.dev(), ours.ino());
        if is_ours && ours.len() == self.len { Ok(()) } else { Err(AuditError::Changed { path: self.path.clone() }) }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    options
}

/// Makes the directory, if it is not there, and makes that durable.
fn make(dir: &Path) -> Result<(), AuditError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(AuditError::io(dir)(error)),
        _ => {}
    }
    let above = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(above).and_then(|above| above.sync_all()).map_err(AuditError::io(above))
}

/// Disks that fail, at the moment that a test chooses. Each test runs in a thread of its own, and so do its faults.
#[cfg(test)]
pub(super) mod fault {
    use std::cell::Cell;
    use std::fs::File;
    use std::io::{self, Write as _};

    /// What fails.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(in crate::audit) enum Fault {
        /// There is room for only so many bytes.
        Short(usize),
        /// All is written, and the flush fails.
        Flush,
    }

    thread_local! {
        /// Of the next line.
        pub(in crate::audit) static NEXT_WRITE: Cell<Option<Fault>> = const { Cell::new(None) };
        /// How often a file cannot be cut back.
        pub(in crate::audit) static CUTS: Cell<u32> = const { Cell::new(0) };
    }

    pub(super) fn write(mut file: &File, line: &[u8]) -> io::Result<()> {
        match NEXT_WRITE.take() {
            None => Ok(()),
            Some(Fault::Short(bytes)) => {
                file.write_all(&line[..bytes.min(line.len())]).and(Err(io::ErrorKind::StorageFull.into()))
            }
            Some(Fault::Flush) => file.write_all(line).and(Err(io::Error::from_raw_os_error(nix::libc::EIO))),
        }
    }

    pub(super) fn cut() -> io::Result<()> {
        let left = CUTS.get();
        CUTS.set(left.saturating_sub(1));
        if left == 0 { Ok(()) } else { Err(io::ErrorKind::ReadOnlyFilesystem.into()) }
    }
}
