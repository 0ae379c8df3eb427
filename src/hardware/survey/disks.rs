//! Disks: what discovery says of each, and what it hangs on.

use std::path::{Path, PathBuf};

use super::chain;
use crate::disk::discovery::{Discovery, Disk};
use crate::disk::roots::Roots;
use crate::disk::sysfs;
use crate::hardware::fact::{Fact, Unknown, UnknownReason};
use crate::hardware::inventory::{Attachment, BlockDevice};

/// Reads them. Loop devices are no hardware.
pub(super) fn read(roots: &Roots) -> Fact<Vec<BlockDevice>> {
    let discovery = Discovery { roots: roots.clone(), ..Discovery::default() };
    match discovery.scan() {
        Ok(disks) => Fact::Known(disks.into_iter().map(|disk| block_device(roots, disk)).collect()),
        Err(error) => Fact::Unknown(Unknown::new(UnknownReason::Unreadable, &crate::text::chain(&error))),
    }
}

fn block_device(roots: &Roots, disk: Disk) -> BlockDevice {
    let path = match device(&roots.sys.join("block").join(&disk.name)) {
        Some(directory) => chain::of(&directory),
        None => Fact::unknown(UnknownReason::Missing),
    };
    let named = |name: Option<String>| name.map_or(Fact::unknown(UnknownReason::Missing), Fact::Known);
    BlockDevice {
        name: disk.name,
        device_number: disk.device_number.to_string(),
        model: named(disk.model),
        serial: named(disk.identity.serial),
        wwn: named(disk.identity.wwn),
        size_bytes: disk.size_bytes,
        logical_block_size: disk.logical_block_size,
        physical_block_size: disk.physical_block_size,
        rotational: disk.rotational,
        removable: disk.removable,
        transport: disk.transport,
        attachment: path.value().map_or_else(Attachment::default, |links| chain::attachment(links, disk.transport)),
        controller: chain::controller(&path),
        path,
    }
}

/// The directory that a disk has under the device that it hangs on.
///
/// A namespace that several NVMe controllers may serve is below none of them, but below their subsystem, which has links to
/// them (`nvme_init_subsystem` in `drivers/nvme/host/core.c`): the first of them counts.
fn device(link: &Path) -> Option<PathBuf> {
    let directory = link.canonicalize().ok()?;
    let subsystem = directory.parent()?;
    if !subsystem.file_name()?.to_str()?.starts_with("nvme-subsys") {
        return Some(directory);
    }
    let is_controller = |name: &String| name.strip_prefix("nvme").is_some_and(|number| number.parse::<u32>().is_ok());
    let controller = sysfs::entries(subsystem).ok()?.into_iter().find(is_controller)?;
    subsystem.join(controller).canonicalize().ok()
}
