//! What outlives the agent: a small file for each operation in the state directory, made durable before the operation touches
//! its disk, and replaced when it has ended, before anybody is told of the end.
//!
//! After a restart it answers who asks for an operation or repeats a request, and lets installs that fetch their image go on.
//! It proves nothing about a disk. Which operations are kept, and for how long, is the registry's to say.

mod entry;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use uuid::Uuid;

use self::entry::SCHEMA;
pub(super) use self::entry::{Entry, Pending};
use crate::operation::{Failure, Outcome, Snapshot};
use crate::reason::{DomainError, Reason};

/// Longest entry, in bytes.
const MAX_BYTES: u64 = 64 << 10;
/// Of entries, and of the room that is kept for how an operation ends.
const ENTRY: &str = "json";
const RESERVED: &str = "reserved";

/// The journal cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the journal {}", .path.display())]
pub struct JournalError {
    /// The file or directory.
    path: PathBuf,
    /// Why.
    source: io::Error,
}

impl DomainError for JournalError {
    fn reason(&self) -> Reason {
        Reason::StateUnavailable
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        vec![("path", self.path.display().to_string())]
    }
}

/// What an agent before this one left.
#[derive(Debug)]
pub(super) enum Found {
    /// An operation.
    Entry(Box<Entry>),
    /// One of which nothing but the name can be read.
    Damaged { operation: Uuid, path: PathBuf, error: io::Error },
}

/// All operations that are remembered.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    /// Those that have not ended. One lock for the files as well: what is written last is what was said last.
    running: Mutex<HashMap<Uuid, Entry>>,
}

impl Journal {
    /// The journal below the agent's state directory, which must exist.
    ///
    /// # Errors
    /// If its directory cannot be made.
    pub fn open(state_dir: &Path) -> Result<Self, JournalError> {
        let dir = state_dir.join("operations");
        fs::create_dir_all(&dir).and_then(|()| File::open(state_dir)?.sync_all()).map_err(at(&dir))?;
        Ok(Self { dir, running: Mutex::default() })
    }

    /// Notes, durably, that an operation is about to touch its disk. There will be room to note how it ended.
    pub(super) fn begin(&self, entry: Entry) -> Result<(), JournalError> {
        let mut running = self.running();
        let id = entry.operation;
        let noted = self.reserve(id).and_then(|()| self.write(&entry));
        if noted.is_err() {
            // Nothing has begun. What cannot be removed either is told, for the next start finds it and takes it for begun.
            told(self.erase(id));
        }
        noted?;
        running.insert(id, entry);
        Ok(())
    }

    /// Notes, durably, how an operation ended.
    pub(super) fn end(
        &self,
        operation: Uuid,
        at: SystemTime,
        snapshot: &Snapshot,
        result: &Result<Outcome, Failure>,
    ) -> Result<(), JournalError> {
        let mut running = self.running();
        let Some(entry) = running.remove(&operation) else { return Ok(()) };
        let ended = entry.ended(at, snapshot, result);
        self.write_reserved(&ended).inspect_err(|_| {
            // No entry at all is better than one that says that it goes on.
            told(self.erase(operation));
        })
    }

    /// Notes that a user has cancelled an operation: it does not go on after a restart.
    pub(super) fn give_up(&self, operation: Uuid) -> Result<(), JournalError> {
        let mut running = self.running();
        let Some(entry) = running.get_mut(&operation) else { return Ok(()) };
        if entry.cancelled {
            return Ok(());
        }
        let cancelled = entry.clone().given_up();
        self.write(&cancelled)?;
        *entry = cancelled;
        Ok(())
    }

    /// Whether a user has cancelled an operation that has not ended.
    pub(super) fn is_given_up(&self, operation: Uuid) -> bool {
        self.running().get(&operation).is_some_and(|entry| entry.cancelled)
    }

    /// Whether an operation goes on after a restart.
    pub(super) fn can_go_on(&self, operation: Uuid) -> bool {
        self.running().get(&operation).is_some_and(|entry| entry.pull.is_some())
    }

    /// Takes operations out of the journal.
    pub(super) fn forget(&self, operations: &[Uuid]) -> Result<(), JournalError> {
        if operations.is_empty() {
            return Ok(());
        }
        let mut running = self.running();
        for &id in operations {
            running.remove(&id);
            self.erase(id)?;
        }
        self.sync_dir()
    }

