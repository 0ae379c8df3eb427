//! The tree of free blocks of an allocation group, sorted by block: walked in order, each block once.

use std::ops::Range;

use super::superblock::{Superblock, is_proven};
use crate::inspect::free::reason::{Structure, WholeReason};
use crate::inspect::reader::DiskReader;
use crate::inspect::record::Record;

const MAGIC_OLDER: u32 = 0x4142_5442;
const MAGIC_NEWER: u32 = 0x4142_3342;
const HEADER_BYTES_OLDER: usize = 16;
const HEADER_BYTES_NEWER: usize = 56;
const CHECKSUM_AT: usize = 52;
/// Bytes of a record, and of a key: first block and number of blocks.
const RECORD_BYTES: usize = 8;
/// Most levels of a tree, as in the kernel.
const MAX_LEVELS: u32 = 9;
/// Most runs of free blocks of one group.
const MAX_RUNS: usize = 4 << 20;

/// The tree of one group.
pub(super) struct Tree<'a> {
    volume: &'a dyn DiskReader,
    superblock: &'a Superblock,
    group: u32,
    group_blocks: u32,
    runs: Vec<Range<u32>>,
    /// Blocks of the tree itself.
    own: Vec<u32>,
}

impl<'a> Tree<'a> {
    /// The tree of a group of `group_blocks`.
    pub(super) const fn new(
        volume: &'a dyn DiskReader,
        superblock: &'a Superblock,
        group: u32,
        group_blocks: u32,
    ) -> Self {
        Self { volume, superblock, group, group_blocks, runs: Vec::new(), own: Vec::new() }
    }

    /// All runs of free blocks, ascending and apart, none of which holds a block of the tree.
    pub(super) fn runs(&mut self, root: u32, levels: u32) -> Result<Vec<Range<u32>>, WholeReason> {
        let level = levels.checked_sub(1).filter(|level| *level < MAX_LEVELS);
        self.walk(root, level.ok_or_else(|| self.wrong(root))?)?;
        for block in &self.own {
            let after = self.runs.partition_point(|run| run.end <= *block);
            if self.runs.get(after).is_some_and(|run| run.contains(block)) {
                return Err(self.wrong(*block));
            }
        }
        Ok(std::mem::take(&mut self.runs))
    }

    /// Reads a block, and below it all its children. `level` falls with each step, so that no loop is endless; the visits
    /// are bounded by the blocks of the group.
    fn walk(&mut self, block: u32, level: u32) -> Result<(), WholeReason> {
        if block >= self.group_blocks || self.own.len() >= self.group_blocks as usize {
            return Err(self.wrong(block));
        }
        self.own.push(block);
        let record = self.load(block, level)?;
        let count = usize::from(record.be16(6)?);
        if level == 0 {
            return (0..count).try_for_each(|index| self.take_run(&record, index));
        }
        record.require(count > 0)?;
        let header = self.header_bytes();
        // Keys fill the first two thirds of a full block, pointers the last.
        let capacity = (record.bytes().len() - header) / (RECORD_BYTES + 4);
        record.require(count <= capacity)?;
        (0..count)
            .try_for_each(|index| self.walk(record.be32(header + capacity * RECORD_BYTES + index * 4)?, level - 1))
    }

    fn take_run(&mut self, record: &Record, index: usize) -> Result<(), WholeReason> {
        let at = self.header_bytes() + index * RECORD_BYTES;
        let (start, len) = (record.be32(at)?, record.be32(at + 4)?);
        let end = start.checked_add(len).filter(|end| len > 0 && *end <= self.group_blocks);
        let end = end.ok_or_else(|| record.inconsistent())?;
        // Runs that touch would be one run.
        record.require(self.runs.last().is_none_or(|last| last.end < start))?;
        if self.runs.len() == MAX_RUNS {
            return Err(WholeReason::TooLarge { structure: Structure::FreeSpaceTree });
        }
        self.runs.push(start..end);
        Ok(())
    }

    /// Reads a block of the tree, and holds it to its place.
    fn load(&self, block: u32, level: u32) -> Result<Record, WholeReason> {
        let offset = self.offset(block);
        let record = Record::load(self.volume, Structure::FreeSpaceTree, offset, self.superblock.block_size)?;
        if let Some(newer) = &self.superblock.newer {
            record.require_checksum(is_proven(&record, CHECKSUM_AT)?)?;
            record.require(record.be32(0)? == MAGIC_NEWER && record.be64(16)? == offset / 512)?;
            record.require(record.array::<16>(32)? == newer.metadata_uuid && record.be32(48)? == self.group)?;
        } else {
            record.require(record.be32(0)? == MAGIC_OLDER)?;
        }
        record.require(u32::from(record.be16(4)?) == level)?;
        Ok(record)
    }

    const fn header_bytes(&self) -> usize {
        if self.superblock.newer.is_some() { HEADER_BYTES_NEWER } else { HEADER_BYTES_OLDER }
    }

    fn offset(&self, block: u32) -> u64 {
        let first = u64::from(self.group) * u64::from(self.superblock.group_blocks);
        (first + u64::from(block)) * self.superblock.block_size
    }

    fn wrong(&self, block: u32) -> WholeReason {
        WholeReason::Inconsistent { structure: Structure::FreeSpaceTree, offset_bytes: self.offset(block) }
    }
}
