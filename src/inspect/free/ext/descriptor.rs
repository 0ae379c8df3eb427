//! The group descriptors of ext: where each group's bitmaps and inode table are, and how many clusters are free.

use std::ops::Range;

use super::inconsistent;
use super::superblock::{Checksums, Superblock};
use crate::inspect::crc::{crc16_update, crc32c_update};
use crate::inspect::free::reason::{Structure, WholeReason};
use crate::inspect::reader::DiskReader;
use crate::inspect::record::Record;

/// The block bitmap was never written: it is what the group's metadata makes it.
const BLOCK_UNINIT: u16 = 0x2;
/// Where a descriptor's own checksum is, two bytes.
const CHECKSUM_AT: usize = 0x1e;

/// What is needed of a group's descriptor.
#[derive(Debug)]
pub(super) struct Group {
    /// Block of the block bitmap.
    pub(super) block_bitmap: u64,
    /// Block of the inode bitmap.
    pub(super) inode_bitmap: u64,
    /// First block of the inode table.
    pub(super) inode_table: u64,
    /// Number of free clusters.
    pub(super) free_clusters: u32,
    /// Whether the block bitmap was never written.
    pub(super) uninitialised: bool,
    /// Checksum of the block bitmap.
    pub(super) bitmap_checksum: u32,
}

/// The descriptors of all groups.
pub(super) fn read(volume: &dyn DiskReader, superblock: &Superblock) -> Result<Vec<Group>, WholeReason> {
    let per_block = superblock.descriptors_per_block();
    let mut groups = Vec::new();
    for index in 0..superblock.descriptor_blocks() {
        let offset = superblock.descriptor_block(index).checked_mul(superblock.block_size);
        let offset = offset.ok_or(inconsistent(Structure::GroupDescriptors, 0))?;
        let block = Record::load(volume, Structure::GroupDescriptors, offset, superblock.block_size)?;
        let first = index * per_block;
        for number in first..superblock.groups.min(first + per_block) {
            let at = usize::try_from((number - first) * superblock.descriptor_bytes);
            let at = at.map_err(|_too_large| block.inconsistent())?;
            groups.push(parse(superblock, &block, at, number)?);
        }
    }
    Ok(groups)
}

fn parse(superblock: &Superblock, block: &Record, at: usize, number: u64) -> Result<Group, WholeReason> {
    let proven = checksum(superblock, block, at, number)?.is_none_or(|sum| block.le16(at + CHECKSUM_AT) == Ok(sum));
    block.require_checksum(proven)?;
    let wide = superblock.descriptor_bytes >= 64;
    let high32 = |offset| if wide { block.le32(at + offset).map(u64::from) } else { Ok(0) };
    let high16 = |offset| if wide { block.le16(at + offset).map(u32::from) } else { Ok(0) };
    let flagged = block.le16(at + 0x12)? & BLOCK_UNINIT != 0;
    let group = Group {
        block_bitmap: u64::from(block.le32(at)?) | high32(0x20)? << 32,
        inode_bitmap: u64::from(block.le32(at + 0x4)?) | high32(0x24)? << 32,
        inode_table: u64::from(block.le32(at + 0x8)?) | high32(0x28)? << 32,
        free_clusters: u32::from(block.le16(at + 0xc)?) | high16(0x2c)? << 16,
        // Without checksums the flags mean nothing.
        uninitialised: flagged && superblock.checksums != Checksums::None,
        bitmap_checksum: u32::from(block.le16(at + 0x18)?) | high16(0x38)? << 16,
    };
    block.require(number > 0 || !group.uninitialised)?;
    Ok(group)
}

/// The checksum that the descriptor at `at` must have, if it has one.
fn checksum(superblock: &Superblock, block: &Record, at: usize, number: u64) -> Result<Option<u16>, WholeReason> {
    let len = usize::try_from(superblock.descriptor_bytes).map_err(|_too_large| block.inconsistent())?;
    let number = u32::try_from(number).map_err(|_too_large| block.inconsistent())?.to_le_bytes();
    let before = block.slice(at, CHECKSUM_AT)?;
    let after = block.slice(at + CHECKSUM_AT + 2, len - CHECKSUM_AT - 2)?;
    Ok(match superblock.checksums {
        Checksums::None => None,
        Checksums::Crc16 => {
            let pieces = [&superblock.uuid[..], &number, before, after];
            Some(pieces.into_iter().fold(u16::MAX, crc16_update))
        }
        Checksums::Crc32c { seed } => {
            let pieces = [&number[..], before, &[0; 2], after];
            let [low, high, ..] = pieces.into_iter().fold(seed, crc32c_update).to_le_bytes();
            Some(u16::from_le_bytes([low, high]))
        }
    })
}

/// The blocks of all bitmaps and inode tables, sorted. They lie in the file system and share nothing.
pub(super) fn metadata(superblock: &Superblock, groups: &[Group]) -> Result<Vec<Range<u64>>, WholeReason> {
    let wrong = inconsistent(Structure::GroupMetadata, 0);
    let mut metadata = Vec::with_capacity(groups.len() * 3);
    for group in groups {
        for (start, len) in
            [(group.block_bitmap, 1), (group.inode_bitmap, 1), (group.inode_table, superblock.table_blocks)]
        {
            let end = start.checked_add(len).filter(|end| *end <= superblock.blocks);
            let end = end.filter(|_| start >= superblock.first_block).ok_or(wrong)?;
            metadata.push(start..end);
        }
    }
    metadata.sort_unstable_by_key(|range| range.start);
    let apart = metadata.is_sorted_by(|before, after| before.end <= after.start);
    if apart { Ok(metadata) } else { Err(wrong) }
}
