//! The one small interface to a block device, and what can go wrong with it.
//!
//! It has two implementors: [`DirectDevice`](super::direct::DirectDevice), a real disk, and, in tests, a device in
//! memory that enforces the rules of O_DIRECT and fails on command. Keep it this small: another I/O engine comes in here.

use std::fmt;
use std::io;
use std::ops::Range;

use crate::reason::{DomainError, Reason};

/// What must be known of a device to write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Capacity, in bytes.
    pub len_bytes: u64,
    /// Logical block size (BLKSSZGET), in bytes: every offset and length is a multiple of it.
    pub logical_block_size: u32,
    /// Whether the medium spins, so that interleaved reads and writes cost seeks.
    pub rotational: bool,
}

impl Geometry {
    /// The end of the block that byte `offset - 1` lies in.
    pub fn round_up(&self, offset: u64) -> u64 {
        offset.next_multiple_of(u64::from(self.logical_block_size))
    }
}

/// A block device, read and written around the page cache.
///
/// Offsets, lengths and buffer addresses are multiples of the logical block size; the device answers anything else with
/// `InvalidInput`. Reads and writes are whole or an error: a short one is never continued. All methods block, and may be
/// called from several threads.
pub trait BlockDevice: fmt::Debug + Send + Sync {
    /// The kernel's name of the device.
    fn name(&self) -> &str;

    /// Its size and shape.
    fn geometry(&self) -> Geometry;

    /// Fills `data` from `offset`.
    ///
    /// # Errors
    /// What the device answered; `UnexpectedEof` beyond its end.
    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()>;

    /// Writes `data` at `offset`. Durable only after [`flush`](Self::flush).
    ///
    /// # Errors
    /// What the device answered; `WriteZero` for a short write.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Makes a range read as zero without sending zeroes. The kernel vouches for the zeroes; read-back proves them.
    ///
    /// # Errors
    /// `Unsupported` if the device cannot: then zeroes must be written.
    fn zero_range(&self, range: Range<u64>) -> io::Result<()>;

    /// Makes all completed writes durable.
    ///
    /// # Errors
    /// What the device answered. It must not be tried again: the error is reported once, and writes may be lost.
    fn flush(&self) -> io::Result<()>;

    /// Opens the same device anew, for reading only: nothing that the writing descriptor remembers is shared.
    ///
    /// # Errors
    /// If it cannot be opened, or is another device by now.
    fn fresh_reader(&self) -> io::Result<Box<dyn BlockDevice>>;

    /// Whether this is still the device that was opened, and no other that took its number.
    ///
    /// # Errors
    /// If the device cannot be asked.
    fn is_same(&self) -> io::Result<bool>;

    /// Asks the kernel to read the partition table again.
    ///
    /// # Errors
    /// What the kernel answered. Nothing on the disk depends on it.
    fn reread_partition_table(&self) -> io::Result<()>;
}

/// What was asked of a device when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A read.
    Read,
    /// A write.
    Write,
    /// Zeroing.
    Zero,
}

impl Access {
    const fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Zero => "zero",
        }
    }
}

