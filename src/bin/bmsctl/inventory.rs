//! An inventory for people: a section for each kind of part. No cell is empty: what is not known stands in brackets, with
//! the reason.

use bms_agent::hardware::fact::{Fact, Unknown};
use bms_agent::hardware::inventory::{BlockDevice, Bmc, Dimm, Inventory, Link, Neighbour, Nic, Tpm};
use bms_agent::hardware::pci::PciDevice;
use serde::Serialize;

use crate::format::bytes;
use crate::table::{Fields, table};

/// All sections.
pub(crate) fn sections(inventory: &Inventory) -> String {
    let sections = [
        ("System", system(inventory)),
        ("Serial numbers", serials(inventory)),
        ("Firmware", firmware(inventory)),
        ("Processors", processors(inventory)),
        ("Memory", memory(inventory)),
        (
            "Disks",
            list(
                ["name", "size", "block", "model", "serial", "wwn", "attachment", "controller", "drivers"],
                &inventory.disks,
                disk,
            ),
        ),
        ("Storage controllers", controllers(&inventory.storage_controllers)),
        ("Network controllers", controllers(&inventory.network_controllers)),
        (
            "Network interfaces",
            list(["name", "mac", "link", "speed", "controller", "drivers", "neighbour"], &inventory.nics, nic),
        ),
        ("Management controllers", list(["name", "firmware", "ipmi", "address"], &inventory.bmcs, bmc)),
        ("Trusted platform modules", list(["name", "version"], &inventory.tpms, tpm)),
    ];
    sections.map(|(title, text)| format!("{title}\n{text}")).join("\n\n")
}

fn system(inventory: &Inventory) -> String {
    let Inventory { system, board, chassis, .. } = inventory;
    Fields::new()
        .field("vendor", &shown(&system.vendor))
        .field("product", &shown(&system.product_name))
        .field("version", &shown(&system.product_version))
        .field("SKU", &shown(&system.product_sku))
        .field("family", &shown(&system.product_family))
        .field("board vendor", &shown(&board.vendor))
        .field("board", &shown(&board.name))
        .field("board version", &shown(&board.version))
        .field("chassis vendor", &shown(&chassis.vendor))
        .field("chassis type", &shown(&chassis.kind))
        .field("chassis version", &shown(&chassis.version))
        .into_text()
}

fn serials(inventory: &Inventory) -> String {
    let serials = &inventory.serials;
    Fields::new()
        .field("system", &shown(&serials.system))
        .field("system UUID", &shown(&serials.system_uuid))
        .field("board", &shown(&serials.board))
        .field("chassis", &shown(&serials.chassis))
        .field("asset tag", &shown(&serials.asset_tag))
        .into_text()
}

fn firmware(inventory: &Inventory) -> String {
    let Inventory { bios, firmware, .. } = inventory;
    Fields::new()
        .field("vendor", &shown(&bios.vendor))
        .field("version", &shown(&bios.version))
        .field("date", &shown(&bios.date))
        .field("boot mode", &shown(&firmware.boot_mode.as_ref().map(word)))
        .field("Secure Boot", &shown(&firmware.secure_boot.as_ref().map(word)))
        .into_text()
}

fn processors(inventory: &Inventory) -> String {
    let cpu = &inventory.cpu;
    Fields::new()
        .field("architecture", &shown(&cpu.architecture))
        .field("vendor", &shown(&cpu.vendor))
        .field("model", &shown(&cpu.model))
        .field("sockets", &shown(&cpu.sockets))
        .field("cores", &shown(&cpu.cores))
        .field("threads", &shown(&cpu.threads))
        .field("flags", &joined(&cpu.flags, String::clone, " "))
        .into_text()
}

fn memory(inventory: &Inventory) -> String {
    let memory = &inventory.memory;
    let sizes = Fields::new()
        .field("usable", &shown(&memory.usable_bytes.as_ref().map(|size| bytes(*size))))
        .field("installed", &shown(&memory.installed_bytes.as_ref().map(|size| bytes(*size))))
        .into_text();
    let header = ["module", "size", "kind", "MT/s", "vendor", "part number", "serial"];
    match &memory.dimms {
        Fact::Known(_) => format!("{sizes}\n{}", list(header, &memory.dimms, dimm)),
        Fact::Unknown(unknown) => format!("{sizes}\nmodules    {}", why(unknown)),
    }
}

