//! PCI devices of a class (`Documentation/ABI/testing/sysfs-bus-pci`).

use std::path::Path;

use crate::disk::roots::Roots;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::pci::{PciClass, PciDevice, PciId, PciIds, PciNames};
use crate::hardware::read;

/// Base class of mass storage.
pub(super) const STORAGE: u8 = 0x01;
/// Base class of network controllers.
pub(super) const NETWORK: u8 = 0x02;

/// The devices of a base class, by address, not yet with names. Virtual functions are not there: software makes them.
pub(super) fn read(roots: &Roots, base: u8) -> Fact<Vec<PciDevice>> {
    let devices = roots.sys.join("bus/pci/devices");
    read::entries(&devices).and_then(|names| {
        let found = names.into_iter().map(|name| device(&devices.join(&name), name, base));
        Fact::gather(found)
    })
}

/// A device; missing if it is of another class, virtual, or has just gone.
fn device(directory: &Path, address: String, base: u8) -> Fact<PciDevice> {
    class(directory).and_then(|class| {
        if class.base() != base || directory.join("physfn").exists() {
            return Fact::unknown(UnknownReason::Missing);
        }
        ids(directory).map(|ids| PciDevice {
            address,
            class,
            ids,
            names: PciNames::default(),
            modalias: read::text(&directory.join("modalias")),
            driver: read::link(&directory.join("driver")),
            numa_node: numa_node(directory),
        })
    })
}

fn class(directory: &Path) -> Fact<PciClass> {
    read::hex(&directory.join("class")).and_then(|class| match u32::try_from(class) {
        Ok(class) if class >> 24 == 0 => Fact::Known(PciClass::new(class)),
        Ok(_) | Err(_) => Fact::unknown_for(UnknownReason::Malformed, "the class has more than 24 bits"),
    })
}

fn ids(directory: &Path) -> Fact<PciIds> {
    let id = |name: &str| {
        read::hex(&directory.join(name)).and_then(|id| match u16::try_from(id) {
            Ok(id) => Fact::Known(PciId(id)),
            Err(_) => Fact::unknown_for(UnknownReason::Malformed, &format!("{name} has more than 16 bits")),
        })
    };
    let facts = [id("vendor"), id("device"), id("subsystem_vendor"), id("subsystem_device")];
    match facts {
        [Fact::Known(vendor), Fact::Known(device), Fact::Known(subsystem_vendor), Fact::Known(subsystem_device)] => {
            Fact::Known(PciIds { vendor, device, subsystem_vendor, subsystem_device })
        }
        facts => Fact::Unknown(facts.iter().find_map(Fact::why_unknown).cloned().unwrap_or_default()),
    }
}

/// The node; -1 says that the firmware told the kernel of none.
fn numa_node(directory: &Path) -> Fact<u32> {
    read::number::<i32>(&directory.join("numa_node"))
        .and_then(|node| u32::try_from(node).map_or(Fact::unknown(UnknownReason::Missing), Fact::Known))
}
