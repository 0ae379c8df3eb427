//! Main memory: what there is to use, what is installed, and the modules.

use crate::disk::roots::Roots;
use crate::disk::sysfs;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::inventory::{Dimm, Memory};
use crate::hardware::read;

/// Longest `meminfo`, in bytes.
const MAX_MEMINFO_BYTES: u64 = 64 << 10;

/// Reads the sizes; `dimms` are the modules that the firmware names, `installed_bytes` what those of main memory have.
pub(super) fn read(roots: &Roots, dimms: Fact<Vec<Dimm>>, installed_bytes: Fact<u64>) -> Memory {
    Memory { usable_bytes: usable(roots), installed_bytes: installed_bytes.or_else(|| blocks(roots)), dimms }
}

/// `MemTotal`: all memory less what the firmware and the kernel keep for themselves.
fn usable(roots: &Roots) -> Fact<u64> {
    let info = match sysfs::bounded(&roots.proc.join("meminfo"), MAX_MEMINFO_BYTES) {
        Ok(info) => info,
        Err(error) => return Fact::Unknown(read::because(&error)),
    };
    let info = String::from_utf8_lossy(&info);
    let kib = |line: &str| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok();
    let bytes = info.lines().find_map(kib).and_then(|kib| kib.checked_mul(1 << 10));
    bytes.map_or(Fact::unknown_for(UnknownReason::Malformed, "meminfo has no MemTotal"), Fact::Known)
}

/// What the kernel has blocks of memory for, in use or not: what is installed, to a block, however much of it the kernel
/// keeps for itself (`Documentation/admin-guide/mm/memory-hotplug.rst`).
fn blocks(roots: &Roots) -> Fact<u64> {
    let directory = roots.sys.join("devices/system/memory");
    let is_block = |name: &&String| name.strip_prefix("memory").is_some_and(|number| number.parse::<u64>().is_ok());
    let count = read::entries(&directory).map(|names| names.iter().filter(is_block).count());
    let size = read::hex(&directory.join("block_size_bytes"));
    count.and_then(|count| size.map(|size| (count, size))).and_then(|(count, size)| {
        let total = u64::try_from(count).ok().and_then(|count| size.checked_mul(count)).filter(|&total| total > 0);
        total.map_or(Fact::unknown(UnknownReason::Missing), Fact::Known)
    })
}
