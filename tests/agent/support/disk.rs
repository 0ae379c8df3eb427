//! Disks to destroy: loop devices over files that are made here and nowhere else.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bms_agent::disk::table::{self, TableKind};
use bms_agent::rpc::proto::v1::DiskSelector;
use tempfile::TempDir;

use super::{MIB, Seed, eventually, run, try_run};

/// A loop device of its own. Dropping it, also in a panic, detaches it and removes its file.
#[derive(Debug)]
pub(crate) struct LoopDisk {
    /// None for a second device on the file of another.
    dir: Option<TempDir>,
    pub(crate) backing: PathBuf,
    /// Kernel name.
    pub(crate) name: String,
    len_bytes: u64,
    block_size: u32,
    attached: bool,
}

impl LoopDisk {
    /// A disk with blocks of 512 bytes, all zero.
    pub(crate) fn new(len_bytes: u64) -> Self {
        Self::with_block_size(len_bytes, 512)
    }

    pub(crate) fn with_block_size(len_bytes: u64, block_size: u32) -> Self {
        Self::make(tempdir(None), len_bytes, block_size, &[])
    }

    /// A disk that the kernel refuses to write.
    pub(crate) fn read_only(len_bytes: u64) -> Self {
        Self::make(tempdir(None), len_bytes, 512, &["--read-only"])
    }

    /// A disk over a file that is there, and that the kernel refuses to write.
    pub(crate) fn over(file: &Path) -> Self {
        let len_bytes = fs::metadata(file).expect("the file").len();
        let name = attach(file, 512, &["--read-only"]);
        Self { dir: None, backing: file.to_owned(), name, len_bytes, block_size: 512, attached: true }
    }

    /// How many writes the kernel has sent to it so far.
    pub(crate) fn writes(&self) -> u64 {
        let stat = fs::read_to_string(format!("/sys/block/{}/stat", self.name)).expect("stat");
        stat.split_whitespace().nth(4).and_then(|count| count.parse().ok()).expect("a number of writes")
    }

    /// A disk whose partitions the kernel shows.
    pub(crate) fn with_partitions(len_bytes: u64) -> Self {
        Self::make(tempdir(None), len_bytes, 512, &["--partscan"])
    }

    /// Makes one partition of 16 MiB, and waits until the kernel shows it; gives its kernel name.
    pub(crate) fn partition(&self) -> String {
        let node = self.node().display().to_string();
        run("sgdisk", &["--new=1:2048:+16M", &node]);
        // udev looks at what was written, and the kernel reads no table while it does.
        if Path::new("/run/udev/control").exists() {
            try_run("udevadm", &["settle"]).map_or_else(|error| eprintln!("{error}"), drop);
        }
        run("partx", &["--update", &node]);
        let partition = format!("{}p1", self.name);
        eventually("the partition has a node", || Path::new("/dev").join(&partition).exists());
        partition
    }

    /// A disk whose file is below `place`.
    pub(crate) fn below(place: &Path, len_bytes: u64) -> Self {
        Self::make(tempdir(Some(place)), len_bytes, 512, &[])
    }

    /// A second device on the same file: two disks with one identity.
    pub(crate) fn twin(&self) -> Self {
        let name = attach(&self.backing, self.block_size, &[]);
        Self { dir: None, backing: self.backing.clone(), name, attached: true, ..*self }
    }

