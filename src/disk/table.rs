//! The partitions on a disk, read from its own bytes: what an install would destroy.
//!
//! The bytes are a stranger's. Every number in them is checked before it is used, reads and results are bounded, and what
//! cannot be read as a valid table is no table. Nothing is written, and no partition is looked into.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};

use crate::reason::{DomainError, Reason};

mod gpt;
mod mbr;

#[cfg(test)]
mod tests;

/// Most partitions that are listed.
pub const MAX_PARTITIONS: usize = 128;

/// Kind of partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// None that can be read.
    None,
    /// GUID partition table.
    Gpt,
    /// Master boot record.
    Mbr,
}

impl TableKind {
    /// Its name: `gpt`, `mbr`, or empty.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gpt => "gpt",
            Self::Mbr => "mbr",
        }
    }
}

impl fmt::Display for TableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A partition on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Number in the table, from 1.
    pub number: u32,
    /// First byte on the disk.
    pub offset_bytes: u64,
    /// Length, in bytes. It ends within the disk.
    pub size_bytes: u64,
    /// Name in a GPT, printable; else empty.
    pub label: String,
    /// Type: a GUID in a GPT, `0x83` and the like in an MBR.
    pub type_id: String,
    /// What `PARTUUID=` names it by: its own GUID in a GPT, the disk's number and its own in an MBR.
    pub part_uuid: String,
}

/// The partition table of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionTable {
    /// Its kind.
    pub kind: TableKind,
    /// Its partitions by number, at most [`MAX_PARTITIONS`].
    pub partitions: Vec<Partition>,
}

impl PartitionTable {
    const NONE: Self = Self { kind: TableKind::None, partitions: Vec::new() };
}

/// A table that could not be looked for.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// No disk has such blocks.
    #[error("a logical block size of {bytes} bytes is impossible")]
    BlockSizeInvalid {
        /// The size, in bytes.
        bytes: u32,
    },
    /// The disk did not give its bytes.
    #[error("cannot read the partition table at byte {offset_bytes}")]
    Unreadable {
        /// Where, in bytes.
        offset_bytes: u64,
        /// Why.
        source: io::Error,
    },
}

impl DomainError for TableError {
    fn reason(&self) -> Reason {
        match self {
            Self::BlockSizeInvalid { .. } => Reason::Internal,
            Self::Unreadable { .. } => Reason::DiskIo,
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::BlockSizeInvalid { bytes } => vec![("logicalBlockSize", bytes.to_string())],
            Self::Unreadable { offset_bytes, .. } => vec![("offsetBytes", offset_bytes.to_string())],
        }
    }
}

/// Reads the partition table of a disk of `len_bytes`.
///
/// A GPT counts if it has a protective MBR, and a header and entries with valid checksums: the first ones, or else the
/// backup at the end of the disk. Every read is of whole logical blocks at a multiple of their size.
///
/// # Errors
/// If the disk cannot be read, or the block size is no power of two from 512 to 65536. A disk without a table, or with a
/// damaged one, is no error.
pub fn read<R: Read + Seek>(
    disk: &mut R,
    len_bytes: u64,
    logical_block_size: u32,
) -> Result<PartitionTable, TableError> {
    let mut blocks = Blocks::new(disk, len_bytes, logical_block_size)?;
    let Some(first) = blocks.read(0, 1)? else {
        return Ok(PartitionTable::NONE);
    };
    let Some(boot_record) = mbr::BootRecord::parse(&first) else {
        return Ok(PartitionTable::NONE);
    };
    // As the kernel does: beside a protective entry nothing but a GPT is a table.
    if !boot_record.is_protective() {
        return mbr::read(&mut blocks, &boot_record);
    }
    let partitions = gpt::read(&mut blocks)?;
    Ok(partitions.map_or(PartitionTable::NONE, |partitions| PartitionTable { kind: TableKind::Gpt, partitions }))
}

/// Whether firmware or kernel could take the disk for a bootable one: it has a partition table, or its first 512 bytes
/// end with the boot signature.
///
/// # Errors
/// As [`read`].
pub fn is_bootable<R: Read + Seek>(disk: &mut R, len_bytes: u64, logical_block_size: u32) -> Result<bool, TableError> {
    let first = Blocks::new(disk, len_bytes, logical_block_size)?.read(0, 1)?;
    let signed = first.is_some_and(|block| mbr::has_boot_signature(&block));
    Ok(signed || read(disk, len_bytes, logical_block_size)?.kind != TableKind::None)
}

/// A disk as logical blocks.
struct Blocks<'a, R> {
    disk: &'a mut R,
    block_size: u64,
    count: u64,
}

impl<'a, R: Read + Seek> Blocks<'a, R> {
    fn new(disk: &'a mut R, len_bytes: u64, logical_block_size: u32) -> Result<Self, TableError> {
        if !logical_block_size.is_power_of_two() || !(512..=65536).contains(&logical_block_size) {
            return Err(TableError::BlockSizeInvalid { bytes: logical_block_size });
        }
        let block_size = u64::from(logical_block_size);
        Ok(Self { disk, block_size, count: len_bytes / block_size })
    }

    /// `count` blocks from `lba` on; none if they do not all lie on the disk. Callers bound `count`.
    fn read(&mut self, lba: u64, count: u64) -> Result<Option<Vec<u8>>, TableError> {
        let Some(range) = self.byte_range(lba, count) else {
            return Ok(None);
        };
        let Ok(len) = usize::try_from(range.1) else {
            return Ok(None);
        };
        let mut content = vec![0; len];
        self.disk
            .seek(SeekFrom::Start(range.0))
            .and_then(|_| self.disk.read_exact(&mut content))
            .map_err(|source| TableError::Unreadable { offset_bytes: range.0, source })?;
        Ok(Some(content))
    }

    /// Offset and length, in bytes, of `count` blocks from `lba` on; none if they do not all lie on the disk.
    fn byte_range(&self, lba: u64, count: u64) -> Option<(u64, u64)> {
        let end = lba.checked_add(count)?;
        // No product wraps: the disk has at most 2^64 bytes.
        (end <= self.count).then(|| (lba * self.block_size, count * self.block_size))
    }
}

/// A little-endian number in a slice; none beyond its end.
fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}