    /// What agents before this one noted, the oldest first. Entries that have not ended run again until they are ended.
    pub(super) fn load(&self) -> Result<Vec<Found>, JournalError> {
        let mut running = self.running();
        let listed = fs::read_dir(&self.dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut found = Vec::new();
        for path in listed.map_err(at(&self.dir))?.into_iter().map(|entry| entry.path()) {
            let operation = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            let is_entry = path.extension().is_some_and(|extension| extension == ENTRY);
            match operation.filter(|_| is_entry) {
                Some(operation) => {
                    let read = read(&path, operation);
                    found.push(read.unwrap_or_else(|error| Found::Damaged { operation, path, error }));
                }
                // Half an entry, or room for one that was not used.
                None => told(fs::remove_file(&path).map_err(at(&path))),
            }
        }
        for entry in found.iter().filter_map(Found::entry).filter(|entry| !entry.has_ended()) {
            told(self.reserve(entry.operation).and_then(|()| self.write(entry)));
            running.insert(entry.operation, entry.clone());
        }
        found.sort_by_key(|found| found.entry().map(Entry::started_at_ms));
        Ok(found)
    }

    /// Makes room for how an operation ends: a full disk shall not make it forgotten.
    fn reserve(&self, operation: Uuid) -> Result<(), JournalError> {
        let path = self.path(operation, RESERVED);
        let file = File::create(&path).map_err(at(&path))?;
        nix::fcntl::posix_fallocate(&file, 0, MAX_BYTES.cast_signed()).map_err(|errno| at(&path)(errno.into()))?;
        file.sync_all().map_err(at(&path))
    }

    fn write_reserved(&self, entry: &Entry) -> Result<(), JournalError> {
        let (room, path) = (self.path(entry.operation, RESERVED), self.path(entry.operation, ENTRY));
        let bytes = encode(entry).map_err(at(&path))?;
        let mut file = File::options().write(true).open(&room).map_err(at(&room))?;
        let written = file.write_all(&bytes).and_then(|()| file.set_len(bytes.len() as u64));
        written.and_then(|()| file.sync_all()).and_then(|()| fs::rename(&room, &path)).map_err(at(&path))?;
        self.sync_dir()
    }

    fn write(&self, entry: &Entry) -> Result<(), JournalError> {
        let path = self.path(entry.operation, ENTRY);
        let bytes = encode(entry).map_err(at(&path))?;
        let mut file = tempfile::NamedTempFile::new_in(&self.dir).map_err(at(&self.dir))?;
        file.write_all(&bytes).and_then(|()| file.as_file().sync_all()).map_err(at(&path))?;
        file.persist(&path).map_err(|error| at(&path)(error.error))?;
        self.sync_dir()
    }

    fn erase(&self, operation: Uuid) -> Result<(), JournalError> {
        for extension in [ENTRY, RESERVED] {
            let path = self.path(operation, extension);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, operation: Uuid, extension: &str) -> PathBuf {
        self.dir.join(format!("{operation}.{extension}"))
    }

    fn sync_dir(&self) -> Result<(), JournalError> {
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(at(&self.dir))
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Uuid, Entry>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Entry(entry) => Some(entry),
            Self::Damaged { .. } => None,
        }
    }
}

/// An agent without room for its state still tells what it knows; it refuses to begin anything.
fn told(result: Result<(), JournalError>) {
    if let Err(error) = result {
        tracing::error!(error = %crate::text::chain(&error), "the journal cannot be put in order");
    }
}

fn encode(entry: &Entry) -> io::Result<Vec<u8>> {
    let bytes = serde_json::to_vec(entry)?;
    if bytes.len() as u64 <= MAX_BYTES {
        return Ok(bytes);
    }
    Ok(serde_json::to_vec(&entry.clone().shortened())?)
}

fn read(path: &Path, operation: Uuid) -> io::Result<Found> {
    if fs::metadata(path)?.len() > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let entry: Entry = serde_json::from_slice(&fs::read(path)?)?;
    if entry.schema != SCHEMA || entry.operation != operation {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is of another version of the agent, or misnamed"));
    }
    Ok(Found::Entry(Box::new(if entry.has_ended() { entry } else { entry.restarted() })))
}

fn at(path: &Path) -> impl Fn(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError { path: path.clone(), source }
}

#[cfg(test)]
mod tests;
