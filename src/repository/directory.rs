//! What only a directory has, and no object store shows: files of writers that were killed in the middle of one, and
//! the empty directories of images that are gone, which every list of images would look into.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Amount, Repository, key};

/// Stands in the name of a file that is being written, and in that of no object.
const UNFINISHED: u8 = b'#';

/// What counts as left behind.
#[derive(Debug, Clone, Copy)]
struct Rules {
    now: SystemTime,
    dies: Duration,
    deletes: bool,
}

impl Repository {
    /// Deletes what is older than any upload, or only counts it. What cannot be deleted stays, for it harms nobody.
    pub(super) async fn tidy_directory(&self, now: SystemTime, deletes: bool) -> Amount {
        let Some(dir) = self.directory.clone() else { return Amount::default() };
        let rules = Rules { now, dies: self.format().upload_over(), deletes };
        let tidy = move || {
            let mut found = Amount::default();
            let done = rules.unfinished(&dir, &mut found).and_then(|()| rules.empty(&dir.join(key::IMAGES)));
            (found, done)
        };
        match tokio::task::spawn_blocking(tidy).await {
            Ok((found, Ok(()))) => found,
            Ok((found, Err(error))) => {
                tracing::warn!(%error, "cannot tidy up the directory");
                found
            }
            Err(error) => {
                tracing::warn!(%error, "cannot tidy up the directory");
                Amount::default()
            }
        }
    }
}

impl Rules {
    fn unfinished(&self, dir: &Path, found: &mut Amount) -> io::Result<()> {
        for entry in unless_gone(dir.read_dir())?.into_iter().flatten() {
            let entry = entry?;
            let Some(meta) = unless_gone(entry.metadata())? else { continue };
            if meta.is_dir() {
                self.unfinished(&entry.path(), found)?;
            } else if meta.is_file() && is_unfinished(&entry.file_name()) && self.is_dead(&meta)? {
                *found += meta.len();
                if self.deletes {
                    unless_gone(std::fs::remove_file(entry.path()))?;
                }
            }
        }
        Ok(())
    }

    fn empty(&self, dir: &Path) -> io::Result<()> {
        if !self.deletes {
            return Ok(());
        }
        for entry in unless_gone(dir.read_dir())?.into_iter().flatten() {
            let entry = entry?;
            let Some(meta) = unless_gone(entry.metadata())? else { continue };
            if meta.is_dir() && self.is_dead(&meta)? {
                // It does not go unless it is empty, which is most often not so.
                std::fs::remove_dir(entry.path()).ok();
            }
        }
        Ok(())
    }

    fn is_dead(&self, meta: &std::fs::Metadata) -> io::Result<bool> {
        Ok(self.now.duration_since(meta.modified()?).is_ok_and(|age| age >= self.dies))
    }
}

fn is_unfinished(name: &OsStr) -> bool {
    name.as_encoded_bytes().contains(&UNFINISHED)
}

/// Others delete as well.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(there) => Ok(Some(there)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
