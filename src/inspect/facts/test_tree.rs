//! Made-up images for tests: directories of this system, read as the running host's are.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::inspect::fs::directory::DirectoryFs;
use crate::inspect::root::Root;

/// An object file with a `.modinfo` section, as small as it can be.
pub(crate) fn module(records: &[&str]) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let info: Vec<u8> = records.iter().flat_map(|record| [record.as_bytes(), b"\0"].concat()).collect();
    let (names_at, sections_at) = (64 + info.len(), (64 + info.len() + names.len()).next_multiple_of(8));
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([1, 0, 62, 0, 1, 0, 0, 0]);
    file.resize(40, 0);
    file.extend((sections_at as u64).to_le_bytes());
    file.resize(52, 0);
    // Lengths of this header and of the others, and how many sections there are, the last with their names.
    file.extend([64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
    file.extend(&info);
    file.extend(names);
    file.resize(sections_at + 64, 0);
    for (name, kind, at, len) in [(1_u32, 1_u32, 64, info.len()), (10, 3, names_at, names.len())] {
        let start = file.len();
        file.extend(name.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.resize(start + 24, 0);
        file.extend((at as u64).to_le_bytes());
        file.extend((len as u64).to_le_bytes());
        file.resize(start + 64, 0);
    }
    file
}

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
