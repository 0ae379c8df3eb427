//! Finding the server's disks, and everything that keeps each of them from being written.
//!
//! Reads sysfs, procfs and links, never a disk. An attribute that cannot be read is missing, and a disk without it is
//! still listed; only where the missing fact could hide that a disk is in use does the scan fail.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::identity::{self, DeviceNumber, Identity, Transport};
use super::roots::Roots;
use super::stack::Stack;
use super::sysfs;
use super::usage::{DiskUse, Usage};
use crate::reason::{DomainError, Reason};

/// The unit of `size` in sysfs, whatever the disk's block size.
const SECTOR_BYTES: u64 = 512;
/// Logical block size of a disk that names none.
const DEFAULT_BLOCK_SIZE: u32 = 512;
/// Kernel names of block devices that are no disks: stacked, in memory, media in drives, and the network.
const NO_DISKS: [&str; 7] = ["dm-", "md", "ram", "zram", "sr", "fd", "nbd"];
/// Most names under `/dev/disk/by-path` that are kept for one disk.
const MAX_LINKS: usize = 16;

/// A whole disk, as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Kernel name, without `/dev`. It may change at the next boot.
    pub name: String,
    /// Device number.
    pub device_number: DeviceNumber,
    /// What tells it from every other disk.
    pub identity: Identity,
    /// Model name.
    pub model: Option<String>,
    /// How it is attached.
    pub transport: Transport,
    /// Whether it has spinning media.
    pub rotational: bool,
    /// Whether the kernel refuses writes to it, or does not say.
    pub read_only: bool,
    /// Whether it is removable media.
    pub removable: bool,
    /// Capacity, in bytes.
    pub size_bytes: u64,
    /// Logical block size, in bytes.
    pub logical_block_size: u32,
    /// Physical block size, in bytes.
    pub physical_block_size: u32,
    /// Most bytes that one WRITE ZEROES command may have; 0 if the disk has no such command.
    pub write_zeroes_max_bytes: u64,
    /// Names under `/dev/disk/by-path`, sorted.
    pub by_path: Vec<String>,
    /// What it is used for, worst first. That changes, and is not written down.
    #[serde(skip)]
    pub uses: Vec<DiskUse>,
}

/// Something that keeps a disk from being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What was seen, for people.
    pub detail: String,
}

/// A scan that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// Without it, nobody knows which disks are in use.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        /// What could not be read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A table of the kernel has a line that is not understood.
    #[error("line {line} of {} is not understood", .path.display())]
    Malformed {
        /// The table.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// There is no such disk, or it may not be seen.
    #[error("no disk has the device number {number}")]
    NoSuchDisk {
        /// The number.
        number: DeviceNumber,
    },
}

impl DomainError for DiscoveryError {
    fn reason(&self) -> Reason {
        match self {
            Self::Unreadable { .. } | Self::Malformed { .. } => Reason::Internal,
            Self::NoSuchDisk { .. } => Reason::DiskGone,
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Unreadable { path, .. } => vec![("path", path.display().to_string())],
            Self::Malformed { path, line } => vec![("path", path.display().to_string()), ("line", line.to_string())],
            Self::NoSuchDisk { number } => vec![("deviceNumber", number.to_string())],
        }
    }
}

/// Where to look for disks, and which to leave alone.
#[derive(Debug, Clone, Default)]
pub struct Discovery {
    /// Where the kernel shows itself.
    pub roots: Roots,
    /// Whether loop devices are disks.
    pub allow_loop_devices: bool,
    /// Paths whose disks are never written, besides the system's own: the agent's state. Absolute, without symbolic links.
    pub protected_paths: Vec<PathBuf>,
}

impl Discovery {
    /// All disks, sorted by name.
    ///
    /// # Errors
    /// If the list of block devices, the mounts or the swaps cannot be read.
    ///
    /// # Blocking
    /// Reads sysfs and procfs; no disk is opened or woken.
    pub fn scan(&self) -> Result<Vec<Disk>, DiscoveryError> {
        let usage = self.usage()?;
        Ok(usage.stack().whole_devices().filter_map(|name| self.disk(name, &usage)).collect())
    }

    /// The disk with this device number, looked at afresh. The guard compares it with the disk that was selected.
    ///
    /// # Errors
    /// As [`scan`](Self::scan); and if no disk has this number, a partition has it, or loop devices are no disks.
    pub fn describe(&self, number: DeviceNumber) -> Result<Disk, DiscoveryError> {
        let gone = || DiscoveryError::NoSuchDisk { number };
        let link = self.roots.sys.join("dev/block").join(number.to_string());
        let name = sysfs::link_name(&link).ok_or_else(gone)?;
        let disk = self.disk(&name, &self.usage()?).ok_or_else(gone)?;
        // Between the two looks the name may have gone to another disk.
        if disk.device_number == number { Ok(disk) } else { Err(gone()) }
    }

