//! Which images there are: finding, listing and deleting them.
//!
//! What can be listed is listed. A web server cannot be: for it the list is kept as an object, which every writer makes
//! anew. It is a copy, and what it says of an image is believed as far as its id.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::{Repository, RepositoryError, StoreError, StoredImage, key};
use crate::image::manifest::{ImageId, Kind, Manifest};

/// Manifests that are read at once.
const IN_FLIGHT: usize = 16;
/// Fewest digits of an id that it can be asked for by.
const LEAST_DIGITS: usize = 8;
/// Longest text that is no name and is repeated, in characters.
const MAX_SHOWN_CHARS: usize = 64;
/// Longest list, in bytes: a hundred thousand images.
const MAX_LIST_BYTES: u64 = 64 << 20;
/// How often a list is made anew because images came or went meanwhile.
const LIST_ATTEMPTS: u32 = 5;

/// An image as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSummary {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Who may use it.
    pub kind: Kind,
    /// Who owns it.
    pub owner: String,
    /// Length of the raw content, in bytes.
    pub size_bytes: u64,
    /// Bytes that are not in holes.
    pub data_bytes: u64,
    /// Bytes of its objects, of which other images may share some.
    pub stored_bytes: u64,
    /// When it was made, in seconds since 1970.
    pub created_at: u64,
}

impl From<&Manifest> for ImageSummary {
    fn from(manifest: &Manifest) -> Self {
        Self {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            kind: manifest.kind,
            owner: manifest.owner.clone(),
            size_bytes: manifest.disk.size_bytes,
            data_bytes: manifest.content.data_bytes,
            stored_bytes: manifest.content.stored_bytes,
            created_at: manifest.created_at,
        }
    }
}

/// What an image is asked for by: `ID`, or `[OWNER/]NAME[:VERSION]`, which may also be how an id begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageName {
    /// The id.
    Id(ImageId),
    /// The name.
    Name {
        /// The owner, if it matters.
        owner: Option<String>,
        /// The name.
        name: String,
        /// The version; the newest if absent.
        version: Option<String>,
    },
}

/// Text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is neither an image id nor [OWNER/]NAME[:VERSION]")]
pub struct ImageNameInvalid {
    /// The text.
    pub text: String,
}

impl FromStr for ImageName {
    type Err = ImageNameInvalid;

    fn from_str(text: &str) -> Result<Self, ImageNameInvalid> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let (owner, rest) = text.split_once('/').map_or((None, text), |(owner, rest)| (Some(owner), rest));
        let (name, version) = rest.split_once(':').map_or((rest, None), |(name, version)| (name, Some(version)));
        let parts = [owner, Some(name), version];
        if parts.into_iter().flatten().all(crate::image::manifest::is_name) {
            let [owner, version] = [owner, version].map(|part| part.map(str::to_owned));
            return Ok(Self::Name { owner, name: name.to_owned(), version });
        }
        // Of a long one the begin is enough: in an answer it stands in headers, several times.
        Err(ImageNameInvalid { text: crate::text::printable(&text.chars().take(MAX_SHOWN_CHARS).collect::<String>()) })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name { owner, name, version } => {
                if let Some(owner) = owner {
                    write!(f, "{owner}/")?;
                }
                f.write_str(name)?;
                version.as_ref().map_or(Ok(()), |version| write!(f, ":{version}"))
            }
        }
    }
}

/// Images by their ids.
pub(super) type Images = BTreeMap<String, ImageSummary>;

impl Repository {
    /// All images, by their ids.
    ///
    /// # Errors
    /// If they cannot be listed, or a manifest is damaged.
    pub async fn images(&self) -> Result<BTreeMap<String, ImageSummary>, RepositoryError> {
        let published = self.published_list().await?;
        if !self.store.lists() {
            return Ok(published);
        }
        self.list(&published).await
    }

    /// The image that is asked for.
    ///
    /// # Errors
    /// If there is none, or several owners have one of that name.
    pub async fn find(&self, wanted: &ImageName) -> Result<StoredImage, RepositoryError> {
        let id = match wanted {
            ImageName::Id(id) => *id,
            ImageName::Name { owner: Some(owner), name, version: Some(version) } => {
                let id = self.referred(&key::name(owner, name, version)).await?;
                id.ok_or_else(|| self.no_image(wanted))?
            }
            ImageName::Name { .. } => self.newest(wanted).await?,
        };
        self.image(id).await
    }

    async fn newest(&self, wanted: &ImageName) -> Result<ImageId, RepositoryError> {
        let all = self.images().await?;
        let mut found: Vec<_> = all.iter().filter(|(_, image)| matches(wanted, image)).collect();
        if found.is_empty() {
            found.extend(all.iter().filter(|(id, _)| begins(wanted, id)));
            // Several ids may begin so, even of one owner, and none of them is meant more than the others.
            if found.len() > 1 {
                return Err(self.ambiguous(wanted, &found));
            }
        }
        found.sort_by_key(|(_, image)| std::cmp::Reverse(image.created_at));
        let Some((id, newest)) = found.first() else { return Err(self.no_image(wanted)) };
        if found.iter().any(|(_, image)| image.owner != newest.owner) {
            return Err(self.ambiguous(wanted, &found));
        }
        id.parse().map_err(|_not_hex| self.no_image(wanted))
    }

