//! Chunks: some contiguous groups as one object.
//!
//! An object begins with a table: a mark, the number of groups, and for each the length of its zstd frame (0 for a hole)
//! and the CRC-32 of it; then the CRC-32 of the chunk's key and the table. The frames follow, each decodable alone, so that a full
//! install takes a chunk with one request and a delta takes one group by range. The checksums prove nothing: chaining
//! values do, later. They tell a transfer that went wrong, which is worth another attempt, from an image that is wrong.

use std::ops::Range;

use bytes::Bytes;

pub use super::key::ChunkKey;
use crate::image::group::Layout;
use crate::image::tree::{Group, subtree_value};

const MARK: &[u8; 8] = b"BMSCHNK1";
/// Mark, number of groups.
const HEAD_BYTES: usize = 12;
/// Length and checksum of a frame.
const ENTRY_BYTES: usize = 8;
/// Checksum of the table.
const TAIL_BYTES: usize = 4;

/// How the groups of an image are put into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLayout {
    layout: Layout,
    groups_per_chunk: u64,
}

impl ChunkLayout {
    /// Chunks of `chunk_bytes` of content, a power of two; a group that is larger is a chunk.
    pub fn new(layout: Layout, chunk_bytes: u64) -> Self {
        Self { layout, groups_per_chunk: (chunk_bytes / layout.group_size().bytes()).max(1) }
    }

    /// How the content is cut into groups.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// Number of groups of every chunk but the last.
    pub const fn groups_per_chunk(&self) -> u64 {
        self.groups_per_chunk
    }

    /// The chunk that a group is in.
    pub const fn chunk_of(&self, group: u64) -> u64 {
        group / self.groups_per_chunk
    }

    /// The groups of a chunk.
    pub fn groups(&self, chunk: u64) -> Range<u64> {
        let first = chunk.saturating_mul(self.groups_per_chunk).min(self.layout.groups());
        first..first.saturating_add(self.groups_per_chunk).min(self.layout.groups())
    }

    /// Number of chunks, with those that are all holes and so are not stored.
    pub const fn chunks(&self) -> u64 {
        self.layout.groups().div_ceil(self.groups_per_chunk)
    }

    /// The key of a chunk with these groups; none if all are holes.
    pub fn key(&self, chunk: u64, groups: &[Group]) -> Option<ChunkKey> {
        if groups.iter().all(|group| *group == Group::Hole) {
            return None;
        }
        let value = subtree_value(self.layout, groups, self.groups(chunk).start);
        Some(ChunkKey { value, group_size: self.layout.group_size() })
    }

    /// Most bytes that the object of a chunk can have: zstd makes nothing much longer than it was.
    pub fn max_object_bytes(&self) -> u64 {
        let groups = self.groups_per_chunk;
        let frame = zstd::zstd_safe::compress_bound(self.layout.group_size().as_usize()) as u64;
        table_bytes(groups) + groups * frame
    }
}

/// Length of the table of a chunk, in bytes.
pub fn table_bytes(groups: u64) -> u64 {
    HEAD_BYTES as u64 + groups * ENTRY_BYTES as u64 + TAIL_BYTES as u64
}

/// Puts the frames of a chunk's groups together; holes have none.
pub fn encode(key: ChunkKey, frames: &[Option<Vec<u8>>]) -> Bytes {
    let lens: usize = frames.iter().flatten().map(Vec::len).sum();
    let mut out = Vec::with_capacity(HEAD_BYTES + frames.len() * ENTRY_BYTES + TAIL_BYTES + lens);
    out.extend_from_slice(MARK);
    out.extend_from_slice(&word(frames.len()));
    for frame in frames {
        let frame = frame.as_deref().unwrap_or_default();
        out.extend_from_slice(&word(frame.len()));
        out.extend_from_slice(&crc32fast::hash(frame).to_le_bytes());
    }
    let checksum = checksum(key, &out);
    out.extend_from_slice(&checksum.to_le_bytes());
    frames.iter().flatten().for_each(|frame| out.extend_from_slice(frame));
    out.into()
}

/// The checksum of a table. It covers the key as well, so that another chunk in the place of this one is found out.
fn checksum(key: ChunkKey, table: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&key.value.0);
    hasher.update(&key.group_size.bytes().to_le_bytes());
    hasher.update(table);
    hasher.finalize()
}

/// A length as it is stored. A frame is at most a little longer than 16 MiB.
fn word(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes()
}

/// The table of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Of each group: where its frame is in the object, and the checksum of it; none for a hole.
    frames: Vec<Option<(Range<u64>, u32)>>,
}

