//! A small image, and everything that a source can say about it.

use std::ops::Range;

use crate::image::group::{ChainingValue, GroupSize, Layout, is_zero};
use crate::image::tree::{Group, OffersDigest, Tree};
use crate::provision::feed::{Encoding, FeedEvent, Offered, Part};
use crate::provision::plan::ImageSpec;

/// The smallest groups, so that small images have many.
pub(super) const GROUP: u64 = 64 << 10;

/// A raw image. It begins with a boot sector, so that its first block is told from a marker.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) content: Vec<u8>,
    pub(super) layout: Layout,
}

/// Bytes that look like nothing else: the stream of a hash.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

impl Image {
    /// An image of `len_bytes`, whose groups in `holes` are zero.
    pub(super) fn new(len_bytes: usize, holes: &[u64]) -> Self {
        Self::with_groups(len_bytes, holes, GROUP)
    }

    pub(super) fn with_groups(len_bytes: usize, holes: &[u64], group_bytes: u64) -> Self {
        let layout = Layout::new(len_bytes as u64, GroupSize::new(group_bytes).expect("valid"));
        let mut content = noise(1, len_bytes);
        for &group in holes {
            content[bytes_of(layout, group..group + 1)].fill(0);
        }
        if !is_zero(&content[bytes_of(layout, 0..1)]) {
            sign(&mut content);
        }
        Self { content, layout }
    }

    pub(super) fn spec(&self, pinned: bool) -> ImageSpec {
        let root = pinned.then(|| *blake3::hash(&self.content).as_bytes());
        ImageSpec { layout: self.layout, root, logical_block_size: None }
    }

    pub(super) fn bytes(&self, groups: Range<u64>) -> &[u8] {
        &self.content[bytes_of(self.layout, groups)]
    }

    pub(super) fn is_hole(&self, group: u64) -> bool {
        is_zero(self.bytes(group..group + 1))
    }

    pub(super) fn value(&self, group: u64) -> ChainingValue {
        self.layout.chaining_value(group, self.bytes(group..group + 1))
    }

    pub(super) fn tree(&self) -> Tree {
        let group = |group| if self.is_hole(group) { Group::Hole } else { Group::Data(self.value(group)) };
        Tree::new(self.layout, (0..self.layout.groups()).map(group).collect()).expect("one for each group")
    }

    /// Cuts groups where data and holes meet.
    pub(super) fn stretches(&self, groups: Range<u64>) -> Vec<Range<u64>> {
        let mut stretches: Vec<Range<u64>> = Vec::new();
        for group in groups {
            match stretches.last_mut() {
                Some(last) if last.end == group && self.is_hole(last.start) == self.is_hole(group) => last.end += 1,
                _ => stretches.push(group..group + 1),
            }
        }
        stretches
    }

    /// Offers of groups.
    pub(super) fn offers(&self, groups: Range<u64>) -> Vec<FeedEvent> {
        let offer = |groups: Range<u64>| {
            let offered = if self.is_hole(groups.start) {
                Offered::Holes(groups.end - groups.start)
            } else {
                Offered::Data(groups.clone().map(|group| self.value(group)).collect())
            };
            FeedEvent::Offer { first: groups.start, groups: offered }
        };
        self.stretches(groups).into_iter().map(offer).collect()
    }

    /// The content of groups.
    pub(super) fn data(&self, groups: Range<u64>, encoding: Encoding) -> FeedEvent {
        let bytes = self.bytes(groups.clone());
        let payload = match encoding {
            Encoding::Raw => bytes.to_vec(),
            Encoding::Zstd => zstd::bulk::compress(bytes, 1).expect("compressed"),
        };
        part(groups, encoding, payload)
    }

    pub(super) fn finish(&self) -> FeedEvent {
        let mut digest = OffersDigest::default();
        for group in 0..self.layout.groups() {
            if self.is_hole(group) {
                digest.hole();
            } else {
                digest.data(&self.value(group));
            }
        }
        FeedEvent::Finish { offers_digest: digest.finish() }
    }
}

/// Any content for some groups.
pub(super) fn part(groups: Range<u64>, encoding: Encoding, payload: Vec<u8>) -> FeedEvent {
    let (first, count) = (groups.start, groups.end - groups.start);
    FeedEvent::Data(Part { first, count, encoding, payload: payload.into(), budget: None })
}

/// Makes a boot sector of the first sector, as far as there is one.
pub(super) fn sign(content: &mut [u8]) {
    if let Some(signature) = content.get_mut(510..512) {
        signature.copy_from_slice(&[0x55, 0xaa]);
    }
}

pub(super) fn is_bootable(content: &[u8]) -> bool {
    content.get(510..512) == Some(&[0x55, 0xaa])
}

fn bytes_of(layout: Layout, groups: Range<u64>) -> Range<usize> {
    let range = layout.byte_range(groups.start, groups.end - groups.start);
    usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small")
}
