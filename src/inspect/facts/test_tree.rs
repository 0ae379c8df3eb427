//! Made-up images for tests: directories of this system, read as the running host's are.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::inspect::fs::directory::DirectoryFs;
use crate::inspect::root::Root;

/// A tree of files that goes away with it.
#[derive(Debug)]
pub(crate) struct Tree {
    directory: tempfile::TempDir,
}

impl Tree {
    /// One without files.
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("temporary directory") }
    }

    fn place(&self, path: &str) -> PathBuf {
        let place = self.directory.path().join(path);
        std::fs::create_dir_all(place.parent().expect("below the tree")).expect("directories");
        place
    }

    /// Puts a file into it, with the directories above it.
    pub(crate) fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.place(path), content).expect("file");
    }

    /// Puts a link into it, with the directories above it.
    pub(crate) fn link(&self, path: &str, target: &str) {
        symlink(target, self.place(path)).expect("link");
    }

    /// Looks into it.
    pub(crate) fn root(&self) -> Root<'static> {
        Root::new(Box::new(DirectoryFs::open(self.directory.path()).expect("directory")))
    }
}
