//! What a disk or a network interface hangs on: the devices above it in the kernel's tree that need a driver.
//!
//! A device has a directory within that of the device that it hangs on (`Documentation/driver-api/driver-model`), with
//! `modalias`, what its driver is found by, and links to its `subsystem` and its `driver`. So the path of a directory is
//! the chain: `pci0000:3a/0000:3a:00.0/0000:3b:00.0/host0/target0:2:0/0:2:0:0/block/sda`.

use std::path::Path;

use crate::disk::identity::Transport;
use crate::disk::sysfs;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::inventory::{Attachment, Link};
use crate::hardware::pci::{self, PciId};
use crate::hardware::read;

/// Bridges between PCI buses, by the beginning of their class. The bus's own driver serves them, in every kernel.
const BRIDGE: &str = "0x0604";
/// The storage card SD100 (`SDI-Drivers/scsi_ep_front`).
const SD100: (PciId, PciId) = (PciId(0x19e5), PciId(0x1610));

/// The devices between `device`, a canonical directory, and the root of the tree, nearest first.
pub(super) fn of(device: &Path) -> Fact<Vec<Link>> {
    let mut links = Vec::new();
    for directory in device.ancestors().take_while(|directory| !directory.ends_with("sys/devices")) {
        match read::text(&directory.join("modalias")) {
            Fact::Known(modalias) => links.extend(link(directory, modalias)),
            Fact::Unknown(unknown) if unknown.reason == UnknownReason::Missing => (),
            Fact::Unknown(unknown) => return Fact::Unknown(unknown),
        }
    }
    if links.is_empty() { Fact::unknown(UnknownReason::Missing) } else { Fact::Known(links) }
}

/// A device, unless it is a bridge.
fn link(directory: &Path, modalias: String) -> Option<Link> {
    let bus = sysfs::link_name(&directory.join("subsystem"))?;
    let is_bridge =
        bus == "pci" && sysfs::text(&directory.join("class")).is_some_and(|class| class.starts_with(BRIDGE));
    let name = crate::text::printable(directory.file_name()?.to_str()?);
    let bus = crate::text::printable(&bus);
    (!is_bridge).then(|| Link { bus, name, modalias, driver: read::link(&directory.join("driver")) })
}

/// The PCI device that is nearest.
pub(super) fn controller(path: &Fact<Vec<Link>>) -> Fact<String> {
    path.as_ref().and_then(|links| {
        let nearest = links.iter().find(|link| link.bus == "pci");
        nearest.map_or(Fact::unknown(UnknownReason::Missing), |link| Fact::Known(link.name.clone()))
    })
}

/// What kind of controller a disk hangs on: what is nearest to it says, and without a PCI device what its cable is.
pub(super) fn attachment(links: &[Link], transport: Transport) -> Attachment {
    if transport == Transport::Usb {
        return Attachment::Usb;
    }
    if links.iter().any(|link| link.bus == "virtio") {
        return Attachment::Virtio;
    }
    let nearest = links.iter().find(|link| link.bus == "pci");
    match nearest.and_then(|link| pci::from_modalias(&link.modalias)) {
        Some((ids, _)) if (ids.vendor, ids.device) == SD100 => Attachment::Sdi,
        Some((_, class)) if class.base() == 1 => by_subclass(class.subclass()),
        Some(_) | None => by_transport(transport),
    }
}

/// The subclasses of mass storage (PCI Code and ID Assignment Specification, class 01).
const fn by_subclass(subclass: u8) -> Attachment {
    match subclass {
        0x00 => Attachment::Scsi,
        0x01 | 0x05 | 0x06 => Attachment::Sata,
        0x04 => Attachment::Raid,
        0x07 => Attachment::Sas,
        0x08 => Attachment::Nvme,
        _ => Attachment::Other,
    }
}

const fn by_transport(transport: Transport) -> Attachment {
    match transport {
        Transport::Nvme => Attachment::Nvme,
        Transport::Ata => Attachment::Sata,
        Transport::Sas => Attachment::Sas,
        Transport::Scsi => Attachment::Scsi,
        Transport::Virtio => Attachment::Virtio,
        Transport::Usb => Attachment::Usb,
        Transport::Iscsi | Transport::Fc | Transport::Mmc | Transport::Loop | Transport::Unknown => Attachment::Other,
    }
}
