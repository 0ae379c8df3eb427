//! The chunks of btrfs: which logical addresses lie where on the device.

use std::ops::Range;

use super::superblock::{SYSTEM_CHUNKS_AT, Superblock, known};
use super::tree::{Item, Key, Tree};
use crate::inspect::free::RangeSet;
use crate::inspect::free::reason::{FeatureSet, Shape, Structure, WholeReason};
use crate::inspect::reader::DiskReader;
use crate::inspect::record::Record;

const CHUNK_ITEM: u8 = 228;
const DEVICE_ITEM: u8 = 216;
const DEVICES: u64 = 1;
const KEY_BYTES: usize = 17;
/// Bytes of a chunk before its stripes.
const CHUNK_BYTES: usize = 48;
const STRIPE_BYTES: usize = 32;
/// Data, system, metadata.
const USES: u64 = 0x1 | 0x2 | 0x4;
/// Two copies on one device.
const PROFILE_DUP: u64 = 0x20;
/// Most chunks that are read; the usual one is 1 GiB.
const MAX_CHUNKS: usize = 1 << 20;

/// Contiguous logical addresses, and where they lie on the device: once, or twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// First logical address.
    pub(super) start: u64,
    /// Length, in bytes.
    pub(super) len_bytes: u64,
    /// Offset of the copy on the device, in bytes.
    first_copy: u64,
    /// Offset of another copy.
    second_copy: Option<u64>,
}

impl Chunk {
    /// The logical address after the last.
    pub(super) const fn end(&self) -> u64 {
        self.start + self.len_bytes
    }

    /// Offsets of the copies on the device.
    fn copies(&self) -> impl Iterator<Item = u64> {
        std::iter::once(self.first_copy).chain(self.second_copy)
    }

    /// Adds logical addresses of this chunk, where they lie on the device.
    pub(super) fn add(&self, logical: &Range<u64>, free: &mut RangeSet) {
        for copy in self.copies() {
            free.add(copy + (logical.start - self.start)..copy + (logical.end - self.start));
        }
    }
}

/// Chunks, by logical address, none of which overlap.
#[derive(Debug)]
pub(super) struct Chunks {
    chunks: Vec<Chunk>,
}

/// Reads the chunks: first those that the chunk tree lies in, then that tree.
pub(super) fn read(volume: &dyn DiskReader, superblock: &Superblock) -> Result<Chunks, WholeReason> {
    let system = Chunks { chunks: system_chunks(superblock)? };
    let tree = Tree::new(volume, superblock, &system, Structure::Chunks);
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut devices = 0_u32;
    tree.walk(&superblock.chunk_root, &mut |item| {
        match item.key {
            Key { kind: CHUNK_ITEM, offset, .. } => {
                item.require(chunks.last().is_none_or(|last| last.end() <= offset) && chunks.len() < MAX_CHUNKS)?;
                chunks.push(parse(superblock, item.record, item.at, offset)?);
            }
            Key { kind: DEVICE_ITEM, object: DEVICES, offset } => {
                devices += 1;
                item.require(devices == 1 && offset == superblock.device)?;
                item.require(item.le64(8)? == superblock.device_bytes)?;
            }
            Key { .. } => {}
        }
        Ok(())
    })?;
    let wrong = WholeReason::Inconsistent { structure: Structure::Chunks, offset_bytes: 0 };
    // The list in the superblock is part of what the tree says.
    let listed = system.chunks.iter().all(|chunk| chunks.contains(chunk));
    if devices == 1 && listed { Ok(Chunks { chunks }) } else { Err(wrong) }
}

/// The chunks that are listed in the superblock.
fn system_chunks(superblock: &Superblock) -> Result<Vec<Chunk>, WholeReason> {
    let record = &superblock.record;
    let mut chunks = Vec::new();
    let end = SYSTEM_CHUNKS_AT + superblock.system_chunks_bytes;
    let mut at = SYSTEM_CHUNKS_AT;
    while at < end {
        record.require(record.u8_at(at + 8)? == CHUNK_ITEM)?;
        let start = record.le64(at + 9)?;
        chunks.push(parse(superblock, record, at + KEY_BYTES, start)?);
        let stripes = usize::from(record.le16(at + KEY_BYTES + 44)?);
        at += KEY_BYTES + CHUNK_BYTES + stripes * STRIPE_BYTES;
    }
    record.require(at == end)?;
    chunks.sort_unstable_by_key(|chunk| chunk.start);
    record.require(chunks.is_sorted_by(|before, after| before.end() <= after.start))?;
    Ok(chunks)
}

/// The chunk at `at`, whose first logical address is `start`.
fn parse(superblock: &Superblock, record: &Record, at: usize, start: u64) -> Result<Chunk, WholeReason> {
    let (len_bytes, flags, stripes) = (record.le64(at)?, record.le64(at + 24)?, record.le16(at + 44)?);
    known(FeatureSet::Profile, flags, USES | PROFILE_DUP)?;
    record.require(len_bytes > 0 && start.checked_add(len_bytes).is_some())?;
    record.require(start.is_multiple_of(superblock.sector_size) && len_bytes.is_multiple_of(superblock.sector_size))?;
    record.require(flags & USES != 0 && stripes == if flags & PROFILE_DUP == 0 { 1 } else { 2 })?;
    let copy = |index: usize| {
        let stripe = at + CHUNK_BYTES + index * STRIPE_BYTES;
        if record.le64(stripe)? != superblock.device {
            return Err(WholeReason::Unsupported { what: Shape::SeveralDevices });
        }
        let offset = record.le64(stripe + 8)?;
        let end = offset.checked_add(len_bytes);
        record.require(end.is_some_and(|end| end <= superblock.device_bytes))?;
        Ok(offset)
    };
    let second_copy = if stripes == 2 { Some(copy(1)?) } else { None };
    Ok(Chunk { start, len_bytes, first_copy: copy(0)?, second_copy })
}

impl Chunks {
    /// Where `len` bytes at a logical address lie on the device: the first copy.
    pub(super) fn locate(&self, address: u64, len: u64) -> Option<u64> {
        let chunk = &self.chunks[self.at(address)?];
        let end = address.checked_add(len)?;
        (end <= chunk.end()).then(|| chunk.first_copy + (address - chunk.start))
    }

    /// The index of the chunk that holds a logical address.
    pub(super) fn at(&self, address: u64) -> Option<usize> {
        let index = self.chunks.partition_point(|chunk| chunk.end() <= address);
        self.chunks.get(index).filter(|chunk| chunk.start <= address).map(|_| index)
    }

    /// All of them, by logical address.
    pub(super) fn all(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Adds what no chunk covers. Chunks must not share bytes of the device.
    pub(super) fn add_unallocated(&self, device_bytes: u64, free: &mut RangeSet) -> Result<(), WholeReason> {
        let places = |chunk: &Chunk| chunk.copies().map(|copy| copy..copy + chunk.len_bytes).collect::<Vec<_>>();
        let mut covered: Vec<Range<u64>> = self.chunks.iter().flat_map(places).collect();
        covered.sort_unstable_by_key(|range| range.start);
        let mut end = 0;
        for range in covered {
            if range.start < end {
                return Err(WholeReason::Inconsistent { structure: Structure::Chunks, offset_bytes: range.start });
            }
            free.add(end..range.start);
            end = range.end;
        }
        free.add(end..device_bytes);
        Ok(())
    }
}

impl Item<'_> {
    fn require(&self, holds: bool) -> Result<(), WholeReason> {
        self.record.require(holds)
    }
}
