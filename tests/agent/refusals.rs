//! The right disk, or none: every disk that may not be written is refused with its own reason, and not touched.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};

use bms_agent::disk::discovery::{Discovery, Disk};
use bms_agent::disk::guard;
use bms_agent::disk::roots::Roots;
use bms_agent::reason::{DomainError as _, Reason};
use bms_agent::rpc::proto::v1::{DiskSelector, PlanInstallRequest};
use nix::fcntl::OFlag;
use tonic::Code;

use crate::support::client::{Client, Fault, begin};
use crate::support::{Daemon, Image, LoopDisk, MIB, Seed, run};

fn image() -> Image {
    Image::new(8 * MIB, &mut Seed::quiet(6))
}

/// Tries to install onto a disk; gives the reason that it was refused with. Nothing of the disk has changed then.
fn refused(daemon: &Daemon, disk: &LoopDisk) -> String {
    let before = disk.hash_all();
    let answer = daemon.install(&image().path(), disk, &[]);
    assert_eq!(disk.hash_all(), before, "{}", answer.json);
    answer.refusal().to_owned()
}

/// What `disk list` says against a disk.
fn listed_refusals(daemon: &Daemon, disk: &LoopDisk) -> Vec<String> {
    let listed = daemon.disk(disk);
    let refusals = listed["refusals"].as_array().expect("a list");
    refusals.iter().map(|refusal| refusal["reason"].as_str().expect("a reason").to_owned()).collect()
}

