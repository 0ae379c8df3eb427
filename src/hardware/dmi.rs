//! What the firmware calls the server and its parts: DMI (SMBIOS), as the kernel shows it in `class/dmi/id`.
//!
//! Vendors leave placeholders in these fields. A placeholder is no value: two servers that are both `Default string` are
//! not the same model.

use std::path::Path;

use super::fact::{Fact, UnknownReason};
use super::inventory::{Bios, Board, Chassis, Serials, System};
use super::read;
use crate::disk::roots::Roots;

/// What vendors leave behind instead of a value, in lower case.
const PLACEHOLDERS: [&str; 44] = [
    "0123456789",
    "03000200-0400-0500-0006-000700080009",
    "123456789",
    "all series",
    "asset tag",
    "base board asset tag",
    "base board manufacturer",
    "base board product name",
    "base board serial number",
    "baseboard product name",
    "chassis asset tag",
    "chassis serial number",
    "default string",
    "default",
    "empty",
    "ffffffff",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "filled by oem",
    "invalid",
    "n/a",
    "na",
    "no asset tag",
    "no dmi",
    "none",
    "not applicable",
    "not available",
    "not present",
    "not specified",
    "null",
    "o.e.m.",
    "oem product",
    "oem",
    "product name",
    "product name:",
    "super server",
    "system manufacturer",
    "system product name",
    "system serial number",
    "system version",
    "to be filled by o.e.m.",
    "type1productconfigid",
    "unassigned",
    "undefined",
    "unknown",
];
/// The forms of a case that SMBIOS has for "other" and "unknown".
const KINDS_UNKNOWN: [u32; 2] = [1, 2];

/// What DMI says that is not for one server alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dmi {
    /// The server as a product.
    pub system: System,
    /// Its main board.
    pub board: Board,
    /// Its case.
    pub chassis: Chassis,
    /// Its firmware.
    pub bios: Bios,
}

impl Dmi {
    /// Reads it.
    pub fn read(roots: &Roots) -> Self {
        let directory = roots.sys.join("class/dmi/id");
        let text = |name: &str| text(&directory.join(name));
        let kind = read::number(&directory.join("chassis_type")).and_then(|kind| {
            if KINDS_UNKNOWN.contains(&kind) {
                Fact::unknown_for(UnknownReason::Placeholder, &kind.to_string())
            } else {
                Fact::Known(kind)
            }
        });
        Self {
            system: System {
                vendor: text("sys_vendor"),
                product_name: text("product_name"),
                product_version: text("product_version"),
                product_sku: text("product_sku"),
                product_family: text("product_family"),
            },
            board: Board { vendor: text("board_vendor"), name: text("board_name"), version: text("board_version") },
            chassis: Chassis { vendor: text("chassis_vendor"), kind, version: text("chassis_version") },
            bios: Bios { vendor: text("bios_vendor"), version: text("bios_version"), date: text("bios_date") },
        }
    }
}

/// The serial numbers, which the kernel shows to root alone.
pub fn serials(roots: &Roots) -> Serials {
    let text = |name: &str| text(&roots.sys.join("class/dmi/id").join(name));
    Serials {
        system: text("product_serial"),
        system_uuid: text("product_uuid"),
        board: text("board_serial"),
        chassis: text("chassis_serial"),
        asset_tag: text("chassis_asset_tag"),
    }
}

fn text(path: &Path) -> Fact<String> {
    meaningful(read::text(path))
}

/// What a firmware says, unless it is a placeholder.
pub(super) fn meaningful(text: Fact<String>) -> Fact<String> {
    text.and_then(|text| {
        if is_placeholder(&text) { Fact::unknown_for(UnknownReason::Placeholder, &text) } else { Fact::Known(text) }
    })
}

fn is_placeholder(text: &str) -> bool {
    let lower = text.to_lowercase();
    let filler = lower.chars().all(|c| matches!(c, '0' | 'x' | '.' | '-' | '_' | '*' | '?' | ' '));
    filler || PLACEHOLDERS.contains(&lower.as_str()) || lower.starts_with("to be filled")
}

#[cfg(test)]
mod tests {
    use super::is_placeholder;

    #[test]
    fn what_vendors_leave_behind_is_no_value() {
        for placeholder in [
            "To be filled by O.E.M.",
            "To Be Filled By OEM",
            "System Product Name",
            "Default string",
            "Not Specified",
            "N/A",
            "00000000",
            "x.x",
            "...",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "03000200-0400-0500-0006-000700080009",
            "Super Server",
            "Not Present",
            "Type1ProductConfigId",
            "Product Name",
            "Product Name:",
            "OEM Product",
        ] {
            assert!(is_placeholder(placeholder), "{placeholder}");
        }
        for value in ["2288H V5", "Oxide", "1.0", "Nonesuch", "Purley", "OEM-7", "F", "SuperServer 6029P"] {
            assert!(!is_placeholder(value), "{value}");
        }
    }
}
