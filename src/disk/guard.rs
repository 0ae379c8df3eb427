//! The guard: opens the disk that was selected, or nothing.
//!
//! What was selected is what discovery saw; what is opened is asked again, through its own descriptor. Between the two,
//! names may have moved to other disks, nodes may have been replaced, and somebody may have mounted the disk. There is
//! no way around it, and no override.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::device::BlockDevice as _;
use super::direct::{DirectDevice, Mode};
use super::discovery::{Discovery, DiscoveryError, Disk};
use super::identity::Identity;
use crate::reason::{DomainError, Reason};

/// Why a disk was not opened.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The node cannot be opened.
    #[error("cannot open {}", .node.display())]
    Open {
        /// The device node.
        node: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The node is a symbolic link.
    #[error("{} is a symbolic link, not the node of a disk", .node.display())]
    Symlink {
        /// The device node.
        node: PathBuf,
    },
    /// The node is no block device.
    #[error("{} is no block device", .node.display())]
    NotBlock {
        /// The device node.
        node: PathBuf,
    },
    /// Something holds the disk.
    #[error("disk {disk} is in use: something holds it open exclusively")]
    Busy {
        /// Kernel name of the disk.
        disk: String,
    },
    /// The open disk is another one.
    #[error("disk {disk} changed after it was selected: its {what} was {selected}, and is {open}")]
    Changed {
        /// Kernel name of the disk.
        disk: String,
        /// What differs.
        what: &'static str,
        /// What was selected.
        selected: String,
        /// What is open.
        open: String,
    },
    /// The disk came into use after it was selected.
    #[error("disk {disk} may not be written any more: {detail}")]
    Refused {
        /// Kernel name of the disk.
        disk: String,
        /// Why.
        reason: Reason,
        /// What was seen.
        detail: String,
    },
    /// The disk cannot be captured.
    #[error("disk {disk} cannot be captured: {detail}")]
    NotAtRest {
        /// Kernel name of the disk.
        disk: String,
        /// Why.
        reason: Reason,
        /// What was seen.
        detail: String,
    },
    /// The disk cannot be looked at again.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
}

impl DomainError for GuardError {
    fn reason(&self) -> Reason {
        match self {
            Self::Open { source, .. } => match source.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO | Errno::ENOMEDIUM) => Reason::DiskGone,
                Some(Errno::EROFS | Errno::EACCES) => Reason::DiskReadOnly,
                // Of devices that the control group of the service is not to have. A write to one that went read-only while
                // it was open fails with it as well, but nothing is open here yet.
                Some(Errno::EPERM) => Reason::DiskForbidden,
                _ => Reason::DiskIo,
            },
            Self::Symlink { .. } => Reason::DiskNodeSymlink,
            Self::NotBlock { .. } => Reason::DiskNodeNotBlock,
            Self::Busy { .. } => Reason::DiskBusy,
            Self::Changed { .. } => Reason::DiskChanged,
            Self::Refused { reason, .. } | Self::NotAtRest { reason, .. } => *reason,
            Self::Discovery(error) => error.reason(),
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Open { node, .. } | Self::Symlink { node } | Self::NotBlock { node } => {
                vec![("node", node.display().to_string())]
            }
            Self::Busy { disk } => vec![("disk", disk.clone())],
            Self::Changed { disk, what, selected, open } => vec![
                ("disk", disk.clone()),
                ("attribute", (*what).to_owned()),
                ("selected", selected.clone()),
                ("open", open.clone()),
            ],
            Self::Refused { disk, detail, .. } | Self::NotAtRest { disk, detail, .. } => {
                vec![("disk", disk.clone()), ("detail", detail.clone())]
            }
            Self::Discovery(error) => error.metadata(),
        }
    }
}

