//! The servers that tests are about. What their firmware calls them is what was seen in the field, in logs of kernels and
//! dumps of DMI; ids of controllers are those of the PCI ID Project. Tests only.

use std::sync::LazyLock;

use super::smbios::{self, Structure};
use super::{Card, Machine, Processors};
use crate::hardware::inventory::Inventory;

const XEON_V5: Processors = Processors {
    info: "vendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Gold 6151 CPU @ 3.00GHz\n\
           flags\t\t: fpu vme sse sse2 ht lm nx pclmulqdq ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c \
           rdrand lahf_lm abm bmi1 avx2 bmi2 avx512f vmx",
    sockets: 2,
    cores_per_socket: 2,
    threads_per_core: 2,
};
const XEON_V3: Processors = Processors {
    info: "vendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) CPU E5-2690 v3 @ 2.60GHz\n\
           flags\t\t: fpu lm nx ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c lahf_lm abm bmi1 avx2 bmi2 vmx",
    ..XEON_V5
};
const KUNPENG_920: Processors = Processors {
    info: "BogoMIPS\t: 200.00\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid\n\
           CPU implementer\t: 0x48\nCPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: 0xd01\nCPU revision\t: 0",
    sockets: 2,
    cores_per_socket: 2,
    threads_per_core: 1,
};
const RAID_3508: Card = Card { ids: [0x1000, 0x0016, 0x19e5, 0xd215], class: 0x01_0400, driver: Some("megaraid_sas") };
const RAID_3108: Card = Card { ids: [0x1000, 0x005d, 0x19e5, 0xd207], class: 0x01_0400, driver: Some("megaraid_sas") };
const SAS_3008: Card = Card { ids: [0x1000, 0x0097, 0x19e5, 0xd20a], class: 0x01_0700, driver: Some("mpt3sas") };
const SAS_KUNPENG: Card = Card { ids: [0x19e5, 0xa230, 0, 0], class: 0x01_0700, driver: Some("hisi_sas_v3_hw") };
const AHCI: Card = Card { ids: [0x8086, 0xa182, 0x19e5, 0x371e], class: 0x01_0601, driver: Some("ahci") };
const NVME_ES3000: Card = Card { ids: [0x19e5, 0x3714, 0x19e5, 0x5312], class: 0x01_0802, driver: Some("nvme") };
const SDI_SD100: Card = Card { ids: [0x19e5, 0x1610, 0x19e5, 0x0001], class: 0x01_0000, driver: Some("scsi_ep_front") };
const NIC_X722: Card = Card { ids: [0x8086, 0x37d0, 0x19e5, 0xd123], class: 0x02_0000, driver: Some("i40e") };
const NIC_82599: Card = Card { ids: [0x8086, 0x10f8, 0x19e5, 0xd111], class: 0x02_0000, driver: Some("ixgbe") };
const NIC_HI1822: Card = Card { ids: [0x19e5, 0x1822, 0x19e5, 0xd136], class: 0x02_0000, driver: Some("hinic") };
const VIRTIO_BLK: Card = Card { ids: [0x1af4, 0x1042, 0x1af4, 0x1100], class: 0x01_0000, driver: Some("virtio-pci") };
const VIRTIO_NET: Card = Card { ids: [0x1af4, 0x1041, 0x1af4, 0x1100], class: 0x02_0000, driver: Some("virtio-pci") };

const RAID_PORT: &str = "pci0000:17/0000:17:00.0/0000:18:00.0";
const NVME_PORT: &str = "pci0000:3a/0000:3a:00.0/0000:3b:00.0";
const NIC_PORT: &str = "pci0000:5d/0000:5d:00.0/0000:5e:00.0";

/// Every server of the catalogue.
pub(crate) fn all() -> Vec<Machine> {
    vec![
        huawei_2288h_v5(),
        xfusion_2288h_v5(),
        xfusion_5288_v5(),
        xfusion_2288h_v6(),
        huawei_rh2288h_v3(),
        huawei_ch121_v3(),
        taishan_2280_v2(),
        taishan_200_2280(),
        virtio_vm(),
        hostile(),
        empty(),
    ]
}

/// The inventory of every server, by its name. They are built once.
pub(crate) fn inventories() -> &'static [(&'static str, Inventory)] {
    static ALL: LazyLock<Vec<(&'static str, Inventory)>> =
        LazyLock::new(|| all().iter().map(|machine| (machine.name, machine.inventory())).collect());
    &ALL
}

/// The inventory of one server.
pub(crate) fn inventory(name: &str) -> &'static Inventory {
    let (_, inventory) = inventories().iter().find(|(known, _)| *known == name).expect("name");
    inventory
}

/// A 2288H V5 (Purley) as Huawei made it: RAID, an NVMe disk, two ports of 10 GbE.
pub(crate) fn huawei_2288h_v5() -> Machine {
    purley("2288H V5 of Huawei").product("Huawei", "2288H V5", "BC11SPSCB0", "2102311XBS10K1000001")
}

