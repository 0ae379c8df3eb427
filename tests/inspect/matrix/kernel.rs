//! Kernel modules and initramfs, as small as they can be.

use std::io::Write as _;

/// Drivers of disks, which an initramfs must have.
pub(super) const BOOT_DRIVERS: [&str; 6] = ["ahci", "megaraid_sas", "mpt3sas", "nvme", "virtio_blk", "virtio_scsi"];

/// An object file with a `.modinfo` section.
pub(super) fn module(records: &[&str]) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let info: Vec<u8> = records.iter().flat_map(|record| [record.as_bytes(), b"\0"].concat()).collect();
    let (names_at, sections_at) = (64 + info.len(), (64 + info.len() + names.len()).next_multiple_of(8));
    let mut file = program();
    file[16] = 1;
    file[40..48].copy_from_slice(&(sections_at as u64).to_le_bytes());
    // Lengths of this header and of the others, and how many sections there are, the last with their names.
    file[52..].copy_from_slice(&[64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
    file.extend(&info);
    file.extend(names);
    file.resize(sections_at + 64, 0);
    for (name, kind, at, len) in [(1_u32, 1_u32, 64, info.len()), (10, 3, names_at, names.len())] {
        let start = file.len();
        file.extend([name.to_le_bytes(), kind.to_le_bytes()].concat());
        file.resize(start + 24, 0);
        file.extend([(at as u64).to_le_bytes(), (len as u64).to_le_bytes()].concat());
        file.resize(start + 64, 0);
    }
    file
}

/// The begin of a program for `x86_64`.
pub(super) fn program() -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(64, 0);
    (header[18], header[20]) = (62, 1);
    header
}

/// The driver of the SDI iNIC, for a kernel.
pub(super) fn sdi_module(version: &str, release: &str) -> Vec<u8> {
    let vermagic = format!("vermagic={release} SMP mod_unload");
    module(&[&format!("version={version}"), &vermagic, "alias=pci:v000019E5d00001610sv*sd*bc*sc*i*"])
}

/// An archive with modules of a kernel.
pub(super) fn archive(release: &str, modules: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for name in modules {
        let name = format!("usr/lib/modules/{release}/kernel/{name}.ko");
        let mut entry = cpio::newc::Builder::new(&name).mode(0o100_644).write(&mut out, 4);
        entry.write_all(b"code").expect("memory");
        entry.finish().expect("memory");
    }
    cpio::newc::trailer(out).expect("memory")
}

/// What many an initramfs begins with.
pub(super) fn microcode() -> Vec<u8> {
    let mut out = Vec::new();
    let mut entry = cpio::newc::Builder::new("kernel/x86/microcode/GenuineIntel.bin").write(&mut out, 3000);
    entry.write_all(&[0xa5; 3000]).expect("memory");
    entry.finish().expect("memory");
    let mut out = cpio::newc::trailer(out).expect("memory");
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

pub(super) fn xz(content: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

pub(super) fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 1).expect("memory")
}
