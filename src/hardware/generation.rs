//! The generation of an inventory: a digest that changes when hardware does.
//!
//! It is over what stays the same as long as nobody opens the server: not over names that a boot may change, not over
//! links, speeds, drivers or firmware versions, nor over what the kernel has left to use, and not over what can be taken
//! away without tools - removable media, the virtual media of a BMC - or is not in the server at all: disks of iSCSI.
//!
//! What is on PCI counts whether the kernel has a driver for it or not. A disk does not: without a driver for what it hangs
//! on, no kernel sees it, and with one it is another generation. So generations are to be compared that the same system saw.
//! A network card counts by its place and its ids alone, for its interfaces come with the driver, and what was set up on
//! them may hide the address that they came with (a team, Open vSwitch, `MACAddress=` of networkd). So a card that was
//! exchanged for another of its kind is not noticed, nor is the BMC's own card on USB.
//!
//! The form is a contract: generations of one version of this program are compared with those of another.

use serde::Serialize;

use super::fact::{Fact, Unknown, UnknownReason};
use super::inventory::{Attachment, BlockDevice, Dimm, Inventory};
use super::pci::{PciClass, PciDevice, PciIds};
use crate::disk::identity::Transport;

/// What stands before the content, so that the digest is that of nothing else.
const CONTEXT: &str = "bms-agent 2026-11 hardware inventory generation 1";

/// What counts. Only values do, for why something is not known may change; what is known to be missing stays so.
#[derive(Serialize)]
struct Canonical<'a> {
    system: [Option<&'a String>; 4],
    board: [Option<&'a String>; 3],
    chassis: (Option<&'a String>, Option<u32>),
    serials: [Option<&'a String>; 4],
    cpu: ([Option<&'a String>; 3], Option<u32>),
    memory: Memory<'a>,
    disks: Vec<CanonicalDisk<'a>>,
    storage_controllers: Vec<CanonicalDevice<'a>>,
    network_controllers: Vec<CanonicalDevice<'a>>,
}

/// Modules, or how much there is if they cannot be seen.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Memory<'a> {
    Modules(Vec<CanonicalDimm<'a>>),
    Installed(Option<u64>),
}

/// Slot, part number, serial number and capacity.
type CanonicalDimm<'a> = ([Option<&'a String>; 3], Option<u64>);
/// Controller, model, serial number and WWN; capacity and logical block size.
type CanonicalDisk<'a> = ([Option<&'a String>; 4], u64, u32);
/// Where it is, and what.
type CanonicalDevice<'a> = (&'a String, PciClass, PciIds);

/// The generation of an inventory: 64 hex digits. Not known if one of the lists is not.
pub fn of(inventory: &Inventory) -> Fact<String> {
    let encode = |canonical: Canonical<'_>| {
        serde_json::to_vec(&canonical).map_err(|error| Unknown::new(UnknownReason::Malformed, &error.to_string()))
    };
    match Canonical::of(inventory).and_then(encode) {
        Ok(encoded) => {
            let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
            hasher.update(&encoded);
            Fact::Known(hasher.finalize().to_hex().to_string())
        }
        Err(unknown) => Fact::Unknown(unknown),
    }
}

impl<'a> Canonical<'a> {
    fn of(inventory: &'a Inventory) -> Result<Self, Unknown> {
        let Inventory { system, board, chassis, serials, cpu, memory, .. } = inventory;
        let storage = list("storage controllers", &inventory.storage_controllers)?;
        let network = list("network controllers", &inventory.network_controllers)?;
        let disks = list("disks", &inventory.disks)?.iter().filter(|disk| is_built_in(disk));
        Ok(Self {
            system: values([&system.vendor, &system.product_name, &system.product_version, &system.product_sku]),
            board: values([&board.vendor, &board.name, &board.version]),
            chassis: (chassis.vendor.value(), chassis.kind.value().copied()),
            serials: values([&serials.system, &serials.system_uuid, &serials.board, &serials.chassis]),
            cpu: (values([&cpu.architecture, &cpu.vendor, &cpu.model]), cpu.sockets.value().copied()),
            memory: match memory.dimms.value() {
                Some(dimms) => Memory::Modules(sorted(dimms.iter().map(dimm))),
                None => Memory::Installed(memory.installed_bytes.value().copied()),
            },
            disks: sorted(disks.map(disk)),
            storage_controllers: sorted(storage.iter().map(device)),
            network_controllers: sorted(network.iter().map(device)),
        })
    }
}

/// A list. That the kernel has nothing of the kind is an answer; any other reason may be gone the next time.
fn list<'a, T>(what: &str, list: &'a Fact<Vec<T>>) -> Result<&'a [T], Unknown> {
    match list.why_unknown() {
        Some(unknown) if unknown.reason != UnknownReason::Missing => {
            Err(Unknown::new(unknown.reason, &format!("the {what} are not known")))
        }
        Some(_) | None => Ok(list.items()),
    }
}

fn is_built_in(disk: &BlockDevice) -> bool {
    let is_loose = disk.removable || matches!(disk.attachment, Attachment::Usb | Attachment::Virtual);
    !is_loose && disk.transport != Transport::Iscsi
}

fn values<const N: usize>(facts: [&Fact<String>; N]) -> [Option<&String>; N] {
    facts.map(Fact::value)
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.collect();
    items.sort_unstable();
    items
}

fn dimm(dimm: &Dimm) -> CanonicalDimm<'_> {
    (values([&dimm.locator, &dimm.part_number, &dimm.serial]), dimm.size_bytes.value().copied())
}

fn disk(disk: &BlockDevice) -> CanonicalDisk<'_> {
    (values([&disk.controller, &disk.model, &disk.serial, &disk.wwn]), disk.size_bytes, disk.logical_block_size)
}

fn device(device: &PciDevice) -> CanonicalDevice<'_> {
    (&device.address, device.class, device.ids)
}

#[cfg(test)]
mod tests;
