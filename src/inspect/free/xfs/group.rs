//! An allocation group of XFS: its header of free space (AGF), and the free ranges of its tree.

use super::superblock::{Superblock, is_proven};
use super::tree::Tree;
use crate::inspect::free::RangeSet;
use crate::inspect::free::reason::{Structure, WholeReason};
use crate::inspect::reader::DiskReader;
use crate::inspect::record::Record;

const MAGIC: u32 = 0x5841_4746;
const CHECKSUM_AT: usize = 216;

/// Adds the free ranges of a group, in bytes.
pub(super) fn add_free(
    volume: &dyn DiskReader,
    superblock: &Superblock,
    number: u32,
    free: &mut RangeSet,
) -> Result<(), WholeReason> {
    let first_block = u64::from(number) * u64::from(superblock.group_blocks);
    let start = first_block * superblock.block_size;
    // The superblock's copy is the first sector of a group; the header of free space is the second.
    let header =
        Record::load(volume, Structure::AllocationGroup, start + superblock.sector_size, superblock.sector_size)?;
    let group_blocks = superblock.group_len(number.into());
    check(&header, superblock, number, group_blocks)?;
    let mut tree = Tree::new(volume, superblock, number, group_blocks);
    let runs = tree.runs(header.be32(16)?, header.be32(28)?)?;
    // Superblock, both headers and the list of blocks in hand: four sectors.
    let header_blocks = (4 * superblock.sector_size).div_ceil(superblock.block_size);
    header.require(runs.first().is_none_or(|run| u64::from(run.start) >= header_blocks))?;
    let blocks: u64 = runs.iter().map(|run| u64::from(run.end - run.start)).sum();
    header.require(blocks == u64::from(header.be32(52)?))?;
    for run in runs {
        let byte = |block: u32| start + u64::from(block) * superblock.block_size;
        free.add(byte(run.start)..byte(run.end));
    }
    Ok(())
}

/// Fails unless this is the header of this very group.
fn check(header: &Record, superblock: &Superblock, number: u32, group_blocks: u32) -> Result<(), WholeReason> {
    if let Some(newer) = &superblock.newer {
        header.require_checksum(is_proven(header, CHECKSUM_AT)?)?;
        header.require(header.array::<16>(64)? == newer.metadata_uuid)?;
    }
    header.require(header.be32(0)? == MAGIC && header.be32(4)? == 1)?;
    header.require(header.be32(8)? == number && header.be32(12)? == group_blocks)
}
