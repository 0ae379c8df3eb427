//! Extents held against chunks: what is between them is free.

use super::chunk::{Chunk, Chunks};
use super::superblock::Superblock;
use super::tree::{Item, Key};
use crate::inspect::free::RangeSet;
use crate::inspect::free::reason::{Structure, WholeReason};

const EXTENT_ITEM: u8 = 168;
const METADATA_ITEM: u8 = 169;
const BLOCK_GROUP_ITEM: u8 = 192;

/// What is used of each chunk, while the extents are walked.
#[derive(Debug)]
pub(super) struct Usage<'a> {
    superblock: &'a Superblock,
    chunks: &'a [Chunk],
    tallies: Vec<Tally>,
    index: &'a Chunks,
    /// The chunk of the last extent, and the address after that extent.
    chunk: usize,
    end: u64,
    used_bytes: u64,
    free: RangeSet,
}

/// What a chunk's extents add up to, and what its block group says.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    found_bytes: u64,
    stated_bytes: Option<u64>,
}

impl<'a> Usage<'a> {
    /// Nothing is used yet.
    pub(super) fn new(superblock: &'a Superblock, index: &'a Chunks) -> Self {
        let chunks = index.all();
        let end = chunks.first().map_or(0, |chunk| chunk.start);
        let tallies = vec![Tally::default(); chunks.len()];
        Self { superblock, chunks, tallies, index, chunk: 0, end, used_bytes: 0, free: RangeSet::new() }
    }

    /// Takes an item of the extent tree, or of the tree of block groups. Extents come in ascending order.
    pub(super) fn take(&mut self, item: &Item<'_>) -> Result<(), WholeReason> {
        match item.key {
            Key { object, kind: EXTENT_ITEM, offset } => self.take_extent(item, object, offset),
            Key { object, kind: METADATA_ITEM, .. } => self.take_extent(item, object, self.superblock.node_bytes),
            Key { object, kind: BLOCK_GROUP_ITEM, offset } => self.take_block_group(item, object, offset),
            Key { .. } => Ok(()),
        }
    }

    fn take_extent(&mut self, item: &Item<'_>, start: u64, len: u64) -> Result<(), WholeReason> {
        let index = self.index.at(start).ok_or_else(|| item.wrong())?;
        let end = start.checked_add(len).filter(|end| *end <= self.chunks[index].end());
        let end = end.filter(|end| end.is_multiple_of(self.superblock.sector_size)).ok_or_else(|| item.wrong())?;
        self.close_until(index);
        if len == 0 || start < self.end || !start.is_multiple_of(self.superblock.sector_size) {
            return Err(item.wrong());
        }
        self.chunks[index].add(&(self.end..start), &mut self.free);
        self.end = end;
        self.used_bytes = self.used_bytes.checked_add(len).ok_or_else(|| item.wrong())?;
        // No sum wraps: the extents of a chunk are apart, and within it.
        self.tallies[index].found_bytes += len;
        Ok(())
    }

    /// What is left of the chunks before `index` is free.
    fn close_until(&mut self, index: usize) {
        while self.chunk < index {
            let chunk = &self.chunks[self.chunk];
            chunk.add(&(self.end..chunk.end()), &mut self.free);
            self.chunk += 1;
            self.end = self.chunks.get(self.chunk).map_or(self.end, |next| next.start);
        }
    }

    /// A block group is a chunk, seen from the side of its use.
    fn take_block_group(&mut self, item: &Item<'_>, start: u64, len: u64) -> Result<(), WholeReason> {
        let index = self.index.at(start).filter(|index| {
            let chunk = &self.chunks[*index];
            chunk.start == start && chunk.len_bytes == len
        });
        let tally = &mut self.tallies[index.ok_or_else(|| item.wrong())?];
        let first = tally.stated_bytes.replace(item.le64(0)?).is_none();
        if first { Ok(()) } else { Err(item.wrong()) }
    }

    /// The free ranges on the device, if all that was added up is what was stated.
    pub(super) fn finish(mut self) -> Result<RangeSet, WholeReason> {
        self.close_until(self.chunks.len());
        let agreed = self.tallies.iter().all(|tally| tally.stated_bytes == Some(tally.found_bytes));
        let structure = Structure::BlockGroups;
        if agreed && self.used_bytes == self.superblock.used_bytes {
            Ok(self.free)
        } else {
            Err(WholeReason::Inconsistent { structure, offset_bytes: 0 })
        }
    }
}
