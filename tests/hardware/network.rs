//! Network interfaces, beside `ip`, and what they were made of.

use bms_agent::hardware::inventory::LinkState;
use serde_json::Value;

use super::guest::{ANSWERS, CARDS};
use super::known;
use super::tools::lspci;

#[test]
#[ignore = "needs qemu-system-x86, ovmf, and the image of tests/fixtures/debian-image.sh"]
fn interfaces_are_what_ip_shows() {
    let shown = ANSWERS.json("ip");
    let shown: Vec<_> =
        shown.as_array().expect("interfaces").iter().filter(|other| other["link_type"] == "ether").collect();
    let nics = ANSWERS.inventory().nics.into_value().expect("interfaces");
    assert_eq!(nics.len(), shown.len(), "{shown:#?}");
    for nic in nics {
        let other = shown.iter().find(|other| other["ifname"] == *nic.name).expect("ip shows it");
        assert_eq!(known(&nic.mac), other["address"].as_str(), "{other}");
        // Said only if another is in use.
        let permanent = other.get("permaddr").unwrap_or(&other["address"]);
        assert_eq!(known(&nic.permanent_mac), permanent.as_str(), "{other}");
        let has_link = other["flags"].as_array().expect("flags").contains(&Value::from("LOWER_UP"));
        assert_eq!(nic.link.value(), Some(&if has_link { LinkState::Up } else { LinkState::Down }), "{other}");
        let nearest = nic.path.items().first().expect("a device");
        assert_eq!(
            (Some(&*nearest.bus), Some(&*nearest.name)),
            (other["parentbus"].as_str(), other["parentdev"].as_str())
        );
    }
}

#[test]
#[ignore = "needs qemu-system-x86, ovmf, and the image of tests/fixtures/debian-image.sh"]
fn interfaces_are_what_they_were_made_of() {
    let (devices, nics) = (lspci(ANSWERS.text("lspci")), ANSWERS.inventory().nics.into_value().expect("interfaces"));
    for made in &CARDS {
        let nic = nics.iter().find(|nic| known(&nic.mac) == Some(made.mac));
        let nic = nic.unwrap_or_else(|| panic!("{} is not among {nics:#?}", made.mac));
        assert_eq!(nic.speed_mbps.value().copied(), made.speed_mbps, "{nic:#?}");
        let drivers: Vec<_> = nic.path.items().iter().filter_map(|link| known(&link.driver)).collect();
        assert_eq!(drivers, made.drivers, "{nic:#?}");
        let controller = known(&nic.controller).and_then(|address| devices.get(address)).expect("lspci shows it");
        assert_eq!(controller.get("Driver").map(String::as_str), made.drivers.last().copied(), "{controller:?}");
    }
}
