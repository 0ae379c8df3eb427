//! What the tables of the firmware say that the kernel shows nowhere else: memory modules, the name of the processor where
//! the architecture has none, and whether there is a BMC.
//!
//! The tables are the vendor's, and whole only for root. `smbios-lib` takes them apart, in safe code; what is in them is
//! not believed further than it is spelled.

use smbioslib::{
    MemoryDeviceTechnology, MemoryDeviceType, MemorySize, MemorySizeExtended, MemorySpeed, MemorySpeedExtended,
    SMBiosData, SMBiosIpmiDeviceInformation, SMBiosMemoryDevice, SMBiosProcessorInformation, SMBiosString,
};

use crate::disk::roots::Roots;
use crate::disk::sysfs;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::inventory::Dimm;
use crate::hardware::{dmi, read};

/// Longest tables, in bytes. The largest servers have some tens of KiB.
const MAX_TABLES_BYTES: u64 = 1 << 20;
/// Most memory modules.
const MAX_DIMMS: usize = 1024;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What is taken from the tables.
#[derive(Debug)]
pub(super) struct Tables {
    /// Memory modules in their slots.
    pub(super) dimms: Fact<Vec<Dimm>>,
    /// What those that are main memory have together, in bytes.
    pub(super) main_memory_bytes: Fact<u64>,
    /// What the first processor is called.
    pub(super) cpu_model: Fact<String>,
    /// Whether they name an interface to a BMC.
    pub(super) has_bmc: Fact<bool>,
}

/// Reads the tables.
pub(super) fn read(roots: &Roots) -> Tables {
    match sysfs::bounded(&roots.sys.join("firmware/dmi/tables/DMI"), MAX_TABLES_BYTES) {
        Ok(tables) => parse(tables),
        Err(error) => {
            let unknown = read::because(&error);
            Tables {
                dimms: Fact::Unknown(unknown.clone()),
                main_memory_bytes: Fact::Unknown(unknown.clone()),
                cpu_model: Fact::Unknown(unknown.clone()),
                has_bmc: Fact::Unknown(unknown),
            }
        }
    }
}

