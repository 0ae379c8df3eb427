//! Disks, beside `lsblk`, their places in the kernel's tree, and what they were made of.

use std::collections::BTreeMap;

use bms_agent::disk::identity::Transport;
use bms_agent::hardware::inventory::BlockDevice;
use serde_json::Value;

use super::guest::{ANSWERS, DISKS};
use super::known;
use super::tools::lspci;

fn disks() -> Vec<BlockDevice> {
    ANSWERS.inventory().disks.into_value().expect("disks")
}

/// What `lsblk` shows of the disks, by name.
fn shown() -> BTreeMap<String, Value> {
    let shown = ANSWERS.json("lsblk");
    let disks = shown["blockdevices"].as_array().expect("disks").iter().filter(|device| device["type"] == "disk");
    disks.map(|disk| (disk["name"].as_str().expect("a name").to_owned(), disk.clone())).collect()
}

/// Whether both mean the same. `lsblk` has no word for SCSI alone, and got one for virtio late.
fn is_same(transport: Transport, word: Option<&str>) -> bool {
    match (transport, word) {
        (Transport::Scsi | Transport::Virtio, None) => true,
        (Transport::Ata, word) => word == Some("sata"),
        (transport, word) => word == Some(transport.name()),
    }
}

#[test]
#[ignore = "needs qemu-system-x86, ovmf, and the image of tests/fixtures/debian-image.sh"]
fn disks_are_what_lsblk_shows() {
    let mut shown = shown();
    for disk in disks() {
        let other = shown.remove(&disk.name).unwrap_or_else(|| panic!("lsblk does not show {}", disk.name));
        let text = |field: &str| other[field].as_str().map(str::trim);
        assert_eq!(Some(&*disk.device_number), text("maj:min"), "{other}");
        assert_eq!(known(&disk.model), text("model"), "{other}");
        assert_eq!(known(&disk.serial), text("serial"), "{other}");
        // udev writes a number of SCSI as one, whatever its kind.
        let wwn = disk.wwn.value().map(|wwn| wwn.replacen("naa.", "0x", 1));
        assert_eq!(wwn.as_deref(), text("wwn"), "{other}");
        assert_eq!(Some(disk.size_bytes), other["size"].as_u64(), "{other}");
        assert_eq!(Some(disk.logical_block_size.into()), other["log-sec"].as_u64(), "{other}");
        assert_eq!(Some(disk.physical_block_size.into()), other["phy-sec"].as_u64(), "{other}");
        assert_eq!(Some(disk.rotational), other["rota"].as_bool(), "{other}");
        assert_eq!(Some(disk.removable), other["rm"].as_bool(), "{other}");
        assert!(is_same(disk.transport, text("tran")), "{}: {other}", disk.transport);
    }
    assert!(shown.is_empty(), "the agent does not know {:?}", shown.keys());
}

#[test]
#[ignore = "needs qemu-system-x86, ovmf, and the image of tests/fixtures/debian-image.sh"]
fn disks_are_what_they_were_made_of() {
    let mut disks = disks();
    for made in &DISKS {
        let index = disks.iter().position(|disk| known(&disk.serial) == Some(made.serial));
        let disk = disks.swap_remove(index.unwrap_or_else(|| panic!("{} is not among {disks:#?}", made.serial)));
        let sizes = (disk.size_bytes, disk.logical_block_size, disk.physical_block_size);
        assert_eq!(sizes, (made.size_bytes, made.logical_block_size, made.physical_block_size), "{disk:#?}");
        assert_eq!(disk.attachment, made.attachment, "{disk:#?}");
        let drivers: Vec<_> = disk.path.items().iter().filter_map(|link| known(&link.driver)).collect();
        assert_eq!(drivers, made.drivers, "{disk:#?}");
    }
    assert!(disks.is_empty(), "nobody made {disks:#?}");
}

/// The lines of `places`: the name of a block device, and where the kernel has it.
fn places() -> BTreeMap<&'static str, &'static str> {
    ANSWERS.text("places").lines().filter_map(|line| line.split_once(' ')).collect()
}

#[test]
#[ignore = "needs qemu-system-x86, ovmf, and the image of tests/fixtures/debian-image.sh"]
fn disks_hang_on_the_controller_that_they_are_below() {
    let (devices, places) = (lspci(ANSWERS.text("lspci")), places());
    for disk in disks() {
        let place = places[&*disk.name];
        let above = place.split('/').rfind(|name| devices.contains_key(*name)).expect("a PCI device");
        assert_eq!(known(&disk.controller), Some(above), "{place}");
        let link = disk.path.items().iter().find(|link| link.bus == "pci").expect("a PCI device");
        assert_eq!((&*link.name, known(&link.driver)), (above, devices[above].get("Driver").map(String::as_str)));
        assert!(devices[above]["Class"].contains("[01"), "{place}");
    }
}
