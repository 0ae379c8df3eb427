//! A real disk, through O_DIRECT.
//!
//! Threads with plain positioned reads and writes of up to 4 MiB keep a disk as busy as io_uring does on the devices
//! that were measured: `docs/decisions/0001-threads-not-io-uring.md`.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{FallocateFlags, OFlag, fallocate};

use super::device::{BlockDevice, Geometry};
use super::identity::DeviceNumber;
use super::ioctl;
use crate::metrics::{DeviceMeter, DeviceRequest};

/// How to open a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For reading; others may use the disk.
    Read,
    /// For reading; the kernel refuses if anything else holds the disk, and keeps others from taking it.
    ReadExclusive,
    /// For reading and writing; the kernel refuses if anything else holds the disk, and keeps others from taking it.
    WriteExclusive,
}

/// An open disk. It stays claimed until this is dropped.
#[derive(Debug)]
pub struct DirectDevice {
    file: File,
    name: String,
    geometry: Geometry,
    diskseq: Option<u64>,
    meter: DeviceMeter,
}

impl DirectDevice {
    /// Opens the device node `node`, which must be a block device and no link.
    ///
    /// # Errors
    /// What the kernel answered: ELOOP for a link, EBUSY for a disk in use, `InvalidInput` for what is no block device.
    pub fn open(node: &Path, mode: Mode, rotational: bool) -> io::Result<Self> {
        let exclusive = match mode {
            Mode::Read => OFlag::empty(),
            Mode::ReadExclusive | Mode::WriteExclusive => OFlag::O_EXCL,
        };
        // O_NONBLOCK: a FIFO in place of the node must not hold the agent; it means nothing to a disk.
        let flags = OFlag::O_DIRECT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | exclusive;
        let file =
            OpenOptions::new().read(true).write(mode == Mode::WriteExclusive).custom_flags(flags.bits()).open(node)?;
        let name = node.file_name().unwrap_or(node.as_os_str()).to_string_lossy().into_owned();
        Self::from_file(file, name, rotational)
    }

    fn from_file(file: File, name: String, rotational: bool) -> io::Result<Self> {
        if !file.metadata()?.file_type().is_block_device() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a block device"));
        }
        let geometry = Geometry {
            len_bytes: ioctl::len_bytes(&file)?,
            logical_block_size: ioctl::logical_block_size(&file)?,
            rotational,
        };
        let diskseq = ioctl::diskseq(&file)?;
        let meter = DeviceMeter::new(&name);
        Ok(Self { file, name, geometry, diskseq, meter })
    }

    /// Device number of the open disk.
    ///
    /// # Errors
    /// If the descriptor cannot be asked.
    pub fn device_number(&self) -> io::Result<DeviceNumber> {
        Ok(DeviceNumber::from_raw(self.file.metadata()?.rdev()))
    }

    /// The same device for reading alone, as an open file of its own.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn reading_file(&self) -> io::Result<File> {
        // Through the descriptor, not through /dev: whatever the node's name means by now, this is the same device.
        let path = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECT.bits()).open(path)
    }

    /// Disk sequence number of the open disk.
    pub const fn diskseq(&self) -> Option<u64> {
        self.diskseq
    }
}

impl BlockDevice for DirectDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        match self.meter.time(DeviceRequest::Read, || self.file.read_at(data, offset))? {
            len if len == data.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self.meter.time(DeviceRequest::Write, || self.file.write_at(data, offset))? {
            len if len == data.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    fn zero_range(&self, range: Range<u64>) -> io::Result<()> {
        // On a block device, punching a hole is WRITE ZEROES with leave to unmap and without the kernel's own fallback to
        // writing zero pages (block/fops.c, blkdev_fallocate): the device zeroes fast, or says that it cannot.
        // A discard promises nothing, and is never used.
        let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let (offset, len) = (signed(range.start)?, signed(range.end - range.start)?);
        match self.meter.time(DeviceRequest::Zero, || fallocate(&self.file, mode, offset, len)) {
            Ok(()) => Ok(()),
            Err(nix::errno::Errno::EOPNOTSUPP) => Err(io::ErrorKind::Unsupported.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn flush(&self) -> io::Result<()> {
        self.meter.time(DeviceRequest::Flush, || self.file.sync_all())
    }

    fn fresh_reader(&self) -> io::Result<Box<dyn BlockDevice>> {
        let reader = Self::from_file(self.reading_file()?, self.name.clone(), self.geometry.rotational)?;
        if reader.diskseq != self.diskseq || reader.geometry != self.geometry {
            return Err(io::Error::other("the disk changed while it was open"));
        }
        Ok(Box::new(reader))
    }

    fn is_same(&self) -> io::Result<bool> {
        Ok(ioctl::diskseq(&self.file)? == self.diskseq && ioctl::len_bytes(&self.file)? == self.geometry.len_bytes)
    }

    fn reread_partition_table(&self) -> io::Result<()> {
        ioctl::reread_partition_table(&self.file)
    }
}

fn signed(bytes: u64) -> io::Result<i64> {
    i64::try_from(bytes).map_err(io::Error::other)
}
