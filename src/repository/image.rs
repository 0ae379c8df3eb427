//! Reading images: manifest, tree, groups. Each is checked against what names it.

use std::ops::Range;

use bytes::Bytes;

use super::chunk::{ChunkKey, ChunkLayout, Table, table_bytes};
use super::{Repository, RepositoryError, StoreError, key};
use crate::image::manifest::{self, ImageId, Manifest};
use crate::image::tree::Tree;

/// Bytes of a tree file beside its groups, and for each group.
const TREE_BYTES: (u64, u64) = (32, 33);

/// An image of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// Its id.
    pub id: ImageId,
    /// What describes it.
    pub manifest: Manifest,
}

/// The bytes of a group as they are stored: one zstd frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The group.
    pub group: u64,
    /// The frame.
    pub bytes: Bytes,
}

impl Repository {
    /// The image of this id.
    ///
    /// # Errors
    /// If there is none, or its manifest is not the one that the id names.
    pub async fn image(&self, id: ImageId) -> Result<StoredImage, RepositoryError> {
        let check = |bytes: Bytes| match Manifest::decode(&bytes) {
            Ok((manifest, actual)) if actual == id => Ok(manifest),
            Ok(_) => Err("it is another manifest".to_owned()),
            Err(error) => Err(crate::text::chain(&error)),
        };
        match self.store.get(&key::manifest(id), manifest::MAX_BYTES as u64, check).await {
            Ok(manifest) => Ok(StoredImage { id, manifest }),
            Err(StoreError::NotFound { location, .. }) => {
                Err(RepositoryError::NoImage { location, image: id.to_string() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The tree of an image.
    ///
    /// # Errors
    /// If it is not the one that the manifest names, or does not merge to the image's root.
    pub async fn tree(&self, image: &StoredImage) -> Result<Tree, RepositoryError> {
        let content = &image.manifest.content;
        let layout = image.manifest.layout()?;
        let limit = layout.groups().saturating_mul(TREE_BYTES.1).saturating_add(TREE_BYTES.0);
        let check = |bytes: Bytes| {
            if blake3::hash(&bytes) != content.tree.0 {
                return Err("it is another tree".to_owned());
            }
            let tree = Tree::decode(&bytes).map_err(|error| error.to_string())?;
            if tree.layout() == layout && tree.root() == content.root.0 {
                return Ok(tree);
            }
            Err("it does not merge to the root of the image".to_owned())
        };
        let path = key::tree(image.id);
        Ok(self.store.insist(|| self.store.get(&path, limit, &check)).await?)
    }

    /// The frames of some groups of a chunk, in order. Takes the whole object if most of it is wanted, else the table and
    /// then each stretch of groups by range. A frame has the checksum of the table; whether it is the image's, its
    /// chaining value tells whoever decodes it.
    ///
    /// # Errors
    /// If the chunk cannot be read, or is damaged.
    pub async fn frames(
        &self,
        chunks: &ChunkLayout,
        chunk: u64,
        key: ChunkKey,
        wanted: &[Range<u64>],
    ) -> Result<Vec<Frame>, RepositoryError> {
        let groups = chunks.groups(chunk);
        let count = groups.end - groups.start;
        let wanted: Vec<_> = wanted.iter().map(|range| within(range, groups.start)).collect();
        let path = key.path();
        let frames = if wanted.iter().map(ExactSizeIterator::len).sum::<usize>() as u64 * 2 >= count {
            let cut = |object: Bytes| {
                let table = Table::decode(key, &object, count)?;
                if table.object_bytes() != object.len() as u64 {
                    return Err("it is longer or shorter than its table says".to_owned());
                }
                wanted.iter().map(|range| table.cut(range.clone(), &object, 0)).collect::<Result<Vec<_>, _>>()
            };
            self.store.insist(|| self.store.get(&path, chunks.max_object_bytes(), &cut)).await?
        } else {
            let read = |part: Bytes| Table::decode(key, &part, count);
            let table = self.store.insist(|| self.store.get_range(&path, 0..table_bytes(count), read)).await?;
            let mut frames = Vec::new();
            for range in &wanted {
                frames.push(self.stretch(&path, &table, range, chunks.max_object_bytes()).await?);
            }
            frames
        };
        let groups = wanted.into_iter().flatten().map(|group| groups.start + group as u64);
        Ok(groups.zip(frames.into_iter().flatten()).map(|(group, bytes)| Frame { group, bytes }).collect())
    }

    /// The frames of contiguous groups of a chunk, by range.
    async fn stretch(
        &self,
        path: &object_store::path::Path,
        table: &Table,
        groups: &Range<usize>,
        limit: u64,
    ) -> Result<Vec<Bytes>, StoreError> {
        let at = |group: usize| table.frame(group);
        let range = match (at(groups.start), at(groups.end.saturating_sub(1))) {
            (Some(first), Some(last)) if last.end <= limit => first.start..last.end,
            _ => {
                let problem = format!("its table has no frames for groups {} to {}", groups.start, groups.end);
                let (location, object) = (self.location().to_owned(), path.to_string());
                return Err(StoreError::Damaged { location, object, problem });
            }
        };
        let cut = |part: Bytes| table.cut(groups.clone(), &part, range.start);
        self.store.get_range(path, range.clone(), cut).await
    }
}

/// Groups counted from the start of their chunk.
fn within(range: &Range<u64>, start: u64) -> Range<usize> {
    let at = |group: u64| usize::try_from(group.saturating_sub(start)).unwrap_or(usize::MAX);
    at(range.start)..at(range.end)
}
