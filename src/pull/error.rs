//! Why a source cannot be fetched.

use crate::reason::{DomainError, Reason};
use crate::repository::RepositoryError;

/// Why a source cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

impl DomainError for PullError {
    fn reason(&self) -> Reason {
        match self {
            Self::Repository(error) => error.reason(),
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Repository(error) => error.metadata(),
        }
    }
}