fn dimm(dimm: &Dimm) -> [String; 7] {
    [
        shown(&dimm.locator),
        shown(&dimm.size_bytes.as_ref().map(|size| bytes(*size))),
        shown(&dimm.kind),
        shown(&dimm.speed_mts),
        shown(&dimm.vendor),
        shown(&dimm.part_number),
        shown(&dimm.serial),
    ]
}

fn disk(disk: &BlockDevice) -> [String; 9] {
    [
        disk.name.clone(),
        bytes(disk.size_bytes),
        disk.logical_block_size.to_string(),
        shown(&disk.model),
        shown(&disk.serial),
        shown(&disk.wwn),
        word(&disk.attachment),
        shown(&disk.controller),
        drivers(&disk.path),
    ]
}

fn controllers(devices: &Fact<Vec<PciDevice>>) -> String {
    list(["address", "class", "vendor", "device", "card", "ids", "driver", "node"], devices, controller)
}

fn controller(device: &PciDevice) -> [String; 8] {
    let (ids, names) = (device.ids, &device.names);
    [
        device.address.clone(),
        shown(&names.class),
        shown(&names.vendor),
        shown(&names.device),
        shown(&names.subsystem),
        format!("{}:{} {}:{}", ids.vendor, ids.device, ids.subsystem_vendor, ids.subsystem_device),
        shown(&device.driver),
        shown(&device.numa_node),
    ]
}

fn nic(nic: &Nic) -> [String; 7] {
    [
        nic.name.clone(),
        shown(&nic.mac),
        shown(&nic.link.as_ref().map(word)),
        shown(&nic.speed_mbps.as_ref().map(|speed| format!("{speed} Mbit/s"))),
        shown(&nic.controller),
        drivers(&nic.path),
        shown(&nic.neighbour.as_ref().map(neighbour)),
    ]
}

fn neighbour(neighbour: &Neighbour) -> String {
    let name = neighbour.system_name.as_ref().or_else(|| neighbour.chassis_id.as_ref());
    format!("{} {}", shown(&name), shown(&neighbour.port_id))
}

fn bmc(bmc: &Bmc) -> [String; 4] {
    [bmc.name.clone(), shown(&bmc.firmware_version), shown(&bmc.ipmi_version), shown(&bmc.address)]
}

fn tpm(tpm: &Tpm) -> [String; 2] {
    [tpm.name.clone(), shown(&tpm.version_major)]
}

/// The drivers of everything that a device hangs on, nearest first.
fn drivers(path: &Fact<Vec<Link>>) -> String {
    joined(path, |link| shown(&link.driver), ", ")
}

/// A table of what is there.
fn list<T, const N: usize>(header: [&str; N], items: &Fact<Vec<T>>, row: impl Fn(&T) -> [String; N]) -> String {
    match items {
        Fact::Known(items) if items.is_empty() => "none".to_owned(),
        Fact::Known(items) => table(header, items.iter().map(row)),
        Fact::Unknown(unknown) => why(unknown),
    }
}

/// All that is there in one cell.
fn joined<T>(items: &Fact<Vec<T>>, text: impl Fn(&T) -> String, between: &str) -> String {
    match items {
        Fact::Known(items) if items.is_empty() => "none".to_owned(),
        Fact::Known(items) => items.iter().map(text).collect::<Vec<_>>().join(between),
        Fact::Unknown(unknown) => why(unknown),
    }
}

/// What is known, or why it is not.
pub(crate) fn shown<T: ToString>(fact: &Fact<T>) -> String {
    match fact {
        Fact::Known(value) => value.to_string(),
        Fact::Unknown(unknown) => why(unknown),
    }
}

/// Why something is not known: `[placeholder: Default string]`.
fn why(Unknown { reason, detail }: &Unknown) -> String {
    match detail {
        Some(detail) => format!("[{}: {detail}]", word(reason)),
        None => format!("[{}]", word(reason)),
    }
}

/// The word that JSON has for something.
fn word<T: Serialize>(value: &T) -> String {
    let word = serde_json::to_value(value).ok();
    word.as_ref().and_then(|word| word.as_str()).unwrap_or("other").replace('_', " ")
}

#[cfg(test)]
mod tests {
    use bms_agent::disk::identity::Transport;
    use bms_agent::hardware::fact::{Fact, UnknownReason};
    use bms_agent::hardware::inventory::{
        Attachment, BlockDevice, Bmc, Dimm, Inventory, Link, LinkState, Neighbour, Nic, SecureBoot,
    };
    use bms_agent::hardware::pci::{PciDevice, PciId, PciIds};

