//! Why the audit log cannot be written or believed.

use std::io;
use std::path::PathBuf;

use crate::reason::{DomainError, Reason};

/// The log cannot be written or believed. No write to a disk may begin.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file or directory cannot be used.
    #[error("cannot use the audit log {}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error("another process writes the audit log {}", .dir.display())]
    InUse {
        /// Its directory.
        dir: PathBuf,
    },
    /// A line is not what was written.
    #[error("the audit log is damaged: {}, line {line}: {what}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line of the file, counted from 1; 0 for the file itself.
        line: u64,
        /// What is wrong.
        what: Damage,
    },
    /// Somebody else wrote, replaced or removed the file that is written.
    #[error("the audit log {} was changed by somebody else", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// An event is longer than any line may be. Bounded fields make this impossible.
    #[error("an event of {bytes} bytes is too long for the audit log")]
    EventTooLong {
        /// Bytes of its line.
        bytes: usize,
    },
    /// An event cannot be written as JSON. It is plain data, so this is a defect.
    #[error("an event cannot be written as JSON")]
    Encode {
        /// Why.
        source: serde_json::Error,
    },
}

/// What is wrong with a line, or with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It is no JSON.
    #[error("it is no JSON")]
    Malformed,
    /// It is JSON, and no line of an audit log.
    #[error("it has no seq and prev")]
    Shapeless,
    /// It does not end with its sum.
    #[error("it does not end with its sum")]
    Unsummed,
    /// Its sum is not that of its bytes.
    #[error("its bytes were changed: they are not those of its sum")]
    Sum,
    /// It does not hold the hash of the line before.
    #[error("its prev is not the hash of the line before: one of the two was changed")]
    Chain,
    /// Lines are missing, or stand in another order.
    #[error("its seq is {found}, and should be {expected}: lines are missing, or were moved")]
    Sequence {
        /// The number that comes next.
        expected: u64,
        /// The number that is there.
        found: u64,
    },
    /// A file is missing.
    #[error("lines {expected} to {} are missing: a file was removed", found.saturating_sub(1))]
    MissingFile {
        /// The number that comes next.
        expected: u64,
        /// The number that the next file begins with.
        found: u64,
    },
    /// It is longer than any line.
    #[error("it is longer than any line may be")]
    TooLong,
    /// A file ends within a line, where no crash can have cut it short.
    #[error("the file ends within the line, or its newline was changed")]
    Unfinished,
    /// A file that is not the newest has no line.
    #[error("the file is empty, and not the newest")]
    Empty,
    /// A file has a name that none of this log has.
    #[error("its name is not that of a file of the log")]
    Name,
    /// Something else is in the place of a file.
    #[error("it is no ordinary file")]
    NoFile,
}

impl AuditError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

impl DomainError for AuditError {
    fn reason(&self) -> Reason {
        Reason::AuditUnavailable
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Io { path, .. } | Self::InUse { dir: path } | Self::Changed { path } => {
                vec![("path", path.display().to_string())]
            }
            Self::Damaged { path, line, what } => {
                vec![("path", path.display().to_string()), ("line", line.to_string()), ("damage", what.to_string())]
            }
            Self::EventTooLong { bytes } => vec![("bytes", bytes.to_string())],
            Self::Encode { .. } => Vec::new(),
        }
    }
}
