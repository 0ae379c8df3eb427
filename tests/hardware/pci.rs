//! Cards, beside `lspci`.

use bms_agent::hardware::fact::Fact;
use bms_agent::hardware::pci::PciDevice;

use super::guest::ANSWERS;
use super::known;
use super::tools::{Record, lspci, name_and_id};

/// A card as `lspci` puts it.
#[derive(Debug, PartialEq, Eq)]
struct Card {
    address: String,
    class: String,
    /// Of the chip and of the card: maker and thing.
    ids: [String; 4],
    /// Of the class, the maker and the chip, and of the card, unless the table has none.
    names: [Option<String>; 4],
    driver: Option<String>,
    numa_node: Option<String>,
}

/// What `lspci` says of a device.
fn shown(device: &Record) -> Card {
    let field = |name: &str| device.get(name).map_or(("", ""), |text| name_and_id(text));
    // A device without a name is called `Device`.
    let name = |text: &str| (!matches!(text, "Class" | "Vendor" | "Device")).then(|| text.to_owned());
    let [class, vendor, chip, maker, card] = ["Class", "Vendor", "Device", "SVendor", "SDevice"].map(field);
    let interface = device.get("ProgIf").map_or("00", String::as_str);
    Card {
        address: device["Slot"].clone(),
        class: format!("{}{interface}", class.1),
        ids: [vendor, chip, maker, card].map(|(_, id)| id.to_owned()),
        names: [class, vendor, chip, card].map(|(text, _)| name(text)),
        driver: device.get("Driver").cloned(),
        numa_node: device.get("NUMANode").cloned(),
    }
}

/// What the agent says of it.
fn said(device: &PciDevice) -> Card {
    let (ids, names) = (device.ids, &device.names);
    let name = |fact: &Fact<String>| known(fact).map(str::to_owned);
    Card {
        address: device.address.clone(),
        class: device.class.to_string(),
        ids: [ids.vendor, ids.device, ids.subsystem_vendor, ids.subsystem_device].map(|id| id.to_string()),
        names: [&names.class, &names.vendor, &names.device, &names.subsystem].map(name),
        driver: name(&device.driver),
        numa_node: device.numa_node.value().map(u32::to_string),
    }
}

/// All cards of a base class.
fn all_shown(base: &str) -> Vec<Card> {
    let devices = lspci(ANSWERS.text("lspci"));
    devices.values().map(shown).filter(|card| card.class.starts_with(base)).collect()
}

#[test]
#[ignore = "needs qemu-system-x86, ovmf, and the image of tests/fixtures/debian-image.sh"]
fn controllers_are_what_lspci_shows() {
    let inventory = ANSWERS.inventory();
    let said =
        |devices: &Fact<Vec<PciDevice>>| devices.value().expect("controllers").iter().map(said).collect::<Vec<_>>();
    let storage = said(&inventory.storage_controllers);
    assert_eq!(storage, all_shown("01"));
    assert_eq!(said(&inventory.network_controllers), all_shown("02"));
    assert!(storage.iter().any(|card| card.names[3].is_some()), "one has the name of its card: {storage:?}");
}
