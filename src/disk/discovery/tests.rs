//! Discovery on trees as servers show them.

use std::fs;

use super::{DiscoveryError, Disk, Refusal};
use crate::disk::DiskUse;
use crate::disk::fixture::Fixture;
use crate::disk::identity::{DeviceNumber, Transport};
use crate::reason::Reason;

fn disk<'a>(disks: &'a [Disk], name: &str) -> &'a Disk {
    disks.iter().find(|disk| disk.name == name).expect("disk")
}

fn refusals(disks: &[Disk], name: &str) -> Vec<Refusal> {
    disk(disks, name).refusals(disks)
}

fn reasons(disks: &[Disk], name: &str) -> Vec<Reason> {
    refusals(disks, name)
        .into_iter()
        .map(|refusal| refusal.reason)
        .collect()
}

#[test]
fn an_nvme_disk_is_described_in_full() {
    let fixture = Fixture::new();
    fixture
        .nvme("nvme0n1", "259:0", "S64GNE0R900001")
        .attribute("wwid", "eui.36344730590000010025384500000001\n");
    fixture.link("dev/disk/by-path/pci-0000:02:00.0-nvme-1", "../../nvme0n1");
    fixture.link("dev/disk/by-path/pci-0000:02:00.0-nvme-1-part1", "../../nvme0n1p1");
    let disks = fixture.scan();
    let [disk] = disks.as_slice() else { panic!("{disks:?}") };
    assert_eq!(disk.name, "nvme0n1");
    assert_eq!(disk.device_number, DeviceNumber { major: 259, minor: 0 });
    assert_eq!(disk.identity.serial.as_deref(), Some("S64GNE0R900001"));
    assert_eq!(
        disk.identity.wwn.as_deref(),
        Some("eui.36344730590000010025384500000001")
    );
    assert_eq!(disk.identity.diskseq, Some(7));
    assert_eq!(disk.identity.backing_file, None);
    assert_eq!(disk.model.as_deref(), Some("SAMSUNG MZQL21T9HCJR-00A07"));
    assert_eq!(disk.transport, Transport::Nvme);
    assert_eq!((disk.rotational, disk.read_only, disk.removable), (false, false, false));
    assert_eq!(disk.size_bytes, 40 << 30);
    assert_eq!((disk.logical_block_size, disk.physical_block_size), (512, 4096));
    assert_eq!(disk.write_zeroes_max_bytes, 2 << 20);
    assert_eq!(disk.by_path, ["pci-0000:02:00.0-nvme-1"]);
    assert_eq!(disk.uses, []);
    assert_eq!(disk.refusals(&disks), []);
}

#[test]
fn each_bus_gives_its_serial_in_its_own_way() {
    let fixture = Fixture::new();
    fixture
        .sata("sda", "8:0", "            ZC11ABCD")
        .attribute("device/wwid", "naa.5000c500a1b2c3d4\n");
    fixture.virtio("vda", "254:0", "vol-0123");
    fixture
        .device(
            "pci0000:80/0000:80:02.0/host1/port-1:0/end_device-1:0/target1:0:0/1:0:0:0/block/sdb",
            "8:16",
        )
        .attribute("device/wwid", "naa.5000cca0bbbbbbbb\n");
    let disks = fixture.scan();
    assert_eq!(
        disks.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>(),
        ["sda", "sdb", "vda"]
    );
    let seen = |name: &str| {
        let disk = disk(&disks, name);
        (
            disk.identity.serial.as_deref(),
            disk.identity.wwn.as_deref(),
            disk.transport,
        )
    };
    assert_eq!(
        seen("sda"),
        (Some("ZC11ABCD"), Some("naa.5000c500a1b2c3d4"), Transport::Ata)
    );
    assert_eq!(seen("sdb"), (None, Some("naa.5000cca0bbbbbbbb"), Transport::Sas));
    assert_eq!(seen("vda"), (Some("vol-0123"), None, Transport::Virtio));
    assert!(disks.iter().all(|disk| disk.refusals(&disks).is_empty()));
    assert!(disk(&disks, "sda").rotational);
}

