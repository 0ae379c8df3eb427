//! The group tree: the chaining values of all groups, and the root that they merge to.
//!
//! The root is the ordinary BLAKE3 of the whole content, what `b3sum` prints. Merging follows the tree of the BLAKE3
//! paper, section 2.1: the left subtree of a node holds the largest power of two of chunks that leaves something for
//! the right one.

use blake3::Hash;
use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::group::{ChainingValue, GroupSize, GroupSizeInvalid, Layout};
use super::zero;

/// What a group of an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// All zero. Its chaining value follows from its offset.
    Hole,
    /// Data, with its chaining value.
    Data(ChainingValue),
}

/// The tree of a whole image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    layout: Layout,
    groups: Vec<Group>,
}

/// Bytes that are no tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeInvalid {
    /// The header is not that of a tree file.
    #[error("not a tree file of a known version")]
    Header,
    /// The group size is impossible.
    #[error(transparent)]
    GroupSize(#[from] GroupSizeInvalid),
    /// The length is not that of the groups in the header.
    #[error("tree file has {actual} bytes, not {expected}")]
    Length {
        /// Bytes there should be.
        expected: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// An entry is neither 1 with a chaining value nor all zero.
    #[error("group {group} is neither data nor hole")]
    Entry {
        /// The group.
        group: u64,
    },
}

const MAGIC: &[u8; 16] = b"BMS-GROUP-TREE1\n";
const HEADER_BYTES: usize = 32;
/// Bytes of one group in a tree file and in an offers digest: for data the byte 1 and a chaining value, for a hole zeroes.
const ENTRY_BYTES: usize = 33;
const DATA_FLAG: u8 = 1;
const HOLE_ENTRY: [u8; ENTRY_BYTES] = [0; ENTRY_BYTES];
/// Groups below a node from which on its children are merged on two threads: their holes may have to be hashed.
const PARALLEL_GROUPS: usize = 1 << 16;

impl Tree {
    /// A tree of these groups.
    ///
    /// # Errors
    /// If their number is not that of the layout.
    pub fn new(layout: Layout, groups: Vec<Group>) -> Result<Self, TreeInvalid> {
        if groups.len() as u64 == layout.groups() {
            return Ok(Self { layout, groups });
        }
        Err(TreeInvalid::Length { expected: layout.groups(), actual: groups.len() as u64 })
    }

    /// How the content is cut.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// All groups, in order.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Bytes of groups that are no holes.
    pub fn data_bytes(&self) -> u64 {
        data_bytes(self.layout, 0, &self.groups)
    }

    /// BLAKE3 of the raw content.
    pub fn root(&self) -> Hash {
        match self.groups.as_slice() {
            [] => blake3::hash(&[]),
            [Group::Data(only)] => Hash::from_bytes(only.0),
            [Group::Hole] => blake3::hash(&vec![0; self.layout.group_len(0)]),
            many => {
                let (left, right) = children(self.layout, many, 0);
                merge_subtrees_root(&left, &right, Mode::Hash)
            }
        }
    }

    /// The tree file: a 32-byte header (magic, content length, group size), then 33 bytes for
    /// each group.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.groups.len() * ENTRY_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.layout.len_bytes().to_le_bytes());
        out.extend_from_slice(&self.layout.group_size().bytes().to_le_bytes());
        for group in &self.groups {
            match group {
                Group::Hole => out.extend_from_slice(&HOLE_ENTRY),
                Group::Data(value) => {
                    out.push(DATA_FLAG);
                    out.extend_from_slice(&value.0);
                }
            }
        }
        out
    }

    /// Reads a tree file. It proves nothing before its [`root`](Self::root) is compared.
    ///
    /// # Errors
    /// If the bytes are not exactly those of a tree file.
    pub fn decode(bytes: &[u8]) -> Result<Self, TreeInvalid> {
        let (header, entries) = bytes.split_at_checked(HEADER_BYTES).ok_or(TreeInvalid::Header)?;
        let (magic, numbers) = header.split_at_checked(MAGIC.len()).ok_or(TreeInvalid::Header)?;
        let (&[len, group_size], []) = numbers.as_chunks::<8>() else { return Err(TreeInvalid::Header) };
        if magic != MAGIC {
            return Err(TreeInvalid::Header);
        }
        let layout = Layout::new(u64::from_le_bytes(len), GroupSize::new(u64::from_le_bytes(group_size))?);
        let expected = layout.groups().saturating_mul(ENTRY_BYTES as u64);
        if entries.len() as u64 != expected {
            return Err(TreeInvalid::Length { expected, actual: entries.len() as u64 });
        }
        let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
        let groups = entries.iter().zip(0..).map(decode_entry).collect::<Result<_, _>>()?;
        Ok(Self { layout, groups })
    }
}

/// Bytes of those of some contiguous groups, from `first` on, that are no holes.
pub fn data_bytes(layout: Layout, first: u64, groups: &[Group]) -> u64 {
    let data = (first..).zip(groups).filter(|(_, group)| **group != Group::Hole);
    data.map(|(group, _)| layout.group_len(group) as u64).sum()
}

/// The chaining value of the subtree over some groups, the first of which is `first`: a power of two of them at a
/// multiple of it, or what is left at the end of the content. Of a single group, its own value.
pub fn subtree_value(layout: Layout, groups: &[Group], first: u64) -> ChainingValue {
    ChainingValue(subtree(layout, groups, first))
}

/// The chaining values of both children of a node over at least two groups, the first of which is `first`.
fn children(layout: Layout, groups: &[Group], first: u64) -> ([u8; 32], [u8; 32]) {
    let (left, right) = groups.split_at(groups.len().next_power_of_two() / 2);
    let middle = first + left.len() as u64;
    if groups.len() < PARALLEL_GROUPS {
        return (subtree(layout, left, first), subtree(layout, right, middle));
    }
    std::thread::scope(|scope| {
        let other = scope.spawn(|| subtree(layout, left, first));
        let right = subtree(layout, right, middle);
        (other.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked)), right)
    })
}

