//! The server as a product, its processors, its memory and its firmware, beside `dmidecode`, `lscpu` and the kernel.

use bms_agent::hardware::fact::{Fact, UnknownReason};
use bms_agent::hardware::host::BootMode;
use bms_agent::hardware::inventory::SecureBoot;
use bms_agent::hardware::model::HardwareModel;

use super::guest::{ANSWERS, BMC_VERSION, MEMORY_BYTES};
use super::known;
use super::tools::{Record, dmidecode};

/// The only structure of a type.
fn structure(kind: u8) -> Record {
    let [structure] = <[Record; 1]>::try_from(dmidecode(ANSWERS.text("dmidecode"), kind)).expect("one structure");
    structure
}

/// Compares a fact with a line of `dmidecode`. What the agent takes for a placeholder it must quote.
fn check(fact: &Fact<String>, structure: &Record, line: &str) {
    let said = match fact {
        Fact::Known(text) => text,
        Fact::Unknown(unknown) if unknown.reason == UnknownReason::Placeholder => {
            unknown.detail.as_ref().expect("the placeholder")
        }
        // What `dmidecode` shows of a string that is not there.
        Fact::Unknown(unknown) => {
            assert_eq!(unknown.reason, UnknownReason::Missing, "{line}");
            "Not Specified"
        }
    };
    assert_eq!(said, structure[line], "{line}");
}

#[test]
#[ignore = "needs qemu-system-x86, ovmf, and the image of tests/fixtures/debian-image.sh"]
fn the_server_is_what_dmidecode_shows() {
    let inventory = ANSWERS.inventory();
    let (bios, system, board, chassis) = (structure(0), structure(1), structure(2), structure(3));
    let serials = &inventory.serials;
    for (fact, structure, line) in [
        (&inventory.bios.vendor, &bios, "Vendor"),
        (&inventory.bios.version, &bios, "Version"),
        (&inventory.bios.date, &bios, "Release Date"),
        (&inventory.system.vendor, &system, "Manufacturer"),
        (&inventory.system.product_name, &system, "Product Name"),
        (&inventory.system.product_version, &system, "Version"),
        (&inventory.system.product_sku, &system, "SKU Number"),
        (&inventory.system.product_family, &system, "Family"),
        (&serials.system, &system, "Serial Number"),
        (&serials.system_uuid, &system, "UUID"),
        (&inventory.board.vendor, &board, "Manufacturer"),
        (&inventory.board.name, &board, "Product Name"),
        (&inventory.board.version, &board, "Version"),
        (&serials.board, &board, "Serial Number"),
        (&inventory.chassis.vendor, &chassis, "Manufacturer"),
        (&inventory.chassis.version, &chassis, "Version"),
        (&serials.chassis, &chassis, "Serial Number"),
        (&serials.asset_tag, &chassis, "Asset Tag"),
    ] {
        check(fact, structure, line);
    }
    // QEMU's case has the form "other", which says nothing.
    assert_eq!(chassis["Type"], "Other");
    assert_eq!(inventory.chassis.kind, Fact::unknown_for(UnknownReason::Placeholder, "1"));
    assert_eq!(serials.chassis.value(), None);
}

#[test]
#[ignore = "needs qemu-system-x86, ovmf, and the image of tests/fixtures/debian-image.sh"]
fn the_model_is_found_under_the_name_of_another_vendor() {
    let own_name = HardwareModel::of(&ANSWERS.inventory());
    assert_eq!(own_name.to_string(), "xfusion 2288h v5 (x86_64)");
    assert_eq!(ANSWERS.json("host")["model"], "huawei 2288h v5 (x86_64)");
}

