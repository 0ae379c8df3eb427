//! The superblock of btrfs: whether the file system is one that is understood, and where its trees begin. Offsets and
//! bits are those of the kernel's `include/uapi/linux/btrfs_tree.h`.

use super::Root;
use crate::inspect::crc::crc32c;
use crate::inspect::free::reason::{FeatureSet, Shape, Sign, Structure, WholeReason};
use crate::inspect::reader::DiskReader;
use crate::inspect::record::Record;

pub(super) const OFFSET_BYTES: u64 = 64 << 10;
const LEN_BYTES: u64 = 4096;
/// Bytes at the begin of superblock and tree blocks that hold the checksum of the rest.
pub(super) const CHECKSUM_BYTES: usize = 32;
/// Where the chunks of the chunk tree itself are listed.
pub(super) const SYSTEM_CHUNKS_AT: usize = 811;
/// Most bytes of that list.
const MAX_SYSTEM_CHUNKS_BYTES: u32 = 2048;

const FLAG_WRITTEN: u64 = 1;
/// The free space tree, its being valid, verity, and the block group tree.
const RO_COMPAT_KNOWN: u64 = 0x1 | 0x2 | 0x4 | RO_BLOCK_GROUP_TREE;
const RO_BLOCK_GROUP_TREE: u64 = 0x8;
/// mixed_backref, default_subvol, mixed_groups, compress_lzo, compress_zstd, big_metadata, extended_iref,
/// skinny_metadata, no_holes, metadata_uuid, simple_quota. Not RAID, zones, and the second extent tree.
const INCOMPAT_KNOWN: u64 =
    0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x200 | INCOMPAT_METADATA_UUID | 0x1_0000;
const INCOMPAT_METADATA_UUID: u64 = 0x400;

/// What is needed of a superblock, checked.
#[derive(Debug)]
pub(super) struct Superblock {
    /// The UUID that all metadata bears.
    pub(super) metadata_uuid: [u8; 16],
    /// The last commit.
    pub(super) generation: u64,
    /// The tree of trees.
    pub(super) root: Root,
    /// The tree of chunks.
    pub(super) chunk_root: Root,
    /// Unit of extents, in bytes.
    pub(super) sector_size: u64,
    /// Length of a tree block, in bytes.
    pub(super) node_bytes: u64,
    /// Number of this device.
    pub(super) device: u64,
    /// Length of the device as the file system knows it, in bytes; it lies in the volume.
    pub(super) device_bytes: u64,
    /// Bytes that all extents add up to.
    pub(super) used_bytes: u64,
    /// Whether block groups have a tree of their own.
    pub(super) has_block_group_tree: bool,
    /// The superblock itself, for the list of the first chunks.
    pub(super) record: Record,
    /// Length of that list, in bytes.
    pub(super) system_chunks_bytes: usize,
}

impl Superblock {
    /// Reads the superblock of a volume.
    pub(super) fn read(volume: &dyn DiskReader) -> Result<Self, WholeReason> {
        let record = Record::load(volume, Structure::Superblock, OFFSET_BYTES, LEN_BYTES)?;
        if record.le16(196)? != 0 {
            return Err(WholeReason::Unsupported { what: Shape::ChecksumType });
        }
        record.require_checksum(is_proven(&record)?)?;
        record.require(record.le64(48)? == OFFSET_BYTES)?;
        check_features(&record)?;
        check_at_rest(&record)?;
        Self::parse(record, volume.len_bytes())
    }

    fn parse(record: Record, volume_bytes: u64) -> Result<Self, WholeReason> {
        let (sector_size, node_bytes) = (u64::from(record.le32(144)?), u64::from(record.le32(148)?));
        record.require(sector_size.is_power_of_two() && (512..=65536).contains(&sector_size))?;
        record.require(node_bytes.is_power_of_two() && (sector_size.max(4096)..=65536).contains(&node_bytes))?;
        let (device, device_bytes) = (record.le64(201)?, record.le64(209)?);
        record.require(device > 0 && device_bytes <= volume_bytes && device_bytes == record.le64(112)?)?;
        let list = record.le32(160)?;
        record.require(list <= MAX_SYSTEM_CHUNKS_BYTES)?;
        let generation = record.le64(72)?;
        let own = record.le64(188)? & INCOMPAT_METADATA_UUID != 0;
        Ok(Self {
            metadata_uuid: record.array(if own { 571 } else { 32 })?,
            generation,
            root: Root { address: record.le64(80)?, level: record.u8_at(198)?, generation },
            chunk_root: Root { address: record.le64(88)?, level: record.u8_at(199)?, generation: record.le64(164)? },
            sector_size,
            node_bytes,
            device,
            device_bytes,
            used_bytes: record.le64(120)?,
            has_block_group_tree: record.le64(180)? & RO_BLOCK_GROUP_TREE != 0,
            system_chunks_bytes: usize::try_from(list).map_err(|_too_large| record.inconsistent())?,
            record,
        })
    }
}

fn check_features(record: &Record) -> Result<(), WholeReason> {
    known(FeatureSet::Flags, record.le64(56)?, FLAG_WRITTEN)?;
    known(FeatureSet::Incompatible, record.le64(188)?, INCOMPAT_KNOWN)?;
    known(FeatureSet::ReadOnlyCompatible, record.le64(180)?, RO_COMPAT_KNOWN)?;
    known(FeatureSet::Compatible, record.le64(172)?, 0)
}

/// Fails if features beyond the known ones are there.
pub(super) const fn known(set: FeatureSet, found: u64, known: u64) -> Result<(), WholeReason> {
    match found & !known {
        0 => Ok(()),
        bits => Err(WholeReason::Features { set, bits }),
    }
}

fn check_at_rest(record: &Record) -> Result<(), WholeReason> {
    if record.le64(136)? != 1 {
        return Err(WholeReason::Unsupported { what: Shape::SeveralDevices });
    }
    if record.le64(96)? != 0 {
        return Err(WholeReason::NotClean { sign: Sign::LogTree });
    }
    Ok(())
}

/// Whether a superblock or tree block has the checksum that it says.
pub(super) fn is_proven(record: &Record) -> Result<bool, WholeReason> {
    let rest = record.bytes().get(CHECKSUM_BYTES..).unwrap_or_default();
    Ok(crc32c(&[rest]) == record.le32(0)?)
}
