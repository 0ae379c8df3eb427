//! Disks: what discovery says of each, and what it hangs on.

use std::path::{Path, PathBuf};

use super::chain;
use crate::disk::discovery::{Discovery, Disk};
use crate::disk::roots::Roots;
use crate::disk::sysfs;
use crate::hardware::fact::{Fact, Unknown, UnknownReason};
use crate::hardware::inventory::{Attachment, BlockDevice};
use crate::hardware::read;

/// Reads them. Loop devices are no hardware.
pub(super) fn read(roots: &Roots) -> Fact<Vec<BlockDevice>> {
    let discovery = Discovery { roots: roots.clone(), ..Discovery::default() };
    match discovery.scan() {
        Ok(disks) => Fact::Known(disks.into_iter().map(|disk| block_device(roots, disk)).collect()),
        Err(error) => Fact::Unknown(Unknown::new(UnknownReason::Unreadable, &crate::text::chain(&error))),
    }
}

/// One of them, or a loop device.
pub(super) fn block_device(roots: &Roots, disk: Disk) -> BlockDevice {
    let directory = device(&roots.sys.join("block").join(&disk.name));
    let path = directory.as_deref().map_or(Fact::unknown(UnknownReason::Missing), chain::of);
    // Elsewhere below `devices/virtual` are disks that come over the network: `devices/virtual/nvme-fabrics`.
    let is_virtual = directory.is_some_and(|directory| directory.starts_with(roots.sys.join("devices/virtual/block")));
    let attachment = match path.value() {
        Some(links) => chain::attachment(links, disk.transport),
        None if is_virtual => Attachment::Virtual,
        None => Attachment::default(),
    };
    let named = |name: Option<String>| read::value(name.unwrap_or_default().as_bytes());
    BlockDevice {
        name: disk.name,
        device_number: disk.device_number.to_string(),
        model: named(disk.model),
        serial: named(disk.identity.serial),
        wwn: named(disk.identity.wwn),
        size_bytes: disk.size_bytes,
        logical_block_size: disk.logical_block_size,
        physical_block_size: disk.physical_block_size,
        rotational: disk.rotational,
        removable: disk.removable,
        transport: disk.transport,
        attachment,
        controller: chain::controller(&path),
        path,
    }
}

