//! File systems that their own tools made, read by offset: what is shown must be what was put in.

mod damage;
mod dirty;
pub(crate) mod rig;

use std::fs::File;
use std::path::Path;
use std::rc::Rc;

use bms_agent::inspect::free::reason::Owner;
use bms_agent::inspect::fs::btrfs::BtrfsFs;
use bms_agent::inspect::fs::{Content, FileSystem, FsError, FsKind, Kind, Subvolume, open, probe};
use bms_agent::inspect::reader::{DiskReader, FileReader, Metered};

use self::rig::{Case, Image, MANY, SOME, Tree, compare};
use super::{run, text};

/// The reader that an inspection has.
fn reader(path: &Path) -> Rc<Metered<FileReader>> {
    let file = File::open(path).expect("open");
    let len_bytes = file.metadata().expect("metadata").len();
    Rc::new(Metered::new(FileReader::new(file, len_bytes), 256 << 20))
}

fn opened(path: &Path) -> Box<dyn FileSystem> {
    let volume: Rc<dyn DiskReader> = reader(path);
    open(&volume).expect("readable").expect("a file system")
}

/// What `blkid` says of an image.
fn blkid(path: &Path, tag: &str) -> Option<String> {
    let output = std::process::Command::new("blkid").args(["-p", "-o", "value", "-s", tag, text(path)]).output();
    let value = String::from_utf8(output.expect("blkid").stdout).expect("UTF-8");
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn check_identity(fs: &dyn FileSystem, image: &Path) {
    assert_eq!(fs.identity().uuid, blkid(image, "UUID"));
    assert_eq!(fs.identity().label, blkid(image, "LABEL"));
    assert!(fs.identity().label.is_some(), "the test is about a label");
}

#[test]
#[ignore = "needs the tools of ext4"]
fn ext_shows_what_mkfs_put_in() {
    let tree = Tree::unix();
    for (options, label) in [
        (&["-t", "ext4"][..], "root"),
        (&["-t", "ext4", "-b", "1024", "-I", "256"], "a label of 16 ch"),
        (&["-t", "ext4", "-O", "^metadata_csum,^64bit"], "x"),
        (&["-t", "ext4", "-I", "128", "-O", "^metadata_csum"], "boot of old"),
        (&["-t", "ext4", "-O", "bigalloc", "-C", "65536"], "x"),
    ] {
        let image = Image::empty(400 << 20);
        let from = ["-q", "-L", label, "-d", text(tree.path()), text(&image.path)];
        run("mke2fs", &[options, &from].concat());
        let fs = opened(&image.path);
        assert_eq!(fs.kind(), FsKind::Ext);
        check_identity(fs.as_ref(), &image.path);
        compare(fs.as_ref(), tree.path(), Case::Unix);
    }
}

#[test]
#[ignore = "needs root, loop devices and the tools of XFS"]
fn xfs_shows_what_linux_wrote() {
    let tree = Tree::unix();
    for options in [&["-m", "crc=1"][..], &["-m", "crc=1", "-b", "size=1024", "-n", "size=8192"]] {
        let image = Image::empty(320 << 20);
        run("mkfs.xfs", &[options, &["-q", "-L", "system", text(&image.path)]].concat());
        image.fill("rw", &tree);
        let fs = opened(&image.path);
        assert_eq!(fs.kind(), FsKind::Xfs);
        check_identity(fs.as_ref(), &image.path);
        compare(fs.as_ref(), tree.path(), Case::Unix);
    }
}

/// Without the sparse file: the parser does not read a file without extents that has a long hole, and says so.
#[test]
#[ignore = "needs the tools of ext4"]
fn old_ext_shows_what_mkfs_put_in() {
    let tree = Tree::unix();
    std::fs::remove_file(tree.path().join("sparse")).expect("remove");
    for options in [
        ["-t", "ext3", "-b", "1024", "-I", "128"],
        ["-t", "ext3", "-b", "4096", "-I", "256"],
        ["-t", "ext2", "-b", "4096", "-I", "128"],
        ["-t", "ext2", "-b", "1024", "-I", "512"],
    ] {
        let image = Image::empty(160 << 20);
        run("mke2fs", &[&options[..], &["-q", "-d", text(tree.path()), text(&image.path)]].concat());
        compare(opened(&image.path).as_ref(), tree.path(), Case::Unix);
    }
}

/// Version 4, which not every Linux mounts any more.
#[test]
#[ignore = "needs the tools of XFS"]
fn old_xfs_shows_what_mkfs_put_in() {
    let tree = Tree::simple();
    let prototype = tree.prototype();
    for ftype in ["ftype=0", "ftype=1"] {
        let image = Image::empty(320 << 20);
        let prototype = text(prototype.path());
        run("mkfs.xfs", &["-q", "-m", "crc=0", "-n", ftype, "-L", "x", "-p", prototype, text(&image.path)]);
        compare(opened(&image.path).as_ref(), tree.path(), Case::Unix);
    }
}

#[test]
#[ignore = "needs root, loop devices and the tools of btrfs"]
fn btrfs_shows_what_linux_wrote_however_it_is_compressed() {
    let tree = Tree::unix();
    for options in ["rw", "rw,compress=zstd", "rw,compress=zlib", "rw,compress=lzo"] {
        let image = Image::empty(300 << 20);
        run("mkfs.btrfs", &["-q", "-L", "system disk", text(&image.path)]);
        image.fill(options, &tree);
        let fs = opened(&image.path);
        assert_eq!(fs.kind(), FsKind::Btrfs);
        check_identity(fs.as_ref(), &image.path);
        compare(fs.as_ref(), tree.path(), Case::Unix);
    }
}

#[test]
#[ignore = "needs the tools of btrfs"]
fn btrfs_shows_what_mkfs_put_in() {
    let tree = Tree::unix();
    let image = Image::empty(300 << 20);
    run("mkfs.btrfs", &["-q", "-L", "x", "--rootdir", text(tree.path()), text(&image.path)]);
    compare(opened(&image.path).as_ref(), tree.path(), Case::Unix);
}

#[test]
#[ignore = "needs root, loop devices and the tools of btrfs"]
fn btrfs_opens_the_default_subvolume_and_those_that_are_named() {
    let image = Image::empty(300 << 20);
    run("mkfs.btrfs", &["-q", text(&image.path)]);
    let mounted = image.mount("rw");
    for name in ["@", "@home", "@/nested"] {
        run("btrfs", &["-q", "subvolume", "create", text(&mounted.path.join(name))]);
        std::fs::write(mounted.path.join(name).join("here"), name).expect("write");
    }
    std::fs::create_dir(mounted.path.join("directory")).expect("create");
    drop(mounted);
    let volume: Rc<dyn DiskReader> = reader(&image.path);
    let content = |fs: &BtrfsFs, path: &str| std::io::read_to_string(fs.open(path).expect("open")).expect("read");

    let top = BtrfsFs::open(&volume).expect("readable");
    assert_eq!(content(&top, "@/nested/here"), "@/nested");
    for name in ["@", "/@home", "@/nested"] {
        let fs = BtrfsFs::open_subvolume(&volume, name).expect("readable").expect("there");
        assert_eq!(content(&fs, "here"), name.trim_start_matches('/'));
    }
    assert!(BtrfsFs::open_subvolume(&volume, "directory").expect("readable").is_none());
    assert!(BtrfsFs::open_subvolume(&volume, "@/none").expect("readable").is_none());
    assert!(BtrfsFs::open_subvolume_id(&volume, 999).expect("readable").is_none());
    let by_id = BtrfsFs::open_subvolume_id(&volume, 256).expect("readable").expect("there");
    assert_eq!(content(&by_id, "here"), "@");
    let other = |subvolume| by_id.subvolume(subvolume).expect("readable");
    for subvolume in [Subvolume::Path("/"), Subvolume::Number(0), Subvolume::Number(5)] {
        let again = other(subvolume).expect("there");
        assert!(again.metadata("@/nested/here").expect("readable").is_some(), "{subvolume}");
    }
    assert!(other(Subvolume::Path("@home")).expect("there").metadata("here").expect("readable").is_some());
    assert!(other(Subvolume::Path("nested")).is_none() && other(Subvolume::Number(999)).is_none());

    let mounted = image.mount("rw");
    run("btrfs", &["subvolume", "set-default", "257", text(&mounted.path)]);
    drop(mounted);
    let volume: Rc<dyn DiskReader> = reader(&image.path);
    assert_eq!(content(&BtrfsFs::open(&volume).expect("readable"), "here"), "@home");
}

#[test]
#[ignore = "needs dosfstools and mtools"]
fn fat_shows_what_mtools_put_in() {
    let tree = Tree::plain(SOME);
    for (mib, options) in
        [(14, &["-F", "12"][..]), (60, &["-F", "16"]), (80, &["-F", "32"]), (80, &["-F", "32", "-s", "1"])]
    {
        let image = Image::empty(mib << 20);
        run("mkfs.vfat", &[options, &["-n", "CONFIG-2", text(&image.path)]].concat());
        let entries = tree.top_level();
        let sources = entries.iter().map(|path| text(path));
        let command = ["LC_ALL=C.UTF-8", "mcopy", "-s", "-Q", "-i", text(&image.path)];
        run("env", &command.into_iter().chain(sources).chain(["::/"]).collect::<Vec<_>>());
        let fs = opened(&image.path);
        assert_eq!(fs.kind(), FsKind::Fat);
        check_identity(fs.as_ref(), &image.path);
        compare(fs.as_ref(), tree.path(), Case::Dos);
    }
}

#[test]
#[ignore = "needs root, loop devices, FUSE and ntfs-3g"]
fn ntfs_shows_what_was_put_in() {
    let tree = Tree::plain(MANY);
    for options in [&[][..], &["-c", "512"], &["-c", "1024"]] {
        let image = Image::empty(120 << 20);
        run("mkfs.ntfs", &[&["-F", "-Q", "-q", "-L", "System ä"], options, &[text(&image.path)]].concat());
        let mounted = image.mount_as("ntfs-3g", "rw");
        tree.copy_to(&mounted.path);
        drop(mounted);
        let fs = opened(&image.path);
        assert_eq!(fs.kind(), FsKind::Ntfs);
        check_identity(fs.as_ref(), &image.path);
        compare(fs.as_ref(), tree.path(), Case::Dos);
    }
}

#[test]
#[ignore = "needs the tools of ext4, XFS and swap, and cryptsetup is not among them"]
fn what_is_no_file_system_is_named_and_never_taken_for_an_empty_one() {
    let swap = Image::empty(8 << 20);
    run("mkswap", &[text(&swap.path)]);
    let mut luks = vec![0; 1 << 20];
    luks[..6].copy_from_slice(b"LUKS\xba\xbe");
    let mut both = std::fs::read(&swap.path).expect("read");
    both[1080..1082].copy_from_slice(&[0x53, 0xef]);
    let images = [(std::fs::read(&swap.path).expect("read"), Owner::Swap), (luks, Owner::Luks), (both, Owner::Several)];
    for (image, owner) in images {
        let volume: Rc<dyn DiskReader> = Rc::new(image);
        assert_eq!(probe(&volume).expect("readable"), Content::Foreign(owner));
        let error = open(&volume).expect_err("no file system");
        assert!(matches!(&error, FsError::Unsupported { what } if *what == owner.to_string()), "{error:?}");
    }
    let nothing: Rc<dyn DiskReader> = Rc::new(vec![0; 1 << 20]);
    assert!(open(&nothing).expect("readable").is_none());
}

/// A file of 16 TiB that has no bytes costs nothing.
#[test]
#[ignore = "needs root, loop devices and the tools of ext4, XFS and btrfs"]
fn the_begin_of_a_huge_sparse_file_costs_little() {
    for (tool, bytes) in [("mkfs.ext4", 3_u64 << 40), ("mkfs.xfs", 1 << 50), ("mkfs.btrfs", 1 << 50)] {
        let image = Image::empty(320 << 20);
        run(tool, &["-q", text(&image.path)]);
        let mounted = image.mount("rw");
        File::create(mounted.path.join("cloud.cfg")).expect("create").set_len(bytes).expect("length");
        drop(mounted);
        let reader = reader(&image.path);
        let volume: Rc<dyn DiskReader> = Rc::clone(&reader) as Rc<dyn DiskReader>;
        let fs = open(&volume).expect("readable").expect("a file system");
        assert_eq!(fs.metadata("cloud.cfg").expect("readable").expect("there").size_bytes, bytes, "{tool}");
        let mut begin = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(fs.open("cloud.cfg").expect("open"), 1 << 20), &mut begin)
            .expect("read");
        assert_eq!(begin, vec![0; 1 << 20]);
        assert_eq!(fs.list("").expect("readable").iter().filter(|entry| entry.kind == Kind::File).count(), 1);
        assert!(reader.fetched_bytes() < 4 << 20, "{tool}: {}", reader.fetched_bytes());
    }
}
