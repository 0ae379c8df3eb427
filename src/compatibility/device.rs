//! The devices of a server that an image needs drivers for: those between the disk that it boots from and the processor,
//! and its network cards.
//!
//! Which cards? A server is reached through cards that have a link, and often through a bond of all of them, so each of
//! these is needed. If none is known to have a link, any card may be the one, and all are needed. What hangs on USB is
//! the service processor's own door to the server, whose link is always up: it is never needed.

use std::collections::BTreeSet;

use crate::disk::identity::Transport;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::inventory::{BlockDevice, Inventory, Link, LinkState, Nic};
use crate::hardware::pci::PciDevice;
use crate::inspect::evidence::{MAX_DEVICES, Modalias};

/// A device that several drivers may be needed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    /// What people call it: `disk sda`, `network card eno1, eno2`.
    pub(super) name: String,
    /// What it hangs on, itself first.
    pub(super) links: Vec<Step>,
}

/// Something on the way to a device that needs a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// Where it is: `pci 0000:3b:00.0`.
    pub(super) place: String,
    /// What drivers for it are found by; none if what the server says is no modalias.
    pub(super) modalias: Option<Modalias>,
}

impl Step {
    fn of(link: &Link) -> Self {
        Self { place: format!("{} {}", link.bus, link.name), modalias: Modalias::new(&link.modalias).ok() }
    }

    fn of_controller(controller: &PciDevice) -> Self {
        let modalias = controller.modalias.value().and_then(|text| Modalias::new(text).ok());
        Self { place: format!("pci {}", controller.address), modalias }
    }
}

/// The network cards of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cards {
    /// Those that are needed.
    pub(super) needed: Vec<Device>,
    /// The others.
    pub(super) others: Vec<Device>,
    /// Whether none is known to have a link, so that any card may be the one that is needed.
    pub(super) any_may_be_needed: bool,
}

/// The devices that an image must be asked about, for a server and a disk of it: what an examination of it is to be asked.
/// The likelier needed come first; those beyond [`MAX_DEVICES`] are left out, and what they would say stays unknown.
pub fn modaliases(host: &Inventory, target: Option<&BlockDevice>) -> Vec<Modalias> {
    let cards = cards(host);
    let disk = target.and_then(boot_disk);
    let devices = disk.iter().chain(&cards.needed).chain(&cards.others);
    let mut seen = BTreeSet::new();
    let modaliases = devices.flat_map(|device| &device.links).filter_map(|step| step.modalias.clone());
    modaliases.filter(|modalias| seen.insert(modalias.clone())).take(MAX_DEVICES).collect()
}

/// What must be driven for a disk to be there; none if it is not known. A disk that is reached over the network, and one
/// below nothing but its own SCSI bus, needs more than the path to it shows.
pub(super) fn boot_disk(disk: &BlockDevice) -> Option<Device> {
    let is_hardware = |link: &Link| link.bus != "scsi" && is_driven(link);
    if disk.transport == Transport::Iscsi || !disk.path.items().iter().any(is_hardware) {
        return None;
    }
    let links = steps(&disk.path)?;
    Some(Device { name: format!("disk {}", disk.name), links })
}

/// What of a path needs a driver.
fn steps(path: &Fact<Vec<Link>>) -> Option<Vec<Step>> {
    Some(path.value()?.iter().filter(|link| is_driven(link)).map(Step::of).collect())
}

/// Whether something needs a driver. The device at the end of its path works on this server, so what no driver serves
/// needs none.
fn is_driven(link: &Link) -> bool {
    link.driver.why_unknown().is_none_or(|why| why.reason != UnknownReason::Missing)
}

/// Sorts the cards of a server into those that are needed and others.
pub(super) fn cards(host: &Inventory) -> Cards {
    let is_linked = |nic: &&Nic| nic.link.value() == Some(&LinkState::Up);
    let (usb, wired): (Vec<&Nic>, Vec<&Nic>) = host.nics.items().iter().partition(|nic| is_usb(nic));
    let (linked, idle): (Vec<&Nic>, Vec<&Nic>) = wired.into_iter().partition(is_linked);
    let silent = host.network_controllers.items().iter().filter(|controller| !has_interface(controller, host));
    let silent: Vec<Device> = silent.map(of_controller).collect();
    let [linked, idle, usb] = [linked, idle, usb].map(|nics| grouped(&nics));
    if linked.is_empty() {
        Cards { needed: [idle, silent].concat(), others: usb, any_may_be_needed: true }
    } else {
        Cards { needed: linked, others: [idle, silent, usb].concat(), any_may_be_needed: false }
    }
}

fn is_usb(nic: &Nic) -> bool {
    nic.path.items().iter().any(|link| link.bus == "usb")
}

/// Whether there is an interface of a controller: without a driver on this system there is none.
fn has_interface(controller: &PciDevice, host: &Inventory) -> bool {
    host.nics.items().iter().any(|nic| nic.controller.value() == Some(&controller.address))
}

fn of_controller(controller: &PciDevice) -> Device {
    let name = format!("network card {}", controller.address);
    Device { name, links: vec![Step::of_controller(controller)] }
}

/// Interfaces that need the same drivers, as one device. One of which it is not known what it hangs on has no link.
fn grouped(nics: &[&Nic]) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    for nic in nics {
        let links = steps(&nic.path).unwrap_or_default();
        let alike = |device: &&mut Device| {
            device.links.iter().map(|step| &step.modalias).eq(links.iter().map(|step| &step.modalias))
        };
        match devices.iter_mut().find(alike) {
            Some(device) => device.name.push_str(&format!(", {}", nic.name)),
            None => devices.push(Device { name: format!("network card {}", nic.name), links }),
        }
    }
    devices
}