/// The directory that a disk has under the device that it hangs on.
///
/// A namespace that several NVMe controllers may serve is below none of them, but below their subsystem, which has links to
/// them (`nvme_init_subsystem` in `drivers/nvme/host/core.c`): the first of them counts.
fn device(link: &Path) -> Option<PathBuf> {
    let directory = link.canonicalize().ok()?;
    let subsystem = directory.parent()?;
    if !subsystem.file_name()?.to_str()?.starts_with("nvme-subsys") {
        return Some(directory);
    }
    let is_controller = |name: &String| name.strip_prefix("nvme").is_some_and(|number| number.parse::<u32>().is_ok());
    let controller = sysfs::entries(subsystem).ok()?.into_iter().find(is_controller)?;
    subsystem.join(controller).canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use crate::disk::discovery::Discovery;
    use crate::disk::identity::Transport;
    use crate::hardware::fact::{Fact, UnknownReason};
    use crate::hardware::inventory::{Attachment, BlockDevice, Link};
    use crate::hardware::machines::{Card, Machine};

    const NVME: Card = Card { ids: [0x19e5, 0x3714, 0, 0], class: 0x01_0802, driver: Some("nvme") };

    fn only_disk(machine: &Machine) -> BlockDevice {
        let disks = machine.inventory().disks.into_value().expect("disks");
        let [disk] = <[BlockDevice; 1]>::try_from(disks).expect("one disk");
        disk
    }

    /// Bus, name and driver of each device in the path.
    fn path(disk: &BlockDevice) -> Vec<String> {
        let driver = |link: &Link| link.driver.value().cloned().unwrap_or_else(|| "-".to_owned());
        disk.path.items().iter().map(|link| format!("{} {} {}", link.bus, link.name, driver(link))).collect()
    }

    #[test]
    fn a_namespace_below_a_subsystem_hangs_on_the_controller_that_serves_it() {
        let machine = Machine::new("multipath", "x86_64").card("pci0000:00/0000:00:02.0/0000:01:00.0", NVME);
        let controller = "pci0000:00/0000:00:02.0/0000:01:00.0/nvme/nvme0";
        machine.fixture.device("virtual/nvme-subsystem/nvme-subsys0/nvme0n1", "259:1");
        machine.fixture.device(&format!("{controller}/nvme0c0n1"), "259:0").attribute("hidden", "1\n");
        machine.fixture.link(
            "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0",
            "../../../pci0000:00/0000:00:02.0/0000:01:00.0/nvme/nvme0",
        );
        let disk = only_disk(&machine);
        assert_eq!((disk.name.as_str(), disk.attachment), ("nvme0n1", Attachment::Nvme));
        assert_eq!(path(&disk), ["pci 0000:01:00.0 nvme"]);
    }

    #[test]
    fn a_disk_behind_a_volume_management_device_needs_both_drivers() {
        let vmd = Card { ids: [0x8086, 0x201d, 0, 0], class: 0x01_0400, driver: Some("vmd") };
        let port = "pci0000:5d/0000:5d:05.5/pci10000:00/10000:00:02.0/10000:01:00.0";
        let machine = Machine::new("VMD", "x86_64").card("pci0000:5d/0000:5d:05.5", vmd).card(port, NVME);
        let disk = only_disk(&machine.nvme_disk(port, 0, "S1"));
        assert_eq!(path(&disk), ["pci 10000:01:00.0 nvme", "pci 0000:5d:05.5 vmd"]);
        assert_eq!(disk.controller, Fact::Known("10000:01:00.0".to_owned()));
        assert_eq!(disk.attachment, Attachment::Nvme);
    }

    #[test]
    fn every_layer_between_a_disk_and_its_controller_counts() {
        let virtio = Card { ids: [0x1af4, 0x1048, 0x1af4, 0x1100], class: 0x01_0000, driver: Some("virtio-pci") };
        let card = "pci0000:00/0000:00:04.0";
        let machine = Machine::new("virtio-scsi", "x86_64")
            .card(card, virtio)
            .device(&format!("{card}/virtio2"), "virtio", "virtio:d00000008v00001AF4", None)
            .scsi_disk(&format!("{card}/virtio2/host8/target8:0:0"), "sda", "QEMU HARDDISK", "VS1");
        let disk = only_disk(&machine);
        assert_eq!(path(&disk), ["scsi 0:0:0:0 sd", "virtio virtio2 -", "pci 0000:00:04.0 virtio-pci"]);
        assert_eq!(disk.attachment, Attachment::Virtio);

        let xhci = Card { ids: [0x1b36, 0x000d, 0, 0], class: 0x0c_0330, driver: Some("xhci_hcd") };
        let port = format!("{card}/usb2/2-1/2-1:1.0");
        let machine = Machine::new("USB", "x86_64")
            .card(card, xhci)
            .device(&port, "usb", "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00", Some("usb-storage"))
            .scsi_disk(&format!("{port}/host7/target7:0:0"), "sda", "QEMU HARDDISK", "USB1");
        let disk = only_disk(&machine);
        assert_eq!(path(&disk), ["scsi 0:0:0:0 sd", "usb 2-1:1.0 usb-storage", "pci 0000:00:04.0 xhci_hcd"]);
        assert_eq!((disk.transport, disk.attachment), (Transport::Usb, Attachment::Usb));
    }

    #[test]
    fn a_controller_that_is_no_card_is_known_by_its_cable() {
        let host = "platform/HISI0162:01/host0/port-0:0/end_device-0:0/target0:0:0";
        let machine = Machine::new("hisi_sas v2", "aarch64")
            .device("platform/HISI0162:01", "platform", "acpi:HISI0162:", Some("hisi_sas_v2_hw"))
            .scsi_disk(host, "sda", "ST600MM0088", "W420XYZ1");
        let disk = only_disk(&machine);
        assert_eq!(path(&disk), ["scsi 0:0:0:0 sd", "platform HISI0162:01 hisi_sas_v2_hw"]);
        assert_eq!(disk.attachment, Attachment::Sas);
        assert_eq!(disk.controller, Fact::unknown(UnknownReason::Missing));
    }

    #[test]
    fn a_loop_device_is_no_hardware_and_can_be_asked_about_all_the_same() {
        let machine = Machine::new("loops", "x86_64");
        machine.fixture.loop_device("loop0", "7:0", "/srv/disk.raw");
        let discovery = Discovery { allow_loop_devices: true, ..machine.fixture.discovery() };
        let disk = discovery.scan().expect("scan").remove(0);
        let found = machine.survey().disk(disk);
        assert_eq!((found.name.as_str(), found.attachment), ("loop0", Attachment::Virtual));
        assert_eq!(found.path, Fact::unknown(UnknownReason::Missing));
        assert_eq!(machine.inventory().disks, Fact::Known(Vec::new()));
    }

    #[test]
    fn what_a_disk_that_comes_over_the_network_hangs_on_is_not_known() {
        let fabrics = "virtual/nvme-fabrics/ctl/nvme0";
        let alone = Machine::new("one path", "x86_64");
        alone.fixture.device(&format!("{fabrics}/nvme0n1"), "259:1");
        let shared = Machine::new("several paths", "x86_64");
        shared.fixture.device("virtual/nvme-subsystem/nvme-subsys0/nvme0n1", "259:1");
        shared.fixture.device(&format!("{fabrics}/nvme0c0n1"), "259:0").attribute("hidden", "1\n");
        let link = "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0";
        shared.fixture.link(link, "../../nvme-fabrics/ctl/nvme0");
        for disk in [only_disk(&alone), only_disk(&shared)] {
            assert_eq!((disk.name.as_str(), disk.attachment), ("nvme0n1", Attachment::Other));
            assert_eq!(disk.path, Fact::unknown(UnknownReason::Missing));
        }
        let machine = Machine::new("iSCSI", "x86_64");
        let disk = only_disk(&machine.scsi_disk("platform/host2/session1/target2:0:0", "sdb", "LUN", "L1"));
        assert_eq!((disk.transport, disk.attachment), (Transport::Iscsi, Attachment::Other));
        assert_eq!(path(&disk), ["scsi 0:0:0:0 sd"], "nothing shows the network card");
    }

    #[test]
    fn disks_are_not_known_while_nobody_knows_what_is_mounted() {
        let machine = Machine::new("broken", "x86_64");
        machine.fixture.write("proc/self/mountinfo", "nonsense\n");
        let inventory = machine.inventory();
        let why = inventory.disks.why_unknown().expect("unknown");
        assert_eq!(why.reason, UnknownReason::Unreadable);
        assert!(why.detail.as_ref().is_some_and(|detail| detail.contains("mountinfo is not understood")), "{why:?}");
        assert_eq!(inventory.generation.value(), None);
    }
}