#[test]
fn what_is_no_disk_is_not_seen() {
    let fixture = Fixture::new();
    for (minor, name) in ["dm-0", "md127", "ram0", "zram0", "nbd0", "loop0", "zd0"]
        .iter()
        .enumerate()
    {
        fixture.device(&format!("virtual/block/{name}"), &format!("250:{minor}"));
    }
    fixture.device("pci0000:00/ata2/host1/target1:0:0/1:0:0:0/block/sr0", "11:0");
    fixture.device("platform/floppy.0/block/fd0", "2:0");
    fixture
        .device("pci0000:00/nvme/nvme0/nvme0c0n1", "0:0")
        .attribute("hidden", "1\n");
    fixture.device(
        "platform/mmc/mmc_host/mmc0/mmc0:0001/block/mmcblk0/mmcblk0boot0",
        "179:8",
    );
    assert_eq!(fixture.scan(), []);
}

#[test]
fn loop_devices_are_disks_only_where_allowed_and_only_attached() {
    let fixture = Fixture::new();
    fixture.loop_device("loop0", "7:0", "/srv/disk.img");
    fixture
        .loop_device("loop1", "7:1", "/srv/empty.img")
        .attribute("size", "0\n");
    fixture.device("virtual/block/loop2", "7:2");
    assert_eq!(fixture.scan(), []);
    let mut discovery = fixture.discovery();
    discovery.allow_loop_devices = true;
    let disks = discovery.scan().expect("scan");
    let [disk] = disks.as_slice() else { panic!("{disks:?}") };
    assert_eq!((disk.name.as_str(), disk.transport), ("loop0", Transport::Loop));
    assert_eq!(disk.identity.backing_file.as_deref(), Some("/srv/disk.img"));
    assert_eq!(disk.refusals(&disks), []);

    fixture
        .loop_device("loop3", "7:3", "/srv/disk.img")
        .attribute("diskseq", "9\n");
    let disks = discovery.scan().expect("scan");
    assert_eq!(reasons(&disks, "loop0"), [Reason::DiskIdentityDuplicate]);
    assert_eq!(
        refusals(&disks, "loop3")[0].detail,
        "loop0 has the same backing file /srv/disk.img"
    );

    fixture.loop_device("loop4", "7:4", "/srv/other.img").without("diskseq");
    assert_eq!(
        reasons(&discovery.scan().expect("scan"), "loop4"),
        [Reason::DiskIdentityMissing]
    );
}

#[test]
fn disks_that_cannot_be_told_apart_are_refused() {
    let fixture = Fixture::new();
    fixture.virtio("vda", "254:0", "same");
    fixture.virtio("vdb", "254:16", "same");
    fixture.virtio("vdc", "254:32", "0000000000");
    fixture.virtio("vdd", "254:48", "");
    let disks = fixture.scan();
    assert_eq!(reasons(&disks, "vda"), [Reason::DiskIdentityDuplicate]);
    assert_eq!(refusals(&disks, "vdb")[0].detail, "vda has the same serial same");
    assert_eq!(reasons(&disks, "vdc"), [Reason::DiskIdentityMissing]);
    assert_eq!(reasons(&disks, "vdd"), [Reason::DiskIdentityMissing]);
}

#[test]
fn namespaces_of_one_controller_are_told_apart_by_their_wwn() {
    let fixture = Fixture::new();
    fixture
        .nvme("nvme0n1", "259:0", "S1")
        .attribute("wwid", "eui.0000000000000001\n");
    fixture
        .nvme("nvme0n2", "259:1", "S1")
        .attribute("wwid", "eui.0000000000000002\n");
    let disks = fixture.scan();
    assert!(disks.iter().all(|disk| disk.refusals(&disks).is_empty()));
}

#[test]
fn state_that_forbids_writing_is_refused() {
    let fixture = Fixture::new();
    fixture.virtio("vda", "254:0", "a").attribute("ro", "1\n");
    fixture
        .virtio("vdb", "254:16", "b")
        .attribute("removable", "1\n")
        .attribute("size", "0\n");
    let disks = fixture.scan();
    assert_eq!(reasons(&disks, "vda"), [Reason::DiskReadOnly]);
    assert_eq!(reasons(&disks, "vdb"), [Reason::DiskRemovable, Reason::DiskEmpty]);
}

