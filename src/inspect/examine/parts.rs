//! The parts of a disk that may hold file systems: its partitions, or all of it, and the logical volumes on them.

use std::rc::Rc;

use crate::disk::table::{Partition, PartitionTable, TableKind};
use crate::inspect::free::reason::Owner;
use crate::inspect::fs::{self, Content};
use crate::inspect::lvm::{self, LogicalVolume};
use crate::inspect::reader::{DiskReader, Part as DiskPart};
use crate::inspect::root::assemble::{LogicalName, Part};
use crate::inspect::volumes;
use crate::text::{chain, printable};

/// What a disk holds.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) parts: Vec<Part<'static>>,
    /// What could not be read, and why.
    pub(super) notes: Vec<String>,
}

/// Finds the parts of a disk with this table.
pub(super) fn find(disk: &Rc<dyn DiskReader>, table: &PartitionTable) -> Found {
    let mut found = Found { parts: Vec::new(), notes: Vec::new() };
    let mut physical = Vec::new();
    for partition in partitions(disk, table) {
        let range = partition.offset_bytes..partition.offset_bytes.saturating_add(partition.size_bytes);
        let Some(volume) = DiskPart::new(disk.clone(), &range) else {
            found.notes.push(format!("partition {} does not lie on the disk", partition.number));
            continue;
        };
        let volume: Rc<dyn DiskReader> = Rc::new(volume);
        match fs::probe(&*volume) {
            Ok(Content::Foreign(Owner::Lvm)) => physical.push((partition.number, volume)),
            Ok(Content::Unknown | Content::Foreign(Owner::Swap)) => {}
            Ok(_) | Err(_) => found.parts.push(of_partition(&partition, &volume)),
        }
    }
    found.logical_volumes(&physical);
    found
}

/// The partitions that may hold file systems; a disk without a table is one.
fn partitions(disk: &Rc<dyn DiskReader>, table: &PartitionTable) -> Vec<Partition> {
    if table.kind == TableKind::None {
        let size_bytes = disk.len_bytes();
        return vec![Partition {
            number: 0,
            offset_bytes: 0,
            size_bytes,
            label: String::new(),
            type_id: String::new(),
            part_uuid: String::new(),
        }];
    }
    table.partitions.iter().filter(|partition| !volumes::is_container(table.kind, partition)).cloned().collect()
}

fn of_partition(partition: &Partition, volume: &Rc<dyn DiskReader>) -> Part<'static> {
    Part {
        partition: partition.number,
        logical: None,
        type_id: partition.type_id.clone(),
        part_uuid: partition.part_uuid.clone(),
        part_label: partition.label.clone(),
        fs: open(volume),
    }
}

/// What a volume holds. It bears a signature, so that nothing is not an answer.
fn open(volume: &Rc<dyn DiskReader>) -> Result<Box<dyn fs::FileSystem>, String> {
    match fs::open(volume) {
        Ok(Some(fs)) => Ok(fs),
        Ok(None) => Err("it holds nothing that is known".to_owned()),
        Err(error) => Err(chain(&error)),
    }
}

impl Found {
    fn logical_volumes(&mut self, physical: &[(u32, Rc<dyn DiskReader>)]) {
        let readers: Vec<_> = physical.iter().map(|(_, volume)| volume.clone()).collect();
        let lvm::Found { volumes, failed } = lvm::find(&readers);
        for (index, error) in failed {
            let number = physical.get(index).map_or(0, |(number, _)| *number);
            self.notes.push(format!("partition {number}: {}", chain(&error)));
        }
        let partition = physical.first().map_or(0, |(number, _)| *number);
        for volume in volumes {
            self.logical_volume(partition, volume);
        }
    }

    fn logical_volume(&mut self, partition: u32, volume: LogicalVolume) {
        let fs = match volume.content {
            Ok(mapped) => {
                let mapped: Rc<dyn DiskReader> = mapped;
                if matches!(fs::probe(&*mapped), Ok(Content::Unknown | Content::Foreign(Owner::Swap))) {
                    return;
                }
                open(&mapped)
            }
            Err(error) => Err(chain(&error)),
        };
        self.parts.push(Part {
            partition,
            logical: Some(LogicalName { group: printable(&volume.group), volume: printable(&volume.name) }),
            type_id: String::new(),
            part_uuid: String::new(),
            part_label: String::new(),
            fs,
        });
    }
}
