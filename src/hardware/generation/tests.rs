use super::of;
use crate::disk::identity::Transport;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::inventory::{Attachment, BlockDevice, Inventory, Link, LinkState, Nic};
use crate::hardware::machines::catalogue;

type Change = (&'static str, fn(&mut Inventory));

fn known(text: &str) -> Fact<String> {
    Fact::Known(text.to_owned())
}

fn server() -> Inventory {
    catalogue::inventory("2288H V5 of Huawei").clone()
}

fn items<T>(list: &mut Fact<Vec<T>>) -> &mut Vec<T> {
    list.value_mut().expect("a list")
}

/// The generation before and after a change.
fn before_and_after((what, change): &Change) -> (&'static str, Fact<String>, Fact<String>) {
    let mut inventory = server();
    let before = of(&inventory);
    change(&mut inventory);
    (what, before, of(&inventory))
}

#[test]
fn what_a_boot_an_update_or_a_cable_changes_is_no_new_hardware() {
    let changes: [Change; 16] = [
        ("names of disks", |server| {
            items(&mut server.disks).swap(0, 1);
            items(&mut server.disks)[0].name = "sdz".to_owned();
            items(&mut server.disks)[0].device_number = "65:16".to_owned();
        }),
        ("names of interfaces", |server| items(&mut server.nics)[0].name = "eth7".to_owned()),
        ("the link", |server| {
            items(&mut server.nics)[0].link = Fact::Known(LinkState::Down);
            items(&mut server.nics)[0].speed_mbps = Fact::unknown(UnknownReason::Missing);
        }),
        ("an address that a bond set", |server| items(&mut server.nics)[0].mac = known("02:00:00:00:00:01")),
        ("an address that a team or Open vSwitch hides", |server| {
            items(&mut server.nics)[0].permanent_mac = Fact::unknown(UnknownReason::Missing);
        }),
        ("interfaces without a driver", |server| server.nics = Fact::unknown(UnknownReason::Missing)),
        ("the card that a BMC plugs in", |server| {
            let link = Link { bus: "usb".to_owned(), name: "1-11:1.0".to_owned(), ..Link::default() };
            items(&mut server.nics).push(Nic { path: Fact::Known(vec![link]), ..Nic::default() });
        }),
        ("a disk of iSCSI", |server| {
            let disk = items(&mut server.disks)[0].clone();
            items(&mut server.disks).push(BlockDevice {
                serial: known("LUN"),
                transport: Transport::Iscsi,
                attachment: Attachment::Other,
                ..disk
            });
        }),
        ("a driver", |server| {
            items(&mut server.storage_controllers)[0].driver = known("vfio-pci");
            items(&mut server.disks)[0].path = Fact::unknown(UnknownReason::Missing);
        }),
        ("names of ids", |server| items(&mut server.network_controllers)[0].names = Default::default()),
        ("memory that a crash kernel took", |server| server.memory.usable_bytes = Fact::Known(1 << 30)),
        ("processors that were switched off", |server| server.cpu.threads = Fact::Known(1)),
        ("the firmware's version", |server| server.bios.version = known("8.01")),
        ("the BMC's version", |server| items(&mut server.bmcs)[0].firmware_version = known("7.00")),
        ("the asset tag", |server| server.serials.asset_tag = known("rack 7")),
        ("a stick in a port", |server| {
            let disk = items(&mut server.disks)[0].clone();
            items(&mut server.disks).push(BlockDevice { serial: known("STICK"), attachment: Attachment::Usb, ..disk });
        }),
    ];
    for (what, before, after) in changes.iter().map(before_and_after) {
        assert!(before.value().is_some_and(|generation| generation.len() == 64));
        assert_eq!(before, after, "{what}");
    }
}

#[test]
fn other_hardware_is_another_generation() {
    let changes: [Change; 12] = [
        ("another server", |server| server.serials.system = known("2102311XBS10K1000099")),
        ("another board", |server| server.serials.board = known("B2")),
        ("another processor", |server| server.cpu.model = known("Intel(R) Xeon(R) Gold 6161 CPU @ 2.20GHz")),
        ("a processor less", |server| server.cpu.sockets = Fact::Known(1)),
        ("a memory module less", |server| drop(items(&mut server.memory.dimms).pop())),
        ("a memory module like it", |server| items(&mut server.memory.dimms)[3].serial = known("39A5A7FF")),
        ("a disk less", |server| drop(items(&mut server.disks).pop())),
        ("a disk like it", |server| items(&mut server.disks)[0].serial = known("032WGPFSK1000999")),
        ("a disk on another controller", |server| items(&mut server.disks)[0].controller = known("0000:00:17.0")),
        ("a card more", |server| {
            let card = items(&mut server.storage_controllers)[0].clone();
            items(&mut server.storage_controllers)
                .push(crate::hardware::pci::PciDevice { address: "0000:af:00.0".to_owned(), ..card });
        }),
        ("another card", |server| items(&mut server.network_controllers)[0].ids = Default::default()),
        ("a card less", |server| drop(items(&mut server.network_controllers).pop())),
    ];
    let mut seen = vec![of(&server())];
    for (what, _, after) in changes.iter().map(before_and_after) {
        assert!(after.value().is_some() && !seen.contains(&after), "{what}");
        seen.push(after);
    }
}

#[test]
fn servers_have_generations_of_their_own() {
    let mut generations: Vec<_> =
        catalogue::inventories().iter().filter_map(|(_, inventory)| inventory.generation.value()).collect();
    assert_eq!(generations.len(), catalogue::inventories().len());
    generations.sort_unstable();
    generations.dedup();
    assert_eq!(generations.len(), catalogue::inventories().len());
}

#[test]
fn a_list_that_could_not_be_read_now_makes_no_generation() {
    let changes: [Change; 3] = [
        ("disks", |server| server.disks = Fact::unknown(UnknownReason::Unreadable)),
        ("storage", |server| server.storage_controllers = Fact::unknown(UnknownReason::Malformed)),
        ("network", |server| server.network_controllers = Fact::default()),
    ];
    for (what, _, after) in changes.iter().map(before_and_after) {
        assert_eq!(after.value(), None, "{what}");
    }
    let mut server = server();
    server.disks = Fact::unknown(UnknownReason::TimedOut);
    let unknown = of(&server);
    let why = unknown.why_unknown().expect("unknown");
    assert_eq!(why.reason, UnknownReason::TimedOut);
    assert_eq!(why.detail.as_deref(), Some("the disks are not known"));
}

#[test]
fn a_generation_stays_what_it_was_in_other_versions_of_the_program() {
    let inventory: Inventory = serde_json::from_str(
        r#"{
            "system": {"vendor": {"value": "Huawei"}, "product_name": {"value": "2288H V5"}},
            "serials": {"system": {"value": "2102311XBS10K1000001"}},
            "cpu": {"architecture": {"value": "x86_64"}, "sockets": {"value": 2}},
            "memory": {"dimms": {"value": [{"locator": {"value": "DIMM000"}, "size_bytes": {"value": 34359738368}}]}},
            "disks": {"value": [{
                "name": "sda", "controller": {"value": "0000:18:00.0"}, "serial": {"value": "00e2a1b0c4d5e6f7"},
                "size_bytes": 42949672960, "logical_block_size": 512
            }]},
            "storage_controllers": {"value": [{
                "address": "0000:18:00.0", "class": "010400",
                "ids": {"vendor": "1000", "device": "0016", "subsystem_vendor": "19e5", "subsystem_device": "d215"}
            }]},
            "network_controllers": {"unknown": {"reason": "missing"}},
            "nics": {"value": [{"permanent_mac": {"value": "28:a6:db:11:22:01"}}]}
        }"#,
    )
    .expect("inventory");
    assert_eq!(of(&inventory), known("c0c9516ea0052581d3971fc5fede3cf0d65ba5aeda02c43ce884c44acd9e6a68"));
}
