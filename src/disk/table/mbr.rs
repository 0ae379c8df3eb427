//! The master boot record, and the chain of records in an extended partition.

use std::collections::BTreeSet;
use std::io::{Read, Seek};

use super::{Blocks, MAX_PARTITIONS, Partition, PartitionTable, TableError, TableKind, u16_at, u32_at};

/// Where the four entries begin, in bytes.
const ENTRIES_OFFSET: usize = 446;
/// Length of an entry, in bytes.
const ENTRY_BYTES: usize = 16;
/// Where the signature is, in bytes.
const SIGNATURE_OFFSET: usize = 510;
/// The signature, as a little-endian number.
const SIGNATURE: u16 = 0xaa55;
/// Type of the entry that protects a GPT.
const PROTECTIVE: u8 = 0xee;
/// Types of an extended partition.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// Most records of a chain that are read: with the four entries of the first, as many partitions as are listed.
const MAX_RECORDS: usize = MAX_PARTITIONS - 4;
/// Number of the first logical partition.
const FIRST_LOGICAL: u32 = 5;

/// Where the disk's own number is, in bytes.
const DISK_ID_OFFSET: usize = 440;

/// The disk's number, and the four entries of a boot record. Unused ones have no blocks.
pub(super) struct BootRecord(u32, [Entry; 4]);

#[derive(Clone, Copy)]
struct Entry {
    type_id: u8,
    start: u32,
    blocks: u32,
}

impl Entry {
    const UNUSED: Self = Self { type_id: 0, start: 0, blocks: 0 };

    fn is_used(self) -> bool {
        self.type_id != 0 && self.blocks != 0
    }

    fn is_extended(self) -> bool {
        self.is_used() && EXTENDED.contains(&self.type_id)
    }
}

impl BootRecord {
    /// The record in a block; none if it has no signature, or if its entries cannot be entries.
    ///
    /// The boot sector of a file system has the same signature. What stands at the place of its entries hardly ever passes
    /// for four boot indicators.
    pub(super) fn parse(block: &[u8]) -> Option<Self> {
        if !has_boot_signature(block) {
            return None;
        }
        let mut entries = [Entry::UNUSED; 4];
        let raw = block.get(ENTRIES_OFFSET..SIGNATURE_OFFSET)?.chunks_exact(ENTRY_BYTES);
        for (entry, raw) in entries.iter_mut().zip(raw) {
            if !matches!(raw.first()?, 0x00 | 0x80) {
                return None;
            }
            *entry = Entry { type_id: *raw.get(4)?, start: u32_at(raw, 8)?, blocks: u32_at(raw, 12)? };
        }
        Some(Self(u32_at(block, DISK_ID_OFFSET)?, entries))
    }

    /// Whether an entry says that the disk has a GPT.
    pub(super) fn is_protective(&self) -> bool {
        self.1.iter().any(|entry| entry.type_id == PROTECTIVE)
    }
}

/// Whether a disk that begins with `block` has the boot signature.
pub(super) fn has_boot_signature(block: &[u8]) -> bool {
    u16_at(block, SIGNATURE_OFFSET) == Some(SIGNATURE)
}

/// The partitions of a boot record. A record without any is no table: an empty FAT has the same bytes.
pub(super) fn read<R: Read + Seek>(
    blocks: &mut Blocks<'_, R>,
    record: &BootRecord,
) -> Result<PartitionTable, TableError> {
    let mut partitions = Vec::new();
    let mut extended = None;
    let BootRecord(disk_id, entries) = *record;
    for (number, entry) in (1..).zip(entries) {
        partitions.extend(partition(blocks, number, 0, entry));
        extended = extended.or(entry.is_extended().then_some(entry));
    }
    if let Some(extended) = extended {
        read_logical(blocks, extended, &mut partitions)?;
    }
    for partition in &mut partitions {
        partition.part_uuid = format!("{disk_id:08x}-{:02x}", partition.number);
    }
    let kind = if partitions.is_empty() { TableKind::None } else { TableKind::Mbr };
    Ok(PartitionTable { kind, partitions })
}

/// Follows the chain of an extended partition. Each record has a partition, relative to itself, and a link, relative to the
/// extended partition. The chain ends where a record is none, does not lie on the disk, or was read before.
fn read_logical<R: Read + Seek>(
    blocks: &mut Blocks<'_, R>,
    extended: Entry,
    partitions: &mut Vec<Partition>,
) -> Result<(), TableError> {
    let start = u64::from(extended.start);
    let mut seen = BTreeSet::new();
    let mut at = start;
    let mut number = FIRST_LOGICAL;
    while seen.len() < MAX_RECORDS && seen.insert(at) {
        let Some(block) = blocks.read(at, 1)? else { break };
        let Some(BootRecord(_, [logical, link, ..])) = BootRecord::parse(&block) else {
            break;
        };
        if logical.is_used() && !logical.is_extended() {
            partitions.extend(partition(blocks, number, at, logical));
            number += 1;
        }
        if !link.is_extended() {
            break;
        }
        at = start + u64::from(link.start);
    }
    Ok(())
}

/// The partition of an entry, cut at the end of the disk; none if the entry is unused or begins beyond it.
fn partition<R: Read + Seek>(blocks: &Blocks<'_, R>, number: u32, base: u64, entry: Entry) -> Option<Partition> {
    let start = base + u64::from(entry.start);
    let available = blocks.count.checked_sub(start).filter(|available| *available > 0 && entry.is_used())?;
    let (offset_bytes, size_bytes) = blocks.byte_range(start, available.min(u64::from(entry.blocks)))?;
    let type_id = format!("{:#04x}", entry.type_id);
    Some(Partition { number, offset_bytes, size_bytes, label: String::new(), type_id, part_uuid: String::new() })
}
