//! Devices on the PCI bus, and how their ids are written.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::fact::Fact;

/// A PCI device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PciDevice {
    /// Where it is: `0000:3b:00.0`.
    pub address: String,
    /// What it is: class, subclass and programming interface.
    pub class: PciClass,
    /// Who made it, and what it is there.
    pub ids: PciIds,
    /// What the ids mean.
    pub names: PciNames,
    /// What the kernel finds a driver for it by.
    pub modalias: Fact<String>,
    /// The driver that serves it now; missing if none does.
    pub driver: Fact<String>,
    /// The NUMA node that it is near to; missing if the firmware does not say.
    pub numa_node: Fact<u32>,
}

/// The ids of a PCI device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct PciIds {
    /// Maker of the chip.
    pub vendor: PciId,
    /// The chip.
    pub device: PciId,
    /// Maker of the card.
    pub subsystem_vendor: PciId,
    /// The card.
    pub subsystem_device: PciId,
}

/// What the ids of a PCI device mean, by the table of the PCI ID Project on the server; missing without it, or if it does
/// not know them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PciNames {
    /// Maker of the chip.
    pub vendor: Fact<String>,
    /// The chip.
    pub device: Fact<String>,
    /// The card.
    pub subsystem: Fact<String>,
    /// The class.
    pub class: Fact<String>,
}

/// An id of 16 bits, written as four hex digits: `19e5`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PciId(pub u16);

/// A class of 24 bits, written as six hex digits: `010802` is NVMe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PciClass(u32);

/// A text that is no PCI id or class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a PCI id has {digits} hex digits")]
pub struct PciIdInvalid {
    digits: usize,
}

impl PciClass {
    /// The class of 24 bits in the lower part of `raw`.
    pub const fn new(raw: u32) -> Self {
        Self(raw & 0x00ff_ffff)
    }

    /// Mass storage is 01, network is 02.
    pub const fn base(self) -> u8 {
        self.0.to_be_bytes()[1]
    }

    /// Within the base class.
    pub const fn subclass(self) -> u8 {
        self.0.to_be_bytes()[2]
    }

    /// Within the subclass.
    pub const fn interface(self) -> u8 {
        self.0.to_be_bytes()[3]
    }
}

impl fmt::Display for PciId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

impl fmt::Display for PciClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06x}", self.0)
    }
}

impl From<PciId> for String {
    fn from(id: PciId) -> Self {
        id.to_string()
    }
}

impl From<PciClass> for String {
    fn from(class: PciClass) -> Self {
        class.to_string()
    }
}

impl TryFrom<String> for PciId {
    type Error = PciIdInvalid;

    fn try_from(text: String) -> Result<Self, PciIdInvalid> {
        hex(&text, 4).and_then(|id| u16::try_from(id).ok()).map(Self).ok_or(PciIdInvalid { digits: 4 })
    }
}

impl TryFrom<String> for PciClass {
    type Error = PciIdInvalid;

    fn try_from(text: String) -> Result<Self, PciIdInvalid> {
        hex(&text, 6).map(Self).ok_or(PciIdInvalid { digits: 6 })
    }
}

/// What a modalias of the PCI bus says: `pci:v000019E5d00001610sv000019E5sd00000001bc01sc07i00` (`pci_uevent` in
/// `drivers/pci/pci-driver.c`).
pub fn from_modalias(modalias: &str) -> Option<(PciIds, PciClass)> {
    let (vendor, rest) = field(modalias.strip_prefix("pci:v")?, 8)?;
    let (device, rest) = field(rest.strip_prefix('d')?, 8)?;
    let (subsystem_vendor, rest) = field(rest.strip_prefix("sv")?, 8)?;
    let (subsystem_device, rest) = field(rest.strip_prefix("sd")?, 8)?;
    let (base, rest) = field(rest.strip_prefix("bc")?, 2)?;
    let (subclass, rest) = field(rest.strip_prefix("sc")?, 2)?;
    let (interface, _) = field(rest.strip_prefix('i')?, 2)?;
    let id = |raw: u32| u16::try_from(raw).ok().map(PciId);
    let ids = PciIds {
        vendor: id(vendor)?,
        device: id(device)?,
        subsystem_vendor: id(subsystem_vendor)?,
        subsystem_device: id(subsystem_device)?,
    };
    Some((ids, PciClass::new(base << 16 | subclass << 8 | interface)))
}

/// A number of exactly so many hex digits, and what comes behind it.
fn field(text: &str, digits: usize) -> Option<(u32, &str)> {
    let (number, rest) = text.split_at_checked(digits)?;
    Some((hex(number, digits)?, rest))
}

/// A number of exactly so many hex digits.
fn hex(text: &str, digits: usize) -> Option<u32> {
    let is_hex = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{PciClass, PciId, PciIds, from_modalias};

    #[test]
    fn ids_and_classes_are_hex_of_their_length() {
        let ids = PciIds { vendor: PciId(0x19e5), device: PciId(0x1610), ..PciIds::default() };
        let json = r#"{"vendor":"19e5","device":"1610","subsystem_vendor":"0000","subsystem_device":"0000"}"#;
        assert_eq!(serde_json::to_string(&ids).expect("JSON"), json);
        assert_eq!(serde_json::from_str::<PciIds>(json).expect("JSON"), ids);
        for text in ["\"19e\"", "\"+9e5\"", "\"19e5 \"", "\"19eg\"", "6629"] {
            assert!(serde_json::from_str::<PciId>(text).is_err(), "{text}");
        }
        let class = PciClass::new(0xff01_0802);
        assert_eq!((class.base(), class.subclass(), class.interface()), (1, 8, 2));
        assert_eq!(serde_json::to_string(&class).expect("JSON"), "\"010802\"");
    }

    #[test]
    fn a_modalias_says_what_a_device_is() {
        let (ids, class) = from_modalias("pci:v00001000d0000005Dsv000019E5sd0000D207bc01sc04i00").expect("modalias");
        let [vendor, device, subvendor, subdevice] = [0x1000, 0x5d, 0x19e5, 0xd207].map(PciId);
        let expected = PciIds { vendor, device, subsystem_vendor: subvendor, subsystem_device: subdevice };
        assert_eq!((ids, class), (expected, PciClass::new(0x01_0400)));
        for modalias in
            ["", "virtio:d00000002v00001AF4", "pci:v00001000", "pci:v00001000d0001005Dsv000019E5sd0000D207bc01sc04i00"]
        {
            assert_eq!(from_modalias(modalias), None, "{modalias}");
        }
    }
}
