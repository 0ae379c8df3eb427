//! The superblock of XFS: geometry, and whether the file system is one that is understood. Offsets and bits are those of
//! the kernel's `fs/xfs/libxfs/xfs_format.h`; numbers are big-endian, but for checksums.

use crate::inspect::crc::crc32c;
use crate::inspect::free::reason::{FeatureSet, Shape, Sign, Structure, WholeReason};
use crate::inspect::reader::DiskReader;
use crate::inspect::record::Record;

/// Bytes of the superblock that are defined.
const LEN_BYTES: u64 = 512;
/// Most allocation groups that are read.
const MAX_GROUPS: u32 = 1 << 20;
/// Where the superblock's own checksum is.
const CHECKSUM_AT: usize = 224;

const VERSION_MASK: u16 = 0xf;
/// attr, nlink, quota, align, dalign, logv2, sector, extflg, dirv2, borg, morebits. Not shared.
const VERSION_KNOWN: u16 = 0x10 | 0x20 | 0x40 | 0x80 | 0x100 | 0x400 | 0x800 | 0x1000 | 0x2000 | 0x4000 | 0x8000;
const VERSION_MOREBITS: u16 = 0x8000;
/// lazysbcount, attr2, projid32, crc, ftype.
const FEATURES2_KNOWN: u32 = 0x2 | 0x8 | 0x80 | 0x100 | 0x200;
/// finobt, rmapbt, reflink, inobtcount.
const RO_COMPAT_KNOWN: u32 = 0x1 | 0x2 | 0x4 | 0x8;
/// ftype, spinodes, meta_uuid, bigtime, nrext64, exchrange, parent. Not needsrepair, metadir and zoned.
const INCOMPAT_KNOWN: u32 = 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40 | 0x80;
const INCOMPAT_META_UUID: u32 = 0x4;
const INCOMPAT_NEEDS_REPAIR: u32 = 0x10;
/// xattrs.
const LOG_INCOMPAT_KNOWN: u32 = 0x1;

/// What is needed of a superblock, checked.
#[derive(Debug)]
pub(super) struct Superblock {
    /// Length of a block, in bytes: a power of two from 512 to 65536.
    pub(super) block_size: u64,
    /// Length of a sector, in bytes: headers of groups are each one.
    pub(super) sector_size: u64,
    /// Number of blocks of the file system; all lie in the volume.
    pub(super) blocks: u64,
    /// Blocks of an allocation group, but for the last.
    pub(super) group_blocks: u32,
    /// Number of allocation groups, bounded.
    pub(super) groups: u32,
    /// First byte of the log.
    pub(super) log_offset: u64,
    /// Length of the log, in units of 512 bytes.
    pub(super) log_units: u64,
    /// What is only in the newer format, whose metadata proves itself.
    pub(super) newer: Option<Newer>,
    /// The UUID that the log's records bear.
    pub(super) uuid: [u8; 16],
}

/// What format 5 adds.
#[derive(Debug)]
pub(super) struct Newer {
    /// The UUID that all metadata bears.
    pub(super) metadata_uuid: [u8; 16],
}

impl Superblock {
    /// Reads the superblock of a volume.
    pub(super) fn read(volume: &dyn DiskReader) -> Result<Self, WholeReason> {
        let record = Record::load(volume, Structure::Superblock, 0, LEN_BYTES)?;
        let sector_size = u64::from(record.be16(102)?);
        record.require(sector_size.is_power_of_two() && (512..=32768).contains(&sector_size))?;
        let newer = check_features(volume, &record, sector_size)?;
        check_at_rest(&record)?;
        Self::parse(&record, sector_size, newer, volume.len_bytes())
    }

    fn parse(record: &Record, sector_size: u64, newer: Option<Newer>, volume_bytes: u64) -> Result<Self, WholeReason> {
        let block_size = u64::from(record.be32(4)?);
        record.require(block_size.is_power_of_two() && (512..=65536).contains(&block_size))?;
        record.require(block_size == 1_u64.checked_shl(record.u8_at(120)?.into()).unwrap_or(0))?;
        let (blocks, group_blocks, groups) = (record.be64(8)?, record.be32(84)?, record.be32(88)?);
        let len_bytes = blocks.checked_mul(block_size);
        record.require(sector_size <= block_size && len_bytes.is_some_and(|len| len <= volume_bytes))?;
        record.require(group_blocks > 0 && blocks.div_ceil(u64::from(group_blocks)) == u64::from(groups))?;
        // A group is never shorter than its four headers.
        record.require(u64::from(group_blocks) * block_size >= 4 * sector_size)?;
        if groups > MAX_GROUPS {
            return Err(WholeReason::TooLarge { structure: Structure::AllocationGroup });
        }
        let mut superblock = Self {
            block_size,
            sector_size,
            blocks,
            group_blocks,
            groups,
            log_offset: 0,
            log_units: 0,
            newer,
            uuid: record.array(32)?,
        };
        superblock.place_log(record)?;
        Ok(superblock)
    }

