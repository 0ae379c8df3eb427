//! Why the agent refuses a call: the errors of all modules that a call goes through.

use super::journal::JournalError;
use crate::audit::AuditError;
use crate::compatibility::{Incompatible, OverrideInvalid};
use crate::disk::discovery::DiscoveryError;
use crate::disk::guard::GuardError;
use crate::disk::selector::SelectorError;
use crate::disk::table::TableError;
use crate::inspect::child::InspectError;
use crate::inspect::policy::ProfileUnknown;
use crate::operation::registry::RegistryError;
use crate::provision::plan::PlanError;
use crate::provision::record::RecordError;
use crate::provision::token::TokenError;
use crate::pull::HttpSourceError;
use crate::reason::{DomainError, Reason};
use crate::repository::{LookError, RepositoryError};

/// Why a call was refused.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Disks cannot be looked at.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// Not exactly one disk was selected.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The disk or the image does not suit.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The image does not fit the server, or that is not known.
    #[error("nothing was written to disk {disk}: {why}")]
    Incompatible {
        /// Kernel name of the disk that it was for.
        disk: String,
        /// What does not fit.
        why: Incompatible,
    },
    /// An override makes no sense.
    #[error(transparent)]
    Override(#[from] OverrideInvalid),
    /// The plan token does not hold.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The disk cannot be opened.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The operation cannot begin.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Records cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The repository cannot do what it should.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The file on a web server cannot be had.
    #[error(transparent)]
    Http(#[from] HttpSourceError),
    /// There is no such profile.
    #[error(transparent)]
    Profile(#[from] ProfileUnknown),
    /// Nothing was found out.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// Nothing was found out about an image of a repository.
    #[error(transparent)]
    Look(#[from] LookError),
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// There is no repository of this name.
    #[error("the agent's configuration has no repository {repository:?}; it has: {known}")]
    RepositoryUnknown {
        /// The name.
        repository: String,
        /// The names that there are.
        known: String,
    },
    /// The image is too old.
    #[error("image {image} may not be installed after {not_after} s since 1970")]
    ImageExpired {
        /// Its id.
        image: String,
        /// Until when it could be, in seconds since 1970.
        not_after: u64,
    },
    /// Only images of repositories can be looked into.
    #[error("an image is looked into where it can be read here and there: in a repository, or on a disk")]
    NotInRepository,
    /// An install cannot go on, for the server was started anew.
    #[error("the server was started anew since, and its disks may be others")]
    Rebooted,
    /// An install cannot go on, for its disk is somebody else's by now.
    #[error(
        "disk {disk} was written by somebody else since the agent ended, and is left as it is: install again if that may be lost"
    )]
    WrittenSince {
        /// Kernel name of the disk.
        disk: String,
    },
    /// What is on the disk cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The caller was told that nothing began, so that nothing may.
    #[error("the caller does not wait for an answer any more")]
    CallGivenUp,
    /// There is nothing to verify against.
    #[error("there is no record of a finished install on disk {disk} to compare it with")]
    NoRecord {
        /// Kernel name of the disk.
        disk: String,
    },
    /// No thread can be started.
    #[error("cannot start a thread for the operation")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
}

impl AgentError {
    /// The error of another module that this stands for, or the reason of its own.
    fn inner(&self) -> Result<&dyn DomainError, Reason> {
        match self {
            Self::Discovery(error) => Ok(error),
            Self::Selector(error) => Ok(error),
            Self::Plan(error) => Ok(error),
            Self::Incompatible { why, .. } => Ok(why),
            Self::Override(error) => Ok(error),
            Self::Token(error) => Ok(error),
            Self::Guard(error) => Ok(error),
            Self::Registry(error) => Ok(error),
            Self::Record(error) => Ok(error),
            Self::Repository(error) => Ok(error),
            Self::Http(error) => Ok(error),
            Self::Journal(error) => Ok(error),
            Self::Audit(error) => Ok(error),
            Self::Profile(error) => Ok(error),
            Self::Inspect(error) => Ok(error),
            Self::Look(error) => Ok(error),
            Self::NotInRepository => Err(Reason::RequestMalformed),
            Self::RepositoryUnknown { .. } => Err(Reason::RepositoryUnknown),
            Self::ImageExpired { .. } => Err(Reason::ImageExpired),
            Self::Table(error) => Ok(error),
            Self::Rebooted => Err(Reason::DiskChanged),
            Self::WrittenSince { .. } => Err(Reason::OperationInterrupted),
            Self::CallGivenUp => Err(Reason::CallTimedOut),
            Self::NoRecord { .. } => Err(Reason::VerifyNoRecord),
            Self::Thread { .. } => Err(Reason::OperationLimit),
        }
    }
}

impl DomainError for AgentError {
    fn reason(&self) -> Reason {
        self.inner().map_or_else(|own| own, DomainError::reason)
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::NoRecord { disk } | Self::WrittenSince { disk } => vec![("disk", disk.clone())],
            Self::Incompatible { disk, why } => why.metadata().into_iter().chain([("disk", disk.clone())]).collect(),
            Self::RepositoryUnknown { repository, known } => {
                vec![("repository", repository.clone()), ("known", known.clone())]
            }
            Self::ImageExpired { image, not_after } => {
                vec![("image", image.clone()), ("notAfter", not_after.to_string())]
            }
            Self::Rebooted | Self::NotInRepository | Self::CallGivenUp | Self::Thread { .. } => Vec::new(),
            Self::Discovery(_)
            | Self::Selector(_)
            | Self::Plan(_)
            | Self::Override(_)
            | Self::Token(_)
            | Self::Guard(_)
            | Self::Registry(_)
            | Self::Record(_)
            | Self::Repository(_)
            | Self::Http(_)
            | Self::Journal(_)
            | Self::Audit(_)
            | Self::Profile(_)
            | Self::Inspect(_)
            | Self::Look(_)
            | Self::Table(_) => self.inner().map(DomainError::metadata).unwrap_or_default(),
        }
    }
}
