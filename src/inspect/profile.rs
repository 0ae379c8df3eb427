//! What a server needs of an image. Some of it no image and no server can tell: it comes from the operator, and what he
//! does not say stays unknown.

use serde::{Deserialize, Serialize};

/// How the servers of a family get their network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Through a central gateway: the network plug-in configures it.
    Centralized,
    /// Each server is its own gateway: NetworkManager does.
    Distributed,
}

/// Where the system disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootSource {
    /// In the server.
    Local,
    /// An EVS volume, behind the SDI iNIC.
    Evs,
}

/// The SDI card of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sdi {
    /// None.
    None,
    /// The storage card SD100: needs `scsi_ep_front`.
    Sd100,
    /// SDI 2.2, network alone.
    #[serde(rename = "sdi2.2")]
    Sdi2_2,
    /// SDI 3.0, storage as virtio.
    #[serde(rename = "sdi3.0")]
    Sdi3_0,
    /// SDI 5.
    Sdi5,
}

/// Directories that plug-ins are usually installed below.
const PLUG_IN_ROOTS: [&str; 2] = ["/opt/huawei", "/opt/otc"];
/// Drivers of the disk controllers that these servers usually have.
const BOOT_DRIVERS: [&str; 6] = ["ahci", "megaraid_sas", "mpt3sas", "nvme", "virtio_blk", "virtio_scsi"];

/// What is known of the servers that an image is for. Whatever is none is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// How they get their network.
    pub network_mode: Option<NetworkMode>,
    /// Where their system disk is.
    pub boot_source: Option<BootSource>,
    /// Their SDI card.
    pub sdi: Option<Sdi>,
    /// Their architecture: `x86_64` or `aarch64`.
    pub architecture: Option<String>,
    /// Their firmware: `bios` or `uefi`.
    pub firmware: Option<String>,
    /// Directories that plug-ins are installed below; `/opt/huawei` and `/opt/otc` if there are none.
    pub plug_in_roots: Vec<String>,
    /// Drivers one of which each disk controller of the servers needs; a usual list if there are none.
    pub boot_drivers: Vec<String>,
}

impl Profile {
    /// Directories that plug-ins may be installed below.
    pub fn plug_in_roots(&self) -> Vec<&str> {
        or_usual(&self.plug_in_roots, &PLUG_IN_ROOTS)
    }

    /// Drivers that disk controllers may need.
    pub fn boot_drivers(&self) -> Vec<&str> {
        or_usual(&self.boot_drivers, &BOOT_DRIVERS)
    }
}

fn or_usual<'a>(said: &'a [String], usual: &[&'a str]) -> Vec<&'a str> {
    if said.is_empty() { usual.to_vec() } else { said.iter().map(String::as_str).collect() }
}