#[test]
fn mounts_of_the_disk_and_its_partitions_are_found() {
    let fixture = Fixture::new();
    fixture.sata("sda", "8:0", "A").partition("sda1", "8:1");
    fixture.virtio("vda", "254:0", "B");
    fixture.virtio("vdb", "254:16", "C");
    fixture.mounts(&[
        ("8:1", "/mnt/a\\040b", "ext4", "/dev/sda1"),
        ("254:0", "/srv", "xfs", "/dev/vda"),
    ]);
    let disks = fixture.scan();
    assert_eq!(
        refusals(&disks, "sda"),
        [Refusal {
            reason: Reason::DiskMounted,
            detail: "sda1 is mounted at /mnt/a b".to_owned()
        }]
    );
    assert_eq!(refusals(&disks, "vda")[0].detail, "vda is mounted at /srv");
    assert_eq!(reasons(&disks, "vdb"), []);
}

#[test]
fn a_mounted_volume_mounts_and_holds_the_disk_below_it() {
    let fixture = Fixture::new();
    fixture
        .sata("sda", "8:0", "A")
        .partition("sda2", "8:2")
        .held("sda2", "dm-0");
    fixture.mapper("dm-0", "253:0", "vg-data").held("", "dm-1");
    fixture.mapper("dm-1", "253:1", "crypt-data");
    fixture.mounts(&[("253:1", "/data", "ext4", "/dev/mapper/crypt-data")]);
    let disks = fixture.scan();
    assert_eq!(
        disk(&disks, "sda").uses,
        [
            DiskUse::Mounted {
                device: "dm-1".to_owned(),
                target: "/data".to_owned()
            },
            DiskUse::Held {
                device: "sda2".to_owned(),
                holder: "dm-0 (vg-data)".to_owned()
            },
        ]
    );
    fixture.mounts(&[]);
    assert_eq!(reasons(&fixture.scan(), "sda"), [Reason::DiskHeld]);
}

#[test]
fn an_array_and_its_partition_mount_every_member() {
    let fixture = Fixture::new();
    fixture.sata("sda", "8:0", "A").held("", "md0");
    fixture.sata("sdb", "8:16", "B").held("", "md0");
    fixture.device("virtual/block/md0", "9:0").partition("md0p1", "259:5");
    fixture.mounts(&[("259:5", "/data", "ext4", "/dev/md0p1")]);
    let disks = fixture.scan();
    for name in ["sda", "sdb"] {
        assert_eq!(reasons(&disks, name), [Reason::DiskMounted, Reason::DiskHeld], "{name}");
    }
}

#[test]
fn a_loop_device_on_a_partition_holds_its_disk() {
    let fixture = Fixture::new();
    fixture.sata("sda", "8:0", "A").partition("sda1", "8:1");
    fixture.loop_device("loop0", "7:0", "/dev/sda1");
    fixture.loop_device("loop1", "7:1", "/dev/shm/sda");
    let disks = fixture.scan();
    assert_eq!(
        disk(&disks, "sda").uses,
        [DiskUse::Held {
            device: "sda1".to_owned(),
            holder: "loop0".to_owned()
        }]
    );
}

#[test]
fn swap_is_found_directly_and_on_volumes() {
    let fixture = Fixture::new();
    fixture.sata("sda", "8:0", "A").partition("sda1", "8:1");
    fixture.sata("sdb", "8:16", "B").held("", "dm-0");
    fixture.mapper("dm-0", "253:0", "vg-swap");
    fixture.swaps(&["/dev/sda1", "/dev/dm-0"]);
    let disks = fixture.scan();
    assert_eq!(reasons(&disks, "sda"), [Reason::DiskSwap]);
    assert_eq!(refusals(&disks, "sda")[0].detail, "sda1 is swap");
    assert_eq!(reasons(&disks, "sdb"), [Reason::DiskSwap, Reason::DiskHeld]);
    fs::remove_file(fixture.path("proc/swaps")).expect("swaps");
    assert_eq!(reasons(&fixture.scan(), "sda"), [], "a kernel without swap");
}

