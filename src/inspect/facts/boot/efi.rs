//! The loaders on an EFI system partition.

use std::io::Read as _;

use super::ESP_PLACES;
use crate::inspect::facts::Known;
use crate::inspect::fs::{Entry, FsError, Kind};
use crate::inspect::root::Root;

/// Most that is read of a loader, in bytes; unified kernel images are the largest.
const MAX_LOADER_BYTES: u64 = 128 << 20;
/// Most that is read of all loaders, in bytes.
const MAX_ALL_BYTES: u64 = 256 << 20;
/// Most loaders.
const MAX_LOADERS: usize = 64;

/// Loaders that firmware starts if it was told nothing, by architecture.
const FALLBACKS: [(&str, &str); 2] = [("x86_64", "BOOTX64.EFI"), ("aarch64", "BOOTAA64.EFI")];
/// The directory below `EFI` that they are in.
pub const FALLBACK_DIRECTORY: &str = "BOOT";

/// A loader on an EFI system partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EfiLoader {
    /// Its path in the image.
    pub path: String,
    /// Its directory below `EFI`, in capital letters: `BOOT`, or that of a distribution.
    pub directory: String,
    /// Its name, in capital letters: `BOOTX64.EFI`, `GRUBX64.EFI`.
    pub name: String,
    /// Length, in bytes.
    pub size_bytes: u64,
    /// BLAKE3 of its content.
    pub digest: Known<blake3::Hash>,
}

/// Names of the loaders that firmware of an architecture starts if it was told nothing; of any if it is not known.
pub fn fallback_names(architecture: Option<&str>) -> Vec<&'static str> {
    let is_wanted = |(of, _): &&(&str, &str)| architecture.is_none_or(|architecture| architecture == *of);
    FALLBACKS.iter().filter(is_wanted).map(|(_, name)| *name).collect()
}

/// The loader that firmware starts if it was told nothing, of an architecture; of any if it is not known.
pub fn fallback<'a>(loaders: &'a [EfiLoader], architecture: Option<&str>) -> Option<&'a EfiLoader> {
    let names = fallback_names(architecture);
    loaders.iter().find(|loader| loader.directory == FALLBACK_DIRECTORY && names.contains(&loader.name.as_str()))
}

/// The loaders in `EFI/*/` of an image's EFI system partition, at the first usual place that has any.
pub fn loaders(root: &Root<'_>) -> Known<Vec<EfiLoader>> {
    for place in ESP_PLACES {
        let loaders = loaders_at(root, place);
        if loaders.as_known().is_none_or(|loaders| !loaders.is_empty()) {
            return loaders;
        }
    }
    Known::Is(Vec::new())
}

/// The same of a file system that is joined in at `place`; an empty one is the root. Names are compared as FAT does: the
/// size of letters makes no difference.
pub fn loaders_at(root: &Root<'_>, place: &str) -> Known<Vec<EfiLoader>> {
    Known::from_result(list(root, place))
}

fn list(root: &Root<'_>, place: &str) -> Result<Vec<EfiLoader>, FsError> {
    let mut loaders = Vec::new();
    let mut left = MAX_ALL_BYTES;
    for efi in directories(root, place)?.filter(|entry| entry.name.eq_ignore_ascii_case("efi")) {
        let efi = format!("{place}/{}", efi.name);
        for directory in directories(root, &efi)? {
            let path = format!("{efi}/{}", directory.name);
            for file in root.list(&path)?.unwrap_or_default().iter().filter(|file| is_loader(file)) {
                if loaders.len() == MAX_LOADERS {
                    return Err(FsError::Limit { what: "the number of EFI loaders", limit: MAX_LOADERS as u64 });
                }
                loaders.extend(loader(root, &path, &directory.name, &file.name, &mut left)?);
            }
        }
    }
    Ok(loaders)
}

fn directories(root: &Root<'_>, path: &str) -> Result<impl Iterator<Item = Entry> + use<>, FsError> {
    Ok(root.list(path)?.unwrap_or_default().into_iter().filter(|entry| entry.kind == Kind::Directory))
}

fn is_loader(file: &Entry) -> bool {
    let extension = file.name.rsplit_once('.').map(|(_, extension)| extension);
    file.kind == Kind::File && extension.is_some_and(|extension| extension.eq_ignore_ascii_case("efi"))
}

fn loader(
    root: &Root<'_>,
    path: &str,
    directory: &str,
    name: &str,
    left: &mut u64,
) -> Result<Option<EfiLoader>, FsError> {
    let path = format!("{path}/{name}");
    let Some(found) = root.find(&path)? else { return Ok(None) };
    let size_bytes = found.metadata.size_bytes;
    let digest = if size_bytes > MAX_LOADER_BYTES || size_bytes > *left {
        Known::Unknown("too long to be read".to_owned())
    } else {
        *left -= size_bytes;
        Known::from_result(digest(root, &path, size_bytes))
    };
    let (directory, name) = (directory.to_ascii_uppercase(), name.to_ascii_uppercase());
    Ok(Some(EfiLoader { path: found.path, directory, name, size_bytes, digest }))
}

/// The digest of a file; an error if it is not as long as it says.
fn digest(root: &Root<'_>, path: &str, size_bytes: u64) -> Result<blake3::Hash, FsError> {
    let malformed = || FsError::Malformed { what: format!("{path} is not as long as it says") };
    let file = root.open(path)?.ok_or_else(malformed)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file.take(size_bytes.saturating_add(1)))?;
    if hasher.count() == size_bytes { Ok(hasher.finalize()) } else { Err(malformed()) }
}
