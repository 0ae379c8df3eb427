//! The trees of btrfs: walked in the order of their keys, each block proven and held to its place.

use super::Root;
use super::chunk::Chunks;
use super::superblock::{Superblock, is_proven};
use crate::inspect::free::reason::{Structure, WholeReason};
use crate::inspect::reader::DiskReader;
use crate::inspect::record::Record;

const HEADER_BYTES: usize = 101;
/// Bytes of an item's entry in a leaf, and of a pointer to a child.
const ENTRY_BYTES: usize = 25;
const POINTER_BYTES: usize = 33;
/// Levels of a tree, as in the kernel.
const MAX_LEVELS: u8 = 8;

/// What items are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) object: u64,
    pub(super) kind: u8,
    pub(super) offset: u64,
}

impl Key {
    fn read(record: &Record, at: usize) -> Result<Self, WholeReason> {
        Ok(Self { object: record.le64(at)?, kind: record.u8_at(at + 8)?, offset: record.le64(at + 9)? })
    }
}

/// An item of a leaf.
#[derive(Debug)]
pub(super) struct Item<'a> {
    /// Its key.
    pub(super) key: Key,
    /// The leaf.
    pub(super) record: &'a Record,
    /// Where its content begins in the leaf.
    pub(super) at: usize,
    /// Length of its content, in bytes.
    len: usize,
}

impl Item<'_> {
    /// A number of its content.
    pub(super) fn le64(&self, at: usize) -> Result<u64, WholeReason> {
        if at + 8 > self.len { Err(self.wrong()) } else { self.record.le64(self.at + at) }
    }

    /// A byte of its content.
    pub(super) fn byte(&self, at: usize) -> Result<u8, WholeReason> {
        if at >= self.len { Err(self.wrong()) } else { self.record.u8_at(self.at + at) }
    }

    /// What is wrong if it cannot be as it is.
    pub(super) const fn wrong(&self) -> WholeReason {
        self.record.inconsistent()
    }
}

/// Takes the items of a tree, one after the other.
type Visitor<'v> = dyn FnMut(&Item<'_>) -> Result<(), WholeReason> + 'v;

/// How trees are read.
pub(super) struct Tree<'a> {
    volume: &'a dyn DiskReader,
    superblock: &'a Superblock,
    chunks: &'a Chunks,
    structure: Structure,
}

/// A walk, as far as it has come.
struct Walk<'w, 'v> {
    visit: &'w mut Visitor<'v>,
    /// The key of the last item. Keys ascend over the whole tree, so that no block is visited twice for its items.
    last: Option<Key>,
    /// Blocks that may still be read: no tree has more than fit on the device.
    left: u64,
}

impl<'a> Tree<'a> {
    /// Trees of a volume, named `structure` when something is wrong.
    pub(super) const fn new(
        volume: &'a dyn DiskReader,
        superblock: &'a Superblock,
        chunks: &'a Chunks,
        structure: Structure,
    ) -> Self {
        Self { volume, superblock, chunks, structure }
    }

    /// Hands all items of a tree to `visit`, in the order of their keys.
    pub(super) fn walk(&self, root: &Root, visit: &mut Visitor<'_>) -> Result<(), WholeReason> {
        if root.level >= MAX_LEVELS {
            return Err(self.wrong(root.address));
        }
        let left = self.superblock.device_bytes / self.superblock.node_bytes;
        self.descend(root, None, &mut Walk { visit, last: None, left })
    }

    /// Visits a block and all below it. The level falls with each step; `first` is the key that its parent has for it.
    fn descend(&self, root: &Root, first: Option<Key>, walk: &mut Walk<'_, '_>) -> Result<(), WholeReason> {
        walk.left = walk.left.checked_sub(1).ok_or(WholeReason::TooLarge { structure: self.structure })?;
        let record = self.load(root)?;
        let count = usize::try_from(record.le32(96)?).map_err(|_too_large| record.inconsistent())?;
        record.require(count <= record.bytes().len() / ENTRY_BYTES)?;
        record.require(first.is_none() || count > 0)?;
        if let Some(first) = first {
            record.require(Key::read(&record, HEADER_BYTES)? == first)?;
        }
        if root.level == 0 {
            return (0..count).try_for_each(|index| take_item(&record, index, walk));
        }
        record.require(count > 0)?;
        (0..count).try_for_each(|index| {
            let at = HEADER_BYTES + index * POINTER_BYTES;
            let (address, generation) = (record.le64(at + 17)?, record.le64(at + 25)?);
            let child = Root { address, generation, level: root.level - 1 };
            self.descend(&child, Some(Key::read(&record, at)?), walk)
        })
    }

    /// Reads a block of a tree: the very block, of the commit that its parent names.
    fn load(&self, root: &Root) -> Result<Record, WholeReason> {
        let len = self.superblock.node_bytes;
        let offset = self.chunks.locate(root.address, len).ok_or_else(|| self.wrong(root.address))?;
        let record = Record::load(self.volume, self.structure, offset, len)?;
        record.require_checksum(is_proven(&record)?)?;
        record.require(record.array::<16>(32)? == self.superblock.metadata_uuid)?;
        record.require(record.le64(48)? == root.address && record.u8_at(100)? == root.level)?;
        record.require(record.le64(80)? == root.generation && root.generation <= self.superblock.generation)?;
        Ok(record)
    }

    const fn wrong(&self, offset_bytes: u64) -> WholeReason {
        WholeReason::Inconsistent { structure: self.structure, offset_bytes }
    }
}

fn take_item(record: &Record, index: usize, walk: &mut Walk<'_, '_>) -> Result<(), WholeReason> {
    let entry = HEADER_BYTES + index * ENTRY_BYTES;
    let key = Key::read(record, entry)?;
    record.require(walk.last.is_none_or(|last| last < key))?;
    walk.last = Some(key);
    let number = |at| usize::try_from(record.le32(at)?).map_err(|_too_large| record.inconsistent());
    let (at, len) = (HEADER_BYTES.saturating_add(number(entry + 17)?), number(entry + 21)?);
    record.slice(at, len)?;
    (walk.visit)(&Item { key, record, at, len })
}
