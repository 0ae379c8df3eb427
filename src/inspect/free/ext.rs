//! The free space of ext2, ext3 and ext4: the zero bits of the block bitmaps.
//!
//! The bitmaps are held against everything else that says what is used: the number of free clusters in each group's
//! descriptor, the places of all bitmaps and inode tables, and the copies of superblock and descriptors. A bitmap that
//! was never written (`BLOCK_UNINIT`) is computed from those. Unless all agree, the volume is taken whole.

use super::reason::{Structure, WholeReason};
use super::{Found, RangeSet};
use crate::inspect::reader::DiskReader;

mod bitmap;
mod descriptor;
mod layout;
mod superblock;

use self::bitmap::Bitmap;
use self::superblock::Superblock;

/// Finds the free space of a volume that holds an ext file system.
pub(super) fn find(volume: &dyn DiskReader) -> Result<Found, WholeReason> {
    let superblock = Superblock::read(volume)?;
    let groups = descriptor::read(volume, &superblock)?;
    let metadata = descriptor::metadata(&superblock, &groups)?;
    let mut free = RangeSet::new();
    for (number, group) in (0..).zip(&groups) {
        let bitmap = Bitmap::read(volume, &superblock, number, group)?;
        let checked = bitmap.with_metadata(&superblock, &metadata)?;
        checked.add_free(&superblock, u64::from(group.free_clusters), &mut free)?;
    }
    Ok(Found { free, end_bytes: superblock.blocks * superblock.block_size })
}

/// What is wrong if the numbers of a group cannot be.
const fn inconsistent(structure: Structure, offset_bytes: u64) -> WholeReason {
    WholeReason::Inconsistent { structure, offset_bytes }
}
