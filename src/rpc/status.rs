//! The one mapping of domain errors to gRPC status: a code, one `ErrorInfo`, and the details that its kind calls for.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::operation::Failure;
use crate::reason::{DomainError, ErrorKind, Reason};

/// `google.rpc.ErrorInfo.domain` of every error.
pub const DOMAIN: &str = "bms-agent";

/// When a caller may try again what depends on somebody else.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A request with impossible fields: all of them at once.
#[derive(Debug, Clone, Default, thiserror::Error)]
#[error("{}", self.text())]
pub struct RequestError {
    violations: Vec<(&'static str, String)>,
}

impl RequestError {
    /// An error about one field.
    pub fn of(field: &'static str, description: impl Into<String>) -> Self {
        Self { violations: vec![(field, description.into())] }
    }

    /// Adds what is wrong with a field.
    pub fn add(&mut self, field: &'static str, description: impl Into<String>) {
        self.violations.push((field, description.into()));
    }

    /// Fails if anything was added.
    ///
    /// # Errors
    /// With all that was added.
    pub fn check(self) -> Result<(), Self> {
        if self.violations.is_empty() { Ok(()) } else { Err(self) }
    }

    fn text(&self) -> String {
        let list: Vec<_> = self.violations.iter().map(|(field, text)| format!("{field}: {text}")).collect();
        list.join("; ")
    }
}

impl DomainError for RequestError {
    fn reason(&self) -> Reason {
        Reason::RequestMalformed
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        self.violations.clone()
    }
}

/// The status of an error.
pub fn status<E: DomainError>(error: &E) -> Status {
    failure_status(&Failure::from(error))
}

/// The status of a failure.
pub fn failure_status(failure: &Failure) -> Status {
    let reason = failure.reason;
    let metadata: HashMap<String, String> =
        failure.metadata.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
    let mut details = ErrorDetails::with_error_info(reason.name(), DOMAIN, metadata);
    match reason.kind() {
        ErrorKind::InvalidRequest => {
            for (field, description) in &failure.metadata {
                details.add_bad_request_violation(field.clone(), description);
            }
        }
        ErrorKind::Precondition => {
            let subject = failure.metadata.iter().find(|(key, _)| *key == "disk").map_or("", |(_, disk)| disk);
            details.add_precondition_failure_violation(reason.name(), subject, &failure.message);
        }
        ErrorKind::Unavailable => {
            details.set_retry_info(Some(RETRY_AFTER));
        }
        ErrorKind::NotFound
        | ErrorKind::Exists
        | ErrorKind::Conflict
        | ErrorKind::DataLoss
        | ErrorKind::Exhausted
        | ErrorKind::PermissionDenied
        | ErrorKind::Cancelled
        | ErrorKind::Internal => {}
    }
    Status::with_error_details(code(reason.kind()), &failure.message, details)
}

/// The same, as it stands in an operation.
pub fn operation_error(failure: &Failure) -> tonic_types::Status {
    let status = failure_status(failure);
    // A status with details carries its own wire form; it always has details here.
    tonic_types::Status::decode(status.details()).unwrap_or_else(|_impossible| tonic_types::Status {
        code: Code::Internal.into(),
        message: failure.message.clone(),
        details: Vec::new(),
    })
}

const fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidRequest => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Precondition => Code::FailedPrecondition,
        ErrorKind::Exists => Code::AlreadyExists,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::DataLoss => Code::DataLoss,
        ErrorKind::Exhausted => Code::ResourceExhausted,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::Internal => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::{DOMAIN, RequestError, code, failure_status, operation_error, status};
    use crate::operation::Failure;
    use crate::reason::{ErrorKind, Reason};

    fn failure(reason: Reason) -> Failure {
        Failure { reason, message: "what happened".to_owned(), metadata: vec![("disk".into(), "sda".to_owned())] }
    }

    #[test]
    fn every_reason_arrives_with_its_name_and_variables() {
        for &reason in Reason::ALL {
            let status = failure_status(&failure(reason));
            let info = status.get_details_error_info().expect("exactly one ErrorInfo");
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason.name(), DOMAIN));
            assert_eq!(info.metadata["disk"], "sda");
            assert_ne!(status.code(), Code::Ok);
            assert_ne!(status.code(), Code::Unknown);
        }
    }

    #[test]
    fn the_error_of_an_operation_is_the_same_status() {
        for &reason in Reason::ALL {
            let (sent, kept) = (failure_status(&failure(reason)), operation_error(&failure(reason)));
            assert_eq!((kept.code, kept.message.as_str()), (i32::from(sent.code()), sent.message()));
            assert!(!kept.details.is_empty(), "{}", reason.name());
        }
    }

    /// `InvalidArgument` as people write it: `INVALID_ARGUMENT`.
    fn written(code: Code) -> String {
        let mut text = String::new();
        for letter in format!("{code:?}").chars() {
            if letter.is_ascii_uppercase() && !text.is_empty() {
                text.push('_');
            }
            text.push(letter.to_ascii_uppercase());
        }
        text
    }

    /// Reason and code of each row of the documentation.
    fn documented() -> Vec<(String, String)> {
        let rows = include_str!("../../docs/errors.md").lines().filter_map(|line| line.strip_prefix("| `"));
        let cells = rows.map(|row| row.split(" | ").map(|cell| cell.trim_matches(['`', '|', ' '])).collect::<Vec<_>>());
        cells
            .map(|cells| {
                assert_eq!(cells.len(), 5, "{cells:?}");
                assert!(cells.iter().all(|cell| !cell.is_empty()), "{cells:?}");
                (cells[0].to_owned(), cells[1].to_owned())
            })
            .collect()
    }

    #[test]
    fn every_reason_has_one_row_in_the_documentation_with_its_code() {
        let mut documented = documented();
        let mut known: Vec<_> =
            Reason::ALL.iter().map(|reason| (reason.name().to_owned(), written(code(reason.kind())))).collect();
        documented.sort_unstable();
        known.sort_unstable();
        assert_eq!(documented, known);
    }

    #[test]
    fn details_fit_the_kind() {
        let named = |reason| failure_status(&failure(reason));
        assert!(named(Reason::DiskMounted).get_details_precondition_failure().is_some());
        assert!(named(Reason::PushInterrupted).get_details_retry_info().is_some());
        assert_eq!(Reason::OperationInProgress.kind(), ErrorKind::Conflict);
        let mut error = RequestError::of("disk", "is missing");
        error.add("image.size_bytes", "is 0");
        let bad = status(&error).get_details_bad_request().expect("violations");
        assert_eq!(bad.field_violations.len(), 2);
    }
}
