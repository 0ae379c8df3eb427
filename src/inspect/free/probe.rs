//! What a volume holds, by its signatures. One that bears several is nobody's: an old one may be a leftover, and which is
//! the old one cannot be known.

use super::FileSystem;
use super::reason::{Owner, Structure, WholeReason};
use crate::inspect::reader::DiskReader;
use crate::inspect::record::Record;

/// A signature: where it is, in bytes from the begin of the volume, and its bytes.
type Signature = (u64, &'static [u8]);

pub(in crate::inspect) const FILE_SYSTEMS: [(FileSystem, Signature); 3] = [
    (FileSystem::Ext, (1024 + 56, &[0x53, 0xef])),
    (FileSystem::Xfs, (0, b"XFSB")),
    (FileSystem::Btrfs, (0x1_0040, b"_BHRfS_M")),
];

/// First bytes of the RAID superblocks of Linux, Intel and SNIA.
const MD: &[u8] = &[0xfc, 0x4e, 0x2b, 0xa9];
const IMSM: &[u8] = b"Intel Raid ISM Cfg Sig. ";
const DDF: &[u8] = &[0xde, 0x11, 0xde, 0x11];

/// Signatures of what is not looked into. LVM and swap have several places, by block and page size.
const FOREIGN: [(Owner, Signature); 27] = [
    (Owner::Lvm, (0, b"LABELONE")),
    (Owner::Lvm, (512, b"LABELONE")),
    (Owner::Lvm, (1024, b"LABELONE")),
    (Owner::Lvm, (1536, b"LABELONE")),
    (Owner::Luks, (0, b"LUKS\xba\xbe")),
    (Owner::Luks, (0x4000, b"SKUL\xba\xbe")),
    (Owner::Raid, (0, MD)),
    (Owner::Raid, (4096, MD)),
    (Owner::Bcache, (4096 + 24, &[0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca])),
    (Owner::Swap, (4096 - 10, b"SWAPSPACE2")),
    (Owner::Swap, (8192 - 10, b"SWAPSPACE2")),
    (Owner::Swap, (16384 - 10, b"SWAPSPACE2")),
    (Owner::Swap, (65536 - 10, b"SWAPSPACE2")),
    (Owner::Swap, (4096 - 10, b"SWAP-SPACE")),
    (Owner::Swap, (4096 - 10, b"S1SUSPEND")),
    (Owner::Ntfs, (3, b"NTFS    ")),
    (Owner::Fat, (54, b"FAT12   ")),
    (Owner::Fat, (54, b"FAT16   ")),
    (Owner::Fat, (82, b"FAT32   ")),
    (Owner::Exfat, (3, b"EXFAT   ")),
    (Owner::BitLocker, (3, b"-FVE-FS-")),
    (Owner::Verity, (0, VERITY)),
    (Owner::F2fs, (1024, &[0x10, 0x20, 0xf5, 0xf2])),
    (Owner::Zfs, (0x2_0000, &[0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0])),
    (Owner::Zfs, (0x2_0000, &[0, 0, 0, 0, 0, 0xba, 0xb1, 0x0c])),
    (Owner::Iso, (0x8001, b"CD001")),
    (Owner::Squashfs, (0, b"hsqs")),
];

/// First bytes of dm-verity's superblock.
pub(super) const VERITY: &[u8] = b"verity\0\0";

/// The only file system whose signature the volume bears.
pub(super) fn identify(volume: &dyn DiskReader) -> Result<FileSystem, WholeReason> {
    let mut found = Vec::new();
    for (file_system, signature) in FILE_SYSTEMS {
        if bears(volume, signature)? {
            found.push(file_system);
        }
    }
    if let Some(owner) = foreign(volume)? {
        return Err(WholeReason::Foreign { owner });
    }
    match found.as_slice() {
        [] => Err(WholeReason::Unknown),
        [only] => Ok(*only),
        [_, _, ..] => Err(WholeReason::Foreign { owner: Owner::Several }),
    }
}

/// What else the volume belongs to.
pub(in crate::inspect) fn foreign(volume: &dyn DiskReader) -> Result<Option<Owner>, WholeReason> {
    for (owner, signature) in FOREIGN {
        if bears(volume, signature)? {
            return Ok(Some(owner));
        }
    }
    if ends_as_raid(volume)? { Ok(Some(Owner::Raid)) } else { Ok(None) }
}

/// Whether `signature` is there; what lies beyond the end of the volume is not.
pub(in crate::inspect) fn bears(volume: &dyn DiskReader, (offset, bytes): Signature) -> Result<bool, WholeReason> {
    let len = bytes.len() as u64;
    if offset.checked_add(len).is_none_or(|end| end > volume.len_bytes()) {
        return Ok(false);
    }
    Ok(Record::load(volume, Structure::Signature, offset, len)?.bytes() == bytes)
}

/// Whether this is a member of a RAID by its end: its begin may look like something else, and be only a part of it.
///
/// That is so for formats 0.90 and 1.0 of Linux, and those of firmware, which a disk bears and not a partition.
pub(super) fn ends_as_raid(volume: &dyn DiskReader) -> Result<bool, WholeReason> {
    let sectors = volume.len_bytes() / 512;
    for (sector, bytes) in [
        ((sectors & !127).checked_sub(128), MD),
        (sectors.checked_sub(16).map(|sector| sector & !7), MD),
        (sectors.checked_sub(2), IMSM),
        (sectors.checked_sub(1), DDF),
    ] {
        if let Some(sector) = sector
            && bears(volume, (sector * 512, bytes))?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::{DDF, FOREIGN, IMSM, MD, Owner, WholeReason, identify};
    use crate::inspect::free::FileSystem;

    fn put(volume: &mut [u8], at: usize, bytes: &[u8]) {
        volume[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn ext() -> Vec<u8> {
        let mut volume = vec![0; 1 << 20];
        put(&mut volume, 1080, &[0x53, 0xef]);
        volume
    }

    #[test]
    fn one_signature_is_believed_and_two_are_not() {
        assert_eq!(identify(&vec![0_u8; 1 << 20]), Err(WholeReason::Unknown));
        assert_eq!(identify(&vec![0_u8; 10]), Err(WholeReason::Unknown));
        assert_eq!(identify(&ext()), Ok(FileSystem::Ext));
        let mut both = ext();
        put(&mut both, 0x1_0040, b"_BHRfS_M");
        assert_eq!(identify(&both), Err(WholeReason::Foreign { owner: Owner::Several }));
    }

    #[test]
    fn a_file_system_below_something_else_is_not_believed() {
        for (owner, (offset, bytes)) in FOREIGN {
            let mut volume = ext();
            put(&mut volume, usize::try_from(offset).expect("small"), bytes);
            assert_eq!(identify(&volume), Err(WholeReason::Foreign { owner }), "{offset}");
        }
        for (from_the_end, bytes) in [(64 << 10, MD), (8 << 10, MD), (1024, IMSM), (512, DDF)] {
            let mut volume = ext();
            let at = volume.len() - from_the_end;
            put(&mut volume, at, bytes);
            assert_eq!(identify(&volume), Err(WholeReason::Foreign { owner: Owner::Raid }));
        }
    }
}
