//! Names of objects. The one place that knows where what is.

use std::fmt;

use object_store::path::Path;
use uuid::Uuid;

use crate::image::group::{ChainingValue, GroupSize};
use crate::image::manifest::ImageId;

/// The directory of all images.
pub(crate) const IMAGES: &str = "images";
/// The directory of all chunks.
pub(crate) const CHUNKS: &str = "chunks";
/// The directory of all projects.
pub(crate) const PROJECTS: &str = "projects";
/// Directory of writers that use chunks which were to be collected.
pub(crate) const RESCUES: &str = "gc/rescues";

/// How the repository is laid out.
pub(crate) fn format() -> Path {
    Path::from("repository.json")
}

/// All images, for readers that cannot list.
pub(crate) fn list() -> Path {
    Path::from("images.json")
}

/// Chunks that nothing referred to when the collector looked last.
pub(crate) fn condemned() -> Path {
    Path::from("gc/condemned.json")
}

/// Says that the collector deletes.
pub(crate) fn sweep() -> Path {
    Path::from("gc/sweep")
}

/// Says that a writer uses chunks which were to be collected.
pub(crate) fn rescue(writer: Uuid) -> Path {
    Path::from(format!("{RESCUES}/{writer}"))
}

/// The manifest of an image.
pub(crate) fn manifest(image: ImageId) -> Path {
    Path::from(format!("{IMAGES}/{image}/manifest.json"))
}

/// The signature of a manifest.
pub(crate) fn signature(image: ImageId) -> Path {
    Path::from(format!("{IMAGES}/{image}/manifest.json.sig"))
}

/// The tree of an image.
pub(crate) fn tree(image: ImageId) -> Path {
    Path::from(format!("{IMAGES}/{image}/tree"))
}

/// Says that a project owns an image.
pub(crate) fn owned(owner: &str, image: ImageId) -> Path {
    Path::from(format!("{PROJECTS}/{owner}/images/{image}"))
}

/// The images that a project owns.
pub(crate) fn all_owned(owner: &str) -> Path {
    Path::from(format!("{PROJECTS}/{owner}/images"))
}

/// Which image has a name and version in a project.
pub(crate) fn name(owner: &str, name: &str, version: &str) -> Path {
    Path::from(format!("{PROJECTS}/{owner}/names/{name}/{version}"))
}

/// One of the private images that a project may have, numbered from 0.
pub(crate) fn slot(owner: &str, number: u32) -> Path {
    Path::from(format!("{PROJECTS}/{owner}/slots/{number}"))
}

/// The slots of a project that are taken.
pub(crate) fn all_slots(owner: &str) -> Path {
    Path::from(format!("{PROJECTS}/{owner}/slots"))
}

/// What a chunk is named by: the chaining value over its groups, and how they are cut, for the same bytes can be stored
/// as few large groups or as many small ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkKey {
    /// Chaining value of the subtree over the groups.
    pub value: ChainingValue,
    /// Size of the groups.
    pub group_size: GroupSize,
}

impl ChunkKey {
    /// Name of the object.
    pub(crate) fn path(self) -> Path {
        let name = self.to_string();
        Path::from(format!("{CHUNKS}/{}/{name}", &name[..2]))
    }

    /// The key in the last part of an object's name; none if it is no chunk's.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (value, log) = name.split_once('.')?;
        let value = ChainingValue(*blake3::Hash::from_hex(value).ok()?.as_bytes());
        let bytes = 1u64.checked_shl(log.parse().ok()?)?;
        let key = Self { value, group_size: GroupSize::new(bytes).ok()? };
        // One chunk has one name.
        (key.to_string() == name).then_some(key)
    }
}

impl fmt::Display for ChunkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = blake3::Hash::from_bytes(self.value.0).to_hex();
        write!(f, "{value}.{}", self.group_size.bytes().trailing_zeros())
    }
}

#[cfg(test)]
mod tests {
    use super::ChunkKey;
    use crate::image::group::{ChainingValue, GroupSize};

    #[test]
    fn the_name_of_a_chunk_comes_back() {
        let key = ChunkKey { value: ChainingValue([0xa5; 32]), group_size: GroupSize::default() };
        let name = key.to_string();
        assert_eq!(key.path().as_ref(), format!("chunks/a5/{name}"));
        assert!(name.ends_with(".18"));
        assert_eq!(ChunkKey::parse(&name), Some(key));
        for wrong in ["", "a5.18", &name[1..], &format!("{name}0"), &name.to_uppercase(), &name.replace(".18", ".018")]
        {
            assert_eq!(ChunkKey::parse(wrong), None, "{wrong}");
        }
    }
}
