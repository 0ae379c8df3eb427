//! Made-up images for tests: directories of this system, read as the running host's are.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::inspect::fs::directory::DirectoryFs;
use crate::inspect::root::Root;

/// An initramfs with empty files of these names.
pub(crate) fn initramfs(entries: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for name in entries {
        let entry = cpio::newc::Builder::new(name).mode(0o100_644).write(&mut out, 0);
        entry.finish().expect("memory");
    }
    cpio::newc::trailer(out).expect("memory")
}

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

    /// Takes a file out of it.
    pub(crate) fn remove(&self, path: &str) {
        std::fs::remove_file(self.place(path)).expect("there is such a file");
    }

    /// Looks into it.
    pub(crate) fn root(&self) -> Root<'static> {
        Root::new(Box::new(DirectoryFs::open(self.directory.path()).expect("directory")))
    }
}
