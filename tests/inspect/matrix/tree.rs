//! A directory with the files of a made-up system, and how to change them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{run, text};

/// The files of a system. Paths are relative to its root.
pub(super) struct Tree(TempDir);

impl Tree {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().expect("directory"))
    }

    pub(super) fn top(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.top().join(path)
    }

    /// Writes a file in the place of whatever is there.
    pub(super) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        self.make_way(path);
        fs::write(self.path(path), content).expect("write");
        self.chmod(path, 0o644);
    }

    pub(super) fn write_program(&self, path: &str, content: impl AsRef<[u8]>) {
        self.write(path, content);
        self.chmod(path, 0o755);
    }

    /// Writes a unit that a target pulls in.
    pub(super) fn write_unit(&self, name: &str, content: &str, target: &str) {
        self.write(&format!("usr/lib/systemd/system/{name}.service"), content);
        let link = format!("etc/systemd/system/{target}.wants/{name}.service");
        self.link(&link, &format!("/usr/lib/systemd/system/{name}.service"));
    }

    pub(super) fn link(&self, path: &str, target: &str) {
        self.make_way(path);
        symlink(target, self.path(path)).expect("link");
    }

    pub(super) fn make_directory(&self, path: &str) {
        self.make_way(path);
        fs::create_dir(self.path(path)).expect("directory");
    }

    pub(super) fn make_fifo(&self, path: &str) {
        self.make_way(path);
        run("mkfifo", &[self.path(path)]);
    }

    pub(super) fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.path(path), Permissions::from_mode(mode)).expect("mode");
    }

    pub(super) fn replace(&self, path: &str, from: &str, to: &str) {
        let content = fs::read_to_string(self.path(path)).expect("text");
        assert!(content.contains(from), "{path} has no {from}");
        self.write(path, content.replace(from, to));
    }

    pub(super) fn remove(&self, path: &str) {
        let path = self.path(path);
        let metadata = path.symlink_metadata().unwrap_or_else(|error| panic!("{}: {error}", text(&path)));
        let removed = if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.expect("remove");
    }

    fn make_way(&self, path: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        if path.symlink_metadata().is_ok_and(|there| !there.is_dir()) {
            fs::remove_file(&path).expect("remove");
        }
    }
}
