//! `repository.json`: how a repository is laid out, and what holds for everybody who writes to it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::image::group::GroupSize;

/// Version of the layout.
const SCHEMA: u32 = 1;
/// Content of a chunk, in bytes, unless the repository was made with another: as measured, docs/decisions/0014.
const CHUNK_BYTES: u64 = 256 << 10;
/// How long nothing may refer to a chunk before it is deleted, unless the repository was made otherwise, in seconds.
const GRACE_SECONDS: u64 = 24 * 3600;
/// Private images of a project, unless the repository was made otherwise.
const MAX_PRIVATE_IMAGES: u32 = 50;
/// Longest format object, in bytes.
pub(super) const MAX_BYTES: u64 = 64 << 10;

/// How a repository is laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// Version of the layout.
    pub schema: u32,
    /// Content of a chunk, in bytes: a power of two. A group that is larger is a chunk of its own.
    pub chunk_size_bytes: u64,
    /// How long nothing may refer to a chunk before `gc` deletes it, in seconds. Half of it is the longest that an image
    /// may take to be written.
    pub grace_seconds: u64,
    /// Most private images of a project.
    pub max_private_images: u32,
    /// Whether the store creates an object only if there is none, so that of two writers one wins. Found out when the
    /// repository was made.
    pub conditional_puts: bool,
}

impl Default for Format {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            chunk_size_bytes: CHUNK_BYTES,
            grace_seconds: GRACE_SECONDS,
            max_private_images: MAX_PRIVATE_IMAGES,
            conditional_puts: false,
        }
    }
}

impl Format {
    /// Reads it; none if it is not of a known version, or makes no sense.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let format: Self = serde_json::from_slice(bytes).ok()?;
        let known = format.schema == SCHEMA;
        // A chunk is cut like a group.
        (known && GroupSize::new(format.chunk_size_bytes).is_ok() && format.grace_seconds > 0).then_some(format)
    }

    /// How long nothing may refer to a chunk before it is deleted.
    pub const fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds)
    }

    /// The longest that an image may take to be written, until its tree and manifest follow.
    pub fn longest_upload(&self) -> Duration {
        self.grace() / 2
    }

    /// When an upload is over, be it an image by then or not. The quarter of the grace that is left is for clocks of a
    /// store's servers that differ.
    pub fn upload_over(&self) -> Duration {
        self.grace() / 4 * 3
    }
}
