//! What can be wrong with a repository, and what to do about it.

use crate::image::manifest::ImageId;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is wrong: it looks so while an image is written or deleted, and the collector tidies up after those who
    /// did not come to an end.
    Note,
    /// Images are whole, but not found as they should be.
    Index,
    /// An image cannot be installed.
    Damage,
}

macro_rules! problems {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $severity:ident, $advice:literal;)+) => {
        /// What is wrong with an object.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ProblemKind {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl ProblemKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// A name that never changes, for programs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// How bad it is.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)+ }
            }

            /// What to do about it, one sentence for people.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)+ }
            }
        }
    };
}

problems! {
    /// A manifest is not the one that the image is named by.
    Manifest = "manifest_damaged", Damage, "restore the object from a copy of the repository, or remove its directory and import the image again";
    /// A tree is not the one that the manifest names, or there is none.
    Tree = "tree_damaged", Damage, "restore the object from a copy of the repository, or delete the image and import it again";
    /// There is no object of a chunk.
    ChunkMissing = "chunk_missing", Damage, "import one of the images that have it again, under another version: what is missing is written";
    /// The object of a chunk cannot have this length.
    ChunkLength = "chunk_length", Damage, "remove the object, then import one of the images that have it again, under another version";
    /// The object of a chunk does not hold what the image has there.
    ChunkDamaged = "chunk_damaged", Damage, "remove the object, then import one of the images that have it again, under another version";
    /// An image cannot be found by its name.
    NameMissing = "name_missing", Index, "use its id; to name it again, import it once more and delete this one";
    /// Another image is found by the name of this one.
    NameOther = "name_other", Index, "delete one of the two images by its id";
    /// A private image takes no place of those that its owner has.
    SlotMissing = "slot_missing", Index, "delete the image by its id and import it again, so that it is counted";
    /// An image does not stand among those of its owner.
    OwnedMissing = "owned_missing", Index, "delete the image by its id and import it again";
    /// An index object does not hold the id of an image.
    IndexMalformed = "index_malformed", Index, "remove the object";
    /// The list for readers that cannot list is not up to date.
    ListOutdated = "list_outdated", Index, "run `bmsctl repository gc`, which makes it anew";
    /// An object belongs to an image that is not there.
    Leftover = "leftover", Note, "nothing: `bmsctl repository gc` deletes it when it is old enough";
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What.
    pub kind: ProblemKind,
    /// The object.
    pub object: String,
    /// An image that it matters to.
    pub image: Option<ImageId>,
    /// More about it, for people.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::ProblemKind;

    #[test]
    fn names_are_unique_and_every_problem_has_an_advice() {
        let names: HashSet<_> = ProblemKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), ProblemKind::ALL.len());
        assert!(ProblemKind::ALL.iter().all(|kind| !kind.advice().is_empty()));
    }
}
