//! Small text files of an image, read with a limit. What is there but is no readable text file is an error, never "absent".

use crate::inspect::fs::{FsError, Kind};
use crate::inspect::root::Root;

/// Most bytes of a configuration file that are read.
pub const MAX_TEXT_BYTES: u64 = 1 << 20;
/// Most bytes of a package database that are read.
pub const MAX_DATABASE_BYTES: u64 = 64 << 20;

/// Why a file of the image tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum FactError {
    /// The file system cannot be read there.
    #[error("cannot read {path}")]
    Unreadable {
        /// Path in the image.
        path: String,
        /// What it said.
        source: FsError,
    },
    /// There is something, but no ordinary file.
    #[error("{path} is a {} instead of a file", kind_name(*.kind))]
    NotAFile {
        /// Path in the image.
        path: String,
        /// What it is.
        kind: Kind,
    },
    /// The file is longer than any such file should be.
    #[error("{path} has {size_bytes} bytes, more than the {limit_bytes} that are read")]
    TooLarge {
        /// Path in the image.
        path: String,
        /// Its length.
        size_bytes: u64,
        /// What would be read.
        limit_bytes: u64,
    },
    /// The file contradicts its own format.
    #[error("{path} is malformed: {what}")]
    Malformed {
        /// Path in the image.
        path: String,
        /// What is wrong.
        what: String,
    },
}

/// What a kind of name is called.
pub const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symbolic link",
        Kind::Special => "device, FIFO or socket",
    }
}

/// The text of a configuration file, its odd bytes replaced; none if nothing is there.
///
/// # Errors
/// [`FactError`], if there is something that cannot be read.
pub fn read(root: &Root<'_>, path: &str) -> Result<Option<String>, FactError> {
    let bytes = read_bytes(root, path, MAX_TEXT_BYTES)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim_start_matches('\u{feff}').to_owned()))
}

/// The whole content of a file of at most `limit_bytes`; none if nothing is there.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(root: &Root<'_>, path: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, FactError> {
    let Some(found) = root.find(path).map_err(unreadable(path))? else { return Ok(None) };
    if found.metadata.kind != Kind::File {
        return Err(FactError::NotAFile { path: shown(path), kind: found.metadata.kind });
    }
    let too_large = |size_bytes| FactError::TooLarge { path: shown(path), size_bytes, limit_bytes };
    if found.metadata.size_bytes > limit_bytes {
        return Err(too_large(found.metadata.size_bytes));
    }
    let content = root.read(path, limit_bytes + 1).map_err(unreadable(path))?;
    match content {
        // What the file system says of the size need not be what it gives.
        Some(content) if content.len() as u64 > limit_bytes => Err(too_large(content.len() as u64)),
        content => Ok(content),
    }
}

/// Names in a directory that `wanted` takes, in order; none of them if there is no directory.
///
/// # Errors
/// [`FactError::Unreadable`].
pub fn names(root: &Root<'_>, directory: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, FactError> {
    let entries = root.list(directory).map_err(unreadable(directory))?.unwrap_or_default();
    Ok(entries.into_iter().map(|entry| entry.name).filter(|name| wanted(name)).collect())
}

/// Makes an error of what a file system said of a path.
pub fn unreadable(path: &str) -> impl FnOnce(FsError) -> FactError {
    move |source| FactError::Unreadable { path: shown(path), source }
}

/// A path as it is shown: from the root of the image.
pub fn shown(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}
