//! Why nothing is known of a disk or image: what went wrong with the child that was to look into it.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use super::{AnswerError, WireError};
use crate::reason::{DomainError, Reason};

/// A child that did not answer, or not well.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The disk would be handed to the child for writing.
    #[error("the disk is not open for reading alone")]
    Writable,
    /// It cannot be started.
    #[error("cannot start {} to inspect the disk", executable.display())]
    Start {
        /// The program.
        executable: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// It cannot be heard.
    #[error("cannot hear what inspects the disk")]
    Hear(#[source] io::Error),
    /// It took too long, and was killed.
    #[error("inspecting the disk took longer than {} seconds", limit.as_secs())]
    TimedOut {
        /// The time it had.
        limit: Duration,
    },
    /// The caller cancelled; it was killed.
    #[error("inspecting the disk was cancelled")]
    Cancelled,
    /// It ended without an answer.
    #[error("what inspects the disk ended with {status}: {said:?}")]
    Died {
        /// How it ended.
        status: ExitStatus,
        /// The beginning of what it said, printable.
        said: String,
    },
    /// Its answer is none.
    #[error("what inspects the disk gave no proper answer")]
    Answer(#[from] AnswerError),
    /// It says what it must not.
    #[error("what inspects the disk cannot be understood")]
    Wire(#[from] WireError),
    /// What it is to look for cannot be told it.
    #[error("cannot tell what inspects the disk what to look for")]
    Request(#[source] serde_json::Error),
    /// What it found is none of the things that can be found.
    #[error("what inspects the disk found what cannot be")]
    Examination(#[source] serde_json::Error),
    /// It speaks of other checks than it was asked for.
    #[error("what inspects the disk answered other checks than it was asked for")]
    OtherChecks,
}

impl DomainError for InspectError {
    fn reason(&self) -> Reason {
        match self {
            Self::Cancelled => Reason::OperationCancelled,
            Self::Writable
            | Self::Start { .. }
            | Self::Hear(_)
            | Self::TimedOut { .. }
            | Self::Died { .. }
            | Self::Answer(_)
            | Self::Wire(_)
            | Self::Request(_)
            | Self::Examination(_)
            | Self::OtherChecks => Reason::InspectorFailed,
        }
    }
}
