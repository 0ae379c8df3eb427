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
        let is_hardware = |name: &str| {
            let device = class.join(name).join("device");
            device.exists() && !device.join("physfn").exists()
        };
        names.iter().filter(|name| is_hardware(name)).map(|name| nic(&class.join(name), name)).collect()
    })
}

fn nic(directory: &Path, name: &str) -> Nic {
    let path = match directory.canonicalize() {
        Ok(directory) => chain::of(&directory),
        Err(error) => Fact::Unknown(read::because(&error)),
    };
    let mac = mac(&directory.join("address"));
    let link = link_state(directory);
    Nic {
        // Root may call an interface almost anything.
        name: crate::text::printable(name),
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

#[cfg(test)]
mod tests {
    use crate::hardware::fact::{Fact, UnknownReason};
    use crate::hardware::inventory::{LinkState, Nic};
    use crate::hardware::machines::{Card, Machine};

    const CARD: Card = Card { ids: [0x8086, 0x37d0, 0, 0], class: 0x02_0000, driver: Some("i40e") };
    const PORT: &str = "pci0000:5d/0000:5d:00.0/0000:5e:00.0";

    fn server() -> Machine {
        Machine::new("network", "x86_64").card(PORT, CARD).nic(PORT, "eno1", "28:a6:db:11:22:01")
    }

    fn only_nic(machine: &Machine) -> Nic {
        let nics = machine.inventory().nics.into_value().expect("nics");
        let [nic] = <[Nic; 1]>::try_from(nics).expect("one interface");
        nic
    }

    #[test]
    fn what_software_made_is_no_hardware() {
        let function = "pci0000:5d/0000:5d:00.0/0000:5e:02.0";
        let machine = server().card(function, CARD).nic(function, "eno1v0", "02:00:00:00:00:01");
        machine.fixture.link(&format!("sys/devices/{function}/physfn"), "../0000:5e:00.0");
        machine.fixture.link("sys/class/net/bond0", "../../devices/virtual/net/bond0");
        let machine = machine
            .attribute("devices/virtual/net/bond0/address", "28:a6:db:11:22:01")
            .attribute("class/net/bonding_masters", "bond0");
        assert_eq!(only_nic(&machine).name, "eno1");
        let controllers = machine.inventory().network_controllers;
        let addresses: Vec<_> = controllers.items().iter().map(|card| card.address.as_str()).collect();
        assert_eq!(addresses, ["0000:5e:00.0"]);
    }

    #[test]
    fn a_member_of_a_bond_keeps_the_address_that_it_came_with() {
        let net = format!("devices/{PORT}/net/eno1");
        let machine = server()
            .attribute(&format!("{net}/address"), "28:a6:db:99:99:99")
            .attribute(&format!("{net}/addr_assign_type"), "3");
        let nic = only_nic(&machine);
        assert_eq!(nic.mac, Fact::Known("28:a6:db:99:99:99".to_owned()));
        assert_eq!(nic.permanent_mac, Fact::unknown(UnknownReason::Missing));
        let nic = only_nic(&machine.attribute(&format!("{net}/bonding_slave/perm_hwaddr"), "28:a6:db:11:22:01"));
        assert_eq!(nic.permanent_mac, Fact::Known("28:a6:db:11:22:01".to_owned()));
    }

    #[test]
    fn speed_is_that_of_a_link() {
        let net = format!("devices/{PORT}/net/eno1");
        let down = only_nic(&server().attribute(&format!("{net}/carrier"), "0"));
        assert_eq!((down.link, down.speed_mbps), (Fact::Known(LinkState::Down), Fact::unknown(UnknownReason::Missing)));
        let silent = only_nic(&server().attribute(&format!("{net}/speed"), "-1"));
        assert_eq!(
            (silent.link, silent.speed_mbps),
            (Fact::Known(LinkState::Up), Fact::unknown(UnknownReason::Missing))
        );
    }

    #[test]
    fn the_name_of_an_interface_is_made_printable() {
        let machine = Machine::new("network", "x86_64").card(PORT, CARD).nic(PORT, "\u{1b}[2J", "28:a6:db:11:22:01");
        assert_eq!(only_nic(&machine).name, "\\u{1b}[2J");
    }
}
