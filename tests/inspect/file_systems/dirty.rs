//! File systems as they are while they are mounted: what is shown must be what a mount would show, or nothing.

use std::fs;
use std::rc::Rc;

use bms_agent::inspect::fs::{FsError, open};
use bms_agent::inspect::reader::DiskReader;

use super::rig::{Case, Image, SOME, Tree, compare};
use super::{reader, run, text};

/// An image that was copied while files in it were written, renamed and deleted.
fn copied_while_mounted(tool: &str, options: &[&str], tree: &Tree) -> Image {
    let image = Image::empty(400 << 20);
    run(tool, &[options, &["-q", text(&image.path)]].concat());
    let mounted = image.mount("rw");
    tree.copy_to(&mounted.path);
    run("sync", &["-f", text(&mounted.path)]);
    for number in 0..SOME {
        let name = |what: &str| mounted.path.join(format!("many/{what} number {number}"));
        match number % 3 {
            0 => fs::remove_file(name("file")).expect("remove"),
            1 => fs::rename(name("file"), name("renamed file")).expect("rename"),
            _ => fs::write(name("new file"), [9; 3000]).expect("write"),
        }
    }
    // What is durable is so by the journal or log alone: nothing is written back yet.
    run("sync", &["-f", text(&mounted.path)]);
    let copy = image.copied();
    drop(mounted);
    copy
}

#[test]
#[ignore = "needs root, loop devices and the tools of ext4"]
fn the_journal_of_ext_is_seen_as_a_mount_replays_it() {
    let copy = dirty_ext(&[]);
    shows_what_a_mount_shows(&copy);
}

#[test]
#[ignore = "needs root, loop devices and the tools of ext4"]
fn an_old_journal_of_ext_is_not_supported() {
    let volume: Rc<dyn DiskReader> = reader(&dirty_ext(&["-O", "^metadata_csum,^64bit"]).path);
    let error = open(&volume).expect_err("a journal");
    assert!(matches!(&error, FsError::Unsupported { what } if what.contains("journal")), "{error:?}");
}

fn dirty_ext(options: &[&str]) -> Image {
    let copy = copied_while_mounted("mkfs.ext4", options, &Tree::plain(SOME));
    let features = run("dumpe2fs", &["-h", text(&copy.path)]);
    assert!(features.contains("needs_recovery"), "{features}");
    copy
}

#[test]
#[ignore = "needs root, loop devices and the tools of XFS"]
fn the_log_of_xfs_is_seen_as_a_mount_replays_it() {
    let copy = copied_while_mounted("mkfs.xfs", &[], &Tree::plain(SOME));
    let log = std::process::Command::new("xfs_logprint").args(["-t", text(&copy.path)]).output().expect("xfs_logprint");
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    assert!(log.contains("<DIRTY>"), "{log}");
    shows_what_a_mount_shows(&copy);
}

fn shows_what_a_mount_shows(copy: &Image) {
    let untouched = copy.copied();
    let volume: Rc<dyn DiskReader> = reader(&untouched.path);
    let fs = open(&volume).expect("readable").expect("a file system");
    let mounted = copy.mount("rw");
    assert!(mounted.path.join("many/renamed file number 1").exists(), "the mount replayed");
    compare(fs.as_ref(), &mounted.path, Case::Unix);
}

#[test]
#[ignore = "needs root, loop devices and the tools of btrfs"]
fn btrfs_with_a_log_is_not_supported() {
    let image = Image::empty(300 << 20);
    run("mkfs.btrfs", &["-q", text(&image.path)]);
    let mounted = image.mount("rw");
    let file = fs::File::create(mounted.path.join("file")).expect("create");
    run("sync", &["-f", text(&mounted.path)]);
    std::os::unix::fs::FileExt::write_all_at(&file, &[7; 5000], 0).expect("write");
    file.sync_all().expect("sync");
    let copy = image.copied();
    drop((file, mounted));
    let volume: Rc<dyn DiskReader> = reader(&copy.path);
    let error = open(&volume).expect_err("a log");
    assert!(matches!(&error, FsError::Unsupported { what } if what == "a btrfs log to replay"), "{error:?}");
}
