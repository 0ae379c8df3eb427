//! A disk as a part of a server, and what it hangs on. Nothing here reads anything.

use serde::{Deserialize, Serialize};

use crate::disk::identity::Transport;
use crate::hardware::fact::Fact;

/// A disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockDevice {
    /// Kernel name, without `/dev`. It may change at the next boot.
    pub name: String,
    /// Major and minor number, `MAJOR:MINOR`.
    pub device_number: String,
    /// Model name.
    pub model: Fact<String>,
    /// Serial number.
    pub serial: Fact<String>,
    /// World-wide name with its prefix: `naa.`, `eui.`, `uuid.`, `t10.`, `nvme.`.
    pub wwn: Fact<String>,
    /// Capacity, in bytes.
    pub size_bytes: u64,
    /// Logical block size, in bytes.
    pub logical_block_size: u32,
    /// Physical block size, in bytes.
    pub physical_block_size: u32,
    /// Whether it has spinning media.
    pub rotational: bool,
    /// Whether it is removable media.
    pub removable: bool,
    /// How it is attached to what is next to it.
    pub transport: Transport,
    /// What kind of controller it hangs on.
    pub attachment: Attachment,
    /// PCI address of that controller, to be found in `storage_controllers` if it is of class 01.
    pub controller: Fact<String>,
    /// Every device between the disk and the root that needs a driver of its own, nearest to the disk first; PCI bridges
    /// are left out. To boot from the disk, a kernel needs the drivers of all of them.
    pub path: Fact<Vec<Link>>,
}

/// What kind of controller a disk hangs on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attachment {
    /// An NVMe controller, which is the disk's own.
    Nvme,
    /// A SAS host adapter.
    Sas,
    /// An AHCI or other SATA controller.
    Sata,
    /// A RAID controller: the disk may be a volume of several.
    Raid,
    /// Another SCSI controller.
    Scsi,
    /// A virtio device: of a hypervisor, or of an SDI card.
    Virtio,
    /// A Huawei SDI card that needs `scsi_ep_front`: an EVS volume.
    Sdi,
    /// USB.
    Usb,
    /// None: the kernel made the disk itself, of a file or of memory. No server boots from it.
    Virtual,
    /// Something else, or not known.
    #[default]
    #[serde(other)]
    Other,
}

/// A device that something hangs on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Link {
    /// Its bus: `pci`, `virtio`, `scsi`, `usb`, `platform`.
    pub bus: String,
    /// Its name on the bus: `0000:3b:00.0`, `virtio1`.
    pub name: String,
    /// What the kernel finds a driver for it by.
    pub modalias: String,
    /// The driver that serves it now; missing if none does.
    pub driver: Fact<String>,
}
