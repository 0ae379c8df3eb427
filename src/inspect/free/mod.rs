//! Which bytes of a disk no file system uses.
//!
//! A capture treats free bytes as zeroes, so what is called free here is lost. Therefore: a volume in which anything is not
//! understood, not at rest or not consistent is taken whole, with the reason; within one that is understood, a byte is
//! free only if the file system's own records, held against each other, say so. The first and last MiB of the disk, and
//! what lies between and beyond the file systems, are never free.
//!
//! What these file systems write to their free space after they were unmounted is nothing, so that a file system whose
//! free space was zeroed is the same file system to everybody.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

mod btrfs;
mod ext;
pub(super) mod probe;
pub(crate) mod ranges;
pub mod reason;
mod xfs;

#[cfg(test)]
mod tests;

use self::ranges::RangeSet;
use self::reason::{Owner, Structure, WholeReason};
use super::reader::{DiskReader, Section};
use super::volumes::{self, Volume};

/// Bytes at either end of a disk that are never free: partition tables and boot code are there.
pub const BOOT_REGION_BYTES: u64 = 1 << 20;

/// A file system whose free space can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileSystem {
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ext => "ext",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        })
    }
}

/// What became of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// Its free space is known.
    Read {
        /// Free bytes.
        free_bytes: u64,
    },
    /// All of it counts as used.
    Whole {
        /// Why.
        reason: WholeReason,
    },
}

/// What was found on a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeNote {
    /// Number of the partition, from 1; 0 for a disk without partitions.
    pub partition: u32,
    /// First byte of the volume on the disk.
    pub offset_bytes: u64,
    /// Length of the volume, in bytes.
    pub size_bytes: u64,
    /// Its file system, if it could be told.
    pub file_system: Option<FileSystem>,
    /// What became of it.
    pub outcome: Outcome,
}

/// The free space of a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FreeSpace {
    /// Free bytes of the disk: ranges that are not empty, sorted, and do not touch.
    pub ranges: Vec<Range<u64>>,
    /// One for each volume, in the order of the partition table.
    pub notes: Vec<VolumeNote>,
}

impl FreeSpace {
    /// Number of free bytes.
    pub fn free_bytes(&self) -> u64 {
        total(&self.ranges)
    }
}

/// What a parser found on a volume.
#[derive(Debug)]
struct Found {
    /// Free ranges, relative to the volume.
    free: RangeSet,
    /// Where the file system ends in the volume, in bytes.
    end_bytes: u64,
}

/// Finds the free space of a disk. It never fails: what cannot be read counts as used, and a note says so.
///
/// To be called only in the sandboxed child, and in tests.
pub fn find(disk: &dyn DiskReader, logical_block_size: u32) -> FreeSpace {
    let Ok(volumes) = volumes::list(disk, logical_block_size) else {
        let whole = Volume { partition: 0, range: 0..disk.len_bytes(), shared: true };
        let structure = Structure::PartitionTable;
        return nothing_free(disk, &[whole], WholeReason::Unreadable { structure, offset_bytes: 0 });
    };
    match probe::ends_as_raid(disk) {
        Ok(false) => {}
        Ok(true) => return nothing_free(disk, &volumes, WholeReason::Foreign { owner: Owner::Raid }),
        Err(reason) => return nothing_free(disk, &volumes, reason),
    }
    if volumes.iter().any(|volume| holds_verity(disk, volume)) {
        return nothing_free(disk, &volumes, WholeReason::Verity);
    }
    let space = find_on(disk, &volumes);
    if tells_the_same_table(disk, &space.ranges, logical_block_size) {
        return space;
    }
    let structure = Structure::PartitionTable;
    nothing_free(disk, &volumes, WholeReason::Inconsistent { structure, offset_bytes: 0 })
}

/// The free space of all volumes, without the boot region.
fn find_on(disk: &dyn DiskReader, volumes: &[Volume]) -> FreeSpace {
    let mut all = RangeSet::new();
    let mut notes = Vec::with_capacity(volumes.len());
    for volume in volumes {
        let (file_system, free) = examine(disk, volume);
        let outcome = match free {
            Ok(free) => {
                let outcome = Outcome::Read { free_bytes: total(&free) };
                free.into_iter().for_each(|range| all.add(range));
                outcome
            }
            Err(reason) => Outcome::Whole { reason },
        };
        notes.push(note(volume, file_system, outcome));
    }
    FreeSpace { ranges: all.finish(), notes }
}

