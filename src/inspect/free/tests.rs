//! Real file systems, made and aged by their own tools and the kernel.
//!
//! What is found free is held against what the file system's own tools say, and then overwritten: if a checker finds
//! nothing and every file is as it was, nothing that was used was called free.

mod damage;
mod disks;
mod oracle;
mod rig;

use std::path::Path;

use super::reason::{Sign, WholeReason};
use super::{FileSystem, Outcome, find, parse};
use crate::inspect::reader::FileReader;
use rig::{Image, Kind};

/// Finds the free space of an image, holds it against the tools, overwrites it, and looks what became of the files.
fn prove(kind: Kind, options: &[&str]) {
    let image = Image::aged(kind, options);
    let found = image.free().unwrap_or_else(|reason| panic!("{kind:?} {options:?}: {reason}"));
    assert_eq!(found, oracle::free(kind, &image.path), "{kind:?} {options:?}");
    let free: u64 = found.iter().map(|range| range.end - range.start).sum();
    assert!(free > image.len_bytes / 4, "{kind:?} {options:?}: only {free} bytes are free");
    assert!(found.len() > 10, "{kind:?} {options:?}: {} ranges are no test", found.len());
    image.overwrite(&found);
    image.check(kind);
    assert_eq!(image.files(), image.expected, "{kind:?} {options:?}");
}

#[test]
#[ignore = "needs root, loop devices and the tools of ext4"]
fn ext_of_every_layout_survives_the_loss_of_its_free_space() {
    for (kind, options) in [
        (Kind::Ext2, &[][..]),
        (Kind::Ext2, &["-b", "1024"]),
        (Kind::Ext2, &["-r", "0"]),
        (Kind::Ext3, &[]),
        (Kind::Ext3, &["-b", "1024", "-O", "^sparse_super,^resize_inode"]),
        (Kind::Ext4, &[]),
        (Kind::Ext4, &["-b", "1024"]),
        (Kind::Ext4, &["-b", "2048", "-O", "sparse_super2"]),
        (Kind::Ext4, &["-O", "^64bit"]),
        (Kind::Ext4, &["-O", "^metadata_csum,uninit_bg", "-b", "1024"]),
        (Kind::Ext4, &["-O", "^metadata_csum,uninit_bg,^64bit,^flex_bg", "-b", "1024"]),
        (Kind::Ext4, &["-O", "^has_journal"]),
        (Kind::Ext4, &["-O", "meta_bg,^resize_inode", "-b", "1024"]),
        (Kind::Ext4, &["-O", "meta_bg,^resize_inode,^flex_bg,^64bit", "-b", "1024"]),
        (Kind::Ext4, &["-O", "bigalloc", "-C", "16384"]),
        (Kind::Ext4, &["-O", "bigalloc", "-b", "1024", "-C", "16384"]),
        (Kind::Ext4, &["-O", "inline_data,ea_inode,metadata_csum_seed,large_dir"]),
        (Kind::Ext4, &["-g", "1024", "-G", "4"]),
    ] {
        prove(kind, options);
    }
}

#[test]
#[ignore = "needs root, loop devices and the tools of XFS"]
fn xfs_of_every_layout_survives_the_loss_of_its_free_space() {
    for options in [
        &[][..],
        &["-b", "size=1024"],
        &["-b", "size=1024", "-d", "agcount=16", "-l", "size=8m", "--unsupported"],
        &["-m", "rmapbt=1,reflink=1,finobt=1,bigtime=1"],
        &["-m", "reflink=0", "-d", "agcount=7", "-l", "size=8m", "--unsupported"],
        &["-s", "size=4096"],
        &["-l", "su=32k"],
        &["-l", "su=256k"],
    ] {
        prove(Kind::Xfs, options);
    }
}

#[test]
#[ignore = "needs root, loop devices and the tools of btrfs"]
fn btrfs_of_every_layout_survives_the_loss_of_its_free_space() {
    for options in [
        &[][..],
        &["-m", "single"],
        &["-m", "dup", "-d", "dup"],
        &["--mixed"],
        &["-n", "4096"],
        &["-n", "65536"],
        &["-R", "quota", "-O", "^no-holes"],
        &["-R", "^free-space-tree"],
        &["-O", "^skinny-metadata,^extref"],
    ] {
        prove(Kind::Btrfs, options);
    }
}

