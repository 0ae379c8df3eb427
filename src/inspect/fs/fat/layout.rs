//! The boot sector of a FAT file system, and the allocation table. Offsets are those of Microsoft's specification of 2000.

use crate::inspect::fs::FsError;
use crate::inspect::reader::DiskReader;

const BOOT_SECTOR_BYTES: usize = 512;
const ENTRY_BYTES: u64 = 32;
/// What follows is a serial number and a label.
const EXTENDED_BOOT: [u8; 2] = [0x28, 0x29];
/// Fewer clusters than this make a table of twelve bits each.
const MIN_CLUSTERS_16: u32 = 4085;
/// Clusters are numbered from here.
const FIRST_CLUSTER: u32 = 2;
/// Only this many bits of an entry of 32 count.
const MASK_32: u32 = 0x0fff_ffff;

/// Where things are.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    kind: Bits,
    /// Where the table begins that is in use, in bytes.
    table_at: u64,
    /// Where the first cluster begins, in bytes.
    data_at: u64,
    pub(super) cluster_bytes: usize,
    clusters: u32,
    pub(super) top: Start,
    /// Number of the volume.
    pub(super) serial: Option<u32>,
}

/// Bits of an entry of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bits {
    Twelve,
    Sixteen,
    ThirtyTwo,
}

/// Where a directory begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// The top directory of FAT12 and FAT16, which has a place of its own.
    Bytes(Place),
    /// In a cluster.
    Cluster(u32),
}

/// Some bytes of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) len_bytes: u64,
}

/// The numbers of a boot sector.
struct Boot([u8; BOOT_SECTOR_BYTES]);

impl Boot {
    fn le16(&self, at: usize) -> u32 {
        u16::from_le_bytes(std::array::from_fn(|byte| self.0[at + byte])).into()
    }

    fn le32(&self, at: usize) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|byte| self.0[at + byte]))
    }
}

impl Layout {
    pub(super) fn read(volume: &dyn DiskReader) -> Result<Self, FsError> {
        let mut bytes = [0; BOOT_SECTOR_BYTES];
        volume.read_at(0, &mut bytes)?;
        Self::parse(&Boot(bytes)).ok_or_else(|| FsError::malformed("the boot sector"))
    }

    /// None if the numbers cannot be.
    fn parse(boot: &Boot) -> Option<Self> {
        let (sector, per_cluster) = (boot.le16(11), u32::from(boot.0[13]));
        let fits = sector.is_power_of_two() && (512..=4096).contains(&sector) && per_cluster.is_power_of_two();
        let (reserved, tables, top_entries) = (boot.le16(14), u32::from(boot.0[16]), boot.le16(17));
        if !fits || reserved == 0 || !(1..=2).contains(&tables) {
            return None;
        }
        let sectors = Some(boot.le16(19)).filter(|sectors| *sectors != 0).unwrap_or_else(|| boot.le32(32));
        let is_32 = boot.le16(22) == 0;
        let table_sectors = if is_32 { boot.le32(36) } else { boot.le16(22) };
        let [sector, per_cluster, reserved, table_sectors] =
            [sector, per_cluster, reserved, table_sectors].map(u64::from);
        let top_sectors = (u64::from(top_entries) * ENTRY_BYTES).div_ceil(sector);
        let top_at = reserved + u64::from(tables) * table_sectors;
        let data_at = top_at + top_sectors;
        let clusters = u32::try_from(u64::from(sectors).checked_sub(data_at)? / per_cluster).ok()?;
        let kind = match clusters {
            _ if is_32 => Bits::ThirtyTwo,
            ..MIN_CLUSTERS_16 => Bits::Twelve,
            MIN_CLUSTERS_16.. => Bits::Sixteen,
        };
        // The table must have an entry for each cluster, and a top directory must be somewhere.
        let entries = u64::from(clusters) + u64::from(FIRST_CLUSTER);
        if clusters == 0 || kind.end(entries) > table_sectors * sector || is_32 != (top_entries == 0) {
            return None;
        }
        // Without mirroring, one of the tables of FAT32 is in use.
        let flags = if is_32 { boot.le16(40) } else { 0 };
        let table = if flags & 0x80 == 0 { 0 } else { u64::from(flags & 0xf) };
        let extended = if is_32 { 66 } else { 38 };
        Some(Self {
            kind,
            table_at: (table < u64::from(tables)).then_some((reserved + table * table_sectors) * sector)?,
            data_at: data_at * sector,
            cluster_bytes: usize::try_from(per_cluster * sector).ok()?,
            clusters,
            top: match kind {
                Bits::ThirtyTwo => Start::Cluster(boot.le32(44)),
                Bits::Twelve | Bits::Sixteen => {
                    Start::Bytes(Place { start: top_at * sector, len_bytes: top_sectors * sector })
                }
            },
            serial: EXTENDED_BOOT.contains(&boot.0[extended]).then(|| boot.le32(extended + 1)),
        })
    }

    /// Where a cluster begins, in bytes.
    pub(super) fn cluster_at(&self, cluster: u32) -> Result<u64, FsError> {
        match cluster.checked_sub(FIRST_CLUSTER) {
            Some(index) if index < self.clusters => Ok(self.data_at + u64::from(index) * self.cluster_bytes as u64),
            Some(_) | None => Err(FsError::malformed(format!("a chain that leads to cluster {cluster}"))),
        }
    }

    /// The cluster that follows; none at the end of a chain.
    pub(super) fn next(&self, volume: &dyn DiskReader, cluster: u32) -> Result<Option<u32>, FsError> {
        let index = u64::from(cluster);
        let mut entry = [0; 4];
        let (at, len) = self.kind.entry(index);
        volume.read_at(self.table_at + at, &mut entry[..len])?;
        let entry = u32::from_le_bytes(entry);
        let (next, end) = match self.kind {
            Bits::Twelve if cluster % 2 == 1 => (entry >> 4, 0xff8),
            Bits::Twelve => (entry & 0xfff, 0xff8),
            Bits::Sixteen => (entry, 0xfff8),
            Bits::ThirtyTwo => (entry & MASK_32, 0x0fff_fff8),
        };
        Ok((next < end).then_some(next))
    }
}

impl Bits {
    /// Where the entry of a cluster is in the table, and how many bytes have it.
    const fn entry(self, cluster: u64) -> (u64, usize) {
        match self {
            Self::Twelve => (cluster + cluster / 2, 2),
            Self::Sixteen => (cluster * 2, 2),
            Self::ThirtyTwo => (cluster * 4, 4),
        }
    }

    /// Bytes of a table of so many entries.
    const fn end(self, entries: u64) -> u64 {
        match self {
            Self::Twelve => (entries * 3).div_ceil(2),
            Self::Sixteen => entries * 2,
            Self::ThirtyTwo => entries * 4,
        }
    }
}
