//! The superblock of ext2, ext3 and ext4: what is needed of it, and whether the file system is one that is understood and
//! at rest. Offsets and bits are those of the kernel's `fs/ext4/ext4.h`.

use super::layout::Backups;
use crate::inspect::crc::crc32c_update;
use crate::inspect::free::reason::{FeatureSet, Shape, Sign, Structure, WholeReason};
use crate::inspect::reader::DiskReader;
use crate::inspect::record::Record;

const OFFSET_BYTES: u64 = 1024;
const LEN_BYTES: u64 = 1024;
/// Where the superblock's own checksum is; it covers what is before it.
const CHECKSUM_AT: usize = 0x3fc;
/// Most groups that are read: 64 TiB of 4096-byte blocks.
const MAX_GROUPS: u64 = 1 << 19;

const STATE_VALID: u16 = 1;
const STATE_ERRORS: u16 = 2;
const STATE_ORPHANS: u16 = 4;

const COMPAT_HAS_JOURNAL: u32 = 0x4;
const COMPAT_SPARSE_SUPER2: u32 = 0x200;
/// dir_prealloc, imagic, has_journal, ext_attr, resize_inode, dir_index, sparse_super2, fast_commit, stable_inodes,
/// orphan_file.
const COMPAT_KNOWN: u32 = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x200 | 0x400 | 0x800 | 0x1000;

const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_JOURNAL_DEV: u32 = 0x8;
const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_CSUM_SEED: u32 = 0x2000;
/// filetype, meta_bg, extents, 64bit, flex_bg, ea_inode, csum_seed, largedir, inline_data, encrypt, casefold.
/// Not multi-mount protection: another host may have it mounted.
const INCOMPAT_KNOWN: u32 = 0x2 | 0x10 | 0x40 | 0x80 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x1_0000 | 0x2_0000;

const RO_SPARSE_SUPER: u32 = 0x1;
const RO_GDT_CSUM: u32 = 0x10;
const RO_BIGALLOC: u32 = 0x200;
const RO_METADATA_CSUM: u32 = 0x400;
const RO_ORPHAN_PRESENT: u32 = 0x1_0000;
/// sparse_super, large_file, btree_dir, huge_file, gdt_csum, dir_nlink, extra_isize, quota, bigalloc, metadata_csum,
/// readonly, project, verity. Not snapshots and shared blocks, which share what looks free.
const RO_KNOWN: u32 = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x200 | 0x400 | 0x1000 | 0x2000 | 0x8000;

/// How group descriptors and bitmaps are proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksums {
    /// Not at all.
    None,
    /// Descriptors by CRC-16, bitmaps not (`uninit_bg`).
    Crc16,
    /// Both by CRC-32C (`metadata_csum`), with this seed.
    Crc32c {
        /// CRC-32C of the file system's UUID.
        seed: u32,
    },
}

/// What is needed of a superblock, checked.
#[derive(Debug)]
pub(super) struct Superblock {
    /// Length of a block, in bytes: a power of two from 1024 to 65536.
    pub(super) block_size: u64,
    /// Number of blocks of the file system; all lie in the volume.
    pub(super) blocks: u64,
    /// The block that the first group begins with.
    pub(super) first_block: u64,
    /// Blocks of a cluster: what one bit of a bitmap stands for.
    pub(super) cluster_blocks: u64,
    /// Clusters of a group, but for the last: a multiple of 8, and no more than a block has bits.
    pub(super) group_clusters: u64,
    /// Number of groups, bounded.
    pub(super) groups: u64,
    /// Blocks of a group's inode table.
    pub(super) table_blocks: u64,
    /// Length of a group descriptor, in bytes.
    pub(super) descriptor_bytes: u64,
    /// Blocks kept after the descriptors for more of them.
    pub(super) reserved_descriptor_blocks: u64,
    /// The first block of descriptors that lies in its own groups (`meta_bg`).
    pub(super) first_meta_block: Option<u64>,
    /// Which groups have a copy of the superblock.
    pub(super) backups: Backups,
    /// How metadata is proven.
    pub(super) checksums: Checksums,
    /// The file system's UUID.
    pub(super) uuid: [u8; 16],
}

