//! Images of file systems, made by their own tools, and filled and emptied through the kernel.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::inspect::free::reason::WholeReason;
use crate::inspect::free::{FileSystem, parse};
use crate::inspect::reader::FileReader;

/// Files that are written into an image, and the largest of them, in bytes.
const FILES: usize = 600;
const MAX_FILE_BYTES: usize = 300_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ext2,
    Ext3,
    Ext4,
    Xfs,
    Btrfs,
}

impl Kind {
    pub(super) fn file_system(self) -> FileSystem {
        match self {
            Self::Ext2 | Self::Ext3 | Self::Ext4 => FileSystem::Ext,
            Self::Xfs => FileSystem::Xfs,
            Self::Btrfs => FileSystem::Btrfs,
        }
    }

    /// The tool that makes it, and the smallest image that it likes, in bytes.
    fn make(self) -> (&'static str, u64) {
        match self {
            Self::Ext2 => ("mkfs.ext2", 160 << 20),
            Self::Ext3 => ("mkfs.ext3", 160 << 20),
            Self::Ext4 => ("mkfs.ext4", 160 << 20),
            Self::Xfs => ("mkfs.xfs", 320 << 20),
            Self::Btrfs => ("mkfs.btrfs", 600 << 20),
        }
    }
}

/// An image of one file system.
pub(super) struct Image {
    directory: TempDir,
    pub(super) path: PathBuf,
    pub(super) len_bytes: u64,
    /// The files that are in it, and the hashes of their bytes.
    pub(super) expected: BTreeMap<PathBuf, blake3::Hash>,
}

/// A mounted image; it is unmounted in the end.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // A process that another test starts right now may share our open files for a moment.
        let mut tries = (0..1000).map(|_| Command::new("umount").arg(&self.0).output().expect("umount"));
        let done = tries.any(|output| output.status.success());
        assert!(done || std::thread::panicking(), "{} cannot be unmounted", self.0.display());
    }
}

impl Image {
    /// An image with an empty file system.
    pub(super) fn made(kind: Kind, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("image");
        let (tool, len_bytes) = kind.make();
        File::create(&path).expect("create").set_len(len_bytes).expect("length");
        fs::create_dir(directory.path().join("mount")).expect("directory");
        let arguments = ["-q"].into_iter().chain(options.iter().copied()).map(OsStr::new);
        run(tool, arguments.chain([path.as_os_str()]));
        Self { directory, path, len_bytes, expected: BTreeMap::new() }
    }

    /// An image whose files were written, deleted and written again, so that what is free is in many pieces.
    pub(super) fn aged(kind: Kind, options: &[&str]) -> Self {
        let mut image = Self::made(kind, options);
        let mut random = fastrand::Rng::with_seed(7);
        let mounted = image.mount("rw");
        for round in 0..3 {
            for number in (0..FILES).filter(|number| number % 3 != round) {
                write(&mounted.0, number, &mut random);
            }
            run("sync", ["-f".as_ref(), mounted.0.as_os_str()]);
            for number in (0..FILES).filter(|number| number % 3 == round) {
                fs::remove_file(name(&mounted.0, number)).ok();
            }
        }
        drop(mounted);
        image.expected = image.files();
        assert!(image.expected.len() > FILES / 2, "{}", image.expected.len());
        image
    }

    fn mount(&self, mode: &str) -> Mounted {
        let at = self.directory.path().join("mount");
        let options = format!("loop,{mode}");
        let arguments = [OsStr::new("-o"), OsStr::new(&options), self.path.as_os_str(), at.as_os_str()];
        // Whoever else takes a loop device right now may take the very one that mount has chosen.
        let mut tries = (0..20).map(|_| Command::new("mount").args(arguments).output().expect("mount"));
        assert!(tries.any(|output| output.status.success()), "{} cannot be mounted", self.path.display());
        Mounted(at)
    }

    /// The image as it is while a file was just written and made durable.
    pub(super) fn copied_while_mounted(&self) -> File {
        let mounted = self.mount("rw");
        let mut file = File::create(mounted.0.join("alive")).expect("create");
        file.write_all(&[7; 5000]).expect("write");
        file.sync_all().expect("sync");
        self.copy()
    }

