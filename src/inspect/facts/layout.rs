//! How the disk of an image is laid out, as far as its firmware and its first boot need it.

use super::Known;
use super::boot::mbr;
use crate::disk::table::{Partition, PartitionTable, TableKind};
use crate::inspect::reader::DiskReader;

/// Most partitions that an MBR has itself; those with higher numbers lie within one of them.
const MAX_PRIMARIES: u32 = 4;

/// The disk of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Its partition table.
    pub table: TableKind,
    /// Whether there is code in its first block that a BIOS would start.
    pub boot_code: bool,
    /// Its partitions, by number.
    pub partitions: Vec<Part>,
    /// The number of the one that the root file system is on; none if that is not known.
    pub root: Option<u32>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 1.
    pub number: u32,
    /// Where it begins, in bytes.
    pub offset_bytes: u64,
    /// Whether it takes one of the four entries of an MBR; so do all of a GPT.
    pub is_primary: bool,
}

impl Layout {
    /// The layout of a disk with this table, on which the root file system is on partition `root`.
    pub fn read(disk: &dyn DiskReader, table: &PartitionTable, root: Option<u32>) -> Known<Self> {
        Known::from_result(mbr::has_boot_code(disk).map(|boot_code| Self::of(table, boot_code, root)))
    }

    fn of(table: &PartitionTable, boot_code: bool, root: Option<u32>) -> Self {
        let is_primary = |number| table.kind != TableKind::Mbr || number <= MAX_PRIMARIES;
        let part = |partition: &Partition| Part {
            number: partition.number,
            offset_bytes: partition.offset_bytes,
            is_primary: is_primary(partition.number),
        };
        Self { table: table.kind, boot_code, partitions: table.partitions.iter().map(part).collect(), root }
    }
}