#[test]
fn btrfs_is_found_by_its_source_and_on_all_its_devices() {
    let fixture = Fixture::new();
    fixture.sata("sda", "8:0", "A").partition("sda2", "8:2");
    fixture.sata("sdb", "8:16", "B");
    fixture.sata("sdc", "8:32", "C");
    fixture.mounts(&[("0:41", "/data", "btrfs", "/dev/disk/by-label/data")]);
    fixture.link("dev/disk/by-label/data", "../../sda2");
    fixture.write("dev/sda2", "");
    for member in ["sda2", "sdb"] {
        fixture.link(&format!("sys/fs/btrfs/0b1c/devices/{member}"), "../../../../devices/x");
    }
    let disks = fixture.scan();
    assert_eq!(refusals(&disks, "sda")[0].detail, "sda2 is mounted at /data");
    assert_eq!(reasons(&disks, "sdb"), [Reason::DiskMounted]);
    assert_eq!(reasons(&disks, "sdc"), []);
}

#[test]
fn the_disks_of_the_running_system_are_protected() {
    let fixture = Fixture::new();
    fixture
        .nvme("nvme0n1", "259:0", "S1")
        .partition("nvme0n1p1", "259:1")
        .partition("nvme0n1p2", "259:2")
        .held("nvme0n1p2", "dm-0");
    fixture.mapper("dm-0", "253:0", "vg-root");
    fixture.sata("sda", "8:0", "A").partition("sda1", "8:1");
    fixture.sata("sdb", "8:16", "B");
    fixture.sata("sdc", "8:32", "C");
    fixture.mounts(&[
        ("253:0", "/", "ext4", "/dev/mapper/vg-root"),
        ("259:1", "/boot/efi", "vfat", "/dev/nvme0n1p1"),
        ("8:1", "/var/lib", "xfs", "/dev/sda1"),
        ("8:16", "/srv", "xfs", "/dev/sdb"),
    ]);
    fixture.swaps(&["/srv/swapfile"]);
    let mut discovery = fixture.discovery();
    discovery.protected_paths = vec!["/var/lib/bms-agent".into()];
    let disks = discovery.scan().expect("scan");
    let protected = |name: &str| {
        let uses = disk(&disks, name).uses.iter();
        uses.filter(|used| used.reason() == Reason::DiskProtected)
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        protected("nvme0n1"),
        [
            "the running system has / on it",
            "the running system has /boot/efi on it"
        ]
    );
    assert_eq!(protected("sda"), ["the running system has /var/lib/bms-agent on it"]);
    assert_eq!(protected("sdb"), ["the running system has /srv/swapfile on it"]);
    assert_eq!(reasons(&disks, "nvme0n1")[0], Reason::DiskProtected);
    assert_eq!(reasons(&disks, "sdc"), []);
}

#[test]
fn the_disk_under_a_live_system_in_a_loop_file_is_protected() {
    let fixture = Fixture::new();
    fixture.sata("sda", "8:0", "A").partition("sda1", "8:1");
    fixture.loop_device("loop0", "7:0", "/run/live/root.squashfs");
    fixture.mounts(&[
        ("7:0", "/", "squashfs", "/dev/loop0"),
        ("8:1", "/run/live", "ext4", "/dev/sda1"),
    ]);
    let mut discovery = fixture.discovery();
    discovery.allow_loop_devices = true;
    let disks = discovery.scan().expect("scan");
    assert_eq!(reasons(&disks, "sda"), [Reason::DiskProtected, Reason::DiskMounted]);
    assert_eq!(reasons(&disks, "loop0"), [Reason::DiskProtected, Reason::DiskMounted]);
}

#[test]
fn a_file_on_a_disk_behind_a_target_does_not_protect_the_target() {
    let fixture = Fixture::new();
    fixture.sata("sda", "8:0", "A");
    fixture.loop_device("loop0", "7:0", "/tmp/target.img");
    fixture.mounts(&[("8:0", "/", "ext4", "/dev/sda")]);
    let mut discovery = fixture.discovery();
    discovery.allow_loop_devices = true;
    let disks = discovery.scan().expect("scan");
    assert_eq!(reasons(&disks, "loop0"), []);
    assert_eq!(reasons(&disks, "sda"), [Reason::DiskProtected, Reason::DiskMounted]);
}

