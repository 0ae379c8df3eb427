//! What there is, and what refers to it: all images with their trees, the chunks of a tree, the objects of all chunks.

use std::ops::{AddAssign, Range};

use futures_util::{Stream, StreamExt as _, stream};

use super::chunk::{ChunkKey, ChunkLayout};
use super::store::Listed;
use super::{Repository, RepositoryError, StoreError, StoredImage, key};
use crate::image::manifest::ImageId;
use crate::image::tree::{Group, Tree};

/// Trees that are read at once: of a large image, one takes several MiB.
const TREES: usize = 4;
/// Directories of chunks that are listed at once.
const LISTS: usize = 8;

/// Objects, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub objects: u64,
    /// Their length together, in bytes.
    pub bytes: u64,
}

impl AddAssign<u64> for Amount {
    /// Adds an object of so many bytes.
    fn add_assign(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// A chunk of an image that is an object.
#[derive(Debug, Clone)]
pub(super) struct StoredChunk<'t> {
    pub(super) chunk: u64,
    pub(super) key: ChunkKey,
    pub(super) groups: &'t [Group],
}

impl StoredImage {
    /// How it is cut into chunks.
    ///
    /// # Errors
    /// If its manifest makes no sense.
    pub fn chunk_layout(&self) -> Result<ChunkLayout, RepositoryError> {
        Ok(ChunkLayout::new(self.manifest.layout()?, self.manifest.content.chunk_size_bytes))
    }
}

impl ChunkLayout {
    /// The chunks of a tree of this layout that are stored: those that are no holes.
    pub(super) fn stored<'t>(&self, tree: &'t Tree) -> impl Iterator<Item = StoredChunk<'t>> + use<'t> {
        let chunks = *self;
        (0..chunks.chunks()).filter_map(move |chunk| {
            let groups = tree.groups().get(positions(chunks.groups(chunk))).unwrap_or_default();
            chunks.key(chunk, groups).map(|key| StoredChunk { chunk, key, groups })
        })
    }
}

/// Groups as positions in a tree.
pub(super) fn positions(groups: Range<u64>) -> Range<usize> {
    let position = |group| usize::try_from(group).unwrap_or(usize::MAX);
    position(groups.start)..position(groups.end)
}

impl Repository {
    /// An image and its tree; none if there is no such image, or none any more.
    pub(super) async fn image_and_tree(&self, id: ImageId) -> Result<Option<(StoredImage, Tree)>, RepositoryError> {
        let image = match self.image(id).await {
            Ok(image) => image,
            Err(RepositoryError::NoImage { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match self.tree(&image).await {
            Ok(tree) => Ok(Some((image, tree))),
            // Whoever deletes an image deletes its manifest first.
            Err(error) if error.is_not_found() && !self.has_image(id).await? => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Images and their trees, as [`image_and_tree`](Self::image_and_tree) finds them, in no order.
    pub(super) fn trees(
        &self,
        ids: Vec<ImageId>,
    ) -> impl Stream<Item = (ImageId, Result<Option<(StoredImage, Tree)>, RepositoryError>)> {
        stream::iter(ids).map(move |id| async move { (id, self.image_and_tree(id).await) }).buffer_unordered(TREES)
    }

    /// Whether there is such an image.
    pub(super) async fn has_image(&self, id: ImageId) -> Result<bool, StoreError> {
        Ok(self.store.len_bytes(&key::manifest(id)).await?.is_some())
    }

    /// All chunks that there are, in no order, one directory of them after another.
    pub(super) fn chunk_objects(&self) -> impl Stream<Item = Result<Vec<(ChunkKey, Listed)>, StoreError>> {
        let list = move |dir| async move {
            let listed = self.store.list(&dir).await?;
            let keyed = listed.into_iter().filter_map(|object| {
                let key = ChunkKey::parse(object.path.filename()?)?;
                (key.path() == object.path).then_some((key, object))
            });
            Ok(keyed.collect())
        };
        stream::iter(key::chunk_dirs()).map(list).buffer_unordered(LISTS)
    }
}