/// Something that is undone in the end, also in a panic.
pub(crate) struct Undo(&'static str, Vec<String>);

impl Drop for Undo {
    fn drop(&mut self) {
        run(self.0, &self.1);
    }
}

/// Mounts a new file system. Unmounted first, then the directory is removed: parts of a tuple are dropped in order.
pub(crate) fn mount(node: &str) -> (Undo, tempfile::TempDir) {
    run("mkfs.ext4", &["-q", "-F", node]);
    let target = tempfile::tempdir().expect("temporary directory");
    let path = target.path().display().to_string();
    // Read-only and without its journal: a mount alone changes nothing on the disk.
    run("mount", &["-o", "ro,noload", node, &path]);
    (Undo("umount", vec![path]), target)
}

/// A disk with one partition of 16 MiB, and the partition's node.
fn partitioned() -> (LoopDisk, String) {
    let disk = LoopDisk::with_partitions(32 * MIB);
    let node = format!("/dev/{}", disk.partition());
    (disk, node)
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_mounted_disk_is_refused() {
    let daemon = Daemon::start();
    let disk = LoopDisk::new(32 * MIB);
    let _mounted = mount(&disk.node().display().to_string());
    assert_eq!(refused(&daemon, &disk), "DISK_MOUNTED");
    assert_eq!(listed_refusals(&daemon, &disk), ["DISK_MOUNTED"]);
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_disk_with_a_mounted_partition_is_refused() {
    let daemon = Daemon::start();
    let (disk, partition) = partitioned();
    let mounted = mount(&partition);
    assert_eq!(refused(&daemon, &disk), "DISK_MOUNTED");
    drop(mounted);
    daemon.install(&image().path(), &disk, &[]).done();
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_disk_with_a_swap_partition_is_refused() {
    let daemon = Daemon::start();
    let (disk, partition) = partitioned();
    run("mkswap", &[&partition]);
    // The least priority: nothing is swapped there while anything else has room.
    run("swapon", &["--priority", "0", &partition]);
    let _swapped = Undo("swapoff", vec![partition]);
    assert_eq!(refused(&daemon, &disk), "DISK_SWAP");
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_disk_whose_partition_another_device_is_built_on_is_refused() {
    let daemon = Daemon::start();
    let (disk, partition) = partitioned();
    let above = run("losetup", &["--find", "--show", &partition]);
    let _held = Undo("losetup", vec!["--detach".to_owned(), above]);
    assert_eq!(refused(&daemon, &disk), "DISK_HELD");
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn the_root_disk_is_refused() {
    let daemon = Daemon::start();
    let name = root_disk();
    let image = image();
    // Nothing but a plan, which never writes: a defect must not cost the machine that finds it.
    let answer = daemon.ctl(&["install", "--plan", "--image", &image.path_text(), "--disk", &format!("name={name}")]);
    assert_eq!(answer.refusal(), "DISK_PROTECTED");
    // The last line of defence, as if everything before it had failed: it opens, and does not write.
    let discovery = Discovery::default();
    let disk = find(&discovery, &name);
    guard::open_for_writing(&discovery, &disk).expect_err("it is in use");
}

/// Kernel name of the disk that `/` is on.
fn root_disk() -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let root = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).rfind(|fields| fields[4] == "/");
    let number = root.expect("a root")[2].to_owned();
    let mut path = fs::canonicalize(format!("/sys/dev/block/{number}")).expect("the root is on a block device");
    if path.join("partition").exists() {
        path.pop();
    }
    path.file_name().expect("a name").to_str().expect("UTF-8").to_owned()
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_read_only_disk_is_refused() {
    let daemon = Daemon::start();
    let disk = LoopDisk::read_only(32 * MIB);
    assert_eq!(refused(&daemon, &disk), "DISK_READ_ONLY");
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_disk_smaller_than_the_image_is_refused() {
    let daemon = Daemon::start();
    let disk = LoopDisk::new(8 * MIB - 512);
    disk.fill(&mut Seed::quiet(7));
    assert_eq!(refused(&daemon, &disk), "IMAGE_TOO_LARGE");
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn two_disks_with_one_identity_are_refused() {
    let daemon = Daemon::start();
    let disk = LoopDisk::new(32 * MIB);
    disk.fill(&mut Seed::quiet(8));
    let twin = disk.twin();
    let image = image();
    assert_eq!(refused(&daemon, &disk), "DISK_AMBIGUOUS");
    for name in [&disk.name, &twin.name] {
        let before = disk.hash_all();
        let selector = format!("name={name}");
        let answer = daemon.ctl(&["install", "--yes", "--image", &image.path_text(), "--disk", &selector]);
        assert_eq!(answer.refusal(), "DISK_IDENTITY_DUPLICATE");
        assert_eq!(disk.hash_all(), before);
    }
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn paths_are_no_selectors() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon).await;
    let disk = LoopDisk::new(32 * MIB);
    let image = image();
    let before = disk.hash_all();
    let link = image.path().with_extension("link");
    symlink(disk.node(), &link).expect("link");
    for path in [disk.node(), disk.backing.clone(), link] {
        let selector = DiskSelector { name: Some(path.display().to_string()), ..DiskSelector::default() };
        let request = PlanInstallRequest {
            disk: Some(selector.clone()),
            image: Some(image.spec()),
            ..PlanInstallRequest::default()
        };
        let planned = Fault::from(client.provisioning().plan_install(request).await.expect_err("a path"));
        assert_eq!((planned.code, planned.reason.as_str()), (Code::InvalidArgument, "REQUEST_MALFORMED"));
        let mut begin = begin(&image, &disk);
        begin.disk = Some(selector);
        let pushed = client.push(begin).await.expect_err("a path");
        assert_eq!(pushed.reason, "REQUEST_MALFORMED");
        let typed = format!("name={}", path.display());
        assert_eq!(daemon.ctl(&["install", "--yes", "--image", &image.path_text(), "--disk", &typed]).code, 2);
    }
    assert_eq!(disk.hash_all(), before);
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_vanished_disk_is_not_found() {
    let daemon = Daemon::start();
    let mut disk = LoopDisk::new(32 * MIB);
    daemon.disk(&disk);
    disk.detach();
    let before = blake3::hash(&fs::read(&disk.backing).expect("read"));
    assert_eq!(daemon.install(&image().path(), &disk, &[]).refusal(), "DISK_NOT_FOUND");
    assert_eq!(blake3::hash(&fs::read(&disk.backing).expect("read")), before);
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn a_disk_that_somebody_holds_exclusively_is_busy() {
    let daemon = Daemon::start();
    let disk = LoopDisk::new(32 * MIB);
    let holder = OpenOptions::new().read(true).custom_flags(OFlag::O_EXCL.bits()).open(disk.node()).expect("free");
    assert_eq!(refused(&daemon, &disk), "DISK_BUSY");
    drop(holder);
    daemon.install(&image().path(), &disk, &[]).done();
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn loop_devices_are_no_disks_unless_they_are_allowed() {
    let daemon = Daemon::start_with("");
    let disk = LoopDisk::new(32 * MIB);
    assert_eq!(refused(&daemon, &disk), "DISK_NOT_FOUND");
    let list = daemon.ctl(&["disk", "list"]).done();
    assert!(list["disks"].as_array().expect("a list").iter().all(|listed| listed["transport"] != "loop"));
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn the_guard_opens_nothing_but_the_node_of_the_selected_disk() {
    let (disk, other) = (LoopDisk::new(32 * MIB), LoopDisk::new(32 * MIB));
    let before = disk.hash_all();
    let real = Discovery { allow_loop_devices: true, ..Discovery::default() };
    let selected = find(&real, &disk.name);
    let nodes = tempfile::tempdir().expect("temporary directory");
    let roots = Roots { dev: nodes.path().to_owned(), ..Roots::default() };
    let deceived = Discovery { roots, ..real.clone() };
    let node = nodes.path().join(&disk.name);
    let reason = |discovery: &Discovery, disk: &Disk| {
        guard::open_for_writing(discovery, disk).expect_err("another thing than the disk").reason()
    };

    assert_eq!(reason(&deceived, &selected), Reason::DiskGone);
    symlink(disk.node(), &node).expect("link");
    assert_eq!(reason(&deceived, &selected), Reason::DiskNodeSymlink);
    fs::remove_file(&node).expect("remove");
    fs::write(&node, "a regular file").expect("write");
    assert_eq!(reason(&deceived, &selected), Reason::DiskNodeNotBlock);
    assert_eq!(fs::read(&node).expect("read"), b"a regular file");
    let moved = Disk { name: other.name.clone(), ..selected.clone() };
    assert_eq!(reason(&real, &moved), Reason::DiskChanged);
    drop(guard::open_for_writing(&real, &selected).expect("the disk itself"));
    assert_eq!(disk.hash_all(), before);
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn the_guard_notices_a_disk_that_was_exchanged() {
    let mut disk = LoopDisk::new(32 * MIB);
    let discovery = Discovery { allow_loop_devices: true, ..Discovery::default() };
    let selected = find(&discovery, &disk.name);
    disk.reattach();
    // The name may have gone to another test's disk; then that one is not opened either.
    let error = guard::open_for_writing(&discovery, &Disk { name: disk.name.clone(), ..selected });
    assert_eq!(error.expect_err("another disk sequence number").reason(), Reason::DiskChanged);
}

fn find(discovery: &Discovery, name: &str) -> Disk {
    let disks = discovery.scan().expect("scan");
    disks.into_iter().find(|disk| disk.name == name).expect("the disk is there")
}