/// A device that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Moving bytes failed.
    #[error("cannot {} {len} bytes at byte {offset} of disk {disk}", access.verb())]
    Io {
        /// Kernel name of the disk.
        disk: String,
        /// What was asked.
        access: Access,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A flush failed.
    #[error("cannot flush disk {disk}: what was written since the last flush may be lost")]
    Flush {
        /// Kernel name of the disk.
        disk: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The device cannot be opened for read-back.
    #[error("cannot open disk {disk} for reading back")]
    Reopen {
        /// Kernel name of the disk.
        disk: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Another device took the place of the one that was opened.
    #[error("disk {disk} is no longer the disk that was opened")]
    Changed {
        /// Kernel name of the disk.
        disk: String,
    },
}

impl DeviceError {
    fn source_error(&self) -> Option<&io::Error> {
        match self {
            Self::Io { source, .. } | Self::Flush { source, .. } | Self::Reopen { source, .. } => Some(source),
            Self::Changed { .. } => None,
        }
    }
}

impl DomainError for DeviceError {
    fn reason(&self) -> Reason {
        use nix::errno::Errno;
        let errno = self.source_error().and_then(io::Error::raw_os_error).map(Errno::from_raw);
        match (self, errno) {
            (Self::Changed { .. }, _) => Reason::DiskChanged,
            (_, Some(Errno::ENODEV | Errno::ENXIO | Errno::ENOMEDIUM)) => Reason::DiskGone,
            (_, Some(Errno::EROFS | Errno::EPERM | Errno::EACCES)) => Reason::DiskReadOnly,
            (Self::Flush { .. }, _) => Reason::DiskFlush,
            (_, Some(Errno::ENOSPC)) => Reason::DiskNoSpace,
            (Self::Io { .. } | Self::Reopen { .. }, _) => Reason::DiskIo,
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Io { disk, access, offset, len, .. } => vec![
                ("disk", disk.clone()),
                ("access", access.verb().to_owned()),
                ("offset", offset.to_string()),
                ("length", len.to_string()),
            ],
            Self::Flush { disk, .. } | Self::Reopen { disk, .. } | Self::Changed { disk } => {
                vec![("disk", disk.clone())]
            }
        }
    }
}

/// The same calls, with errors that say which disk and where.
impl dyn BlockDevice + '_ {
    /// [`read_at`](BlockDevice::read_at).
    ///
    /// # Errors
    /// [`DeviceError::Io`].
    pub fn read(&self, offset: u64, data: &mut [u8]) -> Result<(), DeviceError> {
        let len = data.len() as u64;
        self.read_at(offset, data).map_err(|source| self.io_error(Access::Read, offset, len, source))
    }

    /// [`write_at`](BlockDevice::write_at).
    ///
    /// # Errors
    /// [`DeviceError::Io`].
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), DeviceError> {
        let len = data.len() as u64;
        self.write_at(offset, data).map_err(|source| self.io_error(Access::Write, offset, len, source))
    }

    /// [`flush`](BlockDevice::flush).
    ///
    /// # Errors
    /// [`DeviceError::Flush`].
    pub fn sync(&self) -> Result<(), DeviceError> {
        self.flush().map_err(|source| DeviceError::Flush { disk: self.name().to_owned(), source })
    }

    /// [`fresh_reader`](BlockDevice::fresh_reader).
    ///
    /// # Errors
    /// [`DeviceError::Reopen`].
    pub fn reopen(&self) -> Result<Box<dyn BlockDevice>, DeviceError> {
        self.fresh_reader().map_err(|source| DeviceError::Reopen { disk: self.name().to_owned(), source })
    }

    /// Fails unless this is [still the same device](BlockDevice::is_same).
    ///
    /// # Errors
    /// [`DeviceError::Changed`], also if the device cannot be asked.
    pub fn confirm(&self) -> Result<(), DeviceError> {
        match self.is_same() {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(DeviceError::Changed { disk: self.name().to_owned() }),
        }
    }

    /// Zeroes a range: by the device where it can, else by writing `zeroes`, a buffer of zero bytes, again and again.
    ///
    /// # Errors
    /// [`DeviceError::Io`].
    pub fn zero(&self, range: Range<u64>, zeroes: &[u8]) -> Result<(), DeviceError> {
        let len = range.end - range.start;
        match self.zero_range(range.clone()) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(source) => return Err(self.io_error(Access::Zero, range.start, len, source)),
        }
        let mut offset = range.start;
        while offset < range.end {
            let step = usize::try_from(range.end - offset).map_or(zeroes.len(), |left| left.min(zeroes.len()));
            self.write(offset, &zeroes[..step])?;
            offset += step as u64;
        }
        Ok(())
    }

    fn io_error(&self, access: Access, offset: u64, len: u64, source: io::Error) -> DeviceError {
        DeviceError::Io { disk: self.name().to_owned(), access, offset, len, source }
    }
}
