//! Images at rest: manifests, trees and chunks in an object store, be it a directory, S3 or HTTP.
//!
//! Everything in it is immutable and named by its content, but for a few small index objects. Nothing that is read is
//! believed before its digest was compared: a manifest has its id, a tree its digest and root, a group its chaining
//! value, which whoever writes it to a disk compares. Knows neither disks nor requests.
//!
//! Async, on whatever runtime it is called from: connections belong to the runtime that opened the repository.

mod announce;
mod assemble;
mod catalog;
mod check;
pub mod chunk;
mod commit;
mod condemned;
mod content;
mod directory;
mod error;
mod format;
mod gc;
mod image;
pub(crate) mod key;
mod location;
mod mark;
mod open;
mod reader;
mod retry;
mod settings;
mod stats;
mod store;
#[cfg(test)]
mod tests;
pub mod upload;
mod work;

use std::path::PathBuf;

pub use assemble::ImageWriter;
pub use catalog::{ImageName, ImageNameInvalid, ImageSummary};
pub use check::{CheckReport, Depth, Problem, ProblemKind, Severity};
pub use content::{ProvenGroup, chunks_at_once};
pub use error::RepositoryError;
pub use format::Format;
pub use gc::{Collect, Fates, GcReport};
pub use image::{Frame, StoredImage};
pub use location::{Location, LocationInvalid};
pub use mark::Amount;
pub use reader::{ImageReader, LookError};
pub use settings::Settings;
pub use stats::Stats;
pub use store::StoreError;
pub use work::Work;

use store::Store;

/// An open repository.
#[derive(Debug)]
pub struct Repository {
    store: Store,
    format: Format,
    /// Where it is, if that is a directory.
    directory: Option<PathBuf>,
}

impl Repository {
    /// How it is laid out.
    pub const fn format(&self) -> &Format {
        &self.format
    }

    /// Where it is, for people; never with credentials.
    pub fn location(&self) -> &str {
        self.store.location()
    }

    /// Requests that were made again so far, because the first answer was none.
    pub fn retries(&self) -> u64 {
        self.store.retries()
    }

    /// Bytes of objects that were read so far.
    pub fn fetched_bytes(&self) -> u64 {
        self.store.fetched_bytes()
    }
}
