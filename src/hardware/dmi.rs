//! The hardware model, as the firmware tells it through DMI (SMBIOS).
//!
//! Vendors leave placeholders in these fields. A placeholder is no value: two servers that are both `Default string` are
//! not the same model.

use crate::disk::roots::Roots;
use crate::disk::sysfs;

/// Longest value, in characters.
const MAX_VALUE_CHARS: usize = 256;
/// What vendors leave behind instead of a value, in lower case.
const PLACEHOLDERS: [&str; 28] = [
    "0123456789",
    "123456789",
    "all series",
    "base board manufacturer",
    "base board product name",
    "baseboard product name",
    "default",
    "default string",
    "empty",
    "filled by oem",
    "invalid",
    "n/a",
    "na",
    "no dmi",
    "none",
    "not applicable",
    "not available",
    "not specified",
    "null",
    "o.e.m.",
    "oem",
    "product name",
    "system manufacturer",
    "system product name",
    "system version",
    "to be filled by o.e.m.",
    "undefined",
    "unknown",
];

/// What DMI says of the server. A value that cannot be read, or is a placeholder, is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HardwareModel {
    /// System manufacturer.
    pub sys_vendor: Option<String>,
    /// System product name: the model.
    pub product_name: Option<String>,
    /// System version.
    pub product_version: Option<String>,
    /// Board manufacturer.
    pub board_vendor: Option<String>,
    /// Board product name.
    pub board_name: Option<String>,
    /// Firmware version.
    pub bios_version: Option<String>,
}

impl HardwareModel {
    /// Reads the model.
    pub fn read(roots: &Roots) -> Self {
        let directory = roots.sys.join("class/dmi/id");
        let value = |name: &str| sysfs::text(&directory.join(name)).filter(|value| is_value(value));
        Self {
            sys_vendor: value("sys_vendor"),
            product_name: value("product_name"),
            product_version: value("product_version"),
            board_vendor: value("board_vendor"),
            board_name: value("board_name"),
            bios_version: value("bios_version"),
        }
    }
}

fn is_value(text: &str) -> bool {
    let lower = text.to_lowercase();
    let filler = lower.chars().all(|c| matches!(c, '0' | 'x' | '.' | '-' | '_' | '*' | '?' | ' '));
    let placeholder = PLACEHOLDERS.contains(&lower.as_str()) || lower.starts_with("to be filled");
    !filler && !placeholder && text.chars().count() <= MAX_VALUE_CHARS
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{HardwareModel, is_value};
    use crate::disk::roots::Roots;

    fn model(values: &[(&str, &str)]) -> HardwareModel {
        let dir = tempfile::tempdir().expect("tempdir");
        let id = dir.path().join("sys/class/dmi/id");
        fs::create_dir_all(&id).expect("directory");
        for (name, value) in values {
            fs::write(id.join(name), value).expect("write");
        }
        HardwareModel::read(&Roots::below(dir.path()))
    }

    #[test]
    fn a_server_tells_its_model() {
        let model = model(&[
            ("sys_vendor", "Huawei\n"),
            ("product_name", "2288H V5 \n"),
            ("product_version", "V100R005\n"),
            ("board_vendor", "Huawei\n"),
            ("board_name", "BC11SPSCB10\n"),
            ("bios_version", "7.97\n"),
        ]);
        let expected = HardwareModel {
            sys_vendor: Some("Huawei".to_owned()),
            product_name: Some("2288H V5".to_owned()),
            product_version: Some("V100R005".to_owned()),
            board_vendor: Some("Huawei".to_owned()),
            board_name: Some("BC11SPSCB10".to_owned()),
            bios_version: Some("7.97".to_owned()),
        };
        assert_eq!(model, expected);
    }

    #[test]
    fn placeholders_and_missing_values_are_absent() {
        let model = model(&[
            ("sys_vendor", "To be filled by O.E.M.\n"),
            ("product_name", "System Product Name\n"),
            ("product_version", "Default string\n"),
            ("board_vendor", "None\n"),
            ("board_name", "   \n"),
        ]);
        assert_eq!(model, HardwareModel::default());
        for placeholder in ["00000000", "x.x", "...", "Not Specified", "To Be Filled By OEM", "N/A", &"M".repeat(257)] {
            assert!(!is_value(placeholder), "{placeholder}");
        }
        for value in ["0x", "Oxide", "2288H V5", "1.0", "Nonesuch"] {
            assert_eq!(is_value(value), value != "0x", "{value}");
        }
    }

    #[test]
    fn hostile_values_are_made_printable() {
        let model = model(&[("product_name", "R740\u{1b}[8m\u{202e}")]);
        assert_eq!(model.product_name.as_deref(), Some("R740\\u{1b}[8m\\u{202e}"));
    }
}
