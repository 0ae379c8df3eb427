//! The tree of files that an installed system would see: its root file system with others joined into it, looked into by
//! path. Links are followed inside the tree alone, as `openat2` does with `RESOLVE_IN_ROOT`: an absolute one begins at the
//! root, and `..` of the root is the root.

use std::collections::VecDeque;
use std::io::Read;

use super::fs::{Entry, FileSystem, FsError, Kind, Metadata};

pub mod assemble;
mod source;
mod view;

#[cfg(test)]
mod tests;

/// Most links that one look-up follows, as in Linux.
const MAX_LINKS: usize = 40;
/// Most components that one look-up walks, those of links included.
const MAX_COMPONENTS: usize = 1024;

/// A tree of files. Paths given to it begin at its root, with or without a slash.
#[derive(Debug)]
pub struct Root<'a> {
    /// The root comes first.
    mounts: Vec<Mount<'a>>,
}

/// A file system, and where it is joined in.
#[derive(Debug)]
struct Mount<'a> {
    /// Components of the directory; none for the root.
    at: Vec<String>,
    fs: Box<dyn FileSystem + 'a>,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The path without links, with a slash at its begin.
    pub path: String,
    /// What is there.
    pub metadata: Metadata,
}

/// Whether a link at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Follow,
    Keep,
}

impl<'a> Root<'a> {
    /// A tree of one file system.
    pub fn new(fs: Box<dyn FileSystem + 'a>) -> Self {
        Self { mounts: vec![Mount { at: Vec::new(), fs }] }
    }

    /// Joins a file system in at a directory, which need not exist. What was there is hidden.
    pub fn join(&mut self, at: &str, fs: Box<dyn FileSystem + 'a>) {
        self.mounts.push(Mount { at: components(at).map(str::to_owned).collect(), fs });
    }

    /// What a path leads to, through all links; none if it leads nowhere.
    ///
    /// # Errors
    /// [`FsError`], if that cannot be told; links that go round in circles lead nowhere.
    pub fn find(&self, path: &str) -> Result<Option<Found>, FsError> {
        self.walk(path, Last::Follow)
    }

    /// The same, but a link at the end is not followed.
    ///
    /// # Errors
    /// As [`Root::find`].
    pub fn find_link(&self, path: &str) -> Result<Option<Found>, FsError> {
        self.walk(path, Last::Keep)
    }

    /// Where a symbolic link leads, as it is written there; none if there is no link.
    ///
    /// # Errors
    /// As [`Root::find`].
    pub fn read_link(&self, path: &str) -> Result<Option<String>, FsError> {
        let found = self.find_link(path)?.filter(|found| found.metadata.kind == Kind::Symlink);
        found.map(|found| self.within(&found.path, |fs, path| fs.read_link(path))).transpose()
    }

    /// The content of an ordinary file; none if there is none.
    ///
    /// # Errors
    /// As [`Root::find`].
    pub fn open(&self, path: &str) -> Result<Option<Box<dyn Read + '_>>, FsError> {
        let Some(found) = self.find(path)?.filter(|found| found.metadata.kind == Kind::File) else { return Ok(None) };
        let parts: Vec<String> = components(&found.path).map(str::to_owned).collect();
        let (mount, inner) = self.mount_of(&parts);
        mount.fs.open(&inner).map(Some)
    }

    /// The first `limit` bytes of an ordinary file; none if there is none.
    ///
    /// # Errors
    /// As [`Root::find`].
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, FsError> {
        let Some(file) = self.open(path)? else { return Ok(None) };
        let mut content = Vec::new();
        file.take(limit).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    /// The whole content of an ordinary file; none if there is none.
    ///
    /// # Errors
    /// As [`Root::find`]; [`FsError::Limit`] if it is longer than `limit` bytes.
    pub fn read_whole(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, FsError> {
        let content = self.read(path, limit.saturating_add(1))?;
        match &content {
            Some(bytes) if bytes.len() as u64 > limit => Err(FsError::Limit { what: "the length of a file", limit }),
            Some(_) | None => Ok(content),
        }
    }

    /// The names in a directory, sorted; none if there is none. Of file systems joined in below it, nothing is said.
    ///
    /// # Errors
    /// As [`Root::find`].
    pub fn list(&self, path: &str) -> Result<Option<Vec<Entry>>, FsError> {
        let found = self.find(path)?.filter(|found| found.metadata.kind == Kind::Directory);
        let listed = found.map(|found| self.within(&found.path, |fs, path| fs.list(path))).transpose()?;
        Ok(listed.map(|mut entries| {
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            entries
        }))
    }

    fn within<T>(
        &self,
        path: &str,
        ask: impl FnOnce(&(dyn FileSystem + 'a), &str) -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        let parts: Vec<String> = components(path).map(str::to_owned).collect();
        let (mount, inner) = self.mount_of(&parts);
        ask(mount.fs.as_ref(), &inner)
    }

    /// The file system that a path without links lies in, and the path there.
    fn mount_of(&self, parts: &[String]) -> (&Mount<'a>, String) {
        // There is always the root; of two at one place, the one that was joined in last is taken, as `max_by_key` does.
        let mounts = self.mounts.iter().filter(|mount| parts.starts_with(&mount.at));
        let mount = mounts.max_by_key(|mount| mount.at.len()).unwrap_or(&self.mounts[0]);
        (mount, parts[mount.at.len()..].join("/"))
    }

    fn walk(&self, path: &str, last: Last) -> Result<Option<Found>, FsError> {
        let mut todo: VecDeque<String> = components(path).map(str::to_owned).collect();
        let mut done: Vec<String> = Vec::new();
        let mut metadata = self.stat(&done)?;
        let (mut links, mut walked) = (0, 0);
        while let Some(name) = todo.pop_front() {
            walked += 1;
            if walked > MAX_COMPONENTS {
                return Ok(None);
            }
            if metadata.is_none_or(|metadata| metadata.kind != Kind::Directory) {
                return Ok(None);
            }
            match name.as_str() {
                ".." => drop(done.pop()),
                _ => done.push(name),
            }
            metadata = self.stat(&done)?;
            let is_link = metadata.is_some_and(|metadata| metadata.kind == Kind::Symlink);
            if !is_link || (todo.is_empty() && last == Last::Keep) {
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Ok(None);
            }
            let (mount, inner) = self.mount_of(&done);
            let target = mount.fs.read_link(&inner)?;
            if target.is_empty() {
                return Ok(None);
            }
            done.pop();
            if target.starts_with('/') {
                done.clear();
            }
            for part in components(&target).rev() {
                todo.push_front(part.to_owned());
            }
            metadata = self.stat(&done)?;
        }
        Ok(metadata.map(|metadata| Found { path: format!("/{}", done.join("/")), metadata }))
    }

    fn stat(&self, parts: &[String]) -> Result<Option<Metadata>, FsError> {
        let (mount, inner) = self.mount_of(parts);
        mount.fs.metadata(&inner)
    }
}

/// The parts of a path that lead on: names, and `..`.
fn components(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}