    fn ambiguous(&self, wanted: &ImageName, found: &[(&String, &ImageSummary)]) -> RepositoryError {
        let candidates: Vec<_> = found.iter().map(|(id, image)| format!("{id} of {}", image.owner)).collect();
        let (location, image) = (self.location().to_owned(), wanted.to_string());
        RepositoryError::Ambiguous { location, image, candidates: candidates.join(", ") }
    }

    fn no_image(&self, wanted: &ImageName) -> RepositoryError {
        RepositoryError::NoImage { location: self.location().to_owned(), image: wanted.to_string() }
    }

    /// Deletes an image. Its manifest goes first, so that nobody finds half of it; its chunks are the collector's.
    ///
    /// # Errors
    /// If it cannot be.
    pub async fn delete_image(&self, image: &StoredImage) -> Result<(), RepositoryError> {
        let StoredImage { id, manifest } = image;
        self.store.delete(&key::manifest(*id)).await?;
        self.store.delete(&key::owned(&manifest.owner, *id)).await?;
        self.release(&key::name(&manifest.owner, &manifest.name, &manifest.version), *id).await?;
        if manifest.kind == Kind::Private {
            for slot in self.store.list(&key::all_slots(&manifest.owner)).await? {
                self.release(&slot.path, *id).await?;
            }
        }
        self.store.delete(&key::signature(*id)).await?;
        self.store.delete(&key::tree(*id)).await?;
        self.publish_list().await;
        Ok(())
    }

    /// Deletes an index object if it refers to this image.
    async fn release(&self, path: &Path, id: ImageId) -> Result<(), StoreError> {
        if self.referred(path).await? == Some(id) { self.store.delete(path).await } else { Ok(()) }
    }

    /// Ids of the images that there are, as far as their directories tell.
    pub(super) async fn image_ids(&self) -> Result<Vec<ImageId>, StoreError> {
        let names = self.store.list_dirs(&Path::from(key::IMAGES)).await?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Lists images; those that are in `known` are not read again, for nothing about an image changes.
    async fn list(&self, known: &Images) -> Result<Images, RepositoryError> {
        let read = |id: ImageId| async move {
            let text = id.to_string();
            if let Some(summary) = known.get(&text) {
                // It may be deleted by now, but for its tree.
                let there = self.store.len_bytes(&key::manifest(id)).await?.is_some();
                return Ok(there.then(|| (text, summary.clone())));
            }
            match self.image(id).await {
                Ok(image) => Ok(Some((text, ImageSummary::from(&image.manifest)))),
                // Not yet, or not any more.
                Err(RepositoryError::NoImage { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let ids = self.image_ids().await?;
        let images: Vec<_> = stream::iter(ids).map(read).buffer_unordered(IN_FLIGHT).try_collect().await?;
        Ok(images.into_iter().flatten().collect())
    }

    pub(super) async fn published_list(&self) -> Result<Images, RepositoryError> {
        let decode = |bytes: Bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string());
        match self.store.get(&key::list(), MAX_LIST_BYTES, decode).await {
            Err(StoreError::NotFound { .. }) => Ok(Images::new()),
            other => Ok(other?),
        }
    }

    /// Makes the list anew for readers that cannot list. What came or went while it was written is seen by looking
    /// again. A list that stays old harms nobody but them, so a failure is only told.
    pub async fn publish_list(&self) {
        let publish = async {
            let mut known = self.published_list().await?;
            for _ in 0..LIST_ATTEMPTS {
                let images = self.list(&known).await?;
                if images == known {
                    break;
                }
                let bytes = serde_json::to_vec_pretty(&images).unwrap_or_default();
                self.store.put(&key::list(), bytes.into()).await?;
                known = images;
            }
            Ok::<_, RepositoryError>(())
        };
        if let Err(error) = publish.await {
            tracing::warn!(error = %crate::text::chain(&error), "the list of images is not up to date");
        }
    }
}

fn matches(wanted: &ImageName, image: &ImageSummary) -> bool {
    let is = |wanted: &Option<String>, actual: &String| wanted.as_ref().is_none_or(|wanted| wanted == actual);
    match wanted {
        ImageName::Id(_) => false,
        ImageName::Name { owner, name, version } => {
            *name == image.name && is(owner, &image.owner) && is(version, &image.version)
        }
    }
}

/// Whether what is asked for is how an id begins.
fn begins(wanted: &ImageName, id: &str) -> bool {
    match wanted {
        ImageName::Name { owner: None, name, version: None } => name.len() >= LEAST_DIGITS && id.starts_with(name),
        ImageName::Name { .. } | ImageName::Id(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::ImageName;

    #[test]
    fn ids_and_names_come_back_as_they_were_typed() {
        let id = "ab".repeat(32);
        for text in ["debian", "debian:12", "ops/debian", "ops/debian:12.1-a_b", &id] {
            assert_eq!(text.parse::<ImageName>().expect(text).to_string(), text);
        }
        assert!(matches!(id.parse(), Ok(ImageName::Id(_))));
        for text in ["", "a b", "a/b/c", "/a", "a:", "a:b:c", "../x", "a\u{1b}"] {
            text.parse::<ImageName>().expect_err(text);
        }
        let long = "x".repeat(250_000).parse::<ImageName>().expect_err("too long");
        assert!(long.to_string().len() < 512, "{} bytes", long.to_string().len());
    }
}
