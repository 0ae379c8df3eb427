//! Disks to destroy: loop devices over files that are made here; and images for them.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::run;

/// A loop device. Dropping it, also in a panic, detaches it and removes its file.
#[derive(Debug)]
pub(crate) struct LoopDisk {
    dir: TempDir,
    node: PathBuf,
}

impl LoopDisk {
    pub(crate) fn new(len_bytes: u64) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("disk");
        File::create(&file).and_then(|file| file.set_len(len_bytes)).expect("backing file");
        let node = run("losetup", &[Path::new("--find"), Path::new("--show"), &file]);
        Self { dir, node: PathBuf::from(node) }
    }

    /// Its node in /dev.
    pub(crate) fn node(&self) -> &str {
        self.node.to_str().expect("UTF-8")
    }

    /// What selects it.
    pub(crate) fn selector(&self) -> String {
        format!("name={}", self.node().trim_start_matches("/dev/"))
    }

    /// BLAKE3 of what is on it.
    pub(crate) fn root(&self, len_bytes: u64) -> String {
        let mut bytes = Vec::new();
        File::open(&self.node).expect("open").take(len_bytes).read_to_end(&mut bytes).expect("read");
        blake3::hash(&bytes).to_string()
    }

    /// Whether its first block has the marker of an install that was interrupted, in place of what could boot.
    pub(crate) fn is_marked(&self) -> bool {
        let mut block = [0; 512];
        File::open(&self.node).and_then(|disk| disk.read_exact_at(&mut block, 0)).expect("read");
        block[510..] != [0x55, 0xaa] && block.iter().any(|&byte| byte != 0)
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Only the device that this is: its name may be another's by now.
        let file = format!("/sys/block/{}/loop/backing_file", self.node().trim_start_matches("/dev/"));
        let file = fs::read_to_string(file).unwrap_or_default();
        if Path::new(file.trim_end()) == self.dir.path().join("disk") {
            run("losetup", &["--detach", self.node()]);
        }
    }
}

/// Noise with the signature of a boot sector.
pub(crate) fn image(len_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0; len_bytes];
    blake3::Hasher::new().update(&len_bytes.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes
}
