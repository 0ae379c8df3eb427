//! What `--output json` prints, which is a contract with programs: keys are snake_case and only ever added, sizes are
//! integers of bytes, hashes are lower-case hex, times are RFC 3339 in UTC, and what is not known is null.
//!
//! Tables are made of the same structures. Nothing here talks to the agent.

mod audit;
mod compatibility;
mod disk;
mod host;
mod inspection;
mod operation;
mod repository;

use std::collections::BTreeMap;

use serde::Serialize;

pub(crate) use audit::{AuditLineView, AuditView};
pub(crate) use compatibility::CompatibilityView;
pub(crate) use disk::{DiskView, PlanView};
pub(crate) use host::HostView;
pub(crate) use inspection::{FindingView, InspectionView};
pub(crate) use operation::{OperationView, ProgressView};
pub(crate) use repository::{
    CheckView, DeletedView, ExportView, FormatView, GcView, ImageView, ImagesView, ManifestView, ProblemView, StatsView,
};

#[cfg(test)]
pub(crate) use self::{disk::tests as disk_tests, operation::tests as operation_tests};
use crate::error::{CtlError, Failure};
use crate::exit::Exit;

/// `image import`
#[derive(Debug, Serialize)]
pub(crate) struct ImportView {
    /// The file, as it was named.
    pub(crate) file: String,
    /// Format that it was read as.
    pub(crate) format: String,
    pub(crate) image_id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) owner: String,
    /// BLAKE3 of the raw content.
    pub(crate) root: String,
    /// Length of the raw content.
    pub(crate) size_bytes: u64,
    /// Bytes in groups that hold data.
    pub(crate) data_bytes: u64,
    /// Content of chunks that the repository did not have.
    pub(crate) new_bytes: u64,
    /// Content of chunks that it had.
    pub(crate) present_bytes: u64,
    /// Bytes of the objects that were written.
    pub(crate) stored_bytes: u64,
}

/// `capture --to`
#[derive(Debug, Serialize)]
pub(crate) struct CaptureFileView {
    /// The file, as it was named.
    pub(crate) file: String,
    /// BLAKE3 of the raw content.
    pub(crate) root: String,
    /// Length of the raw content.
    pub(crate) size_bytes: u64,
    /// Bytes in groups that hold data.
    pub(crate) data_bytes: u64,
    /// Bytes in groups that are all zeroes.
    pub(crate) hole_bytes: u64,
    /// Bytes that no file system uses, and that were taken for zeroes.
    pub(crate) free_bytes: u64,
    /// What was found of each file system.
    pub(crate) notes: Vec<String>,
}

/// `image hash`
#[derive(Debug, Serialize)]
pub(crate) struct ImageHashView {
    /// The file, as it was named.
    pub(crate) file: String,
    /// Format that it was read as.
    pub(crate) format: String,
    /// Length of the raw content.
    pub(crate) size_bytes: u64,
    /// BLAKE3 of the raw content.
    pub(crate) root: String,
    /// Size of a group.
    pub(crate) group_size_bytes: u64,
    /// Bytes in groups that hold data.
    pub(crate) data_bytes: u64,
    /// Bytes in groups that are all zeroes.
    pub(crate) hole_bytes: u64,
    /// Number of groups that are all zeroes.
    pub(crate) hole_groups: u64,
}

/// The document of a command that failed.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorDocument {
    error: ErrorView,
}

/// An error.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(crate) struct ErrorView {
    /// What happened, for people.
    pub(crate) message: String,
    /// Stable name of the reason, if the agent gave one.
    pub(crate) reason: Option<String>,
    /// The variables of the message.
    pub(crate) metadata: BTreeMap<String, String>,
    /// What to do next, for people.
    pub(crate) hint: Option<&'static str>,
    /// The operation that failed, if one was begun.
    pub(crate) operation: Option<String>,
    /// Exit code of the command, or the one that waiting for the operation gives.
    #[serde(rename = "exit_code")]
    pub(crate) exit: Exit,
}

impl ErrorView {
    /// The document of a command that failed with `error`.
    pub(crate) fn document(error: &CtlError) -> ErrorDocument {
        let failure = error.failure();
        let error = Self {
            message: error.to_string(),
            reason: failure.and_then(reason),
            metadata: failure.map(|failure| failure.metadata.clone()).unwrap_or_default(),
            hint: failure.and_then(Failure::hint),
            operation: error.operation_name().map(str::to_owned),
            exit: error.exit(),
        };
        ErrorDocument { error }
    }

    /// The error that operation `name` ended with.
    fn of_operation(name: &str, status: &tonic_types::Status) -> Self {
        let failure = Failure::of_operation(status);
        Self {
            reason: reason(&failure),
            hint: failure.hint(),
            operation: Some(name.to_owned()),
            exit: failure.exit_of_operation(),
            message: failure.message,
            metadata: failure.metadata,
        }
    }
}

fn reason(failure: &Failure) -> Option<String> {
    non_empty(&failure.reason)
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The value of a wire enum without its prefix, in lower case; null where it is unspecified.
fn enum_name(wire_name: &str, prefix: &str) -> Option<String> {
    let name = wire_name.strip_prefix(prefix)?.to_ascii_lowercase();
    (name != "unspecified").then_some(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ErrorView, enum_name};
    use crate::error::CtlError;

    #[test]
    fn a_failed_command_is_a_document_with_an_error() {
        let document = serde_json::to_value(ErrorView::document(&CtlError::NoTerminal)).expect("serializable");
        let expected = json!({"error": {
            "message": "there is no terminal to confirm on: give --yes if this disk shall be overwritten",
            "reason": null,
            "metadata": {},
            "hint": null,
            "operation": null,
            "exit_code": 2,
        }});
        assert_eq!(document, expected);
    }

    #[test]
    fn enum_values_lose_their_prefix_and_unspecified_is_null() {
        assert_eq!(enum_name("STAGE_READ_BACK", "STAGE_"), Some("read_back".to_owned()));
        assert_eq!(enum_name("STAGE_UNSPECIFIED", "STAGE_"), None);
    }
}
