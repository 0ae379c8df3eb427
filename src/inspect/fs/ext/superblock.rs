//! The superblock of ext2, ext3 and ext4, as far as it may cost memory or arithmetic, and the identity in it. Offsets are
//! those of the kernel's `fs/ext4/ext4.h`.

use crate::inspect::fs::{FsError, Identity, name};
use crate::inspect::reader::DiskReader;

const OFFSET_BYTES: u64 = 1024;
const LEN_BYTES: usize = 1024;

/// Most groups that are read: 64 TiB of 4096-byte blocks. Each costs the parser 16 bytes.
const MAX_GROUPS: u64 = 1 << 19;
/// Largest block is 64 KiB: 1024 times two to this.
const MAX_BLOCK_SHIFT: u32 = 6;
const REVISION_WITH_SIZES: u32 = 1;
const OLD_INODE_BYTES: u32 = 128;
const INCOMPAT_64BIT: u32 = 0x80;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;

/// The numbers that are looked at.
struct Superblock<'a>(&'a [u8; LEN_BYTES]);

impl Superblock<'_> {
    const fn le16(&self, at: usize) -> u32 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]]) as u32
    }

    const fn le32(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }
}

/// Fails on numbers that no file system has; gives what it is called.
pub(in crate::inspect) fn check(volume: &dyn DiskReader) -> Result<Identity, FsError> {
    let mut bytes = [0; LEN_BYTES];
    volume.read_at(OFFSET_BYTES, &mut bytes)?;
    let superblock = Superblock(&bytes);
    if superblock.le32(0x4c) < REVISION_WITH_SIZES {
        return Err(FsError::unsupported("ext2 of revision 0"));
    }
    match wrong(&superblock, volume.len_bytes()) {
        Some(field) => Err(FsError::malformed(format!("the {field} of the superblock"))),
        // The parser takes them for inodes that are cut off: half of their checksum has no room.
        None if superblock.le16(0x58) == OLD_INODE_BYTES && superblock.le32(0x64) & RO_COMPAT_METADATA_CSUM != 0 => {
            Err(FsError::unsupported("ext with checksums in inodes of 128 bytes"))
        }
        None => Ok(identity(&bytes)),
    }
}

/// The number that cannot be.
fn wrong(superblock: &Superblock<'_>, len_bytes: u64) -> Option<&'static str> {
    let shift = superblock.le32(0x18);
    if shift > MAX_BLOCK_SHIFT {
        return Some("block size");
    }
    let block_bytes = 1024_u32 << shift;
    let (has_64bit, descriptor) = (superblock.le32(0x60) & INCOMPAT_64BIT != 0, superblock.le16(0xfe));
    if has_64bit && !(descriptor.is_power_of_two() && (64..=1024).contains(&descriptor)) {
        return Some("size of group descriptors");
    }
    let inode = superblock.le16(0x58);
    if !inode.is_power_of_two() || !(128..=block_bytes).contains(&inode) {
        return Some("size of inodes");
    }
    let (blocks_per_group, inodes_per_group) = (superblock.le32(0x20), superblock.le32(0x28));
    if !(1..=block_bytes * 8).contains(&inodes_per_group) {
        return Some("number of inodes in a group");
    }
    // A group of a bigalloc file system has as many clusters as its bitmap has bits, each of many blocks.
    if blocks_per_group == 0 {
        return Some("number of blocks in a group");
    }
    let high = if has_64bit { superblock.le32(0x150) } else { 0 };
    let blocks = u64::from(superblock.le32(0x4)) | (u64::from(high) << 32);
    let end = blocks.checked_mul(u64::from(block_bytes));
    if blocks == 0 || end.is_none_or(|end| end > len_bytes) {
        return Some("number of blocks");
    }
    let first = u64::from(superblock.le32(0x14));
    let groups = blocks.saturating_sub(first).div_ceil(u64::from(blocks_per_group));
    let inodes = u64::from(superblock.le32(0));
    if groups > MAX_GROUPS || inodes != groups * u64::from(inodes_per_group) {
        return Some("number of groups");
    }
    None
}

fn identity(bytes: &[u8; LEN_BYTES]) -> Identity {
    let label: Vec<u8> = bytes[0x78..0x88].iter().copied().take_while(|byte| *byte != 0).collect();
    let uuid: [u8; 16] = std::array::from_fn(|at| bytes[0x68 + at]);
    Identity {
        uuid: (uuid != [0; 16]).then(|| uuid::Uuid::from_bytes(uuid).to_string()),
        label: (!label.is_empty()).then(|| name(&label)),
    }
}
