//! The label of a physical volume, and the metadata areas that it names. The layout is that of LVM2's
//! `lib/format_text/layout.h`; numbers are little-endian.

use super::LvmError;
use crate::inspect::reader::DiskReader;

const SECTOR_BYTES: usize = 512;
/// The label is in one of these sectors.
const LABEL_SECTORS: u64 = 4;
const LABEL_MAGIC: &[u8] = b"LABELONE";
const LABEL_TYPE: &[u8] = b"LVM2 001";
/// The checksum of a label covers what is behind it, up to the end of the sector.
const LABEL_CHECKSUM_AT: usize = 16;
const UUID_BYTES: usize = 32;
/// Most areas that a label names, of data and of metadata.
const MAX_AREAS: usize = 16;

const AREA_MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
const AREA_VERSION: u32 = 1;
/// The header of an area, before the ring of texts.
const AREA_HEADER_BYTES: u64 = 512;
/// Longest text that is read; LVM makes areas of 1 MiB, of which a text takes less than half.
const MAX_TEXT_BYTES: u64 = 4 << 20;
/// A text that LVM itself does not read.
const FLAG_IGNORED: u32 = 1;
/// What LVM's checksums begin with.
const CHECKSUM_BEGIN: u32 = 0xf597_a6cf;

/// What a physical volume says of itself.
#[derive(Debug)]
pub(super) struct Label {
    /// 32 letters and digits.
    pub(super) uuid: String,
    /// Descriptions of its group, one of each metadata area.
    pub(super) texts: Vec<Vec<u8>>,
}

/// Some bytes of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Area {
    start: u64,
    len_bytes: u64,
}

/// Reads the label of a volume, and the texts it leads to.
pub(super) fn read(volume: &dyn DiskReader) -> Result<Label, LvmError> {
    for sector in 0..LABEL_SECTORS {
        let mut bytes = [0; SECTOR_BYTES];
        load(volume, sector * SECTOR_BYTES as u64, &mut bytes, "label")?;
        if bytes.starts_with(LABEL_MAGIC) && le64(&bytes, 8) == Some(sector) {
            return parse(volume, &bytes);
        }
    }
    Err(LvmError::Malformed { what: "label" })
}

fn parse(volume: &dyn DiskReader, sector: &[u8; SECTOR_BYTES]) -> Result<Label, LvmError> {
    let malformed = LvmError::Malformed { what: "label" };
    let proven = le32(sector, LABEL_CHECKSUM_AT) == Some(checksum(&sector[LABEL_CHECKSUM_AT + 4..]));
    if !proven || sector.get(24..32) != Some(LABEL_TYPE) {
        return Err(malformed);
    }
    let header = le32(sector, 20).and_then(|at| usize::try_from(at).ok()).and_then(|at| sector.get(at..));
    let header = header.ok_or_else(|| malformed.clone())?;
    let uuid = header.get(..UUID_BYTES).filter(|uuid| uuid.iter().all(u8::is_ascii_graphic));
    let uuid: String = uuid.ok_or_else(|| malformed.clone())?.iter().copied().map(char::from).collect();
    // Behind the identity is the length of the device; then come areas of data, and those of metadata.
    let lists = header.get(UUID_BYTES + 8..).unwrap_or_default();
    let (_data, rest) = areas(lists).ok_or_else(|| malformed.clone())?;
    let (metadata, _) = areas(rest).ok_or(malformed)?;
    let texts = metadata.into_iter().map(|area| text(volume, area)).collect::<Result<Vec<_>, _>>()?;
    Ok(Label { uuid, texts: texts.into_iter().flatten().collect() })
}

/// A list of areas that ends with one that begins nowhere, and what is behind it.
fn areas(bytes: &[u8]) -> Option<(Vec<Area>, &[u8])> {
    let mut areas = Vec::new();
    let mut rest = bytes;
    while areas.len() <= MAX_AREAS {
        let (start, len_bytes) = (le64(rest, 0)?, le64(rest, 8)?);
        rest = rest.get(16..)?;
        if start == 0 {
            return Some((areas, rest));
        }
        areas.push(Area { start, len_bytes });
    }
    None
}

/// The text that counts in a metadata area; none if there is none, as in areas that LVM keeps for later.
fn text(volume: &dyn DiskReader, area: Area) -> Result<Option<Vec<u8>>, LvmError> {
    let malformed = || LvmError::Malformed { what: "metadata area" };
    let mut header = [0; SECTOR_BYTES];
    load(volume, area.start, &mut header, "metadata area")?;
    let proven = le32(&header, 0) == Some(checksum(&header[4..]));
    let is_area = header.get(4..20) == Some(AREA_MAGIC) && le32(&header, 20) == Some(AREA_VERSION);
    if !proven || !is_area || le64(&header, 24) != Some(area.start) || le64(&header, 32) != Some(area.len_bytes) {
        return Err(malformed());
    }
    let location = (le64(&header, 40), le64(&header, 48), le32(&header, 56), le32(&header, 60));
    let (Some(offset), Some(len_bytes), Some(expected), Some(flags)) = location else { return Err(malformed()) };
    if offset == 0 || flags & FLAG_IGNORED != 0 {
        return Ok(None);
    }
    let text = ring(volume, area, offset, len_bytes)?;
    if checksum(&text) == expected { Ok(Some(text)) } else { Err(malformed()) }
}

/// Bytes of the ring that an area is behind its header: what goes beyond its end goes on at its begin.
fn ring(volume: &dyn DiskReader, area: Area, offset: u64, len_bytes: u64) -> Result<Vec<u8>, LvmError> {
    let malformed = || LvmError::Malformed { what: "metadata area" };
    let ring_bytes = area.len_bytes.checked_sub(AREA_HEADER_BYTES).ok_or_else(malformed)?;
    let fits = (AREA_HEADER_BYTES..area.len_bytes).contains(&offset) && len_bytes <= ring_bytes.min(MAX_TEXT_BYTES);
    if !fits {
        return Err(malformed());
    }
    let mut text = vec![0; usize::try_from(len_bytes).ok().ok_or_else(malformed)?];
    let first = usize::try_from((area.len_bytes - offset).min(len_bytes)).ok().ok_or_else(malformed)?;
    let (head, tail) = text.split_at_mut(first);
    let start = area.start.checked_add(offset).ok_or_else(malformed)?;
    load(volume, start, head, "metadata")?;
    load(volume, area.start.saturating_add(AREA_HEADER_BYTES), tail, "metadata")?;
    Ok(text)
}

fn load(volume: &dyn DiskReader, at: u64, out: &mut [u8], what: &'static str) -> Result<(), LvmError> {
    volume.read_at(at, out).map_err(|error| {
        let is_outside = error.kind() == std::io::ErrorKind::UnexpectedEof;
        if is_outside { LvmError::Malformed { what } } else { LvmError::Unreadable { what } }
    })
}

/// LVM's checksum: the usual CRC-32 without its last step, begun with a number of LVM's own.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(!CHECKSUM_BEGIN);
    crc.update(bytes);
    !crc.finalize()
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}
