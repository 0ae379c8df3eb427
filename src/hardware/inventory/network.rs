//! A network interface as a part of a server, and what is at the other end of its cable. Nothing here reads anything.

use serde::{Deserialize, Serialize};

use super::disk::Link;
use crate::hardware::fact::Fact;

/// A network interface of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Nic {
    /// Kernel name. It may change at the next boot.
    pub name: String,
    /// Address in use now.
    pub mac: Fact<String>,
    /// The address that the device came with.
    pub permanent_mac: Fact<String>,
    /// Whether there is a link.
    pub link: Fact<LinkState>,
    /// Speed of the link, in Mbit/s; missing without a link.
    pub speed_mbps: Fact<u32>,
    /// PCI address of its controller, to be found in `network_controllers`.
    pub controller: Fact<String>,
    /// As for disks: every device between the interface and the root that needs a driver of its own.
    pub path: Fact<Vec<Link>>,
    /// What is at the other end of the cable.
    pub neighbour: Fact<Neighbour>,
}

/// Whether a network interface has a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// There is one.
    Up,
    /// There is none.
    Down,
}

/// What LLDP says of the other end of a cable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Neighbour {
    /// Name of the switch.
    pub system_name: Fact<String>,
    /// Id of the switch, mostly a MAC address.
    pub chassis_id: Fact<String>,
    /// Port of the switch.
    pub port_id: Fact<String>,
}
