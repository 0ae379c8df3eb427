//! Volume groups that LVM's own tools made, without the kernel's part of it: what is found must be where they say.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::rc::Rc;

use bms_agent::inspect::free::reason::Owner;
use bms_agent::inspect::fs::{Content, open, probe};
use bms_agent::inspect::lvm::{self, LvmError};
use bms_agent::inspect::reader::{DiskReader, FileReader};
use tempfile::TempDir;

use super::file_systems::rig::{Case, Tree, compare};
use super::{run, text};

const DISK_BYTES: u64 = 220 << 20;
const EXTENT_BYTES: u64 = 4 << 20;
/// Where LVM begins with extents, unless it is told otherwise.
const FIRST_AT: u64 = 1 << 20;

/// Two physical volumes on loop devices, which are detached in the end.
struct Group {
    directory: TempDir,
    devices: Vec<String>,
}

impl Drop for Group {
    fn drop(&mut self) {
        for device in &self.devices {
            run("losetup", &["--detach", device]);
        }
    }
}

impl Group {
    fn new() -> Self {
        let mut group = Self { directory: tempfile::tempdir().expect("directory"), devices: Vec::new() };
        for disk in group.disks() {
            File::create(&disk).expect("create").set_len(DISK_BYTES).expect("length");
            group.devices.push(run("losetup", &["--find", "--show", text(&disk)]));
        }
        let devices: Vec<&str> = group.devices.iter().map(String::as_str).collect();
        group.lvm("pvcreate", &devices);
        group.lvm("vgcreate", &[&["cs-vg"], &devices[..]].concat());
        group
    }

    fn disks(&self) -> [PathBuf; 2] {
        ["one", "two"].map(|name| self.directory.path().join(name))
    }

    /// Runs a tool that sees these devices alone, and asks nothing of the kernel's device mapper.
    fn lvm(&self, tool: &str, arguments: &[&str]) -> String {
        let allowed: String = self.devices.iter().map(|device| format!("\"a|^{device}$|\",")).collect();
        let config = format!(
            "devices {{ filter=[{allowed}\"r|.*|\"] use_devicesfile=0 }} backup {{ backup=0 archive=0 }} \
             activation {{ udev_sync=0 udev_rules=0 monitoring=0 }}"
        );
        run(tool, &[&["--quiet", "--driverloaded", "n", "--config", &config], arguments].concat())
    }

    fn create(&self, name: &str, arguments: &[&str]) {
        let inactive = ["--yes", "--activate", "n", "--wipesignatures", "n", "--zero", "n", "--name", name, "cs-vg"];
        self.lvm("lvcreate", &[&inactive, arguments].concat());
    }

    /// Writes an image into a logical volume, extent by extent, where LVM says that they are.
    fn write(&self, name: &str, image: &[u8]) {
        let columns = ["--noheadings", "--options", "seg_pe_ranges", "--sort", "seg_start"];
        let ranges = self.lvm("lvs", &[&columns[..], &[&format!("cs-vg/{name}")]].concat());
        let mut blocks = image.chunks(usize::try_from(EXTENT_BYTES).expect("small"));
        for range in ranges.lines() {
            let (device, range) = range.trim().split_once(':').expect("a device");
            let (first, last) = range.split_once('-').expect("a range");
            let disk = self.devices.iter().position(|other| other == device).expect("one of these");
            let disk = File::options().write(true).open(&self.disks()[disk]).expect("open");
            for extent in first.parse::<u64>().expect("a number")..=last.parse().expect("a number") {
                if let Some(block) = blocks.next() {
                    disk.write_all_at(block, FIRST_AT + extent * EXTENT_BYTES).expect("write");
                }
            }
        }
        assert!(blocks.next().is_none(), "the volume is too small");
    }

    fn readers(&self) -> Vec<Rc<dyn DiskReader>> {
        let reader = |path| Rc::new(FileReader::new(File::open(path).expect("open"), DISK_BYTES)) as Rc<dyn DiskReader>;
        self.disks().iter().map(reader).collect()
    }
}

#[test]
#[ignore = "needs root, loop devices, lvm2 and the tools of ext4"]
fn a_root_in_pieces_on_two_disks_is_read() {
    let group = Group::new();
    group.create("striped", &["--type", "striped", "--stripes", "2", "--size", "8M"]);
    group.create("swap", &["--size", "20M"]);
    group.create("root", &["--extents", "60"]);
    group.lvm("lvextend", &["--size", "+8M", "cs-vg/swap"]);
    let tree = Tree::plain(400);
    let image = group.directory.path().join("root");
    File::create(&image).expect("create").set_len(60 * EXTENT_BYTES).expect("length");
    run("mke2fs", &["-q", "-t", "ext4", "-d", text(tree.path()), text(&image)]);
    group.write("root", &std::fs::read(&image).expect("read"));

    let readers = group.readers();
    assert!(readers.iter().all(|disk| probe(disk).expect("readable") == Content::Foreign(Owner::Lvm)));
    let found = lvm::find(&readers);
    assert!(found.failed.is_empty(), "{:?}", found.failed);
    let names: Vec<_> = found.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, ["striped", "swap", "root"]);
    let [striped, swap, root] = found.volumes.as_slice() else { panic!("{found:?}") };
    assert_eq!(swap.content.as_ref().expect("linear").len_bytes(), 28 << 20);
    assert_eq!(root.group, "cs-vg");
    assert_eq!(root.uuid, group.lvm("lvs", &["--noheadings", "--options", "lv_uuid", "cs-vg/root"]));
    assert!(matches!(&striped.content, Err(LvmError::Unsupported { .. })), "{striped:?}");
    let volume: Rc<dyn DiskReader> = Rc::clone(root.content.as_ref().expect("linear")) as Rc<dyn DiskReader>;
    let fs = open(&volume).expect("readable").expect("a file system");
    compare(fs.as_ref(), tree.path(), Case::Unix);

    let alone = lvm::find(&readers[..1]);
    let missing = alone.volumes.iter().find(|volume| volume.name == "root").expect("it is named");
    assert!(matches!(&missing.content, Err(LvmError::MissingPhysicalVolume { .. })), "{missing:?}");
}

/// Each change writes the text again behind the last one, so that it goes round the end of the area.
#[test]
#[ignore = "needs root, loop devices and lvm2"]
fn a_group_that_was_changed_often_is_read_as_it_is_now() {
    let group = Group::new();
    for number in 0..24 {
        group.create(&format!("volume{number}"), &["--size", "4M"]);
    }
    // A text of 24 volumes has about 10 KiB, and the area 1 MiB.
    for round in 0..130 {
        let (from, to) = (format!("cs-vg/name{}", round - 1), format!("name{round}"));
        let from = if round == 0 { "cs-vg/volume0" } else { &from };
        group.lvm("lvrename", &[from, &to]);
        if round % 20 == 0 || round > 95 {
            let found = lvm::find(&group.readers());
            assert!(found.failed.is_empty(), "round {round}: {:?}", found.failed);
            assert!(found.volumes.iter().any(|volume| volume.name == to), "round {round}");
        }
    }
}
