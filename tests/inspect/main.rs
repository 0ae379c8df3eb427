//! The child that looks into disks, as the shipped daemon starts it: on real file systems, in its real sandbox.
#![expect(clippy::expect_used, clippy::panic, reason = "all of this is tests: they fail by panicking")]

mod corpora;
mod file_systems;
mod gate;
mod hostile;
mod logical_volumes;
mod matrix;

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use bms_agent::inspect::child::{InspectError, Inspector};
use bms_agent::inspect::free::reason::WholeReason;
use bms_agent::inspect::free::{FileSystem, FreeSpace, Outcome, find};
use bms_agent::inspect::reader::FileReader;
use nix::fcntl::OFlag;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const DISK_BYTES: u64 = 900 << 20;

/// A disk with three partitions, of ext4, XFS and btrfs.
fn disk() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("directory");
    let disk = directory.path().join("disk");
    File::create(&disk).expect("create").set_len(DISK_BYTES).expect("length");
    run("sgdisk", &["-n1:0:+200M", "-n2:0:+320M", "-n3:0:+300M", "-n4:0:0", text(&disk)]);
    let mut sector = 2048;
    for (tool, mib) in [("mkfs.ext4", 200), ("mkfs.xfs", 320), ("mkfs.btrfs", 300_u64)] {
        let image = directory.path().join(tool);
        File::create(&image).expect("create").set_len(mib << 20).expect("length");
        run(tool, &["-q", text(&image)]);
        let (of, seek) = (format!("of={}", text(&disk)), format!("seek={sector}"));
        run("dd", &[&format!("if={}", text(&image)), &of, &seek, "bs=512", "conv=sparse,notrunc", "status=none"]);
        sector += mib * 2048;
    }
    (directory, disk)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

fn ask(disk: &Path, len_bytes: u64, logical_block_size: u32) -> Result<FreeSpace, InspectError> {
    let flags = OFlag::O_DIRECT.bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(disk).expect("open");
    let inspector = Inspector::new(Path::new(env!("CARGO_BIN_EXE_bms-agent")));
    inspector.free_space(file, len_bytes, logical_block_size, &CancellationToken::new())
}

#[test]
#[ignore = "needs gdisk and the tools of ext4, XFS and btrfs"]
fn the_child_finds_what_the_parser_finds() {
    let (_directory, disk) = disk();
    let space = ask(&disk, DISK_BYTES, 512).expect("an answer");
    assert_eq!(space, find(&FileReader::new(File::open(&disk).expect("open"), DISK_BYTES), 512));
    let kinds: Vec<_> = space.notes.iter().map(|note| note.file_system).collect();
    assert_eq!(kinds, [Some(FileSystem::Ext), Some(FileSystem::Xfs), Some(FileSystem::Btrfs), None]);
    assert!(space.notes[..3].iter().all(|note| matches!(note.outcome, Outcome::Read { .. })), "{space:?}");
    assert!(space.free_bytes() > 500 << 20);
}

#[test]
#[ignore = "needs root, loop devices, gdisk and the tools of ext4"]
fn a_disk_with_large_blocks_is_read_through_o_direct() {
    let directory = tempfile::tempdir().expect("directory");
    let (image, backing) = (directory.path().join("image"), directory.path().join("disk"));
    File::create(&image).expect("create").set_len(200 << 20).expect("length");
    File::create(&backing).expect("create").set_len(DISK_BYTES).expect("length");
    run("mkfs.ext4", &["-q", text(&image)]);
    let node = PathBuf::from(run("losetup", &["--find", "--show", "--sector-size=4096", text(&backing)]));
    run("sgdisk", &["-n1:256:0", text(&node)]);
    run("dd", &[&format!("if={}", text(&image)), &format!("of={}", text(&node)), "bs=1M", "seek=1", "status=none"]);
    let space = ask(&node, DISK_BYTES, 4096);
    run("losetup", &["--detach", text(&node)]);
    let space = space.expect("an answer");
    assert!(matches!(space.notes.as_slice(), [note] if note.offset_bytes == 1 << 20), "{space:?}");
    assert!(space.free_bytes() > 100 << 20, "{space:?}");
}

#[test]
#[ignore = "needs gdisk and the tools of ext4, XFS and btrfs"]
fn damage_takes_one_volume_whole_and_is_named() {
    let (_directory, disk) = disk();
    OpenOptions::new().write(true).open(&disk).expect("open").write_all_at(b"?", (1 << 20) + 1024).expect("write");
    let space = ask(&disk, DISK_BYTES, 512).expect("an answer");
    let outcomes: Vec<_> = space.notes.iter().map(|note| note.outcome).collect();
    assert!(matches!(outcomes[0], Outcome::Whole { reason: WholeReason::Checksum { .. } }), "{outcomes:?}");
    assert!(matches!(outcomes[1], Outcome::Read { .. }), "{outcomes:?}");
}

#[test]
fn a_disk_shorter_than_it_should_be_is_an_answer_with_nothing_free() {
    let file = tempfile::NamedTempFile::new().expect("file");
    file.as_file().set_len(1 << 20).expect("length");
    let space = ask(file.path(), 8 << 20, 512).expect("an answer");
    assert!(space.ranges.is_empty());
    assert!(space.notes.iter().all(|note| matches!(note.outcome, Outcome::Whole { .. })), "{space:?}");
}

#[test]
fn the_daemon_says_what_is_wrong_with_a_request() {
    for arguments in
        [&["inspect-child"][..], &["inspect-child", "free-space", "x", "512"], &["inspect-child", "a", "1", "1"]]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_bms-agent")).args(arguments).output().expect("it starts");
        assert!(!output.status.success() && output.stdout.is_empty() && !output.stderr.is_empty(), "{output:?}");
    }
}
