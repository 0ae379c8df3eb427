//! The manifest of an import: what the user says of the image, and what its first bytes tell.

use std::io::Cursor;

use bms_agent::clock::{Clock as _, SystemClock, unix_seconds};
use bms_agent::disk::table::{self, TableKind};
use bms_agent::image::manifest::{Content, DiskShape, Firmware, Kind, Manifest, PartitionTable, SCHEMA};
use bms_agent::image::tree::Tree;
use chrono::DateTime;

use crate::cli::{DescribeArgs, KindArg};

/// Type of an EFI system partition, in a GPT and in an MBR.
const EFI_SYSTEM: [&str; 2] = ["C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "0xef"];
/// Type of the partition in a GPT that holds a boot loader for BIOS.
const BIOS_BOOT: &str = "21686148-6449-6E6F-744E-656564454649";
/// Logical block sizes, the likelier first.
const BLOCK_SIZES: [u32; 2] = [512, 4096];

/// What the first bytes of an image tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    logical_block_size: Option<u32>,
    partition_table: PartitionTable,
    firmware: Firmware,
}

impl Shape {
    /// Looks at the first bytes of an image of `len_bytes`.
    pub(super) fn of(head: &[u8], len_bytes: u64) -> Self {
        let read = |&block_size: &u32| {
            let table = table::read(&mut Cursor::new(head), len_bytes, block_size).ok()?;
            (table.kind != TableKind::None).then_some((block_size, table))
        };
        let mut tables: Vec<_> = BLOCK_SIZES.iter().filter_map(read).collect();
        // A GPT has an MBR before it; only one of the two block sizes shows the GPT.
        tables.sort_by_key(|(_, table)| table.kind != TableKind::Gpt);
        let Some((block_size, table)) = tables.into_iter().next() else {
            return Self { logical_block_size: None, partition_table: PartitionTable::None, firmware: Firmware::Both };
        };
        let has = |types: &[&str]| table.partitions.iter().any(|partition| types.contains(&partition.type_id.as_str()));
        match table.kind {
            TableKind::Gpt => {
                let firmware = match (has(&EFI_SYSTEM), has(&[BIOS_BOOT])) {
                    (true, false) => Firmware::Uefi,
                    (false, true) => Firmware::Bios,
                    (true, true) | (false, false) => Firmware::Both,
                };
                Self { logical_block_size: Some(block_size), partition_table: PartitionTable::Gpt, firmware }
            }
            TableKind::Mbr | TableKind::None => {
                let firmware = if has(&EFI_SYSTEM) { Firmware::Both } else { Firmware::Bios };
                Self { logical_block_size: None, partition_table: PartitionTable::Mbr, firmware }
            }
        }
    }
}

/// The manifest of an image with this tree.
pub(super) fn manifest(args: &DescribeArgs, shape: Shape, block_size: Option<u32>, tree: &Tree) -> Manifest {
    let len_bytes = tree.layout().len_bytes();
    let now = unix_seconds(SystemClock.now());
    Manifest {
        schema: SCHEMA,
        name: args.name.clone(),
        version: args.version.clone().unwrap_or_else(|| stamp(now)),
        description: args.description.clone(),
        labels: args.labels.iter().cloned().collect(),
        kind: match args.kind {
            KindArg::Public => Kind::Public,
            KindArg::Private => Kind::Private,
        },
        owner: args.owner.clone(),
        os: None,
        disk: DiskShape {
            size_bytes: len_bytes,
            logical_block_size: block_size.or(shape.logical_block_size).unwrap_or(BLOCK_SIZES[0]),
            partition_table: shape.partition_table,
            firmware: shape.firmware,
            min_disk_bytes: len_bytes,
            min_memory_bytes: 0,
        },
        content: Content::of(tree),
        source_hardware_model: args.source_model.clone(),
        capture: None,
        plugin_report: None,
        parent: None,
        created_at: now,
        not_after: None,
    }
}

/// A time as a version: 20261123T083000Z. It sorts as time does.
pub(crate) fn stamp(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.map_or_else(|| seconds.to_string(), |time| time.format("%Y%m%dT%H%M%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::{Firmware, PartitionTable, Shape, stamp};

    #[test]
    fn a_version_is_the_time_of_day_in_utc() {
        assert_eq!(stamp(0), "19700101T000000Z");
        assert_eq!(stamp(1_795_423_496), "20261123T084456Z");
    }

    #[test]
    fn what_has_no_table_may_be_started_by_anything() {
        let shape = Shape::of(&[0; 8192], 1 << 30);
        assert_eq!((shape.partition_table, shape.firmware), (PartitionTable::None, Firmware::Both));
    }

    #[test]
    fn an_mbr_is_for_bios() {
        let mut head = vec![0; 64 << 10];
        head[510..512].copy_from_slice(&[0x55, 0xaa]);
        // One Linux partition from sector 2048 on, of 4096 sectors.
        head[446 + 4] = 0x83;
        head[446 + 8..446 + 16].copy_from_slice(&[0, 8, 0, 0, 0, 16, 0, 0]);
        let shape = Shape::of(&head, 1 << 30);
        assert_eq!((shape.partition_table, shape.firmware), (PartitionTable::Mbr, Firmware::Bios));
    }
}