/// Opens a disk for writing, once and exclusively, if it still is the disk that was selected and still free.
///
/// # Errors
/// Everything that speaks against it. Nothing was written then.
pub fn open_for_writing(discovery: &Discovery, selected: &Disk) -> Result<DirectDevice, GuardError> {
    let device = open(discovery, selected, Mode::WriteExclusive)?;
    let now = check_identity(discovery, selected, &device)?;
    // The exclusive descriptor is held by now: what is free here stays free.
    let all = discovery.scan()?;
    match now.refusals(&all).into_iter().next() {
        None => Ok(device),
        Some(refusal) => {
            Err(GuardError::Refused { disk: selected.name.clone(), reason: refusal.reason, detail: refusal.detail })
        }
    }
}

/// Opens a disk for reading, exclusively, if it still is the disk that was selected and nothing uses it: what is read
/// then is one state of it. Whatever forbids writing forbids this, but for being read-only.
///
/// # Errors
/// Everything that speaks against it.
pub fn open_for_capture(discovery: &Discovery, selected: &Disk) -> Result<DirectDevice, GuardError> {
    // The kernel only says that a disk is busy; this says why.
    check_at_rest(discovery, selected)?;
    let device = open(discovery, selected, Mode::ReadExclusive)?;
    check_at_rest(discovery, &check_identity(discovery, selected, &device)?)?;
    Ok(device)
}

fn check_at_rest(discovery: &Discovery, disk: &Disk) -> Result<(), GuardError> {
    let refusals = disk.refusals(&discovery.scan()?);
    match refusals.into_iter().find(|refusal| refusal.reason != Reason::DiskReadOnly) {
        None => Ok(()),
        Some(refusal) => {
            Err(GuardError::NotAtRest { disk: disk.name.clone(), reason: refusal.reason, detail: refusal.detail })
        }
    }
}

/// Opens a disk for reading, if it still is the disk that was selected. Others may use it meanwhile.
///
/// # Errors
/// If it cannot be opened, or is another disk.
pub fn open_for_reading(discovery: &Discovery, selected: &Disk) -> Result<DirectDevice, GuardError> {
    let device = open(discovery, selected, Mode::Read)?;
    check_identity(discovery, selected, &device)?;
    Ok(device)
}

fn open(discovery: &Discovery, selected: &Disk, mode: Mode) -> Result<DirectDevice, GuardError> {
    let node = discovery.roots.dev.join(&selected.name);
    DirectDevice::open(&node, mode, selected.rotational).map_err(|error| classify(error, &node, &selected.name))
}

fn classify(source: io::Error, node: &Path, disk: &str) -> GuardError {
    let node = node.to_owned();
    match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP) => GuardError::Symlink { node },
        Some(Errno::EBUSY) => GuardError::Busy { disk: disk.to_owned() },
        // A file system without O_DIRECT, and a directory: no block device answers so.
        Some(Errno::EINVAL | Errno::EISDIR) => GuardError::NotBlock { node },
        None if source.kind() == io::ErrorKind::InvalidInput => GuardError::NotBlock { node },
        _ => GuardError::Open { node, source },
    }
}

/// Compares what is open with what was selected, and gives what discovery says of it now.
fn check_identity(discovery: &Discovery, selected: &Disk, device: &DirectDevice) -> Result<Disk, GuardError> {
    let same = |what, selected_value: String, open_value: String| {
        if selected_value == open_value {
            return Ok(());
        }
        Err(GuardError::Changed { disk: selected.name.clone(), what, selected: selected_value, open: open_value })
    };
    let node = discovery.roots.dev.join(&selected.name);
    let number = device.device_number().map_err(|source| GuardError::Open { node, source })?;
    same("device number", selected.device_number.to_string(), number.to_string())?;
    let geometry = device.geometry();
    same("size", selected.size_bytes.to_string(), geometry.len_bytes.to_string())?;
    let block_sizes = (selected.logical_block_size, geometry.logical_block_size);
    same("logical block size", block_sizes.0.to_string(), block_sizes.1.to_string())?;
    // Kernels before 5.15 have no sequence number; then serial and WWN must do.
    if let (Some(seen), Some(open)) = (selected.identity.diskseq, device.diskseq()) {
        same("disk sequence number", seen.to_string(), open.to_string())?;
    }
    let now = discovery.describe(number)?;
    same("identity", describe(&selected.identity), describe(&now.identity))?;
    Ok(now)
}

