//! Inventories on the wire, there and back: the agent shows one, and whoever is shown it has the same.
//!
//! On the wire a fact is a field that is set, or that is absent and explained under its path. Each part of an inventory is
//! named here once, with its fields, and both ways follow from that. What comes from the wire may be anything: what is
//! absent is not known, a word that nobody knows is another, and nothing is an error.

mod fact;
mod word;

use std::collections::BTreeMap;

use super::proto::v1;
use crate::hardware::fact::{Unknown, UnknownReason};
use crate::hardware::inventory::{
    Bios, BlockDevice, Bmc, Board, Chassis, Cpu, Dimm, Firmware, Inventory, Link, Memory, Neighbour, Nic, Serials,
    System, Tpm,
};
use crate::hardware::pci::{PciClass, PciDevice, PciId, PciIds, PciNames};

/// An inventory as it is sent.
pub fn view(inventory: Inventory) -> v1::Inventory {
    let mut place = Place::default();
    let mut wire = inventory.view(&mut place);
    let unknown_fact = |(field, Unknown { reason, detail })| v1::UnknownFact {
        field,
        reason: v1::UnknownReason::from(reason).into(),
        detail,
    };
    wire.unknown_facts = place.unknown.into_iter().map(unknown_fact).collect();
    wire
}

/// The inventory that was sent.
pub fn parse(mut wire: v1::Inventory) -> Inventory {
    let unknown = |v1::UnknownFact { field, reason, detail }| {
        // A number that is not known is a reason that is not known.
        let reason = v1::UnknownReason::try_from(reason).unwrap_or_default();
        (field, Unknown { reason: UnknownReason::from(reason), detail })
    };
    let unknown = std::mem::take(&mut wire.unknown_facts).into_iter().map(unknown).collect();
    Inventory::parse(wire, &mut Place { path: String::new(), unknown })
}

/// Where in an inventory a conversion is, and what is not known there and elsewhere, by its path.
#[derive(Debug, Default)]
struct Place {
    path: String,
    unknown: BTreeMap<String, Unknown>,
}

impl Place {
    /// Does something a step further down: `disks`, `[2]`, `serial` lead to `disks[2].serial`.
    fn within<T>(&mut self, step: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        let len = self.path.len();
        if len > 0 && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        let done = work(self);
        self.path.truncate(len);
        done
    }
}

/// What has a form on the wire, which is the same thing.
trait Mirrored {
    type Wire;

    /// As it is sent; what is not known is noted.
    fn view(self, place: &mut Place) -> Self::Wire;

    /// As it was; what was noted of it is taken up.
    fn parse(wire: Self::Wire, place: &mut Place) -> Self;
}

/// Things that are themselves on the wire.
macro_rules! plain {
    ($($plain:ty),+) => {
        $(impl Mirrored for $plain {
            type Wire = Self;

            fn view(self, _: &mut Place) -> Self {
                self
            }

            fn parse(wire: Self, _: &mut Place) -> Self {
                wire
            }
        })+
    };
}

/// A part, by its fields: they have the same names on the wire. Those that are parts themselves are optional there, and
/// `but` one has no counterpart.
macro_rules! part {
    ($part:ident { $($field:ident),* } $(parts { $($inner:ident),* })? $(but $other:ident)?) => {
        impl Mirrored for $part {
            type Wire = v1::$part;

            fn view(self, place: &mut Place) -> v1::$part {
                v1::$part {
                    $($field: place.within(stringify!($field), |place| self.$field.view(place)),)*
                    $($($inner: Some(place.within(stringify!($inner), |place| self.$inner.view(place))),)*)?
                    $($other: Vec::new(),)?
                }
            }

            fn parse(wire: v1::$part, place: &mut Place) -> Self {
                Self {
                    $($field: place.within(stringify!($field), |place| Mirrored::parse(wire.$field, place)),)*
                    $($($inner: place.within(stringify!($inner), |place| {
                        Mirrored::parse(wire.$inner.unwrap_or_default(), place)
                    }),)*)?
                }
            }
        }
    };
}

plain!(String, bool, u32, u64);

part!(Inventory {
    schema, generation, tpms, bmcs, disks, storage_controllers, network_controllers, nics
} parts {
    system, board, chassis, bios, serials, cpu, memory, firmware
} but unknown_facts);
part!(System { vendor, product_name, product_version, product_sku, product_family });
part!(Board { vendor, name, version });
part!(Chassis { vendor, kind, version });
part!(Bios { vendor, version, date });
part!(Serials { system, system_uuid, board, chassis, asset_tag });
part!(Cpu { architecture, vendor, model, sockets, cores, threads, flags });
part!(Memory { usable_bytes, installed_bytes, dimms });
part!(Dimm { locator, size_bytes, kind, speed_mts, vendor, part_number, serial });
part!(Firmware { boot_mode, secure_boot });
part!(Tpm { name, version_major });
part!(Bmc { name, firmware_version, ipmi_version, address });
part!(BlockDevice {
    name,
    device_number,
    model,
    serial,
    wwn,
    size_bytes,
    logical_block_size,
    physical_block_size,
    rotational,
    removable,
    transport,
    attachment,
    controller,
    path
});
part!(Link { bus, name, modalias, driver });
part!(PciDevice { address, class, modalias, driver, numa_node } parts { ids, names });
part!(PciIds { vendor, device, subsystem_vendor, subsystem_device });
part!(PciNames { vendor, device, subsystem, class });
part!(Nic { name, mac, permanent_mac, link, speed_mbps, controller, path, neighbour });
part!(Neighbour { system_name, chassis_id, port_id });

impl Mirrored for PciId {
    type Wire = u32;

    fn view(self, _: &mut Place) -> u32 {
        self.0.into()
    }

    /// What has more than 16 bits is no id: 0 is nobody's.
    fn parse(wire: u32, _: &mut Place) -> Self {
        Self(u16::try_from(wire).unwrap_or_default())
    }
}

impl Mirrored for PciClass {
    type Wire = u32;

    fn view(self, _: &mut Place) -> u32 {
        u32::from_be_bytes([0, self.base(), self.subclass(), self.interface()])
    }

    fn parse(wire: u32, _: &mut Place) -> Self {
        Self::new(wire)
    }
}

#[cfg(test)]
mod tests;
