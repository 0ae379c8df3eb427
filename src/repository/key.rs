//! Names of objects. The one place that knows where what is.

use std::fmt;

use object_store::path::Path;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::image::group::{ChainingValue, GroupSize};
use crate::image::manifest::ImageId;

/// The directory of all images.
pub(crate) const IMAGES: &str = "images";
/// The directory of all chunks.
pub(crate) const CHUNKS: &str = "chunks";
/// The directory of all projects.
pub(crate) const PROJECTS: &str = "projects";
/// What belongs to the collector.
pub(crate) const GC: &str = "gc";
/// Directory of writers that use what was to be collected.
pub(crate) const RESCUES: &str = "gc/rescues";
/// Directory of collectors at work.
pub(crate) const COLLECTORS: &str = "gc/collectors";
/// Directory of collectors that may delete what is condemned.
pub(crate) const SWEEPS: &str = "gc/sweeps";
/// What the names of objects begin with that only show what the store does.
const PROBE: &str = "probe-";

/// How the repository is laid out.
pub(crate) fn format() -> Path {
    Path::from("repository.json")
}

/// All images, for readers that cannot list.
pub(crate) fn list() -> Path {
    Path::from("images.json")
}

/// What nothing referred to when the collector looked last.
pub(crate) fn condemned() -> Path {
    Path::from("gc/condemned.json")
}

/// Says that a collector is at work.
pub(crate) fn collector(id: Uuid) -> Path {
    Path::from(format!("{COLLECTORS}/{id}"))
}

/// Says that a collector may delete what is condemned.
pub(crate) fn sweep(collector: Uuid) -> Path {
    Path::from(format!("{SWEEPS}/{collector}"))
}

/// An object that only shows what the store does.
pub(crate) fn probe() -> Path {
    Path::from(format!("{GC}/{PROBE}{}", Uuid::new_v4()))
}

/// Whether an object only shows what the store does.
pub(crate) fn is_probe(path: &Path) -> bool {
    path.filename().is_some_and(|name| name.starts_with(PROBE))
}

/// Says that a writer uses what was to be collected.
pub(crate) fn rescue(writer: Uuid) -> Path {
    Path::from(format!("{RESCUES}/{writer}"))
}

/// Everything of an image but its chunks.
pub(crate) fn image(image: ImageId) -> Path {
    Path::from(format!("{IMAGES}/{image}"))
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

/// What an index object of a project is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Index<'p> {
    /// Its content is the image that has this name.
    Name,
    /// Its content is the private image that has this place.
    Slot {
        /// The project.
        owner: &'p str,
    },
    /// Its name has the image that the project owns.
    Owned(ImageId),
}

impl<'p> Index<'p> {
    /// What an object is for; none if it is no index object that is known.
    pub(crate) fn of(path: &'p Path) -> Option<Self> {
        let parts: Vec<&str> = path.as_ref().split('/').collect();
        match parts[..] {
            [PROJECTS, _, "names", _, _] => Some(Self::Name),
            [PROJECTS, owner, "slots", _] => Some(Self::Slot { owner }),
            [PROJECTS, _, "images", id] => id.parse().ok().map(Self::Owned),
            _ => None,
        }
    }
}

/// The two hex digits that chunks are put into directories by.
pub(crate) fn chunk_dirs() -> impl Iterator<Item = Path> {
    (0..=u8::MAX).map(|first| Path::from(format!("{CHUNKS}/{first:02x}")))
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

impl Serialize for ChunkKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChunkKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).ok_or_else(|| serde::de::Error::custom("it is no chunk's name"))
    }
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;

    use super::{ChunkKey, Index};
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

    #[test]
    fn index_objects_are_told_apart() {
        let id: crate::image::manifest::ImageId = "ab".repeat(32).parse().expect("an id");
        let of = |path: &str| format!("{:?}", Index::of(&Path::from(path)));
        assert_eq!(of(super::name("ops", "debian", "12").as_ref()), "Some(Name)");
        assert_eq!(of(super::slot("ops", 3).as_ref()), "Some(Slot { owner: \"ops\" })");
        assert_eq!(Index::of(&super::owned("ops", id)), Some(Index::Owned(id)));
        for other in ["projects/ops/images/12", "projects/ops/names/debian", "projects/ops/shared/a", "images/a/tree"] {
            assert_eq!(of(other), "None", "{other}");
        }
    }
}
