//! The free space of btrfs on one device: what no chunk covers, and in each chunk what no extent covers.
//!
//! The trees of the last commit say what is used; a log tree, whose extents are in no tree yet, makes the volume taken
//! whole. Each chunk must have its block group, and the extents found in it must add up to what that says is used.

use std::ops::Range;

use super::ranges::without;
use super::reason::{Structure, WholeReason};
use super::{BOOT_REGION_BYTES, Found};
use crate::inspect::reader::DiskReader;

mod chunk;
mod extent;
mod superblock;
mod tree;

use self::chunk::Chunks;
use self::extent::Usage;
use self::superblock::Superblock;
use self::tree::{Key, Tree};

const EXTENT_TREE: u64 = 2;
const BLOCK_GROUP_TREE: u64 = 11;
const ROOT_ITEM: u8 = 132;
/// Where the copies of the superblock are. The file system keeps a stripe for each, whatever its chunks say.
const MIRRORS: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
const STRIPE_BYTES: u64 = 64 << 10;

/// Finds the free space of a volume that holds btrfs.
pub(super) fn find(volume: &dyn DiskReader) -> Result<Found, WholeReason> {
    let superblock = Superblock::read(volume)?;
    let chunks = chunk::read(volume, &superblock)?;
    let roots = Roots::read(volume, &superblock, &chunks)?;
    let mut usage = Usage::new(&superblock, &chunks);
    let extents = Tree::new(volume, &superblock, &chunks, Structure::Extents);
    extents.walk(&roots.extents, &mut |item| usage.take(item))?;
    if let Some(block_groups) = &roots.block_groups {
        let tree = Tree::new(volume, &superblock, &chunks, Structure::BlockGroups);
        tree.walk(block_groups, &mut |item| usage.take(item))?;
    }
    let mut free = usage.finish()?;
    chunks.add_unallocated(superblock.device_bytes, &mut free)?;
    let free = without(&free.finish(), &kept());
    Ok(Found { free, end_bytes: superblock.device_bytes })
}

/// What is never free, whatever the trees say: the first MiB, and where the superblock's copies are.
fn kept() -> Vec<Range<u64>> {
    let [_in_the_first, second, third] = MIRRORS.map(|start| start..start + STRIPE_BYTES);
    vec![0..BOOT_REGION_BYTES, second, third]
}

/// Where a tree begins.
#[derive(Debug, Clone, Copy)]
struct Root {
    /// Logical address of its topmost block.
    address: u64,
    /// Its level: 0 for a leaf.
    level: u8,
    /// The commit that wrote it.
    generation: u64,
}

/// The trees that say what is used.
struct Roots {
    extents: Root,
    /// Only if block groups have a tree of their own; else they are among the extents.
    block_groups: Option<Root>,
}

impl Roots {
    fn read(volume: &dyn DiskReader, superblock: &Superblock, chunks: &Chunks) -> Result<Self, WholeReason> {
        let (mut extents, mut block_groups) = (None, None);
        let tree = Tree::new(volume, superblock, chunks, Structure::Roots);
        tree.walk(&superblock.root, &mut |item| {
            let place = match item.key {
                Key { object: EXTENT_TREE, kind: ROOT_ITEM, .. } => &mut extents,
                Key { object: BLOCK_GROUP_TREE, kind: ROOT_ITEM, .. } => &mut block_groups,
                Key { .. } => return Ok(()),
            };
            let root = Root { generation: item.le64(160)?, address: item.le64(176)?, level: item.byte(238)? };
            if place.replace(root).is_some() { Err(item.wrong()) } else { Ok(()) }
        })?;
        let wrong = WholeReason::Inconsistent { structure: Structure::Roots, offset_bytes: 0 };
        if block_groups.is_some() != superblock.has_block_group_tree {
            return Err(wrong);
        }
        Ok(Self { extents: extents.ok_or(wrong)?, block_groups })
    }
}
