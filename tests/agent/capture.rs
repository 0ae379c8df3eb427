//! A disk becomes an image, in a repository or in a file, and the image the same disk again.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use bms_agent::image::group::{GroupSize, is_zero};
use bms_agent::image::manifest::{CaptureMode, Kind, Manifest, PartitionTable};
use bms_agent::repository::{Format, Location, Repository, Settings};
use bms_agent::rpc::proto::v1::stream_capture_response::Message;
use bms_agent::rpc::proto::v1::{StreamCaptureRequest, StreamCaptureResponse};
use nix::fcntl::OFlag;
use serde_json::Value;
use tempfile::TempDir;
use tonic::Streaming;

use crate::refusals::mount;
use crate::support::client::{Client, outcome};
use crate::support::ctl::Answer;
use crate::support::image::{fixture_root, fixtures};
use crate::support::{Daemon, GIB, Image, LoopDisk, MIB, Seed, run};

/// A daemon with a repository, and the directory of that.
fn daemon() -> (Daemon, TempDir) {
    let dir = tempfile::tempdir().expect("temporary directory");
    block_on(Repository::init(&settings(dir.path()), Format::default())).expect("made");
    let lines = format!("allow_loop_devices = true\n[repositories.main]\nlocation = {:?}", dir.path());
    (Daemon::start_with(&lines), dir)
}

