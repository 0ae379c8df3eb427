//! The loaders on an EFI system partition.
//!
//! Which partitions of a disk firmware looks at is not told here.

use std::io::Read as _;

use crate::inspect::facts::Known;
use crate::inspect::fs::{Entry, FsError, Kind};
use crate::inspect::root::Root;

/// Directories that an EFI system partition of a running system is mounted at; on some it is /boot itself.
const PLACES: [&str; 3] = ["/boot/efi", "/efi", "/boot"];
/// A directory within that of a vendor that has loaders as well: `EFI/Microsoft/Boot`.
const NESTED: &str = "boot";
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
    /// Its path; of a disk, behind the name of the partition.
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

/// The loaders of a running system: those at the first usual place that has any.
pub fn loaders_of_host(root: &Root<'_>) -> Known<Vec<EfiLoader>> {
    for place in PLACES {
        let mut search = Search::default();
        match search.add(root, place) {
            Ok(()) if search.loaders.is_empty() => {}
            Ok(()) => return Known::Is(search.loaders),
            Err(error) => return Known::Unknown(crate::text::chain(&error)),
        }
    }
    Known::Is(Vec::new())
}

/// The loaders on the partitions of a disk that firmware looks at, by their names.
pub fn loaders(partitions: &[(String, Root<'_>)]) -> Known<Vec<EfiLoader>> {
    let mut search = Search::default();
    for (name, root) in partitions {
        let first = search.loaders.len();
        if let Err(error) = search.add(root, "") {
            return Known::Unknown(format!("{name}: {}", crate::text::chain(&error)));
        }
        search.loaders[first..].iter_mut().for_each(|loader| loader.path = format!("{name}: {}", loader.path));
    }
    Known::Is(search.loaders)
}

/// Loaders in `EFI/*/`, and in `Boot` below that. Names are compared as FAT does: their case makes no difference.
struct Search {
    loaders: Vec<EfiLoader>,
    /// Bytes that may still be read.
    left: u64,
}

impl Default for Search {
    fn default() -> Self {
        Self { loaders: Vec::new(), left: MAX_ALL_BYTES }
    }
}

impl Search {
    /// Adds those of the file system that is joined in at `place`; an empty one is the root.
    fn add(&mut self, root: &Root<'_>, place: &str) -> Result<(), FsError> {
        for efi in directories(root, place)?.filter(|entry| entry.name.eq_ignore_ascii_case("efi")) {
            let efi = format!("{place}/{}", efi.name);
            for vendor in directories(root, &efi)? {
                let path = format!("{efi}/{}", vendor.name);
                self.add_directory(root, &path, &vendor.name)?;
                for inner in directories(root, &path)?.filter(|entry| entry.name.eq_ignore_ascii_case(NESTED)) {
                    self.add_directory(root, &format!("{path}/{}", inner.name), &vendor.name)?;
                }
            }
        }
        Ok(())
    }

    fn add_directory(&mut self, root: &Root<'_>, path: &str, vendor: &str) -> Result<(), FsError> {
        for file in root.list(path)?.unwrap_or_default().iter().filter(|file| is_loader(file)) {
            if self.loaders.len() == MAX_LOADERS {
                return Err(FsError::Limit { what: "the number of EFI loaders", limit: MAX_LOADERS as u64 });
            }
            self.loaders.extend(loader(root, path, vendor, &file.name, &mut self.left)?);
        }
        Ok(())
    }
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