impl Superblock {
    /// Reads the superblock of a volume.
    pub(super) fn read(volume: &dyn DiskReader) -> Result<Self, WholeReason> {
        let record = Record::load(volume, Structure::Superblock, OFFSET_BYTES, LEN_BYTES)?;
        let features = Features::read(&record)?;
        check_at_rest(&record, &features)?;
        Self::parse(&record, &features, volume.len_bytes())
    }

    fn parse(record: &Record, features: &Features, volume_bytes: u64) -> Result<Self, WholeReason> {
        let checksums = checksums(record, features)?;
        let block_bits = record.le32(0x18)?;
        let cluster_bits = if features.ro & RO_BIGALLOC == 0 { block_bits } else { record.le32(0x1c)? };
        record.require(block_bits <= 6 && (block_bits..=block_bits + 16).contains(&cluster_bits))?;
        let block_size = 1024_u64 << block_bits;
        let cluster_blocks = 1_u64 << (cluster_bits - block_bits);
        let group_clusters = u64::from(record.le32(0x20)?) / cluster_blocks;
        let blocks = u64::from(record.le32(0x4)?) | features.wide(record.le32(0x150)?);
        let first_block = u64::from(record.le32(0x14)?);
        record.require(first_block == u64::from(block_bits == 0 && cluster_blocks == 1))?;
        record.require(group_clusters > 0 && group_clusters.is_multiple_of(8) && group_clusters <= 8 * block_size)?;
        record.require(u64::from(record.le32(0x20)?) == group_clusters * cluster_blocks)?;
        let len_bytes = blocks.checked_mul(block_size);
        record.require(blocks > first_block && len_bytes.is_some_and(|len| len <= volume_bytes))?;
        let groups = (blocks - first_block).div_ceil(group_clusters * cluster_blocks);
        if groups > MAX_GROUPS {
            return Err(WholeReason::TooLarge { structure: Structure::GroupDescriptors });
        }
        let meta_bg = features.incompat & INCOMPAT_META_BG != 0;
        Ok(Self {
            block_size,
            blocks,
            first_block,
            cluster_blocks,
            group_clusters,
            groups,
            table_blocks: table_blocks(record, block_size, groups)?,
            descriptor_bytes: descriptor_bytes(record, features, block_size)?,
            reserved_descriptor_blocks: u64::from(record.le16(0xce)?),
            first_meta_block: if meta_bg { Some(u64::from(record.le32(0x104)?)) } else { None },
            backups: backups(record, features)?,
            checksums,
            uuid: record.array(0x68)?,
        })
    }

    /// Blocks of a group, but for the last.
    pub(super) const fn group_blocks(&self) -> u64 {
        self.group_clusters * self.cluster_blocks
    }

    /// The first block of a group.
    pub(super) const fn group_start(&self, group: u64) -> u64 {
        self.first_block + group * self.group_blocks()
    }
}

/// The features of a file system, all of which are known.
struct Features {
    compat: u32,
    incompat: u32,
    ro: u32,
}

impl Features {
    fn read(record: &Record) -> Result<Self, WholeReason> {
        match record.le32(0x4c)? {
            // The first revision has no features; what stands in their place is not defined.
            0 => return Ok(Self { compat: 0, incompat: 0, ro: 0 }),
            1 => {}
            _ => return Err(WholeReason::Unsupported { what: Shape::Revision }),
        }
        let found = Self { compat: record.le32(0x5c)?, incompat: record.le32(0x60)?, ro: record.le32(0x64)? };
        let tolerated = INCOMPAT_RECOVER | INCOMPAT_JOURNAL_DEV;
        known(FeatureSet::Incompatible, found.incompat, INCOMPAT_KNOWN | tolerated)?;
        known(FeatureSet::ReadOnlyCompatible, found.ro, RO_KNOWN | RO_ORPHAN_PRESENT)?;
        known(FeatureSet::Compatible, found.compat, COMPAT_KNOWN)?;
        Ok(found)
    }

