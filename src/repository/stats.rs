//! How much a repository holds, and what sharing and compression spare.

use std::collections::HashSet;

use futures_util::StreamExt as _;

use super::chunk::ChunkKey;
use super::work::Work;
use super::{Amount, Repository, RepositoryError, key};
use crate::image::tree::data_bytes;

/// How much a repository holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Number of images.
    pub images: u64,
    /// Length of the raw content of all images, in bytes.
    pub logical_bytes: u64,
    /// Bytes of it that are not in holes.
    pub data_bytes: u64,
    /// Bytes of it that are kept: what several images have in common counts once.
    pub unique_bytes: u64,
    /// Chunks that images refer to.
    pub live: Amount,
    /// Chunks that no image refers to.
    pub unreferenced: Amount,
    /// Those of them that are to be deleted.
    pub condemned: Amount,
}

impl Stats {
    /// Data of all images for each byte of it that is kept once; none if there is no data.
    pub fn dedup_ratio(&self) -> Option<f64> {
        ratio(self.data_bytes, self.unique_bytes)
    }

    /// Data that is kept for each byte of the objects that it is kept in; none if there is no data.
    pub fn compression_ratio(&self) -> Option<f64> {
        ratio(self.unique_bytes, self.live.bytes)
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is shown with two digits")]
fn ratio(whole: u64, part: u64) -> Option<f64> {
    (part > 0).then(|| whole as f64 / part as f64)
}

impl Repository {
    /// Counts what there is.
    ///
    /// # Errors
    /// If it cannot be listed, or anything about an image is damaged.
    pub async fn stats(&self, work: &Work) -> Result<Stats, RepositoryError> {
        self.store.check_writable(&key::condemned())?;
        let mut stats = Stats::default();
        let live = self.count_images(&mut stats, work).await?;
        let condemned = self.condemned().await?;
        let mut dirs = Box::pin(self.chunk_objects());
        while let Some(objects) = dirs.next().await {
            for (key, object) in objects? {
                if live.contains(&key) {
                    stats.live += object.size_bytes;
                    continue;
                }
                stats.unreferenced += object.size_bytes;
                if condemned.contains(key) {
                    stats.condemned += object.size_bytes;
                }
            }
            work.step(0);
        }
        Ok(stats)
    }

    /// Counts images, and gives the chunks that they refer to.
    async fn count_images(&self, stats: &mut Stats, work: &Work) -> Result<HashSet<ChunkKey>, RepositoryError> {
        let ids = self.image_ids().await?;
        work.find(ids.len() as u64 + key::chunk_dirs().count() as u64);
        let mut live = HashSet::new();
        let mut trees = Box::pin(self.trees(ids));
        while let Some((_, found)) = trees.next().await {
            work.step(0);
            let Some((image, tree)) = found? else { continue };
            stats.images += 1;
            stats.logical_bytes += tree.layout().len_bytes();
            stats.data_bytes += image.manifest.content.data_bytes;
            let chunks = image.chunk_layout()?;
            for stored in chunks.stored(&tree) {
                if live.insert(stored.key) {
                    stats.unique_bytes += data_bytes(tree.layout(), chunks.groups(stored.chunk).start, stored.groups);
                }
            }
        }
        Ok(live)
    }
}