    fn make(dir: TempDir, len_bytes: u64, block_size: u32, options: &[&str]) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "loop devices need root");
        let backing = dir.path().join("disk");
        File::create(&backing).and_then(|file| file.set_len(len_bytes)).expect("backing file");
        let name = attach(&backing, block_size, options);
        Self { dir: Some(dir), backing, name, len_bytes, block_size, attached: true }
    }

    pub(crate) fn node(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// What selects this disk and no other.
    pub(crate) fn selector(&self) -> String {
        format!("backing-file={}", self.backing.display())
    }

    /// The same on the wire.
    pub(crate) fn wire_selector(&self) -> DiskSelector {
        DiskSelector { backing_file: Some(self.backing.display().to_string()), ..DiskSelector::default() }
    }

    /// What is on the disk.
    pub(crate) fn read(&self, range: Range<u64>) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).expect("fits memory")];
        let disk = File::open(self.node()).expect("open");
        disk.read_exact_at(&mut bytes, range.start).expect("read");
        bytes
    }

    pub(crate) fn read_all(&self) -> Vec<u8> {
        self.read(0..self.len_bytes)
    }

    /// BLAKE3 of the first bytes of the disk.
    pub(crate) fn hash(&self, len_bytes: u64) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut disk = File::open(self.node()).expect("open").take(len_bytes);
        let mut buffer = vec![0; 4 << 20];
        loop {
            match disk.read(&mut buffer).expect("read") {
                0 => return hasher.finalize().to_string(),
                len => hasher.update(&buffer[..len]),
            };
        }
    }

    pub(crate) fn hash_all(&self) -> String {
        self.hash(self.len_bytes)
    }

    /// Writes behind the agent's back, and waits until it is on the disk.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        let mut disk = OpenOptions::new().write(true).open(self.node()).expect("open");
        disk.seek(SeekFrom::Start(offset)).expect("seek");
        disk.write_all(bytes).and_then(|()| disk.sync_all()).expect("write");
    }

    /// Fills the disk with noise: what a former tenant left.
    pub(crate) fn fill(&self, seed: &mut Seed) {
        let mut at = 0;
        while at < self.len_bytes {
            let len = (16 * MIB).min(self.len_bytes - at);
            self.write(at, &seed.bytes(len));
            at += len;
        }
    }

    pub(crate) fn table(&self) -> TableKind {
        let mut disk = File::open(self.node()).expect("open");
        table::read(&mut disk, self.len_bytes, self.block_size).expect("readable").kind
    }

    /// Whether anything could take the disk for one to boot or to use.
    pub(crate) fn is_bootable(&self) -> bool {
        let mut disk = File::open(self.node()).expect("open");
        table::is_bootable(&mut disk, self.len_bytes, self.block_size).expect("readable")
    }

    /// Pulls the disk out.
    pub(crate) fn detach(&mut self) {
        run("losetup", &["--detach", self.node().to_str().expect("UTF-8")]);
        self.attached = false;
        // A device that somebody looks at goes away when they have looked.
        eventually("the device is detached", || backing_file(&self.name).as_ref() != Some(&self.backing));
    }

    /// Pulls the disk out and puts it in again: the same bytes, another disk sequence number.
    pub(crate) fn reattach(&mut self) {
        self.detach();
        self.name = attach(&self.backing, self.block_size, &[]);
        self.attached = true;
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if std::env::var_os("KEEP_TEST_DEVICES").is_some() {
            eprintln!("kept: {} over {}", self.node().display(), self.backing.display());
            self.dir.take().map(TempDir::keep);
            return;
        }
        // Only the device that this is: its name may be another's by now.
        if self.attached && backing_file(&self.name).as_ref() == Some(&self.backing) {
            try_run("losetup", &["--detach", &format!("/dev/{}", self.name)])
                .map_or_else(|error| eprintln!("{error}"), drop);
        }
    }
}

fn tempdir(place: Option<&Path>) -> TempDir {
    let dir = place.map_or_else(tempfile::tempdir, tempfile::tempdir_in);
    dir.expect("temporary directory")
}

fn attach(backing: &Path, block_size: u32, options: &[&str]) -> String {
    let (block_size, backing) = (block_size.to_string(), backing.to_str().expect("UTF-8"));
    let common = [&["--find", "--show", "--sector-size", &block_size], options].concat();
    // Not every file system has direct I/O; without it the pages of the file are cached a second time.
    let direct = [&common[..], &["--direct-io=on", backing]].concat();
    let node = try_run("losetup", &direct).unwrap_or_else(|_| run("losetup", &[&common[..], &[backing]].concat()));
    node.strip_prefix("/dev/").expect("a device node").to_owned()
}

fn backing_file(name: &str) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()?;
    Some(PathBuf::from(text.trim_end()))
}