    /// The high half of a number, if the file system has such.
    fn wide(&self, high: u32) -> u64 {
        if self.incompat & INCOMPAT_64BIT == 0 { 0 } else { u64::from(high) << 32 }
    }
}

fn known(set: FeatureSet, found: u32, known: u32) -> Result<(), WholeReason> {
    match u64::from(found & !known) {
        0 => Ok(()),
        bits => Err(WholeReason::Features { set, bits }),
    }
}

/// Fails unless the file system was unmounted in good order, and is all there.
fn check_at_rest(record: &Record, features: &Features) -> Result<(), WholeReason> {
    let state = record.le16(0x3a)?;
    let sign = if features.incompat & INCOMPAT_RECOVER != 0 {
        Sign::Journal
    } else if state & STATE_ERRORS != 0 {
        Sign::Errors
    } else if state & STATE_VALID == 0 {
        Sign::NotUnmounted
    } else if state & STATE_ORPHANS != 0 || record.le32(0xe8)? != 0 || features.ro & RO_ORPHAN_PRESENT != 0 {
        Sign::Orphans
    } else {
        let journal = features.compat & COMPAT_HAS_JOURNAL != 0;
        let inside = record.le32(0xe0)? != 0 && record.le32(0xe4)? == 0;
        if features.incompat & INCOMPAT_JOURNAL_DEV != 0 || journal && !inside {
            return Err(WholeReason::Unsupported { what: Shape::ExternalJournal });
        }
        return Ok(());
    };
    Err(WholeReason::NotClean { sign })
}

/// How metadata is proven; the superblock is, right here.
fn checksums(record: &Record, features: &Features) -> Result<Checksums, WholeReason> {
    if features.ro & RO_METADATA_CSUM == 0 {
        let old = features.ro & RO_GDT_CSUM != 0;
        return Ok(if old { Checksums::Crc16 } else { Checksums::None });
    }
    if record.u8_at(0x175)? != 1 {
        return Err(WholeReason::Unsupported { what: Shape::ChecksumType });
    }
    let own = crc32c_update(u32::MAX, record.slice(0, CHECKSUM_AT)?);
    record.require_checksum(own == record.le32(CHECKSUM_AT)?)?;
    let stored = features.incompat & INCOMPAT_CSUM_SEED != 0;
    let seed = if stored { record.le32(0x270)? } else { crc32c_update(u32::MAX, record.slice(0x68, 16)?) };
    Ok(Checksums::Crc32c { seed })
}

fn table_blocks(record: &Record, block_size: u64, groups: u64) -> Result<u64, WholeReason> {
    let inode_bytes = if record.le32(0x4c)? == 0 { 128 } else { u64::from(record.le16(0x58)?) };
    let inodes = u64::from(record.le32(0x28)?);
    record.require(inode_bytes.is_power_of_two() && (128..=block_size).contains(&inode_bytes))?;
    record.require((1..=8 * block_size).contains(&inodes))?;
    record.require(u64::from(record.le32(0)?) == inodes * groups)?;
    Ok((inodes * inode_bytes).div_ceil(block_size))
}

fn descriptor_bytes(record: &Record, features: &Features, block_size: u64) -> Result<u64, WholeReason> {
    if features.incompat & INCOMPAT_64BIT == 0 {
        return Ok(32);
    }
    let bytes = u64::from(record.le16(0xfe)?);
    record.require(bytes.is_power_of_two() && (64..=block_size).contains(&bytes))?;
    Ok(bytes)
}

fn backups(record: &Record, features: &Features) -> Result<Backups, WholeReason> {
    if features.compat & COMPAT_SPARSE_SUPER2 != 0 {
        return Ok(Backups::Two([u64::from(record.le32(0x24c)?), u64::from(record.le32(0x250)?)]));
    }
    Ok(if features.ro & RO_SPARSE_SUPER != 0 { Backups::Sparse } else { Backups::All })
}
