//! What drivers that may be compiled in are for: those of the disks and network cards of bare metal servers.
//!
//! Up to Linux 6.17 no kernel says it. `MODULE_DEVICE_TABLE` is empty in what is compiled in (`include/linux/module.h`), so
//! `modules.builtin.modinfo` has what its authors wrote as `MODULE_ALIAS` alone. Here is what these tables say, as depmod
//! finds it where the same drivers are modules; of the ids of a table, those that such servers have.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::alias;

/// Drivers, each with a pattern for all devices of a kind.
const KINDS: [(&str, &str); 8] = [
    ("ahci", "pci:v*d*sv*sd*bc01sc06i01*"),
    ("nvme", "pci:v*d*sv*sd*bc01sc08i02*"),
    ("sd_mod", "scsi:t-0x00*"),
    ("virtio_blk", "virtio:d00000002v*"),
    ("virtio_net", "virtio:d00000001v*"),
    ("virtio_pci", "pci:v00001AF4d*sv*sd*bc*sc*i*"),
    ("virtio_scsi", "virtio:d00000008v*"),
    ("xhci_pci", "pci:v*d*sv*sd*bc0Csc03i30*"),
];

/// Drivers, each with a vendor of PCI devices and those that it is for.
const CARDS: [(&str, u16, &[u16]); 15] = [
    ("aacraid", 0x9005, &[0x0285, 0x028b, 0x028c, 0x028d]),
    (
        "bnxt_en",
        0x14e4,
        &[
            0x1614, 0x16c8, 0x16c9, 0x16ca, 0x16ce, 0x16cf, 0x16d0, 0x16d1, 0x16d2, 0x16d6, 0x16d7, 0x16d8, 0x16d9,
            0x16e2, 0x16e3, 0x1750, 0x1751, 0x1752,
        ],
    ),
    ("e1000e", 0x8086, &[0x10d3, 0x1502, 0x1503, 0x153a, 0x153b, 0x15b7, 0x15b8, 0x15b9]),
    ("hinic", 0x19e5, &[0x0200, 0x0205, 0x0210, 0x1822]),
    ("hisi_sas_v3_hw", 0x19e5, &[0xa230]),
    ("hns3", 0x19e5, &[0xa220, 0xa221, 0xa222, 0xa223, 0xa224, 0xa225, 0xa226, 0xa228]),
    (
        "i40e",
        0x8086,
        &[
            0x1572, 0x1580, 0x1581, 0x1583, 0x1584, 0x1585, 0x1586, 0x1589, 0x158a, 0x158b, 0x15ff, 0x37ce, 0x37cf,
            0x37d0, 0x37d1, 0x37d2, 0x37d3,
        ],
    ),
    (
        "igb",
        0x8086,
        &[0x10c9, 0x10e6, 0x10e7, 0x150e, 0x150f, 0x1521, 0x1522, 0x1523, 0x1524, 0x1533, 0x1536, 0x1537, 0x1538],
    ),
    (
        "ixgbe",
        0x8086,
        &[
            0x10f8, 0x10fb, 0x10fc, 0x1517, 0x151c, 0x1528, 0x154d, 0x1557, 0x1558, 0x1560, 0x1563, 0x15ab, 0x15ac,
            0x15ad, 0x15c4, 0x15c8, 0x15ce, 0x15d1,
        ],
    ),
    (
        "megaraid_sas",
        0x1000,
        &[
            0x0014, 0x0015, 0x0016, 0x0017, 0x001b, 0x001c, 0x0052, 0x0053, 0x005b, 0x005d, 0x005f, 0x0060, 0x0071,
            0x0073, 0x0078, 0x0079, 0x00ce, 0x00cf, 0x10e1, 0x10e2, 0x10e5, 0x10e6,
        ],
    ),
    (
        "mlx5_core",
        0x15b3,
        &[0x1013, 0x1015, 0x1017, 0x1019, 0x101b, 0x101d, 0x101f, 0x1021, 0x1023, 0xa2d2, 0xa2d6, 0xa2dc],
    ),
    (
        "mpt3sas",
        0x1000,
        &[
            0x0064, 0x0065, 0x0072, 0x0086, 0x0087, 0x0090, 0x0096, 0x0097, 0x00aa, 0x00ab, 0x00ac, 0x00ad, 0x00ae,
            0x00af, 0x00c4, 0x00c5, 0x00c6, 0x00c7, 0x00c8, 0x00c9, 0x00e1, 0x00e2, 0x00e5, 0x00e6,
        ],
    ),
    ("smartpqi", 0x9005, &[0x028f]),
    ("tg3", 0x14e4, &[0x1655, 0x1656, 0x1657, 0x165f, 0x1665, 0x1682, 0x1686]),
    ("vmd", 0x8086, &[0x201d, 0x28c0]),
];

/// Whether all drivers that a kernel could have for a device are here.
pub(super) fn is_known(modalias: &str) -> bool {
    let steps = Cell::new(u64::MAX);
    patterns().any(|(_, pattern)| alias::matches(pattern.as_bytes(), modalias.as_bytes(), &steps) == Some(true))
}

/// Records as those of `modules.builtin.modinfo`, for the drivers that are compiled in.
pub(super) fn records(builtin: &BTreeSet<String>) -> String {
    let there = patterns().filter(|(driver, _)| builtin.contains(*driver));
    there.map(|(driver, pattern)| format!("{driver}.alias={pattern}\0")).collect()
}

/// All drivers, each with a pattern of devices.
fn patterns() -> impl Iterator<Item = (&'static str, String)> {
    let kinds = KINDS.iter().map(|(driver, pattern)| (*driver, (*pattern).to_owned()));
    let cards = CARDS.iter().flat_map(|(driver, vendor, devices)| {
        devices.iter().map(move |device| (*driver, format!("pci:v{vendor:08X}d{device:08X}sv*sd*bc*sc*i*")))
    });
    kinds.chain(cards)
}
