//! Network interfaces of devices (`Documentation/ABI/testing/sysfs-class-net`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::chain;
use crate::disk::roots::Roots;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::inventory::{LinkState, Nic};
use crate::hardware::read;

/// The kind of an address that the device came with (`NET_ADDR_PERM`).
const PERMANENT: u32 = 0;

/// The bit of `flags` that says that an interface was brought up (`IFF_UP`).
const UP: u64 = 1;

/// Speeds of links in Mbit/s, by the name of the interface.
pub(super) type Speeds = BTreeMap<String, Fact<u32>>;

/// Reads all but the speeds, which takes no asking: of what the kernel itself has at hand.
pub(super) fn read(roots: &Roots) -> Fact<Vec<Nic>> {
    interfaces(roots).map(|interfaces| interfaces.iter().map(|(name, directory)| nic(directory, name)).collect())
}

/// Has the kernel ask the drivers for the speeds of all links.
pub(super) fn speeds(roots: &Roots) -> Fact<Speeds> {
    let is_up = |(_, directory): &(String, PathBuf)| link_state(directory).value() == Some(&LinkState::Up);
    interfaces(roots).map(|interfaces| {
        let linked = interfaces.into_iter().filter(is_up);
        linked.map(|(name, directory)| (crate::text::printable(&name), speed(&directory))).collect()
    })
}

/// Gives each interface its speed, if it has a link.
pub(super) fn tell_speeds(nics: &mut Fact<Vec<Nic>>, speeds: &Fact<Speeds>) {
    let missing = Fact::unknown(UnknownReason::Missing);
    for nic in nics.value_mut().into_iter().flatten() {
        nic.speed_mbps = if nic.link.value() == Some(&LinkState::Up) {
            speeds.as_ref().and_then(|speeds| speeds.get(&nic.name).unwrap_or(&missing).clone())
        } else {
            missing.clone()
        };
    }
}

/// Names and directories. Those that software made have no device, and virtual functions belong to whoever made them.
fn interfaces(roots: &Roots) -> Fact<Vec<(String, PathBuf)>> {
    let class = roots.sys.join("class/net");
    read::entries(&class).map(|names| {
        let is_hardware = |(_, directory): &(String, PathBuf)| {
            let device = directory.join("device");
            device.exists() && !device.join("physfn").exists()
        };
        let all = names.into_iter().map(|name| (name.clone(), class.join(name)));
        all.filter(is_hardware).collect()
    })
}

fn nic(directory: &Path, name: &str) -> Nic {
    let path = match directory.canonicalize() {
        Ok(directory) => chain::of(&directory),
        Err(error) => Fact::Unknown(read::because(&error)),
    };
    let mac = mac(&directory.join("address"));
    Nic {
        // Root may call an interface almost anything.
        name: crate::text::printable(name),
        permanent_mac: permanent_mac(directory, &mac),
        mac,
        link: link_state(directory),
        speed_mbps: Fact::unknown_for(UnknownReason::NotReported, "no driver was asked"),
        controller: chain::controller(&path),
        path,
        neighbour: Fact::unknown_for(UnknownReason::NotReported, "no LLDP daemon was asked"),
    }
}

/// The speed of a link; a device that cannot say has -1.
fn speed(directory: &Path) -> Fact<u32> {
    read::number::<i64>(&directory.join("speed"))
        .and_then(|speed| u32::try_from(speed).map_or(Fact::unknown(UnknownReason::Missing), Fact::Known))
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

/// Whether there is a link. Of an interface that is down the kernel does not know.
///
/// `operstate` says it (`Documentation/networking/operstates.rst`). `carrier` says it too, but since Linux 6.8 only to who
/// gets the lock that a broken driver may hold for ever (`carrier_show` in `net/core/net-sysfs.c`).
fn link_state(directory: &Path) -> Fact<LinkState> {
    if let Fact::Known(flags) = read::hex(&directory.join("flags"))
        && flags & UP == 0
    {
        return Fact::unknown_for(UnknownReason::Missing, "the interface is down");
    }
    read::text(&directory.join("operstate")).and_then(|state| match state.as_str() {
        // Unknown is what drivers leave it at that know of no cable.
        "up" | "dormant" | "testing" | "unknown" => Fact::Known(LinkState::Up),
        "down" | "lowerlayerdown" | "notpresent" => Fact::Known(LinkState::Down),
        _ => Fact::unknown_for(UnknownReason::Malformed, &state),
    })
}

#[cfg(test)]
mod tests {
    use super::{read, tell_speeds};
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
    fn a_link_is_what_the_kernel_has_at_hand() {
        let net = format!("devices/{PORT}/net/eno1");
        for (state, expected) in [
            ("up", Ok(LinkState::Up)),
            ("dormant", Ok(LinkState::Up)),
            ("unknown", Ok(LinkState::Up)),
            ("down", Ok(LinkState::Down)),
            ("lowerlayerdown", Ok(LinkState::Down)),
            ("sideways", Err(UnknownReason::Malformed)),
        ] {
            let link = only_nic(&server().attribute(&format!("{net}/operstate"), state)).link;
            let seen =
                link.why_unknown().map_or(link.value().copied().ok_or(UnknownReason::Other), |why| Err(why.reason));
            assert_eq!(seen, expected, "{state}");
        }
        let off = server().attribute(&format!("{net}/operstate"), "down").attribute(&format!("{net}/flags"), "0x1002");
        assert_eq!(only_nic(&off).link, Fact::unknown_for(UnknownReason::Missing, "the interface is down"));
    }

    #[test]
    fn speed_is_that_of_a_link() {
        let net = format!("devices/{PORT}/net/eno1");
        assert_eq!(only_nic(&server()).speed_mbps, Fact::Known(25_000));
        let down = only_nic(&server().attribute(&format!("{net}/operstate"), "down"));
        assert_eq!((down.link, down.speed_mbps), (Fact::Known(LinkState::Down), Fact::unknown(UnknownReason::Missing)));
        let silent = only_nic(&server().attribute(&format!("{net}/speed"), "-1"));
        assert_eq!(
            (silent.link, silent.speed_mbps),
            (Fact::Known(LinkState::Up), Fact::unknown(UnknownReason::Missing))
        );
    }

    #[test]
    fn a_speed_that_nobody_says_costs_nothing_else() {
        let mut nics = read(&server().fixture.roots());
        tell_speeds(&mut nics, &Fact::unknown(UnknownReason::TimedOut));
        let [nic] = nics.items() else { panic!("{nics:?}") };
        assert_eq!(
            (&nic.link, &nic.speed_mbps),
            (&Fact::Known(LinkState::Up), &Fact::unknown(UnknownReason::TimedOut))
        );
        assert_eq!(nic.permanent_mac, Fact::Known("28:a6:db:11:22:01".to_owned()));
    }

    #[test]
    fn the_name_of_an_interface_is_made_printable() {
        let machine = Machine::new("network", "x86_64").card(PORT, CARD).nic(PORT, "\u{1b}[2J", "28:a6:db:11:22:01");
        assert_eq!(only_nic(&machine).name, "\\u{1b}[2J");
    }
}