/// The same server with the firmware of xFusion.
pub(crate) fn xfusion_2288h_v5() -> Machine {
    purley("2288H V5 of xFusion").product("XFUSION", "2288H V5", "BC11SPSCB10", "2102313DLJ10N5000002")
}

/// Another product on the same board.
pub(crate) fn xfusion_5288_v5() -> Machine {
    purley("5288 V5 of xFusion").product("XFUSION", "5288 V5", "BC11SPSCB0", "2102313DLK10N5000003")
}

/// The next generation.
pub(crate) fn xfusion_2288h_v6() -> Machine {
    purley("2288H V6 of xFusion").product("XFUSION", "2288H V6", "BC13MBSBC", "2102314CQV10P1000004")
}

/// All that servers of the platform Purley have in common, and name alike: version, SKU and family.
fn purley(name: &'static str) -> Machine {
    Machine::new(name, "x86_64")
        .dmi(&[
            ("product_version", "Purley"),
            ("product_sku", "Purley"),
            ("product_family", "Purley"),
            ("bios_vendor", "INSYDE Corp."),
            ("bios_version", "7.97"),
            ("bios_date", "09/08/2021"),
        ])
        .processors(XEON_V5)
        .memory(391_000_000, 0)
        .tables(&modules("M393A4K40CB2-CVF", 12, [smbios::bmc()]))
        .uefi(false)
        .bmc("6.54")
        .card(RAID_PORT, RAID_3508)
        .scsi_disk(&format!("{RAID_PORT}/host0/target0:2:0"), "sda", "AVAGO", "00e2a1b0c4d5e6f7")
        .card(NVME_PORT, NVME_ES3000)
        .nvme_disk(NVME_PORT, 0, "032WGPFSK1000123")
        .card("pci0000:00/0000:00:17.0", AHCI)
        .card(NIC_PORT, NIC_X722)
        .nic(NIC_PORT, "eno1", "28:a6:db:11:22:01")
        .card("pci0000:5d/0000:5d:00.0/0000:5e:00.1", NIC_X722)
        .nic("pci0000:5d/0000:5d:00.0/0000:5e:00.1", "eno2", "28:a6:db:11:22:02")
}

/// An RH2288H V3 that starts through BIOS, with an EVS volume behind an SDI card.
pub(crate) fn huawei_rh2288h_v3() -> Machine {
    let sdi = "pci0000:80/0000:80:02.0/0000:82:00.0";
    Machine::new("RH2288H V3", "x86_64")
        .product("Huawei", "RH2288H V3", "BC11HGSA0", "2102310YJA10G1000005")
        .dmi(&[("bios_vendor", "INSYDE Corp."), ("bios_version", "5.15"), ("bios_date", "05/21/2019")])
        .processors(XEON_V3)
        .memory(263_000_000, 0)
        .tables(&modules("HMA42GR7MFR4N-TF", 8, [smbios::bmc()]))
        .bmc("3.16")
        .card(RAID_PORT, RAID_3108)
        .scsi_disk(&format!("{RAID_PORT}/host0/target0:2:0"), "sda", "LSI", "0012a1b0c4d5e6f7")
        .card(sdi, SDI_SD100)
        .scsi_disk(&format!("{sdi}/host1/target1:0:0"), "sdb", "VBS fileIO", "7b1e9ad0-6c3f-4f0e")
        .card(NIC_PORT, NIC_82599)
        .nic(NIC_PORT, "enp94s0f0", "04:25:c5:11:22:03")
}

/// A blade of an E9000 with a SAS host adapter.
pub(crate) fn huawei_ch121_v3() -> Machine {
    Machine::new("CH121 V3", "x86_64")
        .product("Huawei", "CH121 V3", "IT11SGCA1", "2102310QPD10H2000006")
        .dmi(&[("chassis_type", "28"), ("bios_version", "1.57")])
        .processors(XEON_V3)
        .memory(263_000_000, 0)
        .tables(&modules("HMA42GR7MFR4N-TF", 8, [smbios::bmc()]))
        .bmc("6.57")
        .card(RAID_PORT, SAS_3008)
        .scsi_disk(&format!("{RAID_PORT}/host0/port-0:0/end_device-0:0/target0:0:0"), "sda", "ST600MM0088", "W420XYZ1")
        .card(NIC_PORT, NIC_82599)
        .nic(NIC_PORT, "enp94s0f0", "04:25:c5:11:22:04")
}

/// A Kunpeng 920 server under its first name.
pub(crate) fn taishan_2280_v2() -> Machine {
    kunpeng("TaiShan 2280 V2").product("Huawei", "TaiShan 2280 V2", "BC82AMDA", "2102312RLW10L3000007")
}

/// The same line under its second name.
pub(crate) fn taishan_200_2280() -> Machine {
    kunpeng("TaiShan 200 (Model 2280)").product(
        "Huawei",
        "TaiShan 200 (Model 2280)",
        "BC82AMDDA",
        "2102313BVX10M6000008",
    )
}

