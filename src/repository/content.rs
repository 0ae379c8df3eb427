//! The content of images, proven: what comes from here was compared with the chaining values of the image.

use std::io;
use std::ops::Range;

use super::chunk::ChunkLayout;
use super::image::Frame;
use super::mark::StoredChunk;
use super::{Repository, RepositoryError, StoreError, StoredImage};
use crate::image::group::Layout;
use crate::image::tree::{Group, Tree};

/// Memory for chunks that are read at once, in bytes: of each, the object and the content.
const CHUNK_MEMORY: u64 = 64 << 20;
/// Most chunks that are read at once.
const MOST_AT_ONCE: u64 = 32;

/// A group of an image that is no hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenGroup {
    /// The group.
    pub group: u64,
    /// Its content.
    pub content: Vec<u8>,
}

/// A group as it is to be, until its frame is decoded.
struct Expected {
    frame: Frame,
    is: Group,
}

impl Repository {
    /// The content of one chunk of an image but for holes, group by group. Decodes and hashes on a thread for blocking
    /// work.
    ///
    /// # Errors
    /// If the chunk cannot be read, or is not the image's.
    pub async fn chunk_content(
        &self,
        image: &StoredImage,
        tree: &Tree,
        chunk: u64,
    ) -> Result<Vec<ProvenGroup>, RepositoryError> {
        self.content_of(&image.chunk_layout()?, tree, chunk).await
    }

    /// The same of what may not be an image yet.
    pub(super) async fn content_of(
        &self,
        chunks: &ChunkLayout,
        tree: &Tree,
        chunk: u64,
    ) -> Result<Vec<ProvenGroup>, RepositoryError> {
        let groups = tree.groups().get(super::mark::positions(chunks.groups(chunk))).unwrap_or_default();
        match chunks.key(chunk, groups) {
            Some(key) => self.proven(chunks, &StoredChunk { chunk, key, groups }).await,
            None => Ok(Vec::new()),
        }
    }

    pub(super) async fn proven(
        &self,
        chunks: &ChunkLayout,
        stored: &StoredChunk<'_>,
    ) -> Result<Vec<ProvenGroup>, RepositoryError> {
        let first = chunks.groups(stored.chunk).start;
        let frames = self.frames(chunks, stored.chunk, stored.key, &data_ranges(first, stored.groups)).await?;
        let data = stored.groups.iter().filter(|group| **group != Group::Hole);
        let expected: Vec<_> = frames.into_iter().zip(data).map(|(frame, &is)| Expected { frame, is }).collect();
        let layout = chunks.layout();
        let decoded = tokio::task::spawn_blocking(move || expected.iter().map(|one| one.prove(layout)).collect()).await;
        let decoded: Result<_, String> = decoded.map_err(|lost| {
            let (location, source) = (self.location().to_owned(), io::Error::other(lost));
            RepositoryError::Process { location, source }
        })?;
        decoded.map_err(|problem| {
            let (location, object) = (self.location().to_owned(), stored.key.path().to_string());
            StoreError::Damaged { location, object, problem }.into()
        })
    }
}

impl Expected {
    fn prove(&self, layout: Layout) -> Result<ProvenGroup, String> {
        let group = self.frame.group;
        let content = zstd::bulk::decompress(&self.frame.bytes, layout.group_len(group))
            .map_err(|error| format!("the frame of group {group} cannot be decoded: {error}"))?;
        if self.is == Group::Data(layout.chaining_value(group, &content)) {
            return Ok(ProvenGroup { group, content });
        }
        Err(format!("group {group} is not the one that the image has"))
    }
}

/// How many chunks may be read at once within a bounded memory.
pub fn chunks_at_once(chunks: &ChunkLayout) -> usize {
    let memory = chunks.max_object_bytes() * 2;
    usize::try_from((CHUNK_MEMORY / memory).clamp(2, MOST_AT_ONCE)).unwrap_or(2)
}

/// Stretches of groups that are no holes.
fn data_ranges(first: u64, groups: &[Group]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for group in (first..).zip(groups).filter(|(_, group)| **group != Group::Hole).map(|(group, _)| group) {
        match ranges.last_mut() {
            Some(last) if last.end == group => last.end += 1,
            _ => ranges.push(group..group + 1),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::data_ranges;
    use crate::image::group::ChainingValue;
    use crate::image::tree::Group;

    #[test]
    fn ranges_leave_out_holes() {
        let data = Group::Data(ChainingValue([1; 32]));
        let groups = [Group::Hole, data, data, Group::Hole, data];
        assert_eq!(data_ranges(8, &groups), [9..11, 12..13]);
        assert!(data_ranges(8, &[Group::Hole]).is_empty());
    }
}
