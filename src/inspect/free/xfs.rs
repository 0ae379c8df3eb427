//! The free space of XFS: the records of each allocation group's free space tree that is sorted by block.
//!
//! XFS counts its free blocks several times over, and all of it must agree: what the tree holds, what the group's header
//! says, and that neither a header nor a block of the tree itself is called free. The log must end with an unmount, for
//! else the trees are older than what the log holds. Blocks that the group keeps in hand for its trees (AGFL) are in no
//! tree and so count as used.

use super::reason::WholeReason;
use super::{Found, RangeSet};
use crate::inspect::reader::DiskReader;

mod group;
mod log;
mod superblock;
mod tree;

use self::superblock::Superblock;

/// Finds the free space of a volume that holds XFS.
pub(super) fn find(volume: &dyn DiskReader) -> Result<Found, WholeReason> {
    let superblock = Superblock::read(volume)?;
    log::check_unmounted(volume, &superblock)?;
    let mut free = RangeSet::new();
    for number in 0..superblock.groups {
        group::add_free(volume, &superblock, number, &mut free)?;
    }
    Ok(Found { free, end_bytes: superblock.blocks * superblock.block_size })
}
