//! File systems that were changed by somebody who knows how: whatever they say, the answer is an error or some files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bms_agent::inspect::fs::{FileSystem, FsError, Kind, open};
use bms_agent::inspect::reader::{DiskReader, FileReader, Metered};

use super::rig::{Image, Tree};
use super::{run, text};

/// Images with changes that are tried of each kind, and the longest that one may take.
const CASES: u64 = 150;
const LONGEST: Duration = Duration::from_secs(60);
/// What is looked at of an image.
const MAX_DEPTH: usize = 12;
const MAX_FILES: usize = 400;

/// An image of which some bytes read as others.
#[derive(Debug)]
struct Changed {
    below: FileReader,
    changes: BTreeMap<u64, u8>,
}

impl DiskReader for Changed {
    fn len_bytes(&self) -> u64 {
        self.below.len_bytes()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.below.read_at(offset, out)?;
        for (at, byte) in self.changes.range(offset..offset + out.len() as u64) {
            out[usize::try_from(at - offset).expect("small")] = *byte;
        }
        Ok(())
    }
}

/// An image with some bytes changed, as an inspection reads it.
fn changed(image: &Image, changes: impl IntoIterator<Item = (u64, u8)>) -> Rc<dyn DiskReader> {
    let file = File::open(&image.path).expect("open");
    let len_bytes = file.metadata().expect("metadata").len();
    let changed = Changed { below: FileReader::new(file, len_bytes), changes: changes.into_iter().collect() };
    Rc::new(Metered::new(changed, 256 << 20))
}

