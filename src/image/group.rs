//! Groups: the fixed power-of-two slices of the raw content that are the unit of proof.
//!
//! BLAKE3 is a Merkle tree over 1024-byte chunks. A slice whose length is a power of two of chunks, and whose offset is
//! a multiple of that length, is a subtree; `blake3::hazmat` gives its chaining value from its offset alone.

use std::fmt;
use std::ops::Range;

use blake3::hazmat::HasherExt as _;

/// Smallest group size: 64 KiB.
pub const MIN_GROUP_BYTES: u64 = 64 << 10;
/// Largest group size: 16 MiB.
pub const MAX_GROUP_BYTES: u64 = 16 << 20;
/// Group size where none is named: 256 KiB.
pub const DEFAULT_GROUP_BYTES: u64 = 256 << 10;
/// Most groups of an image whose group size is not named: a tree of 8 MiB.
const USUAL_GROUPS: u64 = 1 << 18;
/// Most bytes that are read, hashed and written as one: larger requests win nothing.
pub const MAX_RUN_BYTES: u64 = 4 << 20;

/// A size that is no group size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("group size {bytes} is not a power of two from 65536 to 16777216")]
pub struct GroupSizeInvalid {
    /// The size, in bytes.
    pub bytes: u64,
}

/// A valid group size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupSize(u64);

impl GroupSize {
    /// The size where none is named.
    pub const DEFAULT: Self = Self(DEFAULT_GROUP_BYTES);

    /// Checks a size in bytes.
    ///
    /// # Errors
    /// If it is not a power of two from 64 KiB to 16 MiB.
    pub fn new(bytes: u64) -> Result<Self, GroupSizeInvalid> {
        let valid = bytes.is_power_of_two() && (MIN_GROUP_BYTES..=MAX_GROUP_BYTES).contains(&bytes);
        if valid { Ok(Self(bytes)) } else { Err(GroupSizeInvalid { bytes }) }
    }

    /// The size for an image of `len_bytes` where none is named: 256 KiB, and more where the tree would get large.
    pub fn for_image(len_bytes: u64) -> Self {
        let mut size = Self::default();
        while size.0 < MAX_GROUP_BYTES && len_bytes.div_ceil(size.0) > USUAL_GROUPS {
            size.0 *= 2;
        }
        size
    }

    /// The size, in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The size as a length in memory.
    #[expect(clippy::cast_possible_truncation, reason = "at most 16 MiB")]
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl Default for GroupSize {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The chaining value of a group; of the only group of an image, the plain BLAKE3, which is the root.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainingValue(pub [u8; 32]);

impl fmt::Debug for ChainingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", blake3::Hash::from_bytes(self.0).to_hex())
    }
}

/// How the raw content of an image is cut into groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    len_bytes: u64,
    group_size: GroupSize,
}

impl Layout {
    /// The layout of `len_bytes` of content.
    pub const fn new(len_bytes: u64, group_size: GroupSize) -> Self {
        Self { len_bytes, group_size }
    }

    /// Length of the raw content, in bytes.
    pub const fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Size of every group but the last.
    pub const fn group_size(&self) -> GroupSize {
        self.group_size
    }

    /// Number of groups; none if there is no content.
    pub const fn groups(&self) -> u64 {
        self.len_bytes.div_ceil(self.group_size.0)
    }

    /// Number of groups of a whole run: 4 MiB, or one group if that is larger.
    pub const fn groups_per_run(&self) -> u64 {
        let groups = MAX_RUN_BYTES / self.group_size.0;
        if groups == 0 { 1 } else { groups }
    }

    /// The bytes of `count` groups from `first` on. The last group of the content may be shorter.
    ///
    /// Groups beyond the content have no bytes.
    pub fn byte_range(&self, first: u64, count: u64) -> Range<u64> {
        let start = first.saturating_mul(self.group_size.0).min(self.len_bytes);
        let end = first.saturating_add(count).saturating_mul(self.group_size.0).min(self.len_bytes);
        start..end
    }

    /// Length of one group, in bytes.
    #[expect(clippy::cast_possible_truncation, reason = "at most 16 MiB")]
    pub fn group_len(&self, group: u64) -> usize {
        let range = self.byte_range(group, 1);
        (range.end - range.start) as usize
    }

    /// The chaining value of group `group` with the content `data`.
    ///
    /// `data` has exactly the group's length: another length gives a value that matches nothing.
    pub fn chaining_value(&self, group: u64, data: &[u8]) -> ChainingValue {
        if self.groups() <= 1 {
            return ChainingValue(*blake3::hash(data).as_bytes());
        }
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(group * self.group_size.0);
        hasher.update(data);
        ChainingValue(hasher.finalize_non_root())
    }
}

/// Adds a group to ranges of groups, at their end.
pub fn extend(ranges: &mut Vec<Range<u64>>, group: u64) {
    match ranges.last_mut() {
        Some(last) if last.end == group => last.end += 1,
        _ => ranges.push(group..group + 1),
    }
}

/// Whether all bytes are zero.
pub fn is_zero(data: &[u8]) -> bool {
    // A fold over a block of fixed length becomes vector instructions; the early exit is between blocks.
    let blocks = data.chunks_exact(512);
    let tail = blocks.remainder();
    blocks.chain([tail]).all(|block| block.iter().fold(0, |seen, &byte| seen | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::{GroupSize, Layout, is_zero};

    #[test]
    fn group_sizes_are_powers_of_two_within_bounds() {
        for bytes in [64 << 10, 256 << 10, 16 << 20] {
            assert_eq!(GroupSize::new(bytes).expect("valid").bytes(), bytes);
        }
        for bytes in [0, 1, 32 << 10, 96 << 10, (64 << 10) + 1, 32 << 20, u64::MAX] {
            assert_eq!(GroupSize::new(bytes).expect_err("invalid").bytes, bytes);
        }
    }

    #[test]
    fn large_images_get_larger_groups() {
        for (len, kib) in [(0, 256), (64 << 30, 256), ((64 << 30) + 1, 512), (1 << 40, 4096), (u64::MAX, 16384)] {
            assert_eq!(GroupSize::for_image(len).bytes(), kib << 10, "{len} bytes");
        }
    }

    #[test]
    fn byte_ranges_end_with_the_content() {
        let layout = Layout::new((256 << 10) * 3 + 5, GroupSize::default());
        assert_eq!(layout.groups(), 4);
        assert_eq!(layout.group_len(3), 5);
        assert_eq!(layout.byte_range(2, 100), (512 << 10)..(768 << 10) + 5);
        assert!(layout.byte_range(u64::MAX, 2).is_empty());
        assert_eq!(Layout::new(0, GroupSize::default()).groups(), 0);
    }

    #[test]
    fn one_set_bit_anywhere_is_not_zero() {
        for len in [1, 511, 512, 513, 4096 + 7] {
            let mut data = vec![0; len];
            assert!(is_zero(&data));
            for at in [0, len / 2, len - 1] {
                data[at] = 0x80;
                assert!(!is_zero(&data), "length {len}, byte {at}");
                data[at] = 0;
            }
        }
    }
}
