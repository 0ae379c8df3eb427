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

/// What the ids of a PCI device mean, by the table that is built in; missing if it does not know them.
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

/// A number of exactly so many hex digits.
fn hex(text: &str, digits: usize) -> Option<u32> {
    let is_hex = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}