    /// The image while much of its log was written.
    pub(super) fn filled_log(&self) -> File {
        let mounted = self.mount("rw");
        for number in 0..12_000 {
            fs::create_dir_all(mounted.0.join(format!("{}/{number}", number % 40))).expect("create");
        }
        run("sync", ["-f".as_ref(), mounted.0.as_os_str()]);
        let copy = self.copy();
        for number in 0..40 {
            fs::remove_dir_all(mounted.0.join(number.to_string())).expect("remove");
        }
        copy
    }

    fn copy(&self) -> File {
        let to = self.directory.path().join("copy");
        run("cp", ["--sparse=always".as_ref(), self.path.as_os_str(), to.as_os_str()]);
        File::open(to).expect("open")
    }

    pub(super) fn file(&self) -> File {
        File::open(&self.path).expect("open")
    }

    /// What is found free, in bytes of the image.
    pub(super) fn free(&self) -> Result<Vec<Range<u64>>, WholeReason> {
        let reader = FileReader::new(self.file(), self.len_bytes);
        let kind = crate::inspect::free::probe::identify(&reader)?;
        parse(&reader, kind).map(|found| found.free.finish())
    }

    /// Writes noise over ranges.
    pub(super) fn overwrite(&self, ranges: &[Range<u64>]) {
        let file = OpenOptions::new().write(true).open(&self.path).expect("open");
        let noise: Vec<u8> = (0..1_u32 << 16).flat_map(|at| at.wrapping_mul(0x9e37_79b1).to_le_bytes()).collect();
        for range in ranges {
            for start in range.clone().step_by(noise.len()) {
                let len = usize::try_from(range.end - start).expect("small").min(noise.len());
                file.write_all_at(&noise[..len], start).expect("write");
            }
        }
    }

    /// Lets the file system's own checker look at it.
    pub(super) fn check(&self, kind: Kind) {
        let (tool, options) = match kind {
            Kind::Ext2 | Kind::Ext3 | Kind::Ext4 => ("e2fsck", &["-f", "-n"][..]),
            Kind::Xfs => ("xfs_repair", &["-n", "-f"][..]),
            Kind::Btrfs => ("btrfs", &["check", "--check-data-csum"][..]),
        };
        run(tool, options.iter().map(OsStr::new).chain([self.path.as_os_str()]));
    }

    /// All files, and the hashes of their bytes.
    pub(super) fn files(&self) -> BTreeMap<PathBuf, blake3::Hash> {
        let mounted = self.mount("ro");
        let mut found = BTreeMap::new();
        let mut open = vec![mounted.0.clone()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).expect("directory") {
                let path = entry.expect("entry").path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let hash = blake3::hash(&fs::read(&path).expect("file"));
                    found.insert(path.strip_prefix(&mounted.0).expect("below").to_owned(), hash);
                }
            }
        }
        found
    }
}

/// Files that a tool puts into an image while it makes it.
pub(super) struct Files {
    directory: TempDir,
    tree: String,
    prototype: String,
}

impl Files {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let below = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
        let (tree, prototype) = (below("tree"), below("prototype"));
        let mut random = fastrand::Rng::with_seed(11);
        // The form that mkfs.xfs reads: a boot block, two numbers, then a directory with its entries.
        let mut lines = "/\n0 0\nd--755 0 0\n".to_owned();
        for number in 0..100 {
            write(Path::new(&tree), number, &mut random);
            let path = name(Path::new(&tree), number);
            lines += &format!("{number} ---644 0 0 {}\n", path.display());
        }
        fs::write(&prototype, lines + "$\n").expect("write");
        Self { directory, tree, prototype }
    }

    pub(super) fn tree(&self) -> &str {
        assert!(self.directory.path().exists());
        &self.tree
    }

    pub(super) fn prototype(&self) -> &str {
        &self.prototype
    }
}

fn name(root: &Path, number: usize) -> PathBuf {
    root.join(format!("{}/{}/{number}", number % 7, number % 11))
}

fn write(root: &Path, number: usize, random: &mut fastrand::Rng) {
    let path = name(root, number);
    fs::create_dir_all(path.parent().expect("parent")).expect("directory");
    let len = random.usize(..MAX_FILE_BYTES) >> random.usize(..12);
    let content: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
    fs::write(path, content).expect("write");
}

/// Runs a tool, which has to succeed; gives what it said.
pub(super) fn run<A: AsRef<OsStr>>(tool: &str, arguments: impl IntoIterator<Item = A>) -> String {
    let output = Command::new(tool).args(arguments).output().unwrap_or_else(|error| panic!("{tool}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} ended with {}: {said}{complaint}", output.status);
    said
}