/// The file system of a volume, and its free ranges on the disk.
fn examine(disk: &dyn DiskReader, volume: &Volume) -> (Option<FileSystem>, Result<Vec<Range<u64>>, WholeReason>) {
    let Some(section) = Section::new(disk, &volume.range).filter(|_| !volume.shared) else {
        return (None, Err(WholeReason::Shared));
    };
    let file_system = match probe::identify(&section) {
        Ok(file_system) => file_system,
        Err(reason) => return (None, Err(reason)),
    };
    let found = parse(&section, file_system);
    (Some(file_system), found.map(|found| place(found, volume, disk.len_bytes())))
}

fn parse(volume: &dyn DiskReader, file_system: FileSystem) -> Result<Found, WholeReason> {
    let found = match file_system {
        FileSystem::Ext => ext::find(volume),
        FileSystem::Xfs => xfs::find(volume),
        FileSystem::Btrfs => btrfs::find(volume),
    }?;
    // Hashes of dm-verity may follow the file system that they cover.
    if probe::bears(volume, (found.end_bytes, probe::VERITY))? { Err(WholeReason::Verity) } else { Ok(found) }
}

/// Moves ranges of a volume to where they are on the disk, and keeps the boot region out of them.
fn place(found: Found, volume: &Volume, len_bytes: u64) -> Vec<Range<u64>> {
    let limit = found.end_bytes.min(volume.range.end - volume.range.start);
    let on_disk = |range: Range<u64>| {
        let (start, end) = (range.start.min(limit), range.end.min(limit));
        volume.range.start + start..volume.range.start + end
    };
    let free: Vec<Range<u64>> = found.free.finish().into_iter().map(on_disk).collect();
    let boot_region = [0..BOOT_REGION_BYTES, len_bytes.saturating_sub(BOOT_REGION_BYTES)..u64::MAX];
    ranges::without(&free, &boot_region).finish()
}

/// Whether the partition table is still the same if all that is free is zero. A table whose records lie in a partition
/// is made by nobody, but nothing forbids it.
fn tells_the_same_table(disk: &dyn DiskReader, free: &[Range<u64>], logical_block_size: u32) -> bool {
    let zeroed = Zeroed { disk, free };
    let before = volumes::read_table(disk, logical_block_size);
    let after = volumes::read_table(&zeroed, logical_block_size);
    matches!((before, after), (Ok(before), Ok(after)) if before == after)
}

fn holds_verity(disk: &dyn DiskReader, volume: &Volume) -> bool {
    // What cannot be read is found out, with its place, when the volume is looked into.
    let owner = Section::new(disk, &volume.range).and_then(|section| probe::foreign(&section).ok().flatten());
    owner == Some(Owner::Verity)
}

fn nothing_free(disk: &dyn DiskReader, volumes: &[Volume], reason: WholeReason) -> FreeSpace {
    let file_system = |volume: &Volume| Section::new(disk, &volume.range).and_then(|it| probe::identify(&it).ok());
    let notes = volumes.iter().map(|volume| note(volume, file_system(volume), Outcome::Whole { reason })).collect();
    FreeSpace { ranges: Vec::new(), notes }
}

const fn note(volume: &Volume, file_system: Option<FileSystem>, outcome: Outcome) -> VolumeNote {
    let size_bytes = volume.range.end - volume.range.start;
    VolumeNote { partition: volume.partition, offset_bytes: volume.range.start, size_bytes, file_system, outcome }
}

fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// A disk whose free ranges read as zero.
#[derive(Debug)]
struct Zeroed<'a> {
    disk: &'a dyn DiskReader,
    free: &'a [Range<u64>],
}

impl DiskReader for Zeroed<'_> {
    fn len_bytes(&self) -> u64 {
        self.disk.len_bytes()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.disk.read_at(offset, out)?;
        let end = offset + out.len() as u64;
        let first = self.free.partition_point(|range| range.end <= offset);
        for range in self.free[first..].iter().take_while(|range| range.start < end) {
            let within = range.start.max(offset) - offset..range.end.min(end) - offset;
            let (Ok(start), Ok(end)) = (usize::try_from(within.start), usize::try_from(within.end)) else {
                return Err(std::io::ErrorKind::InvalidInput.into());
            };
            out[start..end].fill(0);
        }
        Ok(())
    }
}