fn parse(tables: Vec<u8>) -> Tables {
    let tables = SMBiosData::from_vec_and_version(tables, None);
    let devices: Vec<_> = tables.defined_struct_iter::<SMBiosMemoryDevice<'_>>().collect();
    let dimms: Vec<_> = devices.iter().filter_map(dimm).collect();
    let main_memory: Vec<_> = devices.iter().filter(|device| is_main_memory(device)).filter_map(dimm).collect();
    let processor = tables.first::<SMBiosProcessorInformation<'_>>();
    Tables {
        dimms: if dimms.is_empty() || dimms.len() > MAX_DIMMS {
            Fact::unknown_for(
                UnknownReason::Malformed,
                &format!("the tables of the firmware name {} modules", dimms.len()),
            )
        } else {
            Fact::Known(dimms)
        },
        main_memory_bytes: total(&main_memory),
        cpu_model: processor.map_or(Fact::unknown(UnknownReason::Missing), |cpu| text(&cpu.processor_version())),
        has_bmc: Fact::Known(tables.first::<SMBiosIpmiDeviceInformation<'_>>().is_some()),
    }
}

/// A module; none if the slot is empty.
fn dimm(device: &SMBiosMemoryDevice<'_>) -> Option<Dimm> {
    let size_bytes = match device.size() {
        None | Some(MemorySize::NotInstalled) => return None,
        Some(MemorySize::Kilobytes(size)) => Fact::Known(u64::from(size) * KIB),
        Some(MemorySize::Megabytes(size)) => Fact::Known(u64::from(size) * MIB),
        Some(MemorySize::SeeExtendedSize) => match device.extended_size() {
            Some(MemorySizeExtended::Megabytes(size)) => Fact::Known(u64::from(size) * MIB),
            Some(MemorySizeExtended::SeeSize) | None => Fact::unknown(UnknownReason::Malformed),
        },
        Some(MemorySize::Unknown) => Fact::unknown(UnknownReason::Missing),
    };
    Some(Dimm {
        locator: text(&device.device_locator()),
        size_bytes,
        kind: device.memory_type().map_or(Fact::unknown(UnknownReason::Missing), |kind| kind_name(&kind.value)),
        speed_mts: speed(device),
        vendor: text(&device.manufacturer()),
        part_number: text(&device.part_number()),
        serial: text(&device.serial_number()),
    })
}

/// Whether a module is memory that a system runs in: flash and modules that keep their content are not, nor is what is of
/// another technology. Firmware older than version 3.2 of the standard has none but the first kind, and says nothing of it.
fn is_main_memory(device: &SMBiosMemoryDevice<'_>) -> bool {
    use MemoryDeviceTechnology::{Dram, Mrdimm, Unknown};
    use MemoryDeviceType::{Eeprom, Eprom, Feprom, Flash, LogicalNonVolatileDevice, Rom};
    let is_volatile = device.memory_technology().is_none_or(|technology| {
        // Zero is no technology: a field that was not filled in.
        technology.raw == 0 || matches!(technology.value, Dram | Mrdimm | Unknown)
    });
    let is_flash = device
        .memory_type()
        .is_some_and(|kind| matches!(kind.value, Rom | Flash | Eprom | Eeprom | Feprom | LogicalNonVolatileDevice));
    is_volatile && !is_flash
}

/// What modules have together, if each says what it has.
fn total(dimms: &[Dimm]) -> Fact<u64> {
    let sizes = dimms.iter().map(|dimm| dimm.size_bytes.value().copied());
    let total = sizes.reduce(|one, other| one?.checked_add(other?)).flatten();
    total.map_or(Fact::unknown(UnknownReason::Missing), Fact::Known)
}

/// What the kind of memory is called: `DDR4`.
#[expect(clippy::wildcard_enum_match_arm, reason = "the kinds are those of a standard that goes on")]
fn kind_name(kind: &MemoryDeviceType) -> Fact<String> {
    match kind {
        MemoryDeviceType::Other | MemoryDeviceType::Unknown | MemoryDeviceType::None => {
            Fact::unknown(UnknownReason::Missing)
        }
        kind => Fact::Known(format!("{kind:?}").to_uppercase()),
    }
}

fn speed(device: &SMBiosMemoryDevice<'_>) -> Fact<u32> {
    match (device.configured_memory_speed(), device.extended_configured_memory_speed()) {
        (Some(MemorySpeed::MTs(speed)), _) => Fact::Known(u32::from(speed)),
        (Some(MemorySpeed::SeeExtendedSpeed), Some(MemorySpeedExtended::MTs(speed))) => Fact::Known(speed),
        (Some(MemorySpeed::SeeExtendedSpeed | MemorySpeed::Unknown) | None, _) => Fact::unknown(UnknownReason::Missing),
    }
}

fn text(string: &SMBiosString) -> Fact<String> {
    match string.as_ref() {
        Ok(string) => dmi::meaningful(read::value(string.as_bytes())),
        Err(error) => Fact::unknown_for(UnknownReason::Malformed, &error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parse;
    use crate::hardware::fact::UnknownReason;
    use crate::hardware::machines::smbios;

    #[test]
    fn modules_are_read_and_empty_slots_are_not() {
        let tables = smbios::tables(&[
            smbios::dimm("DIMM000 J11", 32 << 10, "Samsung", "M393A4K40CB2-CVF", "0x39A5A7C1"),
            smbios::dimm("DIMM001 J12", 0, "NO DIMM", "NO DIMM", "NO DIMM"),
            smbios::dimm("DIMM010", 16 << 10, "Hynix", "  ", "00000000"),
        ]);
        let dimms = parse(tables).dimms.into_value().expect("dimms");
        let [first, second] = dimms.as_slice() else { panic!("{dimms:?}") };
        assert_eq!(first.locator.value().map(String::as_str), Some("DIMM000 J11"));
        assert_eq!(first.size_bytes.value(), Some(&(32 << 30)));
        assert_eq!(first.kind.value().map(String::as_str), Some("DDR4"));
        assert_eq!(first.speed_mts.value(), Some(&2666));
        assert_eq!(first.serial.value().map(String::as_str), Some("0x39A5A7C1"));
        assert_eq!(second.size_bytes.value(), Some(&(16 << 30)));
        assert_eq!(second.part_number.why_unknown().map(|why| why.reason), Some(UnknownReason::Missing));
        assert_eq!(second.serial.why_unknown().map(|why| why.reason), Some(UnknownReason::Placeholder));
    }

    #[test]
    fn what_keeps_its_content_is_a_module_and_no_main_memory() {
        let (dram, unknown, other, nvdimm_n, optane, mrdimm) = (3, 2, 1, 4, 7, 8);
        let module = |name| smbios::dimm(name, 32 << 10, "Samsung", "P", "S");
        for (device, is_main_memory) in [
            (module("says nothing"), true),
            (module("says nothing").technology(0), true),
            (module("unknown").technology(unknown), true),
            (module("DRAM").technology(dram), true),
            (module("MRDIMM").technology(mrdimm), true),
            (module("another").technology(other), false),
            (module("NVDIMM-N").technology(nvdimm_n), false),
            (module("Optane").technology(optane), false),
            (module("flash").memory_kind(9), false),
            (module("ROM").memory_kind(8), false),
            (module("non-volatile").memory_kind(0x1f), false),
        ] {
            let tables = parse(smbios::tables(&[module("DIMM000").technology(dram), device.clone()]));
            let expected = if is_main_memory { 64 << 30 } else { 32 << 30 };
            assert_eq!(
                (tables.main_memory_bytes.value(), tables.dimms.items().len()),
                (Some(&expected), 2),
                "{device:?}"
            );
        }
        let flash = parse(smbios::tables(&[module("flash").memory_kind(9)]));
        assert_eq!((flash.main_memory_bytes.value(), flash.dimms.items().len()), (None, 1));
    }

    #[test]
    fn tables_that_end_early_say_what_came_before() {
        let mut tables = smbios::tables(&[
            smbios::dimm("A", 1 << 10, "Samsung", "P", "S"),
            smbios::dimm("B", 1 << 10, "Samsung", "P", "S"),
        ]);
        tables.truncate(tables.len() / 2 + 10);
        assert_eq!(parse(tables).dimms.items().len(), 1);
        let nothing = parse(Vec::new());
        assert_eq!(nothing.dimms.why_unknown().map(|why| why.reason), Some(UnknownReason::Malformed));
        assert_eq!(nothing.has_bmc.value(), Some(&false));
    }

    proptest! {
        #[test]
        fn any_tables_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0_usize..400) {
            parse(bytes.clone());
            let mut tables = smbios::tables(&[smbios::dimm("A", 1 << 10, "Samsung", "P", "S"), smbios::cpu("Kunpeng 920")]);
            for (place, byte) in tables.iter_mut().skip(at).zip(bytes) {
                *place = byte;
            }
            let dimms = parse(tables).dimms;
            prop_assert!(dimms.items().iter().all(|dimm| dimm.locator.value().is_none_or(|name| !name.is_empty())));
        }
    }
}