/// The chaining value over at least one group. Depth is the logarithm of the number of groups, at most 48.
fn subtree(layout: Layout, groups: &[Group], first: u64) -> [u8; 32] {
    let bytes = layout.byte_range(first, groups.len() as u64);
    let len = bytes.end - bytes.start;
    match groups {
        [Group::Data(value)] => value.0,
        [Group::Hole] if len < layout.group_size().bytes() => zero::hash(bytes.start, len),
        holes if len.is_power_of_two() && holes.iter().all(|group| *group == Group::Hole) => {
            zero::subtree(bytes.start, len)
        }
        _ => {
            let (left, right) = children(layout, groups, first);
            merge_subtrees_non_root(&left, &right, Mode::Hash)
        }
    }
}

fn decode_entry((entry, group): (&[u8; ENTRY_BYTES], u64)) -> Result<Group, TreeInvalid> {
    match entry.split_first() {
        Some((&DATA_FLAG, value)) => value.try_into().map(|value| Group::Data(ChainingValue(value))).ok(),
        _ if *entry == HOLE_ENTRY => Some(Group::Hole),
        _ => None,
    }
    .ok_or(TreeInvalid::Entry { group })
}

/// BLAKE3 over offers in order of groups: what `PushFinish.offers_digest` is.
#[derive(Debug, Default)]
pub struct OffersDigest(blake3::Hasher);

impl OffersDigest {
    /// The digest of all groups of an image.
    pub fn of(groups: &[Group]) -> [u8; 32] {
        let mut digest = Self::default();
        for group in groups {
            match group {
                Group::Hole => digest.hole(),
                Group::Data(value) => digest.data(value),
            }
        }
        digest.finish()
    }

    /// Adds a data group.
    pub fn data(&mut self, chaining_value: &ChainingValue) {
        self.0.update(&[DATA_FLAG]).update(&chaining_value.0);
    }

    /// Adds a hole.
    pub fn hole(&mut self) {
        self.0.update(&HOLE_ENTRY);
    }

    /// The digest of what was added.
    pub fn finish(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{Group, Tree, TreeInvalid};
    use crate::image::group::{GroupSize, Layout, is_zero};

    fn tree_of(content: &[u8], group_size: u64) -> Tree {
        let layout = Layout::new(content.len() as u64, GroupSize::new(group_size).expect("valid"));
        let size = usize::try_from(group_size).expect("small");
        let groups = (0..).zip(content.chunks(size)).map(|(index, data)| {
            if is_zero(data) { Group::Hole } else { Group::Data(layout.chaining_value(index, data)) }
        });
        Tree::new(layout, groups.collect()).expect("all groups")
    }

    fn content(len: usize) -> Vec<u8> {
        (0u32..).flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_le_bytes()).take(len).collect()
    }

    #[test]
    fn root_is_the_plain_hash_at_every_border() {
        const GROUP: usize = 64 << 10;
        let mut lengths = vec![0, 1];
        for border in [1024, 2048, GROUP, 2 * GROUP, 3 * GROUP, 4 * GROUP, 5 * GROUP, 7 * GROUP, 8 * GROUP, 33 * GROUP]
        {
            lengths.extend([border - 1, border, border + 1]);
        }
        for len in lengths {
            let data = content(len);
            assert_eq!(tree_of(&data, GROUP as u64).root(), blake3::hash(&data), "{len} bytes");
        }
    }

    #[test]
    fn root_does_not_depend_on_the_group_size() {
        let data = content((35 << 20) + 4097);
        let plain = blake3::hash(&data);
        for log in 16..=24 {
            assert_eq!(tree_of(&data, 1 << log).root(), plain, "groups of 2^{log}");
        }
    }

    #[test]
    fn holes_anywhere_count_like_the_zeroes_they_are() {
        const GROUP: usize = 64 << 10;
        for len in [1, GROUP, GROUP + 1, 7 * GROUP + 512, 300 * GROUP, 300 * GROUP + 1] {
            for data in [0..0, 0..1, len - 1..len, len / 2..len / 2 + 1] {
                let mut content = vec![0; len];
                content[data.clone()].fill(7);
                assert_eq!(
                    tree_of(&content, GROUP as u64).root(),
                    blake3::hash(&content),
                    "{len} bytes, data {data:?}"
                );
            }
        }
    }

    #[test]
    fn tree_files_come_back_and_damage_is_refused() {
        let mut data = content(5 * (64 << 10) + 9);
        data[64 << 10..128 << 10].fill(0);
        let tree = tree_of(&data, 64 << 10);
        assert!(tree.groups()[1] == Group::Hole && tree.groups()[0] != Group::Hole);
        let bytes = tree.encode();
        assert_eq!(Tree::decode(&bytes).expect("whole"), tree);
        for cut in [0, 15, 31, 32, bytes.len() - 1] {
            assert!(Tree::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut flag = bytes.clone();
        flag[32] = 2;
        assert!(matches!(Tree::decode(&flag), Err(TreeInvalid::Entry { group: 0 })));
        let mut huge = bytes;
        huge[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(Tree::decode(&huge), Err(TreeInvalid::Length { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_tree_or_a_clear_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            assert!(Tree::decode(&bytes).is_err());
        }

        #[test]
        fn root_is_the_plain_hash_of_any_length(len in 0usize..600_000) {
            let data = content(len);
            assert_eq!(tree_of(&data, 64 << 10).root(), blake3::hash(&data));
        }
    }
}
