//! The block bitmap of a group of ext: read or computed, held against what else is known, and turned into ranges.

use std::ops::Range;

use super::descriptor::Group;
use super::inconsistent;
use super::superblock::{Checksums, Superblock};
use crate::inspect::crc::crc32c_update;
use crate::inspect::free::RangeSet;
use crate::inspect::free::reason::{Structure, WholeReason};
use crate::inspect::reader::DiskReader;
use crate::inspect::record::Record;

/// Which clusters of a group are used.
#[derive(Debug)]
pub(super) struct Bitmap {
    /// A bit for each cluster, least significant first.
    bits: Vec<u8>,
    /// The group's blocks.
    blocks: Range<u64>,
    /// Blocks at its begin that are used by copies of superblock and descriptors.
    base_blocks: u64,
    /// Whether the bits are still to be computed.
    uninitialised: bool,
    /// Where the bitmap is, in bytes.
    offset_bytes: u64,
}

impl Bitmap {
    /// Reads the bitmap of a group; none is read if it was never written.
    pub(super) fn read(
        volume: &dyn DiskReader,
        superblock: &Superblock,
        number: u64,
        group: &Group,
    ) -> Result<Self, WholeReason> {
        let start = superblock.group_start(number);
        let blocks = start..superblock.blocks.min(start + superblock.group_blocks());
        // The block lies in the file system: `descriptor::metadata` has checked it.
        let offset_bytes = group.block_bitmap * superblock.block_size;
        let len = usize::try_from(superblock.group_clusters / 8);
        let len = len.map_err(|_too_large| inconsistent(Structure::BlockBitmap, offset_bytes))?;
        let bits = if group.uninitialised {
            vec![0; len]
        } else {
            let block = Record::load(volume, Structure::BlockBitmap, offset_bytes, superblock.block_size)?;
            let bits = block.slice(0, len)?;
            block.require_checksum(is_proven(superblock, group, bits))?;
            bits.to_vec()
        };
        let base_blocks = superblock.base_blocks(number).min(blocks.end - blocks.start);
        Ok(Self { bits, blocks, base_blocks, uninitialised: group.uninitialised, offset_bytes })
    }

    /// Marks the metadata that lies in the group as used, or finds it so.
    pub(super) fn with_metadata(
        mut self,
        superblock: &Superblock,
        metadata: &[Range<u64>],
    ) -> Result<Self, WholeReason> {
        self.use_blocks(superblock, self.blocks.start..self.blocks.start + self.base_blocks)?;
        let first = metadata.partition_point(|range| range.end <= self.blocks.start);
        let end = self.blocks.end;
        for range in metadata[first..].iter().take_while(|range| range.start < end) {
            self.use_blocks(superblock, range.start.max(self.blocks.start)..range.end.min(end))?;
        }
        Ok(self)
    }

    /// Sets the bits of some blocks of the group. In a bitmap that was read they must be set already.
    fn use_blocks(&mut self, superblock: &Superblock, blocks: Range<u64>) -> Result<(), WholeReason> {
        let wrong = inconsistent(Structure::BlockBitmap, self.offset_bytes);
        let first = (blocks.start - self.blocks.start) / superblock.cluster_blocks;
        let end = (blocks.end - self.blocks.start).div_ceil(superblock.cluster_blocks);
        for cluster in first..end {
            let (byte, mask) = (usize::try_from(cluster / 8), 1_u8 << (cluster % 8));
            let byte = byte.ok().and_then(|byte| self.bits.get_mut(byte)).ok_or(wrong)?;
            if *byte & mask == 0 && !self.uninitialised {
                return Err(wrong);
            }
            *byte |= mask;
        }
        Ok(())
    }

    /// Adds the free ranges, in bytes, if there are as many clusters in them as the descriptor says.
    pub(super) fn add_free(
        &self,
        superblock: &Superblock,
        expected_clusters: u64,
        free: &mut RangeSet,
    ) -> Result<(), WholeReason> {
        let clusters = (self.blocks.end - self.blocks.start).div_ceil(superblock.cluster_blocks);
        let mut count = 0;
        for run in zero_runs(&self.bits, clusters) {
            count += run.end - run.start;
            let block = |cluster: u64| (self.blocks.start + cluster * superblock.cluster_blocks).min(self.blocks.end);
            free.add(block(run.start) * superblock.block_size..block(run.end) * superblock.block_size);
        }
        let agreed = count == expected_clusters;
        if agreed { Ok(()) } else { Err(inconsistent(Structure::BlockBitmap, self.offset_bytes)) }
    }
}

/// Whether the bitmap of a group is what its descriptor says, as far as it says something.
fn is_proven(superblock: &Superblock, group: &Group, bits: &[u8]) -> bool {
    match superblock.checksums {
        Checksums::None | Checksums::Crc16 => true,
        Checksums::Crc32c { seed } => {
            // Short descriptors have room for half of the checksum.
            let mask = if superblock.descriptor_bytes >= 64 { u32::MAX } else { 0xffff };
            crc32c_update(seed, bits) & mask == group.bitmap_checksum
        }
    }
}

/// Runs of zeroes among the first `count` bits.
fn zero_runs(bits: &[u8], count: u64) -> impl Iterator<Item = Range<u64>> {
    let is_zero = move |at: u64| {
        let byte = usize::try_from(at / 8).ok().and_then(|byte| bits.get(byte));
        byte.is_some_and(|byte| byte >> (at % 8) & 1 == 0)
    };
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = (at..count).find(|at| is_zero(*at))?;
        let end = (start..count).find(|at| !is_zero(*at)).unwrap_or(count);
        at = end;
        Some(start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::zero_runs;

    #[test]
    fn runs_of_zeroes_are_found_up_to_the_end() {
        let runs = |bits: &[u8], count| zero_runs(bits, count).collect::<Vec<_>>();
        assert_eq!(runs(&[0b0001_1001, 0xff, 0b0111_1111], 24), [1..3, 5..8, 23..24]);
        assert_eq!(runs(&[0, 0], 13), [0..13]);
        assert!(runs(&[0xff, 0xff], 16).is_empty());
        assert_eq!(runs(&[0], 100), [0..8], "bits that are not there are not free");
    }
}