    /// Finds the log: its place is a group and a block in it, packed.
    fn place_log(&mut self, record: &Record) -> Result<(), WholeReason> {
        let start = record.be64(48)?;
        if start == 0 {
            return Err(WholeReason::Unsupported { what: Shape::ExternalJournal });
        }
        let group_bits = record.u8_at(124)?;
        record.require(group_bits < 32 && u64::from(self.group_blocks) <= 1 << group_bits)?;
        let (group, block) = (start >> group_bits, start & ((1 << group_bits) - 1));
        let len = u64::from(record.be32(96)?);
        record.require(group < u64::from(self.groups) && len > 0)?;
        record.require(block + len <= u64::from(self.group_len(group)))?;
        self.log_offset = (group * u64::from(self.group_blocks) + block) * self.block_size;
        self.log_units = len * (self.block_size / 512);
        Ok(())
    }

    /// Blocks of a group.
    pub(super) fn group_len(&self, group: u64) -> u32 {
        let left = self.blocks.saturating_sub(group * u64::from(self.group_blocks));
        u32::try_from(left).map_or(self.group_blocks, |left| left.min(self.group_blocks))
    }
}

/// Fails on features that are not known; gives what format 5 adds, after proving the superblock by its checksum.
fn check_features(volume: &dyn DiskReader, record: &Record, sector_size: u64) -> Result<Option<Newer>, WholeReason> {
    let version = record.be16(100)?;
    let features2 = if version & VERSION_MOREBITS == 0 { 0 } else { record.be32(200)? };
    known(FeatureSet::Version, u32::from(version & !VERSION_MASK), VERSION_KNOWN.into())?;
    known(FeatureSet::Compatible, features2, FEATURES2_KNOWN)?;
    match version & VERSION_MASK {
        4 => return Ok(None),
        5 => {}
        _ => return Err(WholeReason::Unsupported { what: Shape::Revision }),
    }
    let sector = Record::load(volume, Structure::Superblock, 0, sector_size)?;
    sector.require_checksum(is_proven(&sector, CHECKSUM_AT)?)?;
    let incompat = record.be32(216)?;
    known(FeatureSet::Compatible, record.be32(208)?, 0)?;
    known(FeatureSet::ReadOnlyCompatible, record.be32(212)?, RO_COMPAT_KNOWN)?;
    known(FeatureSet::Incompatible, incompat, INCOMPAT_KNOWN | INCOMPAT_NEEDS_REPAIR)?;
    known(FeatureSet::LogIncompatible, record.be32(220)?, LOG_INCOMPAT_KNOWN)?;
    if incompat & INCOMPAT_NEEDS_REPAIR != 0 {
        return Err(WholeReason::NotClean { sign: Sign::NeedsRepair });
    }
    let own = if incompat & INCOMPAT_META_UUID == 0 { 32 } else { 248 };
    Ok(Some(Newer { metadata_uuid: record.array(own)? }))
}

fn known(set: FeatureSet, found: u32, known: u32) -> Result<(), WholeReason> {
    match u64::from(found & !known) {
        0 => Ok(()),
        bits => Err(WholeReason::Features { set, bits }),
    }
}

fn check_at_rest(record: &Record) -> Result<(), WholeReason> {
    if record.u8_at(126)? != 0 {
        return Err(WholeReason::NotClean { sign: Sign::InProgress });
    }
    let (real_time_blocks, real_time_extents) = (record.be64(16)?, record.be64(24)?);
    if real_time_blocks != 0 || real_time_extents != 0 {
        return Err(WholeReason::Unsupported { what: Shape::RealTimeDevice });
    }
    Ok(())
}

/// Whether a piece of metadata has the checksum that it says, at `at`. It is computed with zeroes in its place.
pub(super) fn is_proven(record: &Record, at: usize) -> Result<bool, WholeReason> {
    let before = record.slice(0, at)?;
    let after = record.bytes().get(at + 4..).unwrap_or_default();
    Ok(crc32c(&[before, &[0; 4], after]) == record.le32(at)?)
}
