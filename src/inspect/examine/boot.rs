//! How a system boots, put together from its disk, its boot menus, its kernels and its fstab, as checks want it.

use crate::disk::table::{PartitionTable, TableKind};
use crate::inspect::facts::boot::{self, efi, mbr};
use crate::inspect::facts::gather::{BootFacts, CommandLine, FstabLine, Loader};
use crate::inspect::facts::kernel::{self, module_info};
use crate::inspect::facts::layout::{Layout, Part, Table};
use crate::inspect::facts::{Known, fstab};
use crate::inspect::reader::DiskReader;
use crate::inspect::root::Root;

/// First number of a logical partition of an MBR.
const FIRST_LOGICAL: u32 = 5;

/// What is known of how a system boots. `layout` is that of its disk.
pub(super) fn facts(root: &Root<'_>, layout: Known<Layout>) -> BootFacts {
    BootFacts {
        kernels: kernel::kernels(root),
        module_info: |root, path| Known::from_result(module_info(root, path)),
        command_lines: command_lines(root),
        fstab: fstab_lines(root),
        loaders: loaders(root),
        layout,
    }
}

/// How a disk is laid out, of which partition `root` is the system's.
pub(super) fn layout(disk: &dyn DiskReader, table: &PartitionTable, root: u32) -> Known<Layout> {
    let boot_code = match mbr::has_boot_code(disk) {
        Ok(boot_code) => boot_code,
        Err(error) => return Known::Unknown(format!("the first block cannot be read: {error}")),
    };
    let part = |partition: &crate::disk::table::Partition| Part {
        number: partition.number,
        offset_bytes: partition.offset_bytes,
        is_primary: table.kind == TableKind::Gpt || partition.number < FIRST_LOGICAL,
    };
    Known::Is(Layout {
        table: match table.kind {
            TableKind::None => Table::None,
            TableKind::Mbr => Table::Mbr,
            TableKind::Gpt => Table::Gpt,
        },
        boot_code,
        partitions: table.partitions.iter().map(part).collect(),
        root: (root > 0).then_some(root),
    })
}

fn command_lines(root: &Root<'_>) -> Known<Vec<CommandLine>> {
    Known::from_result(boot::entries(root).map(|entries| {
        let line = |entry: boot::BootEntry| CommandLine { path: entry.source, text: entry.options };
        entries.into_iter().map(line).collect()
    }))
}

fn fstab_lines(root: &Root<'_>) -> Known<Vec<FstabLine>> {
    let line = |entry: fstab::FstabEntry| FstabLine { line: entry.line, source: entry.source, at: entry.target };
    Known::from_result(fstab::read(root).map(|table| table.unwrap_or_default().into_iter().map(line).collect()))
}

/// Loaders, by their path on the ESP; none if there is no ESP.
fn loaders(root: &Root<'_>) -> Known<Option<Vec<Loader>>> {
    match efi::loaders(root) {
        Known::Unknown(why) => Known::Unknown(why),
        Known::Is(loaders) if loaders.is_empty() => Known::Is(None),
        Known::Is(loaders) => Known::Is(Some(loaders.into_iter().map(loader).collect())),
    }
}

fn loader(loader: efi::EfiLoader) -> Loader {
    let digest = match loader.digest {
        Known::Is(digest) => Known::Is(digest.to_string()),
        Known::Unknown(why) => Known::Unknown(why),
    };
    Loader { path: format!("/EFI/{}/{}", loader.directory, loader.name), digest }
}
