//! Damaged file systems: never a panic, an endless loop, or a range that is not on the disk.
//!
//! Checksums would hide most of what damage can do, so that the damaged blocks of the checksummed file systems are sealed
//! again: every reader sees numbers that a stranger chose.

use std::io;
use std::ops::Range;

use super::rig::{Image, Kind};
use crate::inspect::crc::{crc32c, crc32c_update};
use crate::inspect::free::{FileSystem, find, parse, probe};
use crate::inspect::reader::{DiskReader, FileReader};

/// Damaged images of each file system.
const ROUNDS: u64 = 400;
/// Unit in which reads are noted and damage is done.
const BLOCK_BYTES: u64 = 512;

/// An image that is read with some of its bytes changed, and its checksums made right again.
#[derive(Debug)]
struct Damaged<'a> {
    image: &'a dyn DiskReader,
    seed: u64,
    /// One in so many reads is damaged.
    rarity: u64,
    file_system: FileSystem,
}

impl DiskReader for Damaged<'_> {
    fn len_bytes(&self) -> u64 {
        self.image.len_bytes()
    }

    /// The damage depends on the place alone: the same bytes are the same each time.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.image.read_at(offset, out)?;
        let mut random =
            fastrand::Rng::with_seed(self.seed ^ (offset / BLOCK_BYTES).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if out.len() < 64 || random.u64(..self.rarity) > 0 {
            return Ok(());
        }
        for _ in 0..random.usize(1..4) {
            let at = if random.bool() { random.usize(..out.len().min(256)) } else { random.usize(..out.len()) };
            let interesting = [0, 1, 2, 7, 0x7f, 0x80, 0xff, random.u8(..)];
            let len = [1, 2, 4, 8][random.usize(..4)].min(out.len() - at);
            out[at..at + len].fill(interesting[random.usize(..interesting.len())]);
        }
        if random.u8(..8) > 0 {
            seal(self.file_system, offset, out);
        }
        Ok(())
    }
}

/// Makes the checksum of a piece right, by guessing what it is from where it is and how it begins.
fn seal(file_system: FileSystem, offset: u64, out: &mut [u8]) {
    let put = |out: &mut [u8], at: usize| {
        out[at..at + 4].fill(0);
        let sum = crc32c(&[out]);
        out[at..at + 4].copy_from_slice(&sum.to_le_bytes());
    };
    match (file_system, out.len()) {
        (FileSystem::Ext, 1024) if offset == 1024 => {
            let sum = crc32c_update(u32::MAX, &out[..0x3fc]);
            out[0x3fc..].copy_from_slice(&sum.to_le_bytes());
        }
        (FileSystem::Xfs, 512..) if out.starts_with(b"XFSB") => put(out, 224),
        (FileSystem::Xfs, 512..) if out.starts_with(b"XAGF") => put(out, 216),
        (FileSystem::Xfs, 512..) if out.starts_with(b"AB3B") => put(out, 52),
        (FileSystem::Btrfs, 4096..) => {
            let sum = crc32c(&[&out[32..]]);
            out[..4].copy_from_slice(&sum.to_le_bytes());
        }
        _ => {}
    }
}

/// Damages an image in many ways; says how often something was found free all the same.
fn damage(image: &Image) -> u64 {
    let mut content = vec![0; usize::try_from(image.len_bytes).expect("fits")];
    FileReader::new(image.file(), image.len_bytes).read_at(0, &mut content).expect("read");
    let file_system = probe::identify(&content).expect("known");
    let mut survived = 0;
    for seed in 0..ROUNDS {
        let rarity = [3, 10, 40][usize::try_from(seed % 3).expect("small")];
        let damaged = Damaged { image: &content, seed, rarity, file_system };
        if let Ok(found) = parse(&damaged, file_system) {
            survived += 1;
            assert!(found.end_bytes <= image.len_bytes, "seed {seed}");
            check(&found.free.finish(), image.len_bytes, seed);
        }
        check(&find(&damaged, 512).ranges, image.len_bytes, seed);
    }
    survived
}

fn check(ranges: &[Range<u64>], len_bytes: u64, seed: u64) {
    assert!(ranges.iter().all(|range| range.start < range.end && range.end <= len_bytes), "seed {seed}");
    assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "seed {seed}");
}

#[test]
#[ignore = "needs root, loop devices and the tools of ext4, XFS and btrfs"]
fn damage_never_does_more_than_take_a_volume_whole() {
    for (kind, options) in [
        (Kind::Ext2, &["-b", "1024"][..]),
        (Kind::Ext4, &[]),
        (Kind::Ext4, &["-O", "bigalloc"]),
        (Kind::Ext4, &["-O", "meta_bg,^resize_inode,^metadata_csum", "-b", "1024"]),
        (Kind::Xfs, &[]),
        (Kind::Xfs, &["-b", "size=1024"]),
        (Kind::Btrfs, &[]),
    ] {
        let survived = damage(&Image::aged(kind, options));
        assert!(survived < ROUNDS, "{kind:?} {options:?}: nothing was ever damaged");
    }
}
