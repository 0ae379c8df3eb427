//! Where the kernel shows itself: the three directories that everything about disks and hardware is read below.

use std::path::{Path, PathBuf};

/// The roots of sysfs, procfs and the device nodes. Tests give directories of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// sysfs.
    pub sys: PathBuf,
    /// procfs.
    pub proc: PathBuf,
    /// Device nodes.
    pub dev: PathBuf,
}

impl Roots {
    /// `sys`, `proc` and `dev` below `root`.
    pub fn below(root: &Path) -> Self {
        Self {
            sys: root.join("sys"),
            proc: root.join("proc"),
            dev: root.join("dev"),
        }
    }
}

impl Default for Roots {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}
