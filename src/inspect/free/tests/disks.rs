//! Whole disks: partitions, and what is never free.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::rig::{Image, Kind, run};
use crate::inspect::free::reason::{Owner, WholeReason};
use crate::inspect::free::{BOOT_REGION_BYTES, FileSystem, FreeSpace, Outcome, find};
use crate::inspect::reader::FileReader;

const DISK_BYTES: u64 = 800 << 20;

/// A disk with partitions, into which images were copied.
struct Disk {
    _directory: TempDir,
    path: PathBuf,
}

impl Disk {
    /// A disk of partitions that sgdisk made; their first sectors and what to put there follow.
    fn made(arguments: &[&str], images: &[(u64, &Image)]) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("disk");
        File::create(&path).expect("create").set_len(DISK_BYTES).expect("length");
        run("sgdisk", arguments.iter().copied().chain([path.to_str().expect("UTF-8")]));
        let disk = Self { _directory: directory, path };
        for (sector, image) in images {
            disk.put(sector * 512, &image.path);
        }
        disk
    }

    fn put(&self, offset: u64, image: &Path) {
        let mut file = OpenOptions::new().write(true).open(&self.path).expect("open");
        io::Seek::seek(&mut file, io::SeekFrom::Start(offset)).expect("seek");
        io::copy(&mut File::open(image).expect("open"), &mut file).expect("copy");
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        OpenOptions::new().write(true).open(&self.path).expect("open").write_all_at(bytes, offset).expect("write");
    }

    fn find(&self) -> FreeSpace {
        find(&FileReader::new(File::open(&self.path).expect("open"), DISK_BYTES), 512)
    }
}

fn moved(ranges: &[Range<u64>], by: u64) -> Vec<Range<u64>> {
    ranges.iter().map(|range| range.start + by..range.end + by).collect()
}

fn whole(reason: WholeReason) -> Outcome {
    Outcome::Whole { reason }
}

#[test]
#[ignore = "needs the tools of ext4 and gdisk"]
fn the_free_space_of_partitions_is_where_they_are() {
    let (ext, xfs) = (Image::made(Kind::Ext4, &[]), Image::made(Kind::Xfs, &[]));
    let xfs_sector = 2048 + 200 * 2048;
    let disk = Disk::made(
        &["-n1:2048:+170M", &format!("-n2:{xfs_sector}:+320M"), "-n3:0:0"],
        &[(2048, &ext), (xfs_sector, &xfs)],
    );
    let (in_ext, in_xfs) = (ext.free().expect("clean"), xfs.free().expect("clean"));
    let space = disk.find();
    assert_eq!(space.ranges, [moved(&in_ext, 1 << 20), moved(&in_xfs, xfs_sector * 512)].concat());
    let notes: Vec<_> = space.notes.iter().map(|note| (note.partition, note.file_system, note.outcome)).collect();
    let read = |ranges: &[Range<u64>]| Outcome::Read { free_bytes: ranges.iter().map(|r| r.end - r.start).sum() };
    assert_eq!(
        notes,
        [
            (1, Some(FileSystem::Ext), read(&in_ext)),
            (2, Some(FileSystem::Xfs), read(&in_xfs)),
            (3, None, whole(WholeReason::Unknown)),
        ]
    );
}

#[test]
#[ignore = "needs the tools of ext4"]
fn the_ends_of_a_disk_are_never_free() {
    let image = Image::made(Kind::Ext2, &["-b", "1024"]);
    let free = image.free().expect("clean");
    let limit = image.len_bytes - BOOT_REGION_BYTES;
    assert!(free.last().is_some_and(|last| last.end > limit));
    let space = find(&FileReader::new(image.file(), image.len_bytes), 512);
    assert_eq!(space.ranges.last().map(|last| last.end), Some(limit));
    assert!(space.ranges.first().is_some_and(|first| first.start >= BOOT_REGION_BYTES));
}

#[test]
#[ignore = "needs the tools of ext4 and gdisk"]
fn a_volume_in_doubt_is_taken_whole_and_others_are_not() {
    let image = Image::made(Kind::Ext4, &[]);
    let free = image.free().expect("clean");
    let second = 2048 + 170 * 2048;
    let disk = || Disk::made(&["-n1:2048:+170M", &format!("-n2:{second}:+170M")], &[(2048, &image), (second, &image)]);
    let outcomes = |disk: &Disk| disk.find().notes.iter().map(|note| note.outcome).collect::<Vec<_>>();
    let read = Outcome::Read { free_bytes: free.iter().map(|range| range.end - range.start).sum() };

    let lvm = disk();
    lvm.write((2048 + 1) * 512, b"LABELONE");
    assert_eq!(outcomes(&lvm), [whole(WholeReason::Foreign { owner: Owner::Lvm }), read]);
    assert_eq!(lvm.find().ranges, moved(&free, second * 512));

    let hashed = disk();
    hashed.write((1 << 20) + image.len_bytes, b"verity\0\0");
    assert_eq!(outcomes(&hashed), [whole(WholeReason::Verity), read]);

    let member = disk();
    member.write(DISK_BYTES - (8 << 10), &[0xfc, 0x4e, 0x2b, 0xa9]);
    assert_eq!(outcomes(&member), [whole(WholeReason::Foreign { owner: Owner::Raid }); 2]);

    let hashes = disk();
    hashes.write(second * 512, b"verity\0\0");
    assert_eq!(outcomes(&hashes), [whole(WholeReason::Verity); 2], "hashes that may be of any other partition");
    assert!(hashes.find().ranges.is_empty());
}

#[test]
#[ignore = "needs the tools of ext4 and gdisk"]
fn nothing_is_free_if_the_partition_table_needs_what_looks_free() {
    let image = Image::made(Kind::Ext4, &[]);
    let free = image.free().expect("clean");
    let disk = Disk::made(&["-n1:2048:+170M", "-m1"], &[(2048, &image)]);
    // A container behind the partition; the second record of its chain lies in what the first logical partition holds.
    let entry = |type_id: u8, start: u32, blocks: u32| {
        let mut entry = [0; 16];
        entry[4] = type_id;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..].copy_from_slice(&blocks.to_le_bytes());
        entry
    };
    let container = 2048_u32 + 180 * 2048;
    let logical = container + 2048;
    let in_free = u32::try_from(free[1].start / 512).expect("small");
    let sector = |entries: [[u8; 16]; 2]| {
        let mut sector = [0; 512];
        sector[446..478].copy_from_slice(&entries.concat());
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    };
    let first = sector([entry(0x83, 2048, 170 * 2048), entry(0x05, 2048 + in_free, 4096)]);
    disk.write(446 + 16, &entry(0x05, container, 400 * 2048));
    disk.write(u64::from(container) * 512, &first);
    disk.put(u64::from(logical) * 512, &image.path);
    disk.write(u64::from(logical + in_free) * 512, &sector([entry(0x83, 600_000, 100), [0; 16]]));
    let space = disk.find();
    assert_eq!(space.notes.len(), 3, "{space:?}");
    assert!(space.ranges.is_empty());
    assert!(
        space
            .notes
            .iter()
            .all(|note| matches!(note.outcome, Outcome::Whole { reason: WholeReason::Inconsistent { .. } }))
    );
    // Without that second record, all is as usual.
    disk.write(u64::from(container) * 512, &sector([entry(0x83, 2048, 170 * 2048), [0; 16]]));
    assert!(!disk.find().ranges.is_empty());
    fs::remove_file(&disk.path).expect("remove");
}
