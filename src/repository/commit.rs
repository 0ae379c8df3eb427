//! The end of an upload: what turns chunks into an image that others see, in an order that leaves nothing half.
//!
//! Name, place among the private images, tree, index, manifest. A crash in between leaves names and places without an
//! image, which the collector takes back.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use object_store::path::Path;

use super::upload::Upload;
use super::{Repository, RepositoryError, StoreError, StoredImage, key};
use crate::image::manifest::{Digest, ImageId, Kind, Manifest};
use crate::image::tree::Tree;

/// An id as the content of an index object.
const ID_BYTES: u64 = 64;

impl Upload {
    /// Makes an image of what was written. Of the manifest, what follows from the tree, from the repository and from what
    /// was written is filled in here.
    ///
    /// # Errors
    /// If a chunk could not be written, the name is taken, or the owner has too many private images; then there is no new
    /// image, and the chunks wait for another attempt or the collector.
    pub async fn commit(&self, mut manifest: Manifest, tree: &Tree) -> Result<StoredImage, RepositoryError> {
        let result = self.finish(&mut manifest, tree).await;
        // An image that is there is there, even if the announcement of its writer stays behind for a while.
        if let Err(error) = self.end().await {
            tracing::warn!(error = %crate::text::chain(&error), "cannot take back an announcement");
        }
        let id = result?;
        self.repository().publish_list().await;
        Ok(StoredImage { id, manifest })
    }

    async fn finish(&self, manifest: &mut Manifest, tree: &Tree) -> Result<ImageId, RepositoryError> {
        self.flush().await?;
        let file = tree.encode();
        manifest.content.chunk_size_bytes = self.repository().format().chunk_size_bytes;
        manifest.content.tree = Digest(blake3::hash(&file));
        manifest.content.stored_bytes = self.counters().object_bytes.load(Ordering::Relaxed);
        let (bytes, id) = manifest.encode()?;
        self.keep(&[key::tree(id), key::owned(&manifest.owner, id)]).await?;
        self.check_age(self.repository().format().longest_upload()).await?;
        self.publish(id, manifest, file.into(), bytes.into()).await?;
        Ok(id)
    }

    async fn publish(
        &self,
        id: ImageId,
        manifest: &Manifest,
        tree: Bytes,
        bytes: Bytes,
    ) -> Result<(), RepositoryError> {
        let repository = self.repository();
        let name = repository.claim_name(id, manifest).await?;
        let slot = match manifest.kind {
            Kind::Public => Ok(None),
            Kind::Private => repository.claim_slot(id, &manifest.owner).await.map(Some),
        };
        let slot = match slot {
            Ok(slot) => slot,
            Err(error) => {
                repository.take_back(&[name]).await;
                return Err(error);
            }
        };
        let published = async {
            repository.put_image(id, manifest, tree, bytes).await?;
            // If that took so long that the collector may have been faster, there had better be no such image.
            self.check_age(repository.format().upload_over()).await
        };
        let published = published.await;
        if published.is_err() {
            let objects = [key::manifest(id), key::owned(&manifest.owner, id), name];
            let objects: Vec<_> = objects.into_iter().chain(slot).collect();
            repository.take_back(&objects).await;
        }
        published
    }
}

impl Repository {
    async fn put_image(
        &self,
        id: ImageId,
        manifest: &Manifest,
        tree: Bytes,
        bytes: Bytes,
    ) -> Result<(), RepositoryError> {
        self.store.put(&key::tree(id), tree).await?;
        self.store.put(&key::owned(&manifest.owner, id), Bytes::new()).await?;
        self.store.put(&key::manifest(id), bytes).await?;
        Ok(())
    }

    /// Takes back what was published of an image, in order; the manifest is first: as long as that may be there, so is
    /// all the rest. What stays behind, the collector takes back.
    async fn take_back(&self, objects: &[Path]) {
        for object in objects {
            if let Err(error) = self.store.delete(object).await {
                tracing::warn!(object = %object, error = %crate::text::chain(&error), "cannot take back");
                return;
            }
        }
    }

    /// Takes the name for the image, unless another image has it.
    async fn claim_name(&self, id: ImageId, manifest: &Manifest) -> Result<Path, RepositoryError> {
        let path = key::name(&manifest.owner, &manifest.name, &manifest.version);
        if self.claim(&path, id).await? {
            return Ok(path);
        }
        Err(RepositoryError::NameTaken {
            location: self.location().to_owned(),
            owner: manifest.owner.clone(),
            name: manifest.name.clone(),
            version: manifest.version.clone(),
        })
    }

    /// Takes one of the places for private images.
    async fn claim_slot(&self, id: ImageId, owner: &str) -> Result<Path, RepositoryError> {
        let limit = self.format().max_private_images;
        for number in 0..limit {
            let path = key::slot(owner, number);
            if self.claim(&path, id).await? {
                return Ok(path);
            }
        }
        Err(RepositoryError::Quota { location: self.location().to_owned(), owner: owner.to_owned(), limit })
    }

    /// Makes an index object refer to an image; false if it refers to another one. Where the store knows no condition, two
    /// writers at the same moment may both succeed.
    async fn claim(&self, path: &Path, id: ImageId) -> Result<bool, StoreError> {
        let content = Bytes::from(id.to_string());
        if self.format().conditional_puts {
            return self.store.put_new(path, content).await;
        }
        if self.store.len_bytes(path).await?.is_some() {
            return Ok(false);
        }
        self.store.put(path, content).await.map(|()| true)
    }

    /// The image that an index object refers to; none if there is no such object.
    pub(super) async fn referred(&self, path: &Path) -> Result<Option<ImageId>, StoreError> {
        let read = |bytes: Bytes| {
            let text = std::str::from_utf8(&bytes).ok();
            text.and_then(|text| text.trim().parse().ok()).ok_or_else(|| "it is no image id".to_owned())
        };
        match self.store.get(path, ID_BYTES + 1, read).await {
            Ok(id) => Ok(Some(id)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
