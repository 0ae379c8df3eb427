//! The GUID partition table: header and entries, proven by their checksums.

use std::io::{Read, Seek};
use std::ops::Range;

use super::{Blocks, MAX_PARTITIONS, Partition, TableError, u32_at, u64_at};

/// First bytes of a header.
const SIGNATURE: &[u8] = b"EFI PART";
/// Version 1.0, the only one.
const REVISION: u32 = 0x0001_0000;
/// Bytes of the header that are defined; it may say that it has more.
const HEADER_BYTES: u32 = 92;
/// Where the header's own checksum is, in bytes. It is computed with zeroes in its place.
const HEADER_CRC: Range<usize> = 16..20;
/// Bytes of an entry that are defined; it may have more, doubled.
const ENTRY_BYTES: u32 = 128;
/// Largest entry, in bytes.
const MAX_ENTRY_BYTES: u32 = 4096;
/// Most bytes of entries: 16384 of the usual size. The usual number is 128.
const MAX_ARRAY_BYTES: u64 = 2 << 20;
/// Bytes that are read at once.
const PIECE_BYTES: u64 = 64 << 10;

/// What a valid header says.
struct Header {
    entries_lba: u64,
    entry_count: u32,
    entry_bytes: u32,
    entries_crc: u32,
}

/// The partitions of a valid table; none if neither the first nor the backup is valid.
pub(super) fn read<R: Read + Seek>(blocks: &mut Blocks<'_, R>) -> Result<Option<Vec<Partition>>, TableError> {
    match read_at(blocks, 1)? {
        Some(partitions) => Ok(Some(partitions)),
        None => read_at(blocks, blocks.count.saturating_sub(1)),
    }
}

/// The partitions of the table whose header is at `lba`.
fn read_at<R: Read + Seek>(blocks: &mut Blocks<'_, R>, lba: u64) -> Result<Option<Vec<Partition>>, TableError> {
    let Some(block) = blocks.read(lba, 1)? else {
        return Ok(None);
    };
    let Some(header) = Header::parse(&block, lba, blocks) else {
        return Ok(None);
    };
    header.partitions(blocks)
}

impl Header {
    /// The header in a block; none if it is not valid, or not for this disk and place.
    fn parse<R>(block: &[u8], lba: u64, blocks: &Blocks<'_, R>) -> Option<Self> {
        let header_bytes = u32_at(block, 12)?;
        let header = block.get(..usize::try_from(header_bytes).ok()?)?;
        let own = header.starts_with(SIGNATURE)
            && u32_at(header, 8)? == REVISION
            && header_bytes >= HEADER_BYTES
            && u64_at(header, 24)? == lba;
        if !own || u32_at(header, HEADER_CRC.start)? != header_crc(header)? {
            return None;
        }
        let (first_usable, last_usable) = (u64_at(header, 40)?, u64_at(header, 48)?);
        let parsed = Self {
            entries_lba: u64_at(header, 72)?,
            entry_count: u32_at(header, 80)?,
            entry_bytes: u32_at(header, 84)?,
            entries_crc: u32_at(header, 88)?,
        };
        let fits = first_usable <= last_usable && last_usable < blocks.count && parsed.is_bounded();
        fits.then_some(parsed)
    }

    fn is_bounded(&self) -> bool {
        let entry = self.entry_bytes;
        let valid_entry = entry.is_power_of_two() && (ENTRY_BYTES..=MAX_ENTRY_BYTES).contains(&entry);
        valid_entry && (1..=MAX_ARRAY_BYTES).contains(&self.array_bytes())
    }

    fn array_bytes(&self) -> u64 {
        u64::from(self.entry_count) * u64::from(self.entry_bytes)
    }

    /// Reads all entries, and gives the used ones if the checksum is right.
    fn partitions<R: Read + Seek>(&self, blocks: &mut Blocks<'_, R>) -> Result<Option<Vec<Partition>>, TableError> {
        let mut partitions = Vec::new();
        let mut crc = flate2::Crc::new();
        let mut lba = self.entries_lba;
        let mut left = self.array_bytes();
        let mut numbers = 1..;
        while left > 0 {
            // Both lengths are powers of two, so a piece is whole blocks and whole entries, but for the end of the last one.
            let wanted = left.min(PIECE_BYTES);
            let count = wanted.div_ceil(blocks.block_size);
            let Some(piece) = blocks.read(lba, count)? else {
                return Ok(None);
            };
            let Some(entries) = usize::try_from(wanted).ok().and_then(|wanted| piece.get(..wanted)) else {
                return Ok(None);
            };
            crc.update(entries);
            for (entry, number) in entries.chunks_exact(self.entry_len()).zip(&mut numbers) {
                let room = partitions.len() < MAX_PARTITIONS;
                partitions.extend(partition(blocks, number, entry).filter(|_| room));
            }
            lba += count;
            left -= wanted;
        }
        Ok((crc.sum() == self.entries_crc).then_some(partitions))
    }

    const fn entry_len(&self) -> usize {
        self.entry_bytes as usize
    }
}

/// The checksum of a header, with zeroes in the place of the checksum.
fn header_crc(header: &[u8]) -> Option<u32> {
    let mut crc = flate2::Crc::new();
    crc.update(header.get(..HEADER_CRC.start)?);
    crc.update(&[0; 4]);
    crc.update(header.get(HEADER_CRC.end..)?);
    Some(crc.sum())
}

/// The partition of an entry; none if the entry is unused, or does not lie on the disk.
fn partition<R: Read + Seek>(blocks: &Blocks<'_, R>, number: u32, entry: &[u8]) -> Option<Partition> {
    let type_guid: [u8; 16] = *entry.first_chunk()?;
    let part_guid: [u8; 16] = *entry.get(16..)?.first_chunk()?;
    let (first, last) = (u64_at(entry, 32)?, u64_at(entry, 40)?);
    let count = last.checked_sub(first)?.checked_add(1)?;
    let (offset_bytes, size_bytes) = blocks.byte_range(first, count)?;
    (type_guid != [0; 16]).then(|| Partition {
        number,
        offset_bytes,
        size_bytes,
        label: label(entry.get(56..128).unwrap_or_default()),
        type_id: uuid::Uuid::from_bytes_le(type_guid).to_string(),
        part_uuid: uuid::Uuid::from_bytes_le(part_guid).to_string(),
    })
}

/// A name in UTF-16, up to its first zero. What is no UTF-16 is shown as the replacement character.
fn label(raw: &[u8]) -> String {
    let units = raw.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).take_while(|&unit| unit != 0);
    let text: String = char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    crate::text::printable(&text)
}