#[test]
fn missing_and_hostile_attributes_cost_only_themselves() {
    let fixture = Fixture::new();
    fixture
        .nvme("nvme0n1", "259:0", "S1\x1b]0;owned\x07")
        .attribute("device/model", [b'M'; 5000])
        .attribute("queue/write_zeroes_max_bytes", "many\n")
        .without("queue/logical_block_size")
        .without("queue/physical_block_size")
        .without("diskseq")
        .without("ro")
        .fifo("size");
    fixture.virtio("vda", "254:0", "B").without("dev");
    fixture.link("sys/block/gone", "../devices/nowhere/gone");
    let disks = fixture.scan();
    let [disk] = disks.as_slice() else { panic!("{disks:?}") };
    assert_eq!(disk.identity.serial.as_deref(), Some("S1\\u{1b}]0;owned\\u{7}"));
    assert_eq!(disk.model, None);
    assert_eq!((disk.logical_block_size, disk.physical_block_size), (512, 512));
    assert_eq!(
        (disk.identity.diskseq, disk.write_zeroes_max_bytes, disk.size_bytes),
        (None, 0, 0)
    );
    assert_eq!(reasons(&disks, "nvme0n1"), [Reason::DiskReadOnly, Reason::DiskEmpty]);
}

#[test]
fn the_uses_of_a_disk_are_named_in_bounded_number() {
    let fixture = Fixture::new();
    fixture.sata("sda", "8:0", "A").held("", "dm-0");
    fixture.mapper("dm-0", "253:0", "vg-x");
    let targets: Vec<String> = (0..500).map(|number| format!("/mnt/{number}")).collect();
    let mounts: Vec<_> = targets
        .iter()
        .map(|target| ("253:0", target.as_str(), "ext4", "/dev/dm-0"))
        .collect();
    fixture.mounts(&mounts);
    let disks = fixture.scan();
    assert_eq!(disks[0].uses.len(), 33);
    assert_eq!(reasons(&disks, "sda").last(), Some(&Reason::DiskHeld));
}

#[test]
fn a_scan_that_cannot_see_what_is_mounted_fails() {
    let fixture = Fixture::new();
    fixture.virtio("vda", "254:0", "A");
    fixture.write("proc/self/mountinfo", "30 1 254;0 / / rw - ext4 /dev/vda rw\n");
    assert!(matches!(
        fixture.discovery().scan(),
        Err(DiscoveryError::Malformed { line: 1, .. })
    ));
    fs::remove_file(fixture.path("proc/self/mountinfo")).expect("mountinfo");
    assert!(matches!(
        fixture.discovery().scan(),
        Err(DiscoveryError::Unreadable { .. })
    ));
}

#[test]
fn a_disk_is_described_by_its_number_alone() {
    let fixture = Fixture::new();
    fixture.sata("sda", "8:0", "A").partition("sda1", "8:1");
    fixture.link(
        "sys/dev/block/8:1",
        "../../devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda/sda1",
    );
    fixture.link(
        "sys/dev/block/8:16",
        "../../devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda",
    );
    fixture.loop_device("loop0", "7:0", "/srv/disk.img");
    let discovery = fixture.discovery();
    let described = discovery.describe(DeviceNumber { major: 8, minor: 0 }).expect("disk");
    assert_eq!([described].as_slice(), discovery.scan().expect("scan"));
    for (major, minor) in [(8, 1), (8, 16), (7, 0), (9, 9)] {
        let number = DeviceNumber { major, minor };
        let error = discovery.describe(number).expect_err("no disk");
        assert!(
            matches!(error, DiscoveryError::NoSuchDisk { number: named } if named == number),
            "{error}"
        );
    }
}

#[test]
fn this_machine_can_be_scanned_and_its_root_is_protected() {
    let discovery = super::Discovery {
        allow_loop_devices: true,
        ..super::Discovery::default()
    };
    let disks = discovery.scan().expect("scan");
    let mount = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let root = mount
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/"))
        .expect("root");
    let number = root.split(' ').nth(2).expect("number");
    for disk in disks.iter().filter(|disk| disk.device_number.to_string() == number) {
        assert_eq!(disk.refusals(&disks)[0].reason, Reason::DiskProtected);
    }
}