impl Table {
    /// Reads the table of a chunk of this key and of so many groups from the start of its object.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(key: ChunkKey, object: &[u8], groups: u64) -> Result<Self, String> {
        let len = usize::try_from(table_bytes(groups)).unwrap_or(usize::MAX);
        let table = object.get(..len).ok_or("its table is cut short")?;
        let (body, written) = table.split_at(len - TAIL_BYTES);
        if checksum(key, body).to_le_bytes() != written {
            return Err("its table has another checksum".to_owned());
        }
        let (head, entries) = body.split_at(HEAD_BYTES);
        if &head[..MARK.len()] != MARK || head[MARK.len()..] != word(usize::try_from(groups).unwrap_or(usize::MAX)) {
            return Err("it is no chunk of that many groups".to_owned());
        }
        let mut at = len as u64;
        let (entries, _) = entries.as_chunks::<4>();
        let numbers: Vec<u32> = entries.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        let (pairs, _) = numbers.as_chunks::<2>();
        let frames = pairs.iter().map(|&[len, checksum]| {
            let range = at..at + u64::from(len);
            at = range.end;
            (len > 0).then_some((range, checksum))
        });
        Ok(Self { frames: frames.collect() })
    }

    /// Length of the whole object, in bytes.
    pub fn object_bytes(&self) -> u64 {
        let last = self.frames.iter().flatten().next_back();
        last.map_or(table_bytes(self.frames.len() as u64), |(range, _)| range.end)
    }

    /// Where the frame of a group is, counted within the chunk; none for a hole.
    pub fn frame(&self, group: usize) -> Option<Range<u64>> {
        self.frames.get(group)?.as_ref().map(|(range, _)| range.clone())
    }

    /// Cuts the frames of some groups out of `part`, the bytes of the object from `offset` on.
    ///
    /// # Errors
    /// What is wrong, if a frame is not there or damaged.
    pub fn cut(&self, groups: Range<usize>, part: &Bytes, offset: u64) -> Result<Vec<Bytes>, String> {
        let cut = |group: usize| {
            let (range, checksum) =
                self.frames.get(group).and_then(Option::as_ref).ok_or_else(|| format!("group {group} is a hole"))?;
            let at = |at: u64| at.checked_sub(offset).and_then(|at| usize::try_from(at).ok());
            let frame = at(range.start).zip(at(range.end)).filter(|&(_, end)| end <= part.len());
            let (start, end) = frame.ok_or_else(|| format!("the frame of group {group} is cut short"))?;
            let frame = part.slice(start..end);
            if crc32fast::hash(&frame) != *checksum {
                return Err(format!("the frame of group {group} has another checksum"));
            }
            Ok(frame)
        };
        groups.map(cut).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{ChunkKey, ChunkLayout, Table, encode, table_bytes};
    use crate::image::group::{ChainingValue, GroupSize, Layout};
    use crate::image::tree::{Group, Tree};

    const GROUP: usize = 64 << 10;

    const KEY: ChunkKey = ChunkKey { value: ChainingValue([7; 32]), group_size: GroupSize::DEFAULT };

    fn object() -> Bytes {
        encode(KEY, &[Some(b"first".to_vec()), None, Some(b"third frame".to_vec())])
    }

    #[test]
    fn frames_come_back_from_the_whole_and_from_a_part() {
        let object = object();
        let table = Table::decode(KEY, &object, 3).expect("whole");
        assert_eq!(table.object_bytes(), object.len() as u64);
        assert_eq!(table.frame(1), None);
        assert_eq!(table.cut(0..1, &object, 0).expect("there"), [Bytes::from_static(b"first")]);
        let third = table.frame(2).expect("data");
        let part = object.slice(usize::try_from(third.start).expect("small")..);
        assert_eq!(table.cut(2..3, &part, third.start).expect("there"), [Bytes::from_static(b"third frame")]);
        table.cut(0..1, &part, third.start).expect_err("not in this part");
        table.cut(0..3, &object, 0).expect_err("a hole has no frame");
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_found() {
        let object = object();
        let read = |bytes: &[u8]| {
            let table = Table::decode(KEY, bytes, 3)?;
            let bytes = Bytes::copy_from_slice(bytes);
            Ok::<_, String>((table.cut(0..1, &bytes, 0)?, table.cut(2..3, &bytes, 0)?))
        };
        read(&object).expect("whole");
        for bit in 0..object.len() * 8 {
            let mut flipped = object.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            read(&flipped).expect_err(&format!("bit {bit}"));
        }
        for len in 0..object.len() {
            read(&object[..len]).expect_err(&format!("{len} bytes"));
        }
        Table::decode(KEY, &object, 4).expect_err("another number of groups");
        Table::decode(KEY, b"<html>", 3).expect_err("another file");
        let other = ChunkKey { value: ChainingValue([8; 32]), ..KEY };
        Table::decode(other, &object, 3).expect_err("another chunk");
        assert_eq!(table_bytes(3), 40);
    }

    #[test]
    fn the_key_of_a_chunk_is_that_of_its_subtree_whatever_lies_around_it() {
        let content: Vec<u8> =
            (0u32..).flat_map(|word| word.wrapping_mul(77).to_le_bytes()).take(11 * GROUP + 5).collect();
        let layout = Layout::new(content.len() as u64, GroupSize::new(GROUP as u64).expect("valid"));
        let chunks = ChunkLayout::new(layout, 4 * GROUP as u64);
        let values =
            (0..).zip(content.chunks(GROUP)).map(|(group, data)| Group::Data(layout.chaining_value(group, data)));
        let groups: Vec<_> = values.collect();
        assert_eq!((chunks.chunks(), chunks.groups(2), chunks.chunk_of(7)), (3, 8..12, 1));
        let key = |chunk: u64, groups: &[Group]| {
            let range = chunks.groups(chunk);
            let range = usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small");
            chunks.key(chunk, &groups[range])
        };
        let keys: Vec<_> = (0..3).filter_map(|chunk| key(chunk, &groups)).collect();
        let [a, b, c] = keys[..] else { panic!("three keys") };
        let left = blake3::hazmat::merge_subtrees_non_root(&a.value.0, &b.value.0, blake3::hazmat::Mode::Hash);
        let root = blake3::hazmat::merge_subtrees_root(&left, &c.value.0, blake3::hazmat::Mode::Hash);
        assert_eq!(root, Tree::new(layout, groups.clone()).expect("all").root());
        assert_eq!(chunks.key(0, &[Group::Hole; 4]), None);
        let mut holed = groups;
        holed[1] = Group::Hole;
        assert!(key(0, &holed).is_some_and(|key| key != a));
    }
}
