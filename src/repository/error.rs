//! Why the repository cannot do what was asked.

use super::store::StoreError;
use crate::image::manifest::ManifestInvalid;
use crate::image::tree::TreeInvalid;
use crate::reason::{DomainError, Reason};

/// Why the repository cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A request failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The settings make no client.
    #[error("the settings of repository {location} cannot be used: {problem}")]
    Settings {
        /// Where it is.
        location: String,
        /// What is wrong with them.
        problem: String,
    },
    /// There is no repository there.
    #[error("{location} is no repository, or one of another version")]
    NotARepository {
        /// Where it should be.
        location: String,
    },
    /// There is one already.
    #[error("{location} is a repository already")]
    Exists {
        /// Where it is.
        location: String,
    },
    /// There is no such image.
    #[error("{location} has no image {image}")]
    NoImage {
        /// Where the repository is.
        location: String,
        /// What was asked for.
        image: String,
    },
    /// Several images have this name.
    #[error("{location} has several images {image}: {candidates}")]
    Ambiguous {
        /// Where the repository is.
        location: String,
        /// What was asked for.
        image: String,
        /// Their ids and owners.
        candidates: String,
    },
    /// An image of this owner has the name and version.
    #[error("{owner} has an image {name} of version {version} in {location} already")]
    NameTaken {
        /// Where the repository is.
        location: String,
        /// The owner.
        owner: String,
        /// The name.
        name: String,
        /// The version.
        version: String,
    },
    /// The owner has as many private images as a project may have.
    #[error("{owner} has {limit} private images in {location}, as many as a project may have")]
    Quota {
        /// Where the repository is.
        location: String,
        /// The owner.
        owner: String,
        /// The most.
        limit: u32,
    },
    /// What is to be written is no manifest.
    #[error("the image cannot be described")]
    Manifest(#[from] ManifestInvalid),
    /// What was written is not all of an image.
    #[error("the image is not whole")]
    NotWhole(#[from] TreeInvalid),
    /// An image took longer to be written than the collector lets unfinished images live.
    #[error("writing the image to {location} took {seconds} s, longer than the {limit} s that this repository allows")]
    TooSlow {
        /// Where the repository is.
        location: String,
        /// How long it took, in seconds.
        seconds: u64,
        /// The longest, in seconds.
        limit: u64,
    },
    /// The collector does not come to an end.
    #[error("the collector of {location} has deleted for {seconds} s, and this image needs chunks that it may delete")]
    Sweeping {
        /// Where the repository is.
        location: String,
        /// How long was waited, in seconds.
        seconds: u64,
    },
    /// Another collector works.
    #[error(
        "another collector works in {location}, and said so {seconds} s ago; one that died is forgotten after {dies} s"
    )]
    Collecting {
        /// Where the repository is.
        location: String,
        /// When it was heard of last, in seconds.
        seconds: u64,
        /// After how many seconds a collector that says nothing is forgotten.
        dies: u64,
    },
    /// The collector was not heard of for so long that others may take it for dead.
    #[error("the collector of {location} stood still for {seconds} s, and deletes nothing more")]
    CollectorStalled {
        /// Where the repository is.
        location: String,
        /// For how long, in seconds.
        seconds: u64,
    },
    /// A thread or runtime cannot be had.
    #[error("cannot start what talks to {location}")]
    Process {
        /// Where the repository is.
        location: String,
        /// Why.
        source: std::io::Error,
    },
}

impl RepositoryError {
    /// Whether the object that was asked for is not there.
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::Store(StoreError::NotFound { .. }))
    }
}

impl DomainError for StoreError {
    fn reason(&self) -> Reason {
        match self {
            Self::NotFound { .. } | Self::Damaged { .. } => Reason::ImageDamaged,
            Self::Denied { .. } => Reason::RepositoryDenied,
            Self::ReadOnly { .. } => Reason::RepositoryReadOnly,
            Self::Full { .. } => Reason::RepositoryFull,
            Self::Untrusted { .. } => Reason::SourceUntrusted,
            Self::Unavailable { .. } => Reason::RepositoryUnavailable,
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::NotFound { location, object }
            | Self::Denied { location, object, .. }
            | Self::ReadOnly { location, object, .. }
            | Self::Full { location, object, .. } => {
                vec![("repository", location.clone()), ("object", object.clone())]
            }
            Self::Untrusted { location, .. } => vec![("repository", location.clone())],
            Self::Damaged { location, object, problem } => {
                vec![("repository", location.clone()), ("object", object.clone()), ("problem", problem.clone())]
            }
            Self::Unavailable { location, object, retries, .. } => {
                vec![("repository", location.clone()), ("object", object.clone()), ("retries", retries.to_string())]
            }
        }
    }
}

impl DomainError for RepositoryError {
    fn reason(&self) -> Reason {
        match self {
            Self::Store(error) => error.reason(),
            Self::Settings { .. } | Self::NotARepository { .. } | Self::Exists { .. } => Reason::RepositoryInvalid,
            Self::NoImage { .. } => Reason::ImageNotFound,
            Self::Ambiguous { .. } => Reason::ImageAmbiguous,
            Self::NameTaken { .. } => Reason::ImageExists,
            Self::Quota { .. } => Reason::ImageQuotaExceeded,
            Self::Manifest(_) => Reason::ManifestMalformed,
            Self::TooSlow { .. } => Reason::UploadTooSlow,
            Self::NotWhole(_) => Reason::Internal,
            Self::Collecting { .. } => Reason::RepositoryBusy,
            Self::Sweeping { .. } | Self::CollectorStalled { .. } => Reason::RepositoryUnavailable,
            Self::Process { .. } => Reason::OperationLimit,
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        let at = |location: &String| ("repository", location.clone());
        match self {
            Self::Store(error) => error.metadata(),
            Self::Settings { location, problem } => vec![at(location), ("problem", problem.clone())],
            Self::NotARepository { location } | Self::Exists { location } | Self::Process { location, .. } => {
                vec![at(location)]
            }
            Self::NoImage { location, image } => vec![at(location), ("image", image.clone())],
            Self::Ambiguous { location, image, candidates } => {
                vec![at(location), ("image", image.clone()), ("candidates", candidates.clone())]
            }
            Self::NameTaken { location, owner, name, version } => {
                vec![at(location), ("owner", owner.clone()), ("name", name.clone()), ("version", version.clone())]
            }
            Self::Quota { location, owner, limit } => {
                vec![at(location), ("owner", owner.clone()), ("limit", limit.to_string())]
            }
            Self::NotWhole(_) => Vec::new(),
            Self::Manifest(error) => vec![("problem", error.to_string())],
            Self::TooSlow { location, seconds, limit } => {
                vec![at(location), ("seconds", seconds.to_string()), ("limit", limit.to_string())]
            }
            Self::Collecting { location, seconds, dies } => {
                vec![at(location), ("seconds", seconds.to_string()), ("dies", dies.to_string())]
            }
            Self::Sweeping { location, seconds } | Self::CollectorStalled { location, seconds } => {
                vec![at(location), ("seconds", seconds.to_string())]
            }
        }
    }
}