fn describe(identity: &Identity) -> String {
    let Identity { serial, wwn, backing_file, diskseq } = identity;
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    let diskseq = diskseq.map_or_else(|| "none".to_owned(), |seq| seq.to_string());
    format!("serial {}, wwn {}, file {}, diskseq {diskseq}", text(serial), text(wwn), text(backing_file))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{GuardError, open_for_capture, open_for_reading, open_for_writing};
    use crate::disk::discovery::Disk;
    use crate::disk::fixture::Fixture;
    use crate::reason::{DomainError as _, Reason};

    /// A server whose disk `nvme0n1` has something else for a node.
    fn fixture() -> (Fixture, Disk) {
        let fixture = Fixture::new();
        fixture.nvme("nvme0n1", "259:0", "S1");
        let disk = fixture.scan().remove(0);
        (fixture, disk)
    }

    fn check(fixture: &Fixture, disk: &Disk, reason: Reason) {
        let discovery = fixture.discovery();
        let errors: [GuardError; 3] = [
            open_for_writing(&discovery, disk).expect_err("no disk"),
            open_for_capture(&discovery, disk).expect_err("no disk"),
            open_for_reading(&discovery, disk).expect_err("no disk"),
        ];
        for error in errors {
            assert_eq!(error.reason(), reason, "{error:?}");
            assert_eq!(error.metadata(), [("node", fixture.path("dev/nvme0n1").display().to_string())]);
        }
    }

    #[test]
    fn a_missing_node_is_a_disk_that_is_gone() {
        let (fixture, disk) = fixture();
        check(&fixture, &disk, Reason::DiskGone);
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let (fixture, disk) = fixture();
        fixture.write("dev/target", "precious");
        fixture.link("dev/nvme0n1", "target");
        check(&fixture, &disk, Reason::DiskNodeSymlink);
        fs::remove_file(fixture.path("dev/nvme0n1")).expect("removed");
        fixture.link("dev/nvme0n1", "nowhere");
        check(&fixture, &disk, Reason::DiskNodeSymlink);
        assert_eq!(fs::read(fixture.path("dev/target")).expect("read"), b"precious");
    }

    #[test]
    fn a_regular_file_is_not_written() {
        let (fixture, disk) = fixture();
        fixture.write("dev/nvme0n1", "precious");
        check(&fixture, &disk, Reason::DiskNodeNotBlock);
        assert_eq!(fs::read(fixture.path("dev/nvme0n1")).expect("read"), b"precious");
    }

    #[test]
    fn a_fifo_does_not_hold_anyone_up() {
        let (fixture, disk) = fixture();
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
        nix::unistd::mkfifo(&fixture.path("dev/nvme0n1"), mode).expect("mkfifo");
        check(&fixture, &disk, Reason::DiskNodeNotBlock);
    }

    #[test]
    fn a_directory_is_no_disk() {
        let (fixture, disk) = fixture();
        fs::create_dir(fixture.path("dev/nvme0n1")).expect("directory");
        check(&fixture, &disk, Reason::DiskNodeNotBlock);
    }

    #[test]
    fn a_character_device_is_no_disk() {
        let (fixture, mut disk) = fixture();
        // The name is the kernel's own, so a path in it is impossible; here it reaches a device that always exists.
        disk.name = "/dev/null".to_owned();
        let error = open_for_reading(&fixture.discovery(), &disk).expect_err("no disk");
        assert_eq!(error.reason(), Reason::DiskNodeNotBlock, "{error:?}");
    }

    #[test]
    fn a_disk_that_is_only_read_only_may_be_captured() {
        let fixture = Fixture::new();
        fixture.nvme("nvme0n1", "259:0", "S1").attribute("ro", "1\n");
        fixture.nvme("nvme1n1", "259:1", "S2").attribute("removable", "1\n");
        let reason = |disk: &Disk| open_for_capture(&fixture.discovery(), disk).expect_err("no node").reason();
        let disks = fixture.scan();
        assert_eq!(reason(&disks[0]), Reason::DiskGone, "it was opened");
        assert_eq!(reason(&disks[1]), Reason::DiskRemovable, "it was not");
    }
}
