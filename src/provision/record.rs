//! The record of what an install put onto a disk: its tree, so that a later verification can say which group changed.
//!
//! One file a disk in the state directory, replaced atomically and made durable. It proves nothing by itself: it says
//! what to compare the disk with.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::disk::identity::Identity;
use crate::image::tree::{Tree, TreeInvalid};
use crate::reason::{DomainError, Reason};

/// Records that cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The directory or file cannot be used.
    #[error("cannot use the record {}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is damaged.
    #[error("the record {} is damaged", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file is no tree.
    #[error("the record {} is damaged", .path.display())]
    Tree {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TreeInvalid,
    },
}

impl DomainError for RecordError {
    fn reason(&self) -> Reason {
        match self {
            Self::Io { .. } => Reason::StateUnavailable,
            Self::Damaged { .. } | Self::Tree { .. } => Reason::VerifyNoRecord,
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Io { path, .. } | Self::Damaged { path } | Self::Tree { path, .. } => {
                vec![("path", path.display().to_string())]
            }
        }
    }
}

/// The records of all disks.
#[derive(Debug, Clone)]
pub struct Records {
    dir: PathBuf,
}

const DIGEST_BYTES: usize = 32;

impl Records {
    /// The records below the agent's state directory, which must exist.
    ///
    /// # Errors
    /// If their directory cannot be made.
    pub fn open(state_dir: &Path) -> Result<Self, RecordError> {
        let dir = state_dir.join("installed");
        fs::create_dir_all(&dir).and_then(|()| File::open(state_dir)?.sync_all()).map_err(at(&dir))?;
        Ok(Self { dir })
    }

    /// Forgets what was on a disk, durably. Fails before a disk is touched if the state directory cannot be written.
    ///
    /// # Errors
    /// If that cannot be made durable.
    pub fn forget(&self, disk: &Identity) -> Result<(), RecordError> {
        let path = self.path(disk);
        // Writing and removing proves that there will be room for a record when it is needed; a small one, at least.
        let probe = tempfile::NamedTempFile::new_in(&self.dir).map_err(at(&self.dir))?;
        probe.as_file().write_all(&[0; 4096]).and_then(|()| probe.as_file().sync_all()).map_err(at(probe.path()))?;
        probe.close().map_err(at(&self.dir))?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&path)(error)),
            _ => self.sync_dir(),
        }
    }

    /// Keeps the tree of what is on a disk.
    ///
    /// # Errors
    /// If it cannot be made durable; then the former record stands.
    pub fn save(&self, disk: &Identity, tree: &Tree) -> Result<(), RecordError> {
        let path = self.path(disk);
        let content = tree.encode();
        let mut file = tempfile::NamedTempFile::new_in(&self.dir).map_err(at(&self.dir))?;
        let written = file.write_all(&content).and_then(|()| file.write_all(blake3::hash(&content).as_bytes()));
        written.and_then(|()| file.as_file().sync_all()).map_err(at(&path))?;
        file.persist(&path).map_err(|error| at(&path)(error.error))?;
        self.sync_dir()
    }

    /// The tree of what was installed on a disk, if that is known.
    ///
    /// # Errors
    /// If the record cannot be read or is damaged.
    pub fn load(&self, disk: &Identity) -> Result<Option<Tree>, RecordError> {
        let path = self.path(disk);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path)(error)),
        };
        let content = bytes.len().checked_sub(DIGEST_BYTES).and_then(|len| bytes.split_at_checked(len));
        match content {
            Some((content, digest)) if digest == blake3::hash(content).as_bytes() => {
                Tree::decode(content).map(Some).map_err(|source| RecordError::Tree { path, source })
            }
            _ => Err(RecordError::Damaged { path }),
        }
    }

    /// The file of a disk. Kernel names and disk sequence numbers change at a boot, and are no part of it.
    fn path(&self, disk: &Identity) -> PathBuf {
        let mut hasher = blake3::Hasher::new();
        for field in [&disk.serial, &disk.wwn, &disk.backing_file] {
            let text = field.as_deref().unwrap_or_default();
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        self.dir.join(format!("{}.tree", &hasher.finalize().to_hex()[..32]))
    }

    fn sync_dir(&self) -> Result<(), RecordError> {
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(at(&self.dir))
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> RecordError {
    let path = path.to_owned();
    move |source| RecordError::Io { path: path.clone(), source }
}
