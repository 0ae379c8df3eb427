//! Where the volumes of a disk are: its partitions, or the whole disk if it has none.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use super::reader::DiskReader;
use crate::disk::table::{self, MAX_PARTITIONS, Partition, PartitionTable, TableError, TableKind};

/// Types of a partition that only holds others: extended partitions of an MBR.
const CONTAINERS: [&str; 3] = ["0x05", "0x0f", "0x85"];
/// Number of the first partition that lies in such a container.
const FIRST_LOGICAL: u32 = 5;

/// A part of a disk that may hold one file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Number of the partition, from 1; 0 for a disk without partitions.
    pub partition: u32,
    /// Its bytes on the disk.
    pub range: Range<u64>,
    /// Whether another volume may lie in the same bytes, so that nothing can be said of them.
    pub shared: bool,
}

/// The volumes of a disk, by number.
///
/// A disk without a table is one volume. It counts as shared if something could boot from it or take it for a disk with a
/// table: then a file system found on it may be a leftover.
///
/// # Errors
/// If the disk cannot be read.
pub fn list(disk: &dyn DiskReader, logical_block_size: u32) -> Result<Vec<Volume>, TableError> {
    let table = read_table(disk, logical_block_size)?;
    if table.kind == TableKind::None {
        let shared = table::is_bootable(&mut Position { disk, at: 0 }, disk.len_bytes(), logical_block_size)?;
        return Ok(vec![Volume { partition: 0, range: 0..disk.len_bytes(), shared }]);
    }
    Ok(from_table(&table))
}

/// The partition table of a disk.
///
/// # Errors
/// As [`table::read`].
pub fn read_table(disk: &dyn DiskReader, logical_block_size: u32) -> Result<PartitionTable, TableError> {
    table::read(&mut Position { disk, at: 0 }, disk.len_bytes(), logical_block_size)
}

fn from_table(table: &PartitionTable) -> Vec<Volume> {
    // A table may have more partitions than are listed, and those could lie anywhere.
    let cut = table.partitions.len() >= MAX_PARTITIONS;
    let volume = |partition: &Partition| Volume {
        partition: partition.number,
        range: range_of(partition),
        shared: cut || table.partitions.iter().any(|other| conflict(table.kind, partition, other)),
    };
    table.partitions.iter().filter(|partition| !is_container(table.kind, partition)).map(volume).collect()
}

/// Whether two different partitions share bytes, other than a container and a partition within it.
fn conflict(kind: TableKind, partition: &Partition, other: &Partition) -> bool {
    let (a, b) = (range_of(partition), range_of(other));
    let contained =
        is_container(kind, other) && partition.number >= FIRST_LOGICAL && b.start < a.start && a.end <= b.end;
    partition.number != other.number && a.start < b.end && b.start < a.end && !contained
}

/// Whether a partition only holds others.
pub(super) fn is_container(kind: TableKind, partition: &Partition) -> bool {
    kind == TableKind::Mbr && CONTAINERS.contains(&partition.type_id.as_str())
}

const fn range_of(partition: &Partition) -> Range<u64> {
    partition.offset_bytes..partition.offset_bytes + partition.size_bytes
}

/// A reader with a position, for the reader of partition tables.
struct Position<'a> {
    disk: &'a dyn DiskReader,
    at: u64,
}

impl Read for Position<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.disk.len_bytes().saturating_sub(self.at);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        self.disk.read_at(self.at, &mut out[..len])?;
        self.at += len as u64;
        Ok(len)
    }
}

impl Seek for Position<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, delta) = match to {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::Current(delta) => (self.at, delta),
            SeekFrom::End(delta) => (self.disk.len_bytes(), delta),
        };
        self.at = base.checked_add_signed(delta).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::{DiskReader, Volume, list};

    const DISK_BYTES: usize = 4 << 20;

    /// An MBR disk; each partition is slot, type, first block, blocks.
    fn mbr(entries: &[(usize, u8, u32, u32)]) -> Vec<u8> {
        let mut disk = vec![0; DISK_BYTES];
        for &(slot, type_id, start, blocks) in entries {
            set_entry(&mut disk, 0, (slot, type_id, start, blocks));
        }
        disk
    }

    fn set_entry(disk: &mut [u8], record: usize, (slot, type_id, start, blocks): (usize, u8, u32, u32)) {
        let at = record * 512 + 446 + slot * 16;
        disk[at + 4] = type_id;
        disk[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        disk[at + 12..at + 16].copy_from_slice(&blocks.to_le_bytes());
        disk[record * 512 + 510..record * 512 + 512].copy_from_slice(&[0x55, 0xaa]);
    }

    fn seen(disk: &dyn DiskReader) -> Vec<(u32, u64, bool)> {
        list(disk, 512).expect("readable").into_iter().map(|v| (v.partition, v.range.start / 512, v.shared)).collect()
    }

    #[test]
    fn a_disk_without_a_table_is_one_volume() {
        let mut disk = vec![0; DISK_BYTES];
        let whole = Volume { partition: 0, range: 0..DISK_BYTES as u64, shared: false };
        assert_eq!(list(&disk, 512).expect("readable"), std::slice::from_ref(&whole));
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(list(&disk, 512).expect("readable"), [Volume { shared: true, ..whole }]);
    }

    #[test]
    fn partitions_that_overlap_are_shared() {
        let apart = mbr(&[(0, 0x83, 100, 100), (1, 0x83, 200, 100), (2, 0x83, 300, 100)]);
        assert_eq!(seen(&apart), [(1, 100, false), (2, 200, false), (3, 300, false)]);
        let overlapping = mbr(&[(0, 0x83, 100, 101), (1, 0x83, 200, 100), (2, 0x83, 300, 100)]);
        assert_eq!(seen(&overlapping), [(1, 100, true), (2, 200, true), (3, 300, false)]);
    }

    #[test]
    fn logical_partitions_lie_in_their_container_and_others_must_not() {
        let mut disk = mbr(&[(0, 0x83, 100, 100), (1, 0x05, 1000, 1000)]);
        set_entry(&mut disk, 1000, (0, 0x83, 8, 100));
        assert_eq!(seen(&disk), [(1, 100, false), (5, 1008, false)]);
        set_entry(&mut disk, 0, (0, 0x83, 100, 950));
        assert_eq!(seen(&disk), [(1, 100, true), (5, 1008, true)]);
        set_entry(&mut disk, 0, (0, 0x83, 100, 901));
        assert_eq!(seen(&disk), [(1, 100, true), (5, 1008, false)], "the first record of the chain is in partition 1");
    }
}
