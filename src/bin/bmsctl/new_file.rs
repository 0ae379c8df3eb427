//! A file that appears under its name when it is complete, and not before: written beside it without a name of its own,
//! synced, then given the name, unless somebody took that meanwhile. What is not finished is removed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

/// The file cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NewFileError {
    /// There is one already.
    #[error("{} is there already: nothing is overwritten", path.display())]
    Exists { path: PathBuf },
    /// It cannot be written.
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// A file that is to be.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    beside: NamedTempFile,
}

impl NewFile {
    /// Begins a file of this name.
    pub(crate) fn create(path: &Path) -> Result<Self, NewFileError> {
        if path.symlink_metadata().is_ok() {
            return Err(NewFileError::Exists { path: path.to_owned() });
        }
        let beside = temporary(path)?;
        Ok(Self { path: path.to_owned(), beside })
    }

    /// What it holds so far.
    pub(crate) fn content(&self) -> &File {
        self.beside.as_file()
    }

    /// Where it lies until it is finished.
    pub(crate) fn beside(&self) -> &Path {
        self.beside.path()
    }

    /// The name that it will have.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Another file without a name, beside this one: removed when it is dropped.
    pub(crate) fn another(&self) -> Result<TempPath, NewFileError> {
        temporary(&self.path).map(NamedTempFile::into_temp_path)
    }

    /// That it cannot be written.
    pub(crate) fn failed(&self, source: io::Error) -> NewFileError {
        NewFileError::Write { path: self.path.clone(), source }
    }

    /// Makes it durable and gives it its name.
    pub(crate) fn finish(self) -> Result<(), NewFileError> {
        let content = self.beside.into_temp_path();
        Self::name(content, &self.path)
    }

    /// The same with the content of [`another`](Self::another).
    pub(crate) fn finish_with(self, other: TempPath) -> Result<(), NewFileError> {
        Self::name(other, &self.path)
    }

    fn name(content: TempPath, path: &Path) -> Result<(), NewFileError> {
        let failed = |source| NewFileError::Write { path: path.to_owned(), source };
        let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all()).map_err(failed);
        sync(&content)?;
        content.persist_noclobber(path).map_err(|refused| {
            let exists = refused.error.kind() == io::ErrorKind::AlreadyExists;
            if exists { NewFileError::Exists { path: path.to_owned() } } else { failed(refused.error) }
        })?;
        // The name is to last as well.
        sync(directory(path))
    }
}

fn temporary(path: &Path) -> Result<NamedTempFile, NewFileError> {
    let beside = tempfile::Builder::new().prefix(".bmsctl-").tempfile_in(directory(path));
    beside.map_err(|source| NewFileError::Write { path: path.to_owned(), source })
}

/// Where a file is.
fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::{NewFile, NewFileError};

    #[test]
    fn a_file_appears_when_it_is_complete_and_overwrites_nothing() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("new");
        let file = NewFile::create(&path).expect("created");
        file.content().write_all(b"all").expect("written");
        assert!(!path.exists());
        let second = NewFile::create(&path).expect("not there yet");
        file.finish().expect("named");
        assert_eq!(fs::read(&path).expect("read"), b"all");
        assert!(matches!(second.finish(), Err(NewFileError::Exists { .. })));
        assert!(matches!(NewFile::create(&path), Err(NewFileError::Exists { .. })));
        assert_eq!(fs::read(&path).expect("read"), b"all");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing is left beside it");
    }
}