#[test]
#[ignore = "needs the tools of ext4 and XFS"]
fn what_this_kernel_may_not_mount_survives_as_well() {
    let files = rig::Files::new();
    for (kind, options) in [
        (Kind::Ext4, &["-O", "encrypt,verity,casefold", "-d", files.tree()][..]),
        (Kind::Ext4, &["-O", "quota,project"]),
        (Kind::Xfs, &["-m", "crc=0", "-p", files.prototype()]),
        (Kind::Xfs, &["-m", "crc=0", "-b", "size=512", "-p", files.prototype()]),
        (Kind::Xfs, &["-m", "crc=0", "-b", "size=512", "-d", "agcount=9", "-l", "size=8m", "--unsupported"]),
    ] {
        let image = Image::made(kind, options);
        let found = image.free().unwrap_or_else(|reason| panic!("{kind:?} {options:?}: {reason}"));
        assert_eq!(found, oracle::free(kind, &image.path), "{kind:?} {options:?}");
        image.overwrite(&found);
        image.check(kind);
    }
}

#[test]
#[ignore = "needs root, loop devices and the tools of ext4"]
fn groups_whose_bitmap_was_never_written_are_free_but_for_the_metadata_of_others() {
    for options in [&["-G", "64", "-b", "1024"][..], &["-O", "^metadata_csum,uninit_bg", "-G", "64", "-b", "1024"]] {
        let image = Image::made(Kind::Ext4, options);
        let found = image.free().expect("clean");
        assert_eq!(found, oracle::free(Kind::Ext4, &image.path), "{options:?}");
        let groups = rig::run("dumpe2fs", [Path::new("-f"), &image.path]);
        assert!(groups.contains("BLOCK_UNINIT"), "no such group: {options:?}");
        image.overwrite(&found);
        image.check(Kind::Ext4);
    }
}

/// What becomes of a file system that is copied while it is mounted and written.
fn copied_alive(kind: Kind) -> WholeReason {
    let image = Image::made(kind, &[]);
    let copy = image.copied_while_mounted();
    parse(&FileReader::new(copy, image.len_bytes), kind.file_system()).map(|_| ()).expect_err("not at rest")
}

#[test]
#[ignore = "needs root, loop devices and the tools of ext4, XFS and btrfs"]
fn a_file_system_that_was_copied_while_mounted_is_taken_whole() {
    for (kind, sign) in [
        (Kind::Ext2, Sign::NotUnmounted),
        (Kind::Ext3, Sign::Journal),
        (Kind::Ext4, Sign::Journal),
        (Kind::Xfs, Sign::Log),
        (Kind::Btrfs, Sign::LogTree),
    ] {
        assert_eq!(copied_alive(kind), WholeReason::NotClean { sign }, "{kind:?}");
    }
}

#[test]
#[ignore = "needs root, loop devices and the tools of XFS"]
fn a_log_that_went_round_is_clean_after_an_unmount_and_not_before() {
    let image = Image::made(Kind::Xfs, &[]);
    for _ in 0..4 {
        // Each time, some more of the log of 64 MiB is written; in the end it begins anew.
        let copy = image.filled_log();
        let alive = parse(&FileReader::new(copy, image.len_bytes), FileSystem::Xfs);
        assert_eq!(alive.map(|_| ()), Err(WholeReason::NotClean { sign: Sign::Log }));
        assert_eq!(image.free().expect("unmounted"), oracle::free(Kind::Xfs, &image.path));
    }
}

#[test]
#[ignore = "needs root, loop devices and the tools of ext4"]
fn a_file_system_with_errors_or_orphans_is_taken_whole() {
    for (change, sign) in [
        ("ssv state 2", Sign::Errors),
        ("ssv state 5", Sign::Orphans),
        ("ssv last_orphan 12", Sign::Orphans),
        ("feature needs_recovery", Sign::Journal),
    ] {
        let image = Image::made(Kind::Ext4, &[]);
        rig::run("debugfs", [Path::new("-w"), Path::new("-R"), Path::new(change), &image.path]);
        assert_eq!(image.free(), Err(WholeReason::NotClean { sign }), "{change}");
    }
}

#[test]
#[ignore = "needs the tools of ext4"]
fn a_file_system_that_is_longer_than_its_partition_is_taken_whole() {
    let image = Image::made(Kind::Ext4, &[]);
    let reader = FileReader::new(image.file(), image.len_bytes - 4096);
    let space = find(&reader, 512);
    assert!(space.ranges.is_empty());
    assert!(matches!(
        space.notes.as_slice(),
        [note] if matches!(note.outcome, Outcome::Whole { reason: WholeReason::Inconsistent { .. } })
    ));
}
