//! Why the agent refuses a call: the errors of all modules that a call goes through.

use crate::disk::discovery::DiscoveryError;
use crate::disk::guard::GuardError;
use crate::disk::selector::SelectorError;
use crate::operation::registry::RegistryError;
use crate::provision::plan::PlanError;
use crate::provision::record::RecordError;
use crate::provision::token::TokenError;
use crate::reason::{DomainError, Reason};

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
            Self::Token(error) => Ok(error),
            Self::Guard(error) => Ok(error),
            Self::Registry(error) => Ok(error),
            Self::Record(error) => Ok(error),
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
        if let Self::NoRecord { disk } = self {
            return vec![("disk", disk.clone())];
        }
        self.inner().map(DomainError::metadata).unwrap_or_default()
    }
}
