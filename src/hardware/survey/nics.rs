//! Network interfaces of devices (`Documentation/ABI/testing/sysfs-class-net`).

use std::path::Path;

use super::chain;
use crate::disk::roots::Roots;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::inventory::{LinkState, Nic};
use crate::hardware::read;

/// The kind of an address that the device came with (`NET_ADDR_PERM`).
const PERMANENT: u32 = 0;

/// Reads them. Those that software made have no device, and virtual functions belong to whoever made them. The driver may
/// ask the device for the speed.
pub(super) fn read(roots: &Roots) -> Fact<Vec<Nic>> {
    let class = roots.sys.join("class/net");
    read::entries(&class).map(|names| {
        let is_hardware = |name: &String| {
            let device = class.join(name).join("device");
            device.exists() && !device.join("physfn").exists()
        };
        names.into_iter().filter(is_hardware).map(|name| nic(&class.join(&name), name)).collect()
    })
}

fn nic(directory: &Path, name: String) -> Nic {
    let path = match directory.canonicalize() {
        Ok(directory) => chain::of(&directory),
        Err(error) => Fact::Unknown(read::because(&error)),
    };
    let mac = mac(&directory.join("address"));
    let link = link_state(directory);
    Nic {
        name,
        permanent_mac: permanent_mac(directory, &mac),
        mac,
        speed_mbps: if link.value() == Some(&LinkState::Up) {
            // A device that cannot say has -1.
            read::number::<i64>(&directory.join("speed"))
                .and_then(|speed| u32::try_from(speed).map_or(Fact::unknown(UnknownReason::Missing), Fact::Known))
        } else {
            Fact::unknown(UnknownReason::Missing)
        },
        link,
        controller: chain::controller(&path),
        path,
        neighbour: Fact::unknown_for(UnknownReason::NotReported, "no LLDP daemon was asked"),
    }
}

/// An address, if it is one: a device without has zeroes.
fn mac(path: &Path) -> Fact<String> {
    read::text(path).and_then(|mac| {
        let is_empty = mac.chars().all(|c| matches!(c, '0' | ':'));
        if is_empty { Fact::unknown_for(UnknownReason::Placeholder, &mac) } else { Fact::Known(mac) }
    })
}

/// The address in use, if the device came with it; for a member of a bond, which may use another's, what the bond keeps.
fn permanent_mac(directory: &Path, mac: &Fact<String>) -> Fact<String> {
    match read::number(&directory.join("addr_assign_type")) {
        Fact::Known(PERMANENT) => mac.clone(),
        Fact::Known(_) => self::mac(&directory.join("bonding_slave/perm_hwaddr")),
        Fact::Unknown(unknown) => Fact::Unknown(unknown),
    }
}

/// Whether there is a link. Of an interface that is down the kernel says nothing: the read fails.
fn link_state(directory: &Path) -> Fact<LinkState> {
    read::number(&directory.join("carrier"))
        .map(|carrier: u8| if carrier == 0 { LinkState::Down } else { LinkState::Up })
}
