//! What a server consists of, as data: the same in `GetHost`, in `--output json` and for the compatibility gate.
//!
//! Nothing here reads anything. Every struct tolerates fields that it does not know and lacks none that it does: an
//! inventory may come from a file that another version wrote.

mod disk;
mod network;

use serde::{Deserialize, Serialize};

pub use self::disk::{Attachment, BlockDevice, Link};
pub use self::network::{LinkState, Neighbour, Nic};
use super::fact::{Fact, UnknownReason};
use super::host::BootMode;
use super::pci::PciDevice;

/// Version of the form of an inventory.
pub const SCHEMA: u32 = 1;

/// A server's hardware. Lists are sorted by address or name; a list that is known and empty says that there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inventory {
    /// Version of this form; 0 if it does not say.
    pub schema: u32,
    /// Digest of what identifies the hardware, in hex: it changes when hardware does, and not when the server boots. It is
    /// this very server's, and stays where serial numbers are withheld.
    pub generation: Fact<String>,
    /// The server as a product.
    pub system: System,
    /// Its main board.
    pub board: Board,
    /// Its case.
    pub chassis: Chassis,
    /// Its firmware.
    pub bios: Bios,
    /// What tells this very server from its likes; not for everyone.
    pub serials: Serials,
    /// Processors.
    pub cpu: Cpu,
    /// Main memory.
    pub memory: Memory,
    /// How it starts.
    pub firmware: Firmware,
    /// Trusted platform modules.
    pub tpms: Fact<Vec<Tpm>>,
    /// Baseboard management controllers.
    pub bmcs: Fact<Vec<Bmc>>,
    /// Disks.
    pub disks: Fact<Vec<BlockDevice>>,
    /// PCI devices of class 01: mass storage.
    pub storage_controllers: Fact<Vec<PciDevice>>,
    /// PCI devices of class 02: network. Virtual functions of other devices in the list are left out.
    pub network_controllers: Fact<Vec<PciDevice>>,
    /// Network interfaces of devices; none that software made.
    pub nics: Fact<Vec<Nic>>,
}

impl Inventory {
    /// The same, without what tells this very server and its parts from their likes: for callers who may not see that.
    #[must_use]
    pub fn without_serials(mut self) -> Self {
        let withhold = |fact: &mut Fact<String>| *fact = Fact::unknown(UnknownReason::Withheld);
        let Serials { system, system_uuid, board, chassis, asset_tag } = &mut self.serials;
        [system, system_uuid, board, chassis, asset_tag].into_iter().for_each(withhold);
        let dimms = self.memory.dimms.value_mut().into_iter().flatten();
        dimms.for_each(|dimm| withhold(&mut dimm.serial));
        let disks = self.disks.value_mut().into_iter().flatten();
        disks.flat_map(|disk| [&mut disk.serial, &mut disk.wwn]).for_each(withhold);
        self
    }
}

/// The server as a product, as its firmware calls it (SMBIOS type 1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct System {
    /// `sys_vendor`.
    pub vendor: Fact<String>,
    /// `product_name`: the model.
    pub product_name: Fact<String>,
    /// `product_version`.
    pub product_version: Fact<String>,
    /// `product_sku`: no identity, some vendors write the platform there.
    pub product_sku: Fact<String>,
    /// `product_family`: no identity either.
    pub product_family: Fact<String>,
}

/// The main board (SMBIOS type 2).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Board {
    /// `board_vendor`.
    pub vendor: Fact<String>,
    /// `board_name`: several products may have the same.
    pub name: Fact<String>,
    /// `board_version`.
    pub version: Fact<String>,
}

/// The case (SMBIOS type 3).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Chassis {
    /// `chassis_vendor`.
    pub vendor: Fact<String>,
    /// `chassis_type`, the number that SMBIOS gives its form: 23 is a rack mount, 28 a blade.
    pub kind: Fact<u32>,
    /// `chassis_version`.
    pub version: Fact<String>,
}

/// The firmware (SMBIOS type 0).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bios {
    /// `bios_vendor`.
    pub vendor: Fact<String>,
    /// `bios_version`.
    pub version: Fact<String>,
    /// `bios_date`, as the vendor writes it: mostly MM/DD/YYYY.
    pub date: Fact<String>,
}

/// Serial numbers of the server. Those of its parts stand with the parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Serials {
    /// `product_serial`.
    pub system: Fact<String>,
    /// `product_uuid`.
    pub system_uuid: Fact<String>,
    /// `board_serial`.
    pub board: Fact<String>,
    /// `chassis_serial`.
    pub chassis: Fact<String>,
    /// `chassis_asset_tag`: what the owner calls the server.
    pub asset_tag: Fact<String>,
}

/// The processors, which are all alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpu {
    /// As `uname -m` calls it: `x86_64`, `aarch64`.
    pub architecture: Fact<String>,
    /// Maker: `GenuineIntel`, `HiSilicon`.
    pub vendor: Fact<String>,
    /// Model name.
    pub model: Fact<String>,
    /// Sockets with a processor in them.
    pub sockets: Fact<u32>,
    /// Cores of all sockets.
    pub cores: Fact<u32>,
    /// Threads of all cores: what the kernel calls CPUs.
    pub threads: Fact<u32>,
    /// Those of the features that images, hypervisors and hashing care about, sorted.
    pub flags: Fact<Vec<String>>,
}

/// Main memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// What the kernel has to give out, in bytes: less than what is installed.
    pub usable_bytes: Fact<u64>,
    /// What is installed, in bytes: all modules together but those of flash and those that keep their content, or what the
    /// kernel sees of them.
    pub installed_bytes: Fact<u64>,
    /// The modules, of any kind, in the order of the firmware; no empty slots.
    pub dimms: Fact<Vec<Dimm>>,
}

/// A memory module (SMBIOS type 17).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dimm {
    /// Its slot, as it is printed on the board.
    pub locator: Fact<String>,
    /// Capacity, in bytes.
    pub size_bytes: Fact<u64>,
    /// `DDR4`, `DDR5`.
    pub kind: Fact<String>,
    /// Speed that it runs at, in million transfers a second.
    pub speed_mts: Fact<u32>,
    /// Maker.
    pub vendor: Fact<String>,
    /// Part number.
    pub part_number: Fact<String>,
    /// Serial number.
    pub serial: Fact<String>,
}

/// How the server starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Firmware {
    /// How the firmware started the running system.
    pub boot_mode: Fact<BootMode>,
    /// Whether it checks what it starts.
    pub secure_boot: Fact<SecureBoot>,
}

/// Secure Boot of UEFI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecureBoot {
    /// Only what is signed starts.
    Enabled,
    /// Anything starts.
    Disabled,
    /// Anything starts, and anyone may enrol keys.
    SetupMode,
    /// This firmware has no such thing, or did not start the system through UEFI.
    Unsupported,
    /// A state that this version of the program has no word for.
    #[serde(other)]
    Other,
}

/// A trusted platform module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tpm {
    /// Kernel name: `tpm0`.
    pub name: String,
    /// Major version of the specification: 1 or 2.
    pub version_major: Fact<u32>,
}

/// A baseboard management controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bmc {
    /// Kernel name of its interface: `ipmi_bmc.0`.
    pub name: String,
    /// Version of its firmware.
    pub firmware_version: Fact<String>,
    /// Version of IPMI that it speaks.
    pub ipmi_version: Fact<String>,
    /// Address on the management network.
    pub address: Fact<String>,
}