    fn usage(&self) -> Result<Usage, DiscoveryError> {
        let path = self.roots.sys.join("block");
        let stack = Stack::read(&self.roots).map_err(|source| DiscoveryError::Unreadable { path, source })?;
        Usage::read(&self.roots, stack, &self.protected_paths)
    }

    /// Looks at one block device; none if it is no disk, or just going away.
    fn disk(&self, name: &str, usage: &Usage) -> Option<Disk> {
        let directory = self.roots.sys.join("block").join(name).canonicalize().ok()?;
        let device_path = directory.strip_prefix(self.roots.sys.canonicalize().ok()?).ok()?;
        if !self.is_disk(name, &directory, device_path) {
            return None;
        }
        let queue = directory.join("queue");
        let logical_block_size = sysfs::number_u32(&queue.join("logical_block_size")).unwrap_or(DEFAULT_BLOCK_SIZE);
        let subsystem = sysfs::link_name(&directory.join("device/subsystem"));
        Some(Disk {
            name: name.to_owned(),
            device_number: sysfs::text(&directory.join("dev"))?.parse().ok()?,
            identity: Identity::read(&directory),
            model: identity::model(&directory),
            transport: Transport::of(device_path, subsystem.as_deref()),
            rotational: sysfs::flag(&queue.join("rotational")).unwrap_or(false),
            read_only: sysfs::flag(&directory.join("ro")).unwrap_or(true),
            removable: sysfs::flag(&directory.join("removable")).unwrap_or(false),
            size_bytes: size_bytes(&directory),
            logical_block_size,
            physical_block_size: sysfs::number_u32(&queue.join("physical_block_size")).unwrap_or(logical_block_size),
            write_zeroes_max_bytes: sysfs::number(&queue.join("write_zeroes_max_bytes")).unwrap_or(0),
            by_path: links_to(name, &self.roots.dev.join("disk/by-path")),
            uses: usage.of(name),
        })
    }

    /// Whether a block device is a disk that may be seen.
    fn is_disk(&self, name: &str, directory: &Path, device_path: &Path) -> bool {
        if is_named(name, "loop") {
            return self.allow_loop_devices
                && size_bytes(directory) > 0
                && directory.join("loop/backing_file").exists();
        }
        // The paths of a multipath NVMe namespace are hidden behind its head. The boot areas of an eMMC are block
        // devices of their own.
        let hidden = sysfs::flag(&directory.join("hidden")).unwrap_or(false);
        let boot_area = name.starts_with("mmcblk") && name.contains("boot");
        let stacked = device_path.starts_with("devices/virtual/block");
        !(hidden || boot_area || stacked || NO_DISKS.iter().any(|prefix| is_named(name, prefix)))
    }
}

impl Disk {
    /// Everything that keeps the disk from being written, worst first. None: it may be.
    ///
    /// `all` is every disk of the same scan, to find those that cannot be told from this one.
    pub fn refusals(&self, all: &[Self]) -> Vec<Refusal> {
        let refusal = |reason, detail: &str| Refusal { reason, detail: detail.to_owned() };
        let mut refusals: Vec<_> = self.uses.iter().map(|used| refusal(used.reason(), &used.to_string())).collect();
        if self.read_only {
            refusals.push(refusal(Reason::DiskReadOnly, "the kernel refuses writes to it"));
        }
        if self.removable {
            refusals.push(refusal(Reason::DiskRemovable, "it is removable media"));
        }
        if self.size_bytes == 0 {
            refusals.push(refusal(Reason::DiskEmpty, "its capacity is 0 bytes"));
        }
        if !self.identity.is_present() {
            refusals.push(refusal(Reason::DiskIdentityMissing, "it has neither serial nor WWN"));
        }
        let others = all.iter().filter(|other| other.device_number != self.device_number);
        refusals.extend(others.filter_map(|other| {
            let name = self.identity.clash(&other.identity)?;
            Some(refusal(Reason::DiskIdentityDuplicate, &format!("{} has the same {name}", other.name)))
        }));
        refusals
    }
}

fn size_bytes(directory: &Path) -> u64 {
    sysfs::number(&directory.join("size")).unwrap_or(0).saturating_mul(SECTOR_BYTES)
}

/// Whether a kernel name is `prefix` with a number behind it, as `md127` and `md_d0` are: `fd` is not to catch `fdisk0`.
fn is_named(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '_'))
}

/// Names of the links in a directory that point to the node of a disk.
fn links_to(name: &str, directory: &Path) -> Vec<String> {
    let links = sysfs::entries(directory).unwrap_or_default().into_iter();
    let own = links.filter(|link| sysfs::link_name(&directory.join(link)).as_deref() == Some(name));
    own.map(|link| crate::text::printable(&link)).take(MAX_LINKS).collect()
}

#[cfg(test)]
mod tests;