    use super::sections;

    fn known(text: &str) -> Fact<String> {
        Fact::Known(text.to_owned())
    }

    fn path(drivers: [&str; 2]) -> Fact<Vec<Link>> {
        Fact::Known(drivers.map(|driver| Link { driver: known(driver), ..Link::default() }).into())
    }

    fn server() -> Inventory {
        let mut inventory = Inventory::default();
        inventory.system.vendor = known("Huawei");
        inventory.system.product_name = Fact::unknown_for(UnknownReason::Placeholder, "Default string");
        inventory.serials.system = Fact::unknown(UnknownReason::Withheld);
        inventory.firmware.secure_boot = Fact::Known(SecureBoot::SetupMode);
        inventory.cpu.flags = Fact::Known(vec!["aes".to_owned(), "avx2".to_owned()]);
        inventory.memory.usable_bytes = Fact::Known(3 << 30);
        inventory.memory.dimms =
            Fact::Known(vec![Dimm { locator: known("DIMM000"), size_bytes: Fact::Known(32 << 30), ..Dimm::default() }]);
        inventory.disks = Fact::Known(vec![BlockDevice {
            name: "sda".to_owned(),
            serial: known("S1"),
            size_bytes: 5 << 30,
            logical_block_size: 512,
            transport: Transport::Scsi,
            attachment: Attachment::Raid,
            controller: known("0000:18:00.0"),
            path: path(["sd", "megaraid_sas"]),
            ..BlockDevice::default()
        }]);
        let ids = PciIds { vendor: PciId(0x1000), device: PciId(0x16), ..PciIds::default() };
        inventory.storage_controllers =
            Fact::Known(vec![PciDevice { address: "0000:18:00.0".to_owned(), ids, ..PciDevice::default() }]);
        inventory.nics = Fact::Known(vec![Nic {
            name: "eno1".to_owned(),
            link: Fact::Known(LinkState::Up),
            speed_mbps: Fact::Known(25_000),
            neighbour: Fact::Known(Neighbour {
                chassis_id: known("2e:de:d4:f9:1e:7b"),
                port_id: known("25GE1/0/7"),
                ..Neighbour::default()
            }),
            ..Nic::default()
        }]);
        inventory.bmcs = Fact::Known(vec![Bmc { name: "ipmi_bmc.0".to_owned(), ..Bmc::default() }]);
        inventory.tpms = Fact::Known(vec![]);
        inventory
    }

    /// The words of the first line that has this one.
    fn line(text: &str, word: &str) -> String {
        let line = text.lines().find(|line| line.split_whitespace().any(|found| found == word)).expect(word);
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_part_has_its_line() {
        let text = sections(&server());
        for (name, expected) in [
            ("vendor", "vendor Huawei"),
            ("Secure", "Secure Boot setup mode"),
            ("flags", "flags aes avx2"),
            ("usable", "usable 3.0 GiB"),
            ("DIMM000", "DIMM000 32.0 GiB [not reported] [not reported] [not reported] [not reported] [not reported]"),
            ("sda", "sda 5.0 GiB 512 [not reported] S1 [not reported] raid 0000:18:00.0 sd, megaraid_sas"),
            (
                "1000:0016",
                "0000:18:00.0 [not reported] [not reported] [not reported] [not reported] 1000:0016 0000:0000 \
                 [not reported] [not reported]",
            ),
            ("eno1", "eno1 [not reported] up 25000 Mbit/s [not reported] [not reported] 2e:de:d4:f9:1e:7b 25GE1/0/7"),
            ("ipmi_bmc.0", "ipmi_bmc.0 [not reported] [not reported] [not reported]"),
        ] {
            assert_eq!(line(&text, name), expected, "{text}");
        }
        assert!(text.ends_with("Trusted platform modules\nnone"), "{text}");
    }

    #[test]
    fn what_is_not_known_says_why() {
        let text = sections(&server());
        assert_eq!(line(&text, "product"), "product [placeholder: Default string]");
        assert!(text.contains("Serial numbers\nsystem       [withheld]\n"), "{text}");
        assert!(text.contains("Network controllers\n[not reported]\n"), "{text}");
        let mut server = server();
        server.memory.dimms = Fact::unknown(UnknownReason::TimedOut);
        assert!(sections(&server).contains("\nmodules    [timed out]\n"));
    }
}