fn kunpeng(name: &'static str) -> Machine {
    let sas = "pci0000:74/0000:74:02.0";
    Machine::new(name, "aarch64")
        .dmi(&[("bios_vendor", "Huawei Corp."), ("bios_version", "1.75"), ("bios_date", "01/20/2021")])
        .processors(KUNPENG_920)
        .memory(535_000_000, 0)
        .tables(&modules("M393A4K40CB2-CVF", 16, [smbios::cpu("Kunpeng 920-4826"), smbios::bmc()]))
        .uefi(false)
        .bmc("3.63")
        .card(sas, SAS_KUNPENG)
        .scsi_disk(&format!("{sas}/host0/port-0:0/end_device-0:0/target0:0:0"), "sda", "HWE32SS3008", "2102351NPE10")
        .card("pci0000:00/0000:00:0c.0/0000:05:00.0", NVME_ES3000)
        .nvme_disk("pci0000:00/0000:00:0c.0/0000:05:00.0", 0, "032WGPFSK1000456")
        .card(NIC_PORT, NIC_HI1822)
        .nic(NIC_PORT, "enp94s0", "28:a6:db:11:22:05")
}

/// A guest of QEMU. Its firmware names no board, and its SMBIOS tables no BMC.
pub(crate) fn virtio_vm() -> Machine {
    let (disk, nic) = ("pci0000:00/0000:00:04.0", "pci0000:00/0000:00:03.0");
    Machine::new("virtio VM", "x86_64")
        .dmi(&[
            ("sys_vendor", "QEMU"),
            ("product_name", "Standard PC (Q35 + ICH9, 2009)"),
            ("product_version", "pc-q35-7.2"),
            ("chassis_vendor", "QEMU"),
            ("chassis_type", "1"),
            ("bios_vendor", "SeaBIOS"),
            ("bios_version", "1.16.2"),
            ("product_uuid", "4c4c4544-0051-3010-8052-b4c04f4d3132"),
        ])
        .processors(Processors { sockets: 1, cores_per_socket: 2, threads_per_core: 1, ..XEON_V5 })
        .memory(2_000_000, 16)
        .card(disk, VIRTIO_BLK)
        .virtio_disk(disk, "virtio1", "vda", "disk-1")
        .card(nic, VIRTIO_NET)
        .device(&format!("{nic}/virtio0"), "virtio", "virtio:d00000001v00001AF4", Some("virtio_net"))
        .nic(&format!("{nic}/virtio0"), "eth0", "52:54:00:12:34:56")
}

/// A server whose firmware, disk and cards say what nobody should.
pub(crate) fn hostile() -> Machine {
    Machine::new("hostile", "x86_64")
        .dmi(&[
            ("sys_vendor", "Huawei\u{1b}[2J"),
            ("product_name", "2288H V5\u{202e}\u{0}5V"),
            ("product_version", &"V".repeat(257)),
            ("product_sku", &"S".repeat(5000)),
            ("product_family", " \t "),
            ("board_vendor", "To be filled by O.E.M."),
            ("chassis_type", "-1"),
            ("product_serial", "0000000000"),
            ("product_uuid", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"),
            ("chassis_asset_tag", "x\r\nForged: line"),
        ])
        .fifo("sys/class/dmi/id/board_name")
        .processors(Processors { info: "vendor_id\t: \u{1b}]0;x\u{7}\nmodel name\t:\nflags\t\t:", ..XEON_V5 })
        .fifo("proc/meminfo")
        .fifo("sys/firmware/dmi/tables/DMI")
        .uefi(true)
        .fifo("sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
        .card(RAID_PORT, RAID_3108)
        .scsi_disk(&format!("{RAID_PORT}/host0/target0:2:0"), "sda", "Evil\u{1b}[8m", "\u{7}\u{7}serial")
        .fifo(&format!("sys/devices/{RAID_PORT}/host0/target0:2:0/0:0:0:0/modalias"))
        .card(NIC_PORT, NIC_X722)
        .nic(NIC_PORT, "eno1", "00:00:00:00:00:00")
        .fifo(&format!("sys/devices/{NIC_PORT}/net/eno1/operstate"))
        .bmc("\u{1b}c")
        .attribute("devices/platform/ipmi_bmc.0/ipmi_version", [0xff, 0xfe])
}

/// A kernel that shows nothing of the hardware: no PCI, no firmware, no network.
pub(crate) fn empty() -> Machine {
    let machine = Machine::new("empty", "x86_64");
    for directory in ["bus", "class", "firmware"] {
        std::fs::remove_dir_all(machine.fixture.path("sys").join(directory)).expect("directory");
    }
    machine
}

/// Structures of a firmware: `count` modules of 32 GiB beside empty slots, and more.
fn modules<const N: usize>(part: &str, count: u32, more: [Structure; N]) -> Vec<Structure> {
    let module = |slot: u32| {
        if slot < count {
            smbios::dimm(&format!("DIMM{slot:02}0"), 32 << 10, "Samsung", part, &format!("39A5A7{slot:02X}"))
        } else {
            smbios::dimm(&format!("DIMM{slot:02}0"), 0, "NO DIMM", "NO DIMM", "NO DIMM")
        }
    };
    more.into_iter().chain((0..24).map(module)).collect()
}