fn settings(dir: &Path) -> Settings {
    Settings::new(Location::Directory(dir.to_owned()))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

fn manifest(dir: &Path, name: &str) -> Manifest {
    block_on(async {
        let repository = Repository::open(&settings(dir)).await.expect("opened");
        repository.find(&name.parse().expect("a name")).await.expect("found").manifest
    })
}

fn capture(daemon: &Daemon, disk: &LoopDisk, options: &[&str]) -> Answer {
    let selector = disk.selector();
    daemon.ctl(&[&["capture", "--disk", selector.as_str()], options].concat())
}

/// A disk of `len_bytes` with an image on it.
fn disk_with_image(len_bytes: u64, seed: &mut Seed) -> LoopDisk {
    let disk = LoopDisk::new(len_bytes);
    disk.write(0, &Image::new(len_bytes, seed).bytes);
    disk
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Restores a private image on the server that it came from. Where the firmware does not say which model that is, as of
/// many virtual machines, nobody knows whether it is the same, and only an override lets it pass.
fn restore(daemon: &Daemon, image: &str, disk: &str) {
    let what = ["restore", "--yes", "--image", image, "--repository", "main", "--disk", disk];
    daemon.ctl(&[&what[..], &["--override", "HW-01"]].concat()).done();
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_debian_disk_is_captured_bit_by_bit_and_restored() {
    let (daemon, dir) = daemon();
    // Only read, so that not even a defect can change it.
    let disk = LoopDisk::over(&fixtures().join("disk.raw"));
    let done = capture(&daemon, &disk, &["--name", "debian", "--version", "1", "--bit-exact"]).done();
    let root = fixture_root("disk.raw");
    let (result, progress) = (&done["result"], &done["progress"]);
    assert_eq!((result["root"].as_str(), number(&result["size_bytes"])), (Some(&*root), 4 * GIB));
    assert_eq!(number(&progress["read_bytes"]), 4 * GIB);
    let parts = ["hole_bytes", "present_bytes", "uploaded_bytes"].map(|kind| number(&progress[kind]));
    assert_eq!(parts.iter().sum::<u64>(), 4 * GIB, "{progress}");
    eprintln!("{} ms, {} MiB stored", done["duration_milliseconds"], number(&progress["wire_bytes"]) >> 20);

    let manifest = manifest(dir.path(), "operator/debian:1");
    assert_eq!((manifest.kind, manifest.disk.partition_table), (Kind::Private, PartitionTable::Gpt));
    assert_eq!((manifest.disk.size_bytes, manifest.disk.logical_block_size), (4 * GIB, 512));
    assert_eq!(manifest.capture.expect("a capture").mode, CaptureMode::BitExact);
    assert_eq!(manifest.content.data_bytes, number(&result["captured"]["data_bytes"]));

    let target = LoopDisk::new(5 * GIB);
    let selector = target.selector();
    restore(&daemon, "debian", &selector);
    assert_eq!(target.hash(4 * GIB), root);
    assert!(daemon.peak_resident_bytes() <= 128 * MIB, "{} bytes", daemon.peak_resident_bytes());
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_second_capture_stores_only_what_changed() {
    let (daemon, _dir) = daemon();
    let disk = disk_with_image(64 * MIB, &mut Seed::quiet(21));
    let first = capture(&daemon, &disk, &["--name", "web", "--version", "1", "--bit-exact"]).done();
    let captured = &first["result"]["captured"];
    assert_eq!(captured["new_bytes"], captured["data_bytes"]);
    assert_eq!(captured["present_bytes"], 0);

    let (before, mut after) = (disk.read_all(), Vec::new());
    for at in [3 * MIB + 5, 3 * MIB + 700_000, 40 * MIB, 64 * MIB - 1] {
        disk.write(at, &[before[usize::try_from(at).expect("small")] ^ 0x55]);
        after = disk.read_all();
    }
    let second = capture(&daemon, &disk, &["--name", "web", "--version", "2", "--bit-exact"]).done();
    assert_eq!(second["result"]["root"], blake3::hash(&after).to_string());
    let captured = &second["result"]["captured"];
    // A chunk is one group here, and of what changed nothing else travels. Holes are no part of it.
    let group_bytes = GroupSize::default().as_usize();
    let data = |group: usize| match &after[group * group_bytes..][..group_bytes] {
        hole if is_zero(hole) => 0,
        data => data.len() as u64,
    };
    // Two of the four bytes lie in the fourth MiB, in groups of their own.
    let changed: u64 = [12, 14, 160, 255].into_iter().map(data).sum();
    assert_eq!(number(&captured["new_bytes"]), changed);
    assert_eq!(number(&captured["present_bytes"]) + changed, number(&captured["data_bytes"]));
    assert!(number(&captured["stored_bytes"]) <= changed + 4096, "{captured}");

    let third = capture(&daemon, &disk, &["--name", "web", "--version", "3", "--bit-exact"]).done();
    assert_eq!(third["result"]["captured"]["stored_bytes"], 0, "nothing changed");
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_capture_writes_nothing_to_the_disk() {
    let (daemon, dir) = daemon();
    let disk = disk_with_image(32 * MIB, &mut Seed::quiet(22));
    let (before, writes) = (disk.hash_all(), disk.writes());
    capture(&daemon, &disk, &["--name", "still", "--version", "1"]).done();
    let file = dir.path().join("still.raw");
    capture(&daemon, &disk, &["--to", file.to_str().expect("UTF-8")]).done();
    assert_eq!((disk.hash_all(), disk.writes()), (before, writes));
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_capture_to_a_file_is_the_disk_and_sparse() {
    let (daemon, dir) = daemon();
    for block_size in [512, 4096] {
        let mut seed = Seed::quiet(23);
        let disk = LoopDisk::with_block_size(64 * MIB, block_size);
        disk.write(0, &Image::with_block_size(48 * MIB, block_size, &mut seed).bytes);
        for options in [&["--bit-exact"][..], &["--bit-exact", "--compress"], &["--bit-exact", "--group-size", "16M"]] {
            let path = dir.path().join("disk.raw");
            let to = ["--to", path.to_str().expect("UTF-8")];
            let view = capture(&daemon, &disk, &[&to[..], options].concat()).done();
            assert_eq!(view["root"], disk.hash_all());
            assert!(fs::read(&path).expect("read") == disk.read_all(), "{block_size} {options:?}");
            let stored = fs::metadata(&path).expect("the file").blocks() * 512;
            assert!(stored <= number(&view["data_bytes"]) + MIB, "{stored} bytes for {view}");
            let again = capture(&daemon, &disk, &to);
            assert_eq!(again.code, 2, "nothing is overwritten: {}", again.json);
            fs::remove_file(&path).expect("removed");
        }
    }
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_disk_in_use_is_not_captured() {
    let (daemon, dir) = daemon();
    let disk = LoopDisk::new(32 * MIB);
    let file = dir.path().join("disk.raw");
    let refused = || {
        let to = ["--to", file.to_str().expect("UTF-8")];
        let answers = [capture(&daemon, &disk, &["--name", "busy"]), capture(&daemon, &disk, &to)];
        assert!(!file.exists());
        answers.map(|answer| answer.refusal().to_owned())
    };
    let mounted = mount(&disk.node().display().to_string());
    assert_eq!(refused(), ["DISK_MOUNTED", "DISK_MOUNTED"]);
    drop(mounted);
    let holder = OpenOptions::new().read(true).custom_flags(OFlag::O_EXCL.bits()).open(disk.node()).expect("free");
    assert_eq!(refused(), ["DISK_BUSY", "DISK_BUSY"]);
    drop(holder);
    capture(&daemon, &disk, &["--name", "busy"]).done();
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn what_cannot_become_an_image_is_refused_with_its_reason() {
    let (daemon, _dir) = daemon();
    let disk = LoopDisk::new(32 * MIB);
    assert_eq!(capture(&daemon, &disk, &["--name", "a", "--repository", "other"]).refusal(), "REPOSITORY_UNKNOWN");
    assert_eq!(capture(&daemon, &disk, &["--name", "a/b"]).refusal(), "REQUEST_MALFORMED");
    let long = "l".repeat(4097);
    assert_eq!(capture(&daemon, &disk, &["--name", "a", "--description", &long]).refusal(), "MANIFEST_MALFORMED");
    capture(&daemon, &disk, &["--name", "a", "--version", "1"]).done();
    let taken = capture(&daemon, &disk, &["--name", "a", "--version", "1"]);
    assert_eq!((taken.code, taken.error()["reason"].as_str()), (1, Some("IMAGE_EXISTS")));
}

/// A capture of all of a disk, of which the caller has read the first message; the operation.
async fn begin_to_read(client: &Client, disk: &LoopDisk) -> (Streaming<StreamCaptureResponse>, String) {
    let request =
        StreamCaptureRequest { disk: Some(disk.wire_selector()), bit_exact: true, ..StreamCaptureRequest::default() };
    let mut answers = client.provisioning().stream_capture(request).await.expect("begun").into_inner();
    let first = answers.message().await.expect("an answer");
    let Some(StreamCaptureResponse { message: Some(Message::Begun(begun)) }) = first else { panic!("{first:?}") };
    (answers, begun.operation)
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_caller_that_goes_away_cancels_its_capture() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon).await;
    let disk = LoopDisk::new(256 * MIB);
    disk.fill(&mut Seed::quiet(24));
    let (answers, operation) = begin_to_read(&client, &disk).await;
    drop(answers);
    let fault = outcome(client.ended(&operation).await).expect_err("cancelled");
    assert_eq!(fault.reason, "OPERATION_CANCELLED");
    drop(OpenOptions::new().read(true).custom_flags(OFlag::O_EXCL.bits()).open(disk.node()).expect("free again"));
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn a_caller_that_stays_but_does_not_read_loses_its_capture() {
    let daemon = Daemon::start_with("allow_loop_devices = true\nstream_stall_seconds = 1");
    let (reader, watcher) = (Client::connect(&daemon).await, Client::connect(&daemon).await);
    let disk = LoopDisk::new(256 * MIB);
    disk.fill(&mut Seed::quiet(25));
    let (answers, operation) = begin_to_read(&reader, &disk).await;
    let fault = outcome(watcher.ended(&operation).await).expect_err("given up");
    assert_eq!(fault.reason, "OPERATION_CANCELLED");
    drop(OpenOptions::new().read(true).custom_flags(OFlag::O_EXCL.bits()).open(disk.node()).expect("free again"));
    drop(answers);
}

/// How a file system is made, mounted and checked, each time with the device or file at the end.
struct FileSystem {
    name: &'static str,
    make: &'static [&'static str],
    mount: &'static str,
    check: &'static [&'static str],
}

/// None of them discards: what was deleted has to be still there.
const FILE_SYSTEMS: [FileSystem; 3] = [
    FileSystem {
        name: "ext",
        make: &["mkfs.ext4", "-q", "-F", "-E", "nodiscard"],
        mount: "nodiscard",
        check: &["e2fsck", "-fn"],
    },
    FileSystem {
        name: "xfs",
        make: &["mkfs.xfs", "-q", "-f", "-K"],
        mount: "nodiscard",
        check: &["xfs_repair", "-n", "-f"],
    },
    FileSystem {
        name: "btrfs",
        make: &["mkfs.btrfs", "-q", "-f", "-K"],
        mount: "nodiscard",
        check: &["btrfs", "check"],
    },
];

/// Runs a command with one more argument.
fn run_on(command: &[&str], last: &str) {
    run(command[0], &[&command[1..], &[last]].concat());
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn what_was_deleted_does_not_travel_and_everything_else_does() {
    for (number, file_system) in FILE_SYSTEMS.iter().enumerate() {
        eprintln!("{}", file_system.name);
        assert_used_blocks_travel(file_system, 25 + number as u64);
    }
}

fn assert_used_blocks_travel(file_system: &FileSystem, seed: u64) {
    let (daemon, dir) = daemon();
    // The least that mkfs.xfs makes is 300 MiB.
    let size = 320 * MIB;
    let disk = LoopDisk::new(size);
    let node = disk.node().display().to_string();
    disk.fill(&mut Seed::quiet(seed));
    run_on(file_system.make, &node);
    let kept = Seed::quiet(seed + 100).bytes(9 * MIB);
    let secret = b"the secret of the tenant before".repeat(100_000);
    let mounted = tempfile::tempdir().expect("temporary directory");
    let at = mounted.path().to_str().expect("UTF-8");
    run("mount", &["-o", file_system.mount, &node, at]);
    fs::write(mounted.path().join("secret"), &secret).expect("written");
    run("sync", &["-f", at]);
    fs::write(mounted.path().join("kept"), &kept).expect("written");
    fs::remove_file(mounted.path().join("secret")).expect("removed");
    run("umount", &[at]);
    let marker = &secret[..4096];
    assert!(holds(&disk.read_all(), marker), "what was deleted is still on the disk");

    let file = dir.path().join("used.raw");
    let view = capture(&daemon, &disk, &["--to", file.to_str().expect("UTF-8")]).done();
    assert!(number(&view["free_bytes"]) > size / 2, "{view}");
    assert!(number(&view["data_bytes"]) < size / 2, "{view}");
    let note = format!("({})", file_system.name);
    assert!(view["notes"][0].as_str().is_some_and(|said| said.contains(&note)), "{view}");
    let content = fs::read(&file).expect("read");
    assert!(!holds(&content, marker), "it did not travel");
    run_on(file_system.check, file.to_str().expect("UTF-8"));
    let exact = capture(&daemon, &disk, &["--name", "exact", "--version", "1", "--bit-exact"]).done();
    assert_eq!(exact["result"]["root"], disk.hash_all());
    let used = capture(&daemon, &disk, &["--name", "used", "--version", "1"]).done();
    assert_eq!(used["result"]["root"], view["root"]);
    let manifest = manifest(dir.path(), "used").capture.expect("a capture");
    assert_eq!((manifest.mode, manifest.free_bytes), (CaptureMode::UsedBlocks, number(&view["free_bytes"])));

    let restored = LoopDisk::new(size);
    let selector = restored.selector();
    restore(&daemon, "used", &selector);
    run_on(file_system.check, restored.node().to_str().expect("UTF-8"));
    run("mount", &["-o", "ro", restored.node().to_str().expect("UTF-8"), at]);
    let read = fs::read(mounted.path().join("kept"));
    run("umount", &[at]);
    assert!(read.expect("read") == kept);
}

/// Whether some blocks of `content` are this, beyond the first MiB, which every capture takes as it is.
fn holds(content: &[u8], marker: &[u8]) -> bool {
    content[1 << 20..].chunks(marker.len()).any(|block| block == marker)
}