/// Looks at all there is, within bounds; how many files there were.
fn walk(fs: &dyn FileSystem, path: &str, depth: usize, seen: &mut usize) -> Result<(), FsError> {
    for entry in fs.list(path)? {
        *seen += 1;
        if *seen > MAX_FILES {
            break;
        }
        let inner = if path.is_empty() { entry.name } else { format!("{path}/{}", entry.name) };
        match fs.metadata(&inner) {
            Ok(Some(metadata)) if metadata.kind == Kind::Directory && depth < MAX_DEPTH => {
                walk(fs, &inner, depth + 1, seen).ok();
            }
            Ok(Some(metadata)) if metadata.kind == Kind::Symlink => drop(fs.read_link(&inner)),
            Ok(Some(metadata)) if metadata.kind == Kind::File => {
                fs.open(&inner).map(|file| file.take(200_000).read_to_end(&mut Vec::new())).ok();
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// Sectors of an image that are not all zero.
fn used_sectors(image: &Image) -> Vec<u64> {
    let file = File::open(&image.path).expect("open");
    let len = file.metadata().expect("metadata").len();
    let mut block = vec![0; 1 << 20];
    let mut used = Vec::new();
    for start in (0..len).step_by(block.len()) {
        let count = file.read_at(&mut block, start).expect("read");
        let sectors = (start / 512..).zip(block[..count].chunks(512));
        used.extend(sectors.filter(|(_, sector)| sector.iter().any(|byte| *byte != 0)).map(|(number, _)| number));
    }
    used
}

/// Tries changes on an image; how many of them made a parser panic.
fn panics(image: &Image) -> u64 {
    let used = used_sectors(image);
    let mut random = fastrand::Rng::with_seed(11);
    let mut panics = 0;
    for case in 0..CASES {
        let changes: Vec<(u64, u8)> = (0..random.usize(1..30))
            .map(|_| {
                let value = random.choice([0, 1, 0x7f, 0x80, 0xff]).filter(|_| random.bool());
                (random.choice(&used).expect("some") * 512 + random.u64(0..512), value.unwrap_or(random.u8(..)))
            })
            .collect();
        let volume = changed(image, changes.iter().copied());
        let begun = Instant::now();
        let look = || open(&volume).map(|fs| fs.map(|fs| walk(fs.as_ref(), "", 0, &mut 0)));
        panics += u64::from(catch_unwind(AssertUnwindSafe(look)).is_err());
        assert!(begun.elapsed() < LONGEST, "case {case} takes {:?}: {changes:?}", begun.elapsed());
    }
    panics
}

fn tree() -> Tree {
    let tree = Tree::plain(40);
    fs::remove_dir_all(tree.path().join("lib")).expect("remove");
    tree.file("lib/module.ko", &vec![3; 60_000]);
    tree
}

/// The image that `mke2fs` makes of a tree, without checksums that would tell of a change.
fn ext(options: &[&str], tree: &Tree) -> Image {
    let image = Image::empty(8 << 20);
    let own = ["-q", "-t", "ext4", "-I", "256", "-O", "^metadata_csum", "-d", text(tree.path())];
    run("mke2fs", &[&own, options, &[text(&image.path)]].concat());
    image
}

// A child process parses, which a panic ends safely; how often that happens is printed, and is 0 with these versions.

#[test]
#[ignore = "needs the tools of ext4"]
fn changed_ext_gives_an_error_or_some_files() {
    let tree = tree();
    let count = panics(&ext(&[], &tree)) + panics(&ext(&["-O", "^extents,^64bit,^has_journal"], &tree));
    eprintln!("ext4-view: {count} panics of {}", 2 * CASES);
}

#[test]
#[ignore = "needs the tools of XFS"]
fn changed_xfs_gives_an_error_or_some_files() {
    let image = Image::empty(320 << 20);
    let tree = Tree::simple();
    run("mkfs.xfs", &["-q", "-m", "crc=0", "-p", text(tree.prototype().path()), text(&image.path)]);
    eprintln!("lamxfs: {} panics of {CASES}", panics(&image));
}

#[test]
#[ignore = "needs the tools of btrfs"]
fn changed_btrfs_gives_an_error_or_some_files() {
    let image = Image::empty(128 << 20);
    run("mkfs.btrfs", &["-q", "--rootdir", text(tree().path()), text(&image.path)]);
    eprintln!("lambutter: {} panics of {CASES}", panics(&image));
}

#[test]
#[ignore = "needs ntfs-3g, FUSE and root"]
fn changed_ntfs_gives_an_error_or_some_files() {
    let image = Image::empty(20 << 20);
    run("mkfs.ntfs", &["-F", "-Q", "-q", text(&image.path)]);
    let mounted = image.mount_as("ntfs-3g", "rw");
    tree().copy_to(&mounted.path);
    drop(mounted);
    eprintln!("ntfs: {} panics of {CASES}", panics(&image));
}

/// This parser is the project's own.
#[test]
#[ignore = "needs dosfstools and mtools"]
fn changed_fat_gives_an_error_or_some_files_and_never_panics() {
    let tree = tree();
    for (bits, mib) in [("12", 2), ("16", 20), ("32", 36)] {
        let image = Image::empty(mib << 20);
        run("mkfs.vfat", &["-F", bits, "-s", "1", text(&image.path)]);
        let command = ["LC_ALL=C.UTF-8", "mcopy", "-s", "-Q", "-i", text(&image.path)];
        let entries = tree.top_level();
        let sources = entries.iter().map(|path| text(path));
        run("env", &command.into_iter().chain(sources).chain(["::/"]).collect::<Vec<_>>());
        assert_eq!(panics(&image), 0);
    }
}

fn fails(volume: &Rc<dyn DiskReader>, expected: &str) {
    match open(volume) {
        Err(FsError::Malformed { what }) => assert!(what.contains(expected), "{what}"),
        other => panic!("{expected}: {other:?}"),
    }
}

#[test]
#[ignore = "needs the tools of ext4"]
fn superblocks_that_cannot_be_are_malformed() {
    let image = ext(&[], &tree());
    let set = |at: u64, bytes: &[u8]| changed(&image, (1024 + at..).zip(bytes.iter().copied()));
    fails(&set(0x18, &[40]), "block size");
    fails(&set(0x28, &[0; 4]), "inodes in a group");
    fails(&set(0x28, &[0xff; 4]), "inodes in a group");
    fails(&set(0x20, &[0; 4]), "blocks in a group");
    fails(&set(0x20, &[1, 0, 0, 0]), "number of groups");
    fails(&set(0xfe, &[0; 2]), "size of group descriptors");
    fails(&set(0xfe, &[0xff; 2]), "size of group descriptors");
    fails(&set(0x58, &[0; 2]), "size of inodes");
    fails(&set(0x58, &[0, 0x80]), "size of inodes");
    fails(&set(4, &[0; 4]), "number of blocks");
    fails(&set(0x150, &[0xff; 4]), "number of blocks");
    fails(&set(0, &[0xff; 4]), "number of groups");
    assert!(open(&set(0x18, &[])).expect("unchanged").is_some());
    let old = ext(&["-I", "128", "-O", "metadata_csum"], &tree());
    let old = changed(&old, []);
    assert!(matches!(open(&old), Err(FsError::Unsupported { .. })));
}

#[test]
#[ignore = "needs the tools of ext4"]
fn trees_of_extents_that_do_not_end_are_errors() {
    for (what, fields) in [
        ("a depth of 65535", &["block[1] 0xffff0004"][..]),
        ("a tree that is its own child", &["block[0] 0x0001f30a", "block[1] 0x00050004", "block[4] 0"]),
        ("a child that is the superblock", &["block[0] 0x0001f30a", "block[1] 0x00010004", "block[4] 1"]),
    ] {
        let image = ext(&[], &tree());
        for field in fields {
            run("debugfs", &["-w", "-R", &format!("set_inode_field /lib/module.ko {field}"), text(&image.path)]);
        }
        let volume = changed(&image, []);
        let fs = open(&volume).expect("readable").expect("a file system");
        let begun = Instant::now();
        let read = fs.open("lib/module.ko").and_then(|mut file| Ok(file.read_to_end(&mut Vec::new())?));
        assert!(matches!(read, Err(FsError::Malformed { .. } | FsError::Limit { .. })), "{what}: {read:?}");
        assert!(begun.elapsed() < LONGEST, "{what}");
    }
}

/// A directory whose chain of clusters leads back to its begin.
#[test]
#[ignore = "needs dosfstools and mtools"]
fn a_directory_without_end_is_a_limit() {
    let image = Image::empty(20 << 20);
    run("mkfs.vfat", &["-F", "16", "-s", "1", "-R", "1", text(&image.path)]);
    run("mmd", &["-i", text(&image.path), "::/EFI"]);
    // Fill the only cluster, so that no entry ends the directory; the first table begins behind the boot sector.
    let table = 512 + 2 * 2;
    let file = File::options().read(true).write(true).open(&image.path).expect("open");
    file.write_all_at(&2_u16.to_le_bytes(), table).expect("write");
    let mut boot = [0; 512];
    file.read_exact_at(&mut boot, 0).expect("read");
    let le16 = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
    let data = (1 + 2 * le16(22)) * 512 + le16(17) * 32;
    let mut cluster = [0; 512];
    file.read_exact_at(&mut cluster, data).expect("read");
    assert!(cluster.starts_with(b".  "), "this is the directory");
    cluster.chunks_mut(32).skip(2).for_each(|entry| entry.fill(0xe5));
    file.write_all_at(&cluster, data).expect("write");
    let fs = open(&changed(&image, [])).expect("readable").expect("a file system");
    let error = fs.list("EFI").expect_err("no end");
    assert!(matches!(error, FsError::Limit { what: "a directory", .. }), "{error:?}");
}
