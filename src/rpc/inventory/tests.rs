use prost::Message as _;
use serde::Serialize;

use super::{parse, view};
use crate::disk::identity::Transport;
use crate::hardware::fact::{Fact, Unknown, UnknownReason};
use crate::hardware::inventory::{Attachment, BlockDevice, Bmc, Dimm, Inventory, Link, Nic, SecureBoot, Tpm};
use crate::hardware::machines::catalogue;
use crate::hardware::pci::PciDevice;
use crate::hardware::survey::bound::{MAX_LIST_BYTES, bound};
use crate::rpc::proto::v1;

/// What a gRPC client takes unless it is told otherwise, in bytes.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// Sends an inventory, and takes what comes.
fn sent(inventory: Inventory) -> Inventory {
    let bytes = view(inventory).encode_to_vec();
    parse(v1::Inventory::decode(bytes.as_slice()).expect("a message"))
}

#[test]
fn every_server_of_the_catalogue_survives_the_wire() {
    for (name, inventory) in catalogue::inventories() {
        assert_eq!(sent(inventory.clone()), *inventory, "{name}");
        let withheld = inventory.clone().without_serials();
        assert_eq!(sent(withheld.clone()), withheld, "{name}");
    }
    assert_eq!(sent(Inventory::default()), Inventory::default());
}

#[test]
fn what_is_not_known_is_explained_under_its_path() {
    let wire = view(catalogue::inventory("hostile").clone());
    let why = |field: &str| {
        let fact = wire.unknown_facts.iter().find(|fact| fact.field == field).expect(field);
        (fact.reason(), fact.detail.as_deref())
    };
    assert_eq!(wire.board.as_ref().and_then(|board| board.vendor.as_ref()), None);
    assert_eq!(why("board.vendor"), (v1::UnknownReason::Placeholder, Some("To be filled by O.E.M.")));
    assert_eq!(why("memory.dimms").0, v1::UnknownReason::Unreadable);
    assert_eq!(why("disks[0].path").0, v1::UnknownReason::Unreadable);
    assert_eq!(why("storage_controllers[0].names.subsystem").0, v1::UnknownReason::Missing);
    let cpu = view(catalogue::inventory("TaiShan 2280 V2").clone()).cpu.expect("processors");
    assert_eq!((cpu.cores, cpu.vendor.as_deref()), (Some(4), Some("HiSilicon")));
}

#[test]
fn a_message_of_another_version_costs_only_what_is_new() {
    let fact = |field: &str, reason| v1::UnknownFact { field: field.to_owned(), reason, detail: None };
    let wire = v1::Inventory {
        schema: 2,
        firmware: Some(v1::Firmware { boot_mode: Some(77), secure_boot: Some(77) }),
        disks: vec![v1::BlockDevice {
            name: "sda".to_owned(),
            transport: 77,
            attachment: -1,
            ..v1::BlockDevice::default()
        }],
        storage_controllers: vec![v1::PciDevice {
            class: u32::MAX,
            ids: Some(v1::PciIds { vendor: 1 << 16, device: 0x1822, ..v1::PciIds::default() }),
            ..v1::PciDevice::default()
        }],
        unknown_facts: vec![fact("nics", 77), fact("disks", 1), fact("gpus", 3), fact("", 2)],
        ..v1::Inventory::default()
    };
    let inventory = parse(wire);
    let reason = |fact: Option<&Unknown>| fact.map(|unknown| unknown.reason);
    assert_eq!(reason(inventory.system.vendor.why_unknown()), Some(UnknownReason::NotReported));
    assert_eq!(reason(inventory.firmware.boot_mode.why_unknown()), Some(UnknownReason::Other));
    assert_eq!(inventory.firmware.secure_boot, Fact::Known(SecureBoot::Other));
    assert_eq!(reason(inventory.nics.why_unknown()), Some(UnknownReason::Other));
    let [BlockDevice { name, transport, attachment, model, .. }] = inventory.disks.items() else {
        panic!("{:?}", inventory.disks)
    };
    assert_eq!((name.as_str(), *transport, *attachment), ("sda", Transport::Unknown, Attachment::Other));
    assert_eq!(reason(model.why_unknown()), Some(UnknownReason::NotReported));
    let [controller] = inventory.storage_controllers.items() else { panic!("{:?}", inventory.storage_controllers) };
    assert_eq!((controller.ids.vendor.0, controller.ids.device.0, controller.class.base()), (0, 0x1822, 0xff));
}

/// As many as there may be.
fn most<T: Clone + Serialize>(item: &T) -> Fact<Vec<T>> {
    let item_bytes = serde_json::to_vec(item).expect("JSON").len() + 1;
    Fact::Known(vec![item.clone(); (MAX_LIST_BYTES - 64) / item_bytes])
}

/// An inventory whose lists are as long as they may be, of things that are known or not.
fn longest(text: &Fact<String>) -> Inventory {
    let link = Link { driver: text.clone(), ..Link::default() };
    let path = Fact::Known(vec![link; 8]);
    let mut inventory = Inventory::default();
    inventory.memory.dimms = most(&Dimm { serial: text.clone(), ..Dimm::default() });
    inventory.tpms = most(&Tpm::default());
    inventory.bmcs = most(&Bmc { address: text.clone(), ..Bmc::default() });
    inventory.disks = most(&BlockDevice { path: path.clone(), ..BlockDevice::default() });
    inventory.storage_controllers = most(&PciDevice { driver: text.clone(), ..PciDevice::default() });
    inventory.network_controllers = most(&PciDevice { modalias: text.clone(), ..PciDevice::default() });
    inventory.nics = most(&Nic { path, ..Nic::default() });
    inventory
}

#[test]
fn the_longest_inventory_can_be_sent() {
    let long = "\"\u{10ffff}".repeat(128);
    for text in [Fact::Known(long.clone()), Fact::unknown_for(UnknownReason::Malformed, &long), Fact::default()] {
        let mut inventory = longest(&text);
        bound(&mut inventory);
        assert_eq!(inventory.disks.items().len(), longest(&text).disks.items().len(), "nothing was taken away");
        let len = view(inventory).encoded_len();
        assert!(len < MAX_MESSAGE_BYTES, "{len}");
    }
}