#[test]
#[ignore = "needs qemu-system-x86, ovmf, and the image of tests/fixtures/debian-image.sh"]
fn processors_are_what_lscpu_shows() {
    let shown = ANSWERS.json("lscpu");
    let field = |name: &str| {
        let fields = shown["lscpu"].as_array().expect("fields");
        let field = fields.iter().find(|field| field["field"] == format!("{name}:")).expect(name);
        field["data"].as_str().expect(name).to_owned()
    };
    let number = |name: &str| field(name).parse::<u32>().expect(name);
    let cpu = ANSWERS.inventory().cpu;
    assert_eq!(cpu.architecture, Fact::Known(field("Architecture")));
    assert_eq!(cpu.vendor, Fact::Known(field("Vendor ID")));
    assert_eq!(cpu.model, Fact::Known(field("Model name")));
    assert_eq!(cpu.sockets, Fact::Known(number("Socket(s)")));
    assert_eq!(cpu.cores, Fact::Known(number("Socket(s)") * number("Core(s) per socket")));
    assert_eq!(cpu.threads, Fact::Known(number("CPU(s)")));
    let (flags, shown) = (cpu.flags.value().expect("flags"), field("Flags"));
    assert!(!flags.is_empty() && flags.iter().all(|flag| shown.split(' ').any(|other| other == flag)), "{shown}");

    let sockets = dmidecode(ANSWERS.text("dmidecode"), 4);
    let populated = sockets.iter().filter(|socket| socket["Status"].starts_with("Populated")).count();
    assert_eq!(cpu.sockets.value().map(|&sockets| sockets as usize), Some(populated));
}

#[test]
#[ignore = "needs qemu-system-x86, ovmf, and the image of tests/fixtures/debian-image.sh"]
fn memory_is_what_dmidecode_and_the_kernel_show() {
    let memory = ANSWERS.inventory().memory;
    let [module] = memory.dimms.value().expect("modules").as_slice() else { panic!("{memory:?}") };
    let shown = structure(17);
    for (fact, line) in [
        (&module.locator, "Locator"),
        (&module.kind, "Type"),
        (&module.vendor, "Manufacturer"),
        (&module.part_number, "Part Number"),
        (&module.serial, "Serial Number"),
    ] {
        check(fact, &shown, line);
    }
    assert_eq!(
        module.speed_mts.value().map(|speed| format!("{speed} MT/s")),
        shown.get("Configured Memory Speed").cloned()
    );
    assert_eq!(module.size_bytes.value().map(|bytes| format!("{} GB", bytes >> 30)), shown.get("Size").cloned());
    assert_eq!((&module.size_bytes, &memory.installed_bytes), (&Fact::Known(MEMORY_BYTES), &Fact::Known(MEMORY_BYTES)));

    let total = ANSWERS.text("meminfo").lines().find_map(|line| line.strip_prefix("MemTotal:")).expect("MemTotal");
    assert_eq!(memory.usable_bytes.value().map(|bytes| format!("{} kB", bytes >> 10)).as_deref(), Some(total.trim()));
}

#[test]
#[ignore = "needs qemu-system-x86, ovmf, and the image of tests/fixtures/debian-image.sh"]
fn the_firmware_and_the_service_processor_are_what_they_were_made_of() {
    let inventory = ANSWERS.inventory();
    assert_eq!(inventory.firmware.boot_mode, Fact::Known(BootMode::Uefi));
    // Four bytes of attributes, and the value.
    let variable = |name: &str| ANSWERS.bytes(name).get(4).copied();
    assert_eq!((variable("SecureBoot"), variable("SetupMode")), (Some(0), Some(1)));
    assert_eq!(inventory.firmware.secure_boot, Fact::Known(SecureBoot::SetupMode));
    assert_eq!(inventory.tpms, Fact::Known(Vec::new()));

    let [bmc] = inventory.bmcs.items() else { panic!("{:?}", inventory.bmcs) };
    assert_eq!(known(&bmc.firmware_version), Some(BMC_VERSION));
    assert_eq!(known(&bmc.ipmi_version), Some(&*structure(38)["Specification Version"]));
}
