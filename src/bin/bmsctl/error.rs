//! How a command fails: what is said, and which exit code it gives. The only place that reads gRPC status details.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::PathBuf;

use bms_agent::compatibility::OverrideInvalid;
use bms_agent::disk::selector::SelectorError;
use bms_agent::hardware::alias::AliasError;
use bms_agent::hardware::facts_file::FactsError;
use bms_agent::image::source::SourceError;
use bms_agent::inspect::check::ChecksError;
use bms_agent::inspect::child::InspectError;
use bms_agent::inspect::policy::ProfileUnknown;
use bms_agent::inspect::profile::ProfileError;
use bms_agent::reason::Reason;
use bms_agent::repository::{ImageNameInvalid, LookError, RepositoryError};
use bms_agent::rpc::status::status;
use tonic::Code;
use tonic_types::{ErrorInfo, RpcStatusExt as _, StatusExt as _};

use crate::audit::AuditProblem;
use crate::authority::AuthorityError;
use crate::capture::FileError;
use crate::cli::AddressInvalid;
use crate::context::ContextsError;
use crate::exit::Exit;
use crate::export::ExportError;
use crate::import::InputError;
use crate::manual::ManualError;
use crate::push::ledger::LedgerError;
use crate::settings::SettingsError;
use crate::tls::FilesError;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CtlError {
    /// The image file cannot be used.
    #[error("the image cannot be opened")]
    OpenImage { source: SourceError },
    /// The image, wherever it is, cannot be used.
    #[error(transparent)]
    Input { source: InputError },
    /// The image file turned out to be damaged, or its file system did.
    #[error("the image cannot be read to its end")]
    ReadImage { source: SourceError },
    /// A thread panicked.
    #[error("a thread that read or compressed the image was lost")]
    ReaderLost { source: tokio::task::JoinError },
    /// Nothing was typed, or not the disk's name.
    #[error("not confirmed: nothing was done")]
    NotConfirmed,
    /// There is nobody to ask.
    #[error("there is no terminal to confirm on: give --yes if this disk shall be overwritten")]
    NoTerminal,
    /// What was said of an image at a URL.
    #[error("an image that the agent fetches from a URL {problem}")]
    UrlOption { problem: &'static str },
    /// No connection.
    #[error("no agent answers on {place}: {hint}")]
    Connect { place: String, hint: &'static str, source: Box<dyn Error + Send + Sync> },
    /// It is not clear which agent is meant.
    #[error(transparent)]
    Address { source: AddressInvalid },
    /// The audit log is not proven.
    #[error(transparent)]
    Audit { source: AuditProblem },
    /// The file of contexts.
    #[error(transparent)]
    Contexts { source: ContextsError },
    /// There are no certificates.
    #[error("no certificates are made")]
    Authority { source: AuthorityError },
    /// The files of a connection over TLS.
    #[error("no connection to {place} is tried")]
    TlsFiles { place: String, source: Box<FilesError> },
    /// The connection broke during a call.
    #[error("the connection to the agent broke; an operation that was begun may go on, see `bmsctl operation list`")]
    ConnectionLost { source: Box<tonic::Status> },
    /// The agent refused a call.
    #[error("{}", .0.message)]
    Refused(Box<Failure>),
    /// An operation ended with an error.
    #[error("{}", .failure.message)]
    OperationFailed { operation: String, failure: Box<Failure> },
    /// The agent and this program do not understand each other.
    #[error("the agent's answer makes no sense: {what}")]
    Answer { what: &'static str },
    /// A capture does not become a file.
    #[error("there is no capture")]
    Capture { source: FileError },
    /// What was offered, answered and read does not add up.
    #[error("the push cannot go on")]
    Books { source: LedgerError },
    /// Interrupted twice while the agent had not answered.
    #[error("stopped waiting for the agent's answer; what it has begun ends with the connection")]
    Interrupted,
    /// Interrupted again while the cancellation was waited for.
    #[error("stopped waiting for {operation}, which was asked to cancel")]
    Abandoned { operation: String },
    /// Standard output or input.
    #[error("standard input or output cannot be used")]
    Stdio { source: io::Error },
    /// The operator's checks make no sense.
    #[error("cannot use the checks")]
    Checks { source: ChecksError },
    /// The profiles make no sense.
    #[error("cannot use the profiles")]
    Profiles { source: ProfileError },
    /// Other names for hardware make no sense.
    #[error("cannot use the aliases")]
    Aliases { source: AliasError },
    /// There are no facts of a server.
    #[error("cannot use the facts of the server")]
    Facts { source: FactsError },
    /// What should be the name of an image is none.
    #[error(transparent)]
    ImageName { source: ImageNameInvalid },
    /// An exported file cannot be made.
    #[error("the image is not exported")]
    Export { source: ExportError },
    /// The newest image is not a name for what is to be deleted.
    #[error("{image} has no version: what is deleted is named by its id or with its version")]
    NoVersion { image: String },
    /// The settings of a repository.
    #[error("cannot use the repositories of {}", path.display())]
    Settings { path: PathBuf, source: SettingsError },
    /// A page of the manual cannot be written.
    #[error(transparent)]
    Manual { source: ManualError },
    /// The runtime or its signal handlers.
    #[error("the process cannot be set up")]
    Runtime { source: io::Error },
}

impl CtlError {
    /// The error of an operation; its state comes after anything was touched.
    pub(crate) fn operation(name: &str, failure: Failure) -> Self {
        Self::OperationFailed { operation: name.to_owned(), failure: Box::new(failure) }
    }

    /// What the agent said, if it was the agent that failed.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refused(failure) | Self::OperationFailed { failure, .. } => Some(failure),
            Self::OpenImage { .. }
            | Self::Input { .. }
            | Self::Settings { .. }
            | Self::Checks { .. }
            | Self::Profiles { .. }
            | Self::Aliases { .. }
            | Self::Facts { .. }
            | Self::ImageName { .. }
            | Self::Export { .. }
            | Self::NoVersion { .. }
            | Self::ReadImage { .. }
            | Self::ReaderLost { .. }
            | Self::NotConfirmed
            | Self::NoTerminal
            | Self::UrlOption { .. }
            | Self::Connect { .. }
            | Self::Address { .. }
            | Self::Contexts { .. }
            | Self::TlsFiles { .. }
            | Self::Authority { .. }
            | Self::Audit { .. }
            | Self::ConnectionLost { .. }
            | Self::Answer { .. }
            | Self::Books { .. }
            | Self::Capture { .. }
            | Self::Interrupted
            | Self::Abandoned { .. }
            | Self::Stdio { .. }
            | Self::Manual { .. }
            | Self::Runtime { .. } => None,
        }
    }

    /// The operation that failed, if one was begun.
    pub(crate) fn operation_name(&self) -> Option<&str> {
        if let Self::OperationFailed { operation, .. } | Self::Abandoned { operation } = self {
            return Some(operation);
        }
        None
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::OpenImage { .. }
            | Self::Input { .. }
            | Self::Settings { .. }
            | Self::Checks { .. }
            | Self::Profiles { .. }
            | Self::Aliases { .. }
            | Self::Facts { .. }
            | Self::ImageName { .. }
            | Self::Export { .. }
            | Self::NoVersion { .. }
            | Self::NotConfirmed
            | Self::NoTerminal
            | Self::UrlOption { .. }
            | Self::Address { .. }
            | Self::Contexts { .. }
            | Self::TlsFiles { .. }
            | Self::Authority { .. } => Exit::Refused,
            Self::Connect { .. } | Self::ConnectionLost { .. } => Exit::Unreachable,
            Self::Refused(failure) => failure.exit_of_call(),
            Self::OperationFailed { failure, .. } => failure.exit_of_operation(),
            Self::Interrupted | Self::Abandoned { .. } => Exit::Cancelled,
            Self::Capture { source } => source.exit(),
            Self::Audit { source } => source.exit(),
            // A reader that goes away has what it wanted.
            Self::Stdio { source } if source.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::ReadImage { .. }
            | Self::ReaderLost { .. }
            | Self::Answer { .. }
            | Self::Books { .. }
            | Self::Stdio { .. }
            | Self::Manual { .. }
            | Self::Runtime { .. } => Exit::Failed,
        }
    }
}

impl From<AuditProblem> for CtlError {
    fn from(source: AuditProblem) -> Self {
        Self::Audit { source }
    }
}

impl From<AuthorityError> for CtlError {
    fn from(source: AuthorityError) -> Self {
        Self::Authority { source }
    }
}

impl From<ManualError> for CtlError {
    fn from(source: ManualError) -> Self {
        Self::Manual { source }
    }
}

impl From<AddressInvalid> for CtlError {
    fn from(source: AddressInvalid) -> Self {
        Self::Address { source }
    }
}

impl From<ContextsError> for CtlError {
    fn from(source: ContextsError) -> Self {
        Self::Contexts { source }
    }
}

impl From<FileError> for CtlError {
    fn from(source: FileError) -> Self {
        Self::Capture { source }
    }
}

impl From<RepositoryError> for CtlError {
    /// A repository that this process uses fails as one that the agent uses: same reason, same exit code.
    fn from(error: RepositoryError) -> Self {
        status(&error).into()
    }
}

impl From<InspectError> for CtlError {
    /// As if an agent had looked.
    fn from(error: InspectError) -> Self {
        status(&error).into()
    }
}

impl From<LookError> for CtlError {
    fn from(error: LookError) -> Self {
        status(&error).into()
    }
}

impl From<SelectorError> for CtlError {
    fn from(error: SelectorError) -> Self {
        status(&error).into()
    }
}

impl From<OverrideInvalid> for CtlError {
    fn from(error: OverrideInvalid) -> Self {
        status(&error).into()
    }
}

impl From<ProfileUnknown> for CtlError {
    fn from(error: ProfileUnknown) -> Self {
        status(&error).into()
    }
}

impl From<tonic::Status> for CtlError {
    /// A status with a source was made on this side of the connection.
    fn from(status: tonic::Status) -> Self {
        if status.source().is_some() {
            return Self::ConnectionLost { source: Box::new(status) };
        }
        Self::Refused(Box::new(Failure::of_call(&status)))
    }
}

/// An error as the agent reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The gRPC code.
    pub(crate) code: Code,
    /// What happened, for people.
    pub(crate) message: String,
    /// The stable name of the reason; empty if the agent gave none.
    pub(crate) reason: String,
    /// The variables of the message, by their stable keys.
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Failure {
    /// The error of a call.
    pub(crate) fn of_call(status: &tonic::Status) -> Self {
        Self::new(status.code(), status.message(), status.get_details_error_info())
    }

    /// The error of an operation.
    pub(crate) fn of_operation(status: &tonic_types::Status) -> Self {
        Self::new(Code::from_i32(status.code), &status.message, status.get_details_error_info())
    }

    fn new(code: Code, message: &str, info: Option<ErrorInfo>) -> Self {
        let (reason, metadata) = info.map(|info| (info.reason, info.metadata)).unwrap_or_default();
        Self { code, message: message.to_owned(), reason, metadata: metadata.into_iter().collect() }
    }

    /// What to do next, if the reason is one that this version knows.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        Reason::ALL.iter().find(|reason| reason.name() == self.reason).map(|reason| reason.hint())
    }

    fn exit_of_call(&self) -> Exit {
        match self.code {
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated => Exit::Refused,
            Code::Unavailable => Exit::Unreachable,
            Code::DataLoss => Exit::Mismatch,
            Code::Cancelled => Exit::Cancelled,
            Code::Ok | Code::Unknown | Code::DeadlineExceeded | Code::Internal => Exit::Failed,
        }
    }

    /// Whatever an operation ends with, it has touched the disk: nothing is a mere refusal any more.
    pub(crate) fn exit_of_operation(&self) -> Exit {
        match self.exit_of_call() {
            exit @ (Exit::Mismatch | Exit::Cancelled) => exit,
            Exit::Done | Exit::Failed | Exit::Refused | Exit::Unreachable | Exit::Unfit | Exit::Unknown => Exit::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io;

    use bms_agent::reason::Reason;
    use prost::Message as _;
    use tonic::Code;
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::{CtlError, Failure};
    use crate::exit::Exit;

    fn status(code: Code) -> tonic::Status {
        let metadata = HashMap::from([("disk".to_owned(), "sda".to_owned())]);
        let details = ErrorDetails::with_error_info(Reason::DiskMounted.name(), "bms-agent", metadata);
        tonic::Status::with_error_details(code, "sda is mounted on /srv", details)
    }

    #[test]
    fn a_call_error_keeps_reason_variables_and_hint() {
        let error = CtlError::from(status(Code::FailedPrecondition));
        let failure = error.failure().expect("from the agent");
        assert_eq!(failure.reason, "DISK_MOUNTED");
        assert_eq!(failure.metadata["disk"], "sda");
        assert_eq!(failure.hint(), Some(Reason::DiskMounted.hint()));
        assert_eq!(error.to_string(), "sda is mounted on /srv");
    }

    #[test]
    fn an_operation_error_reads_like_the_call_error() {
        let call = status(Code::DataLoss);
        let operation = tonic_types::Status::decode(call.details()).expect("a google.rpc.Status");
        assert_eq!(Failure::of_operation(&operation), Failure::of_call(&call));
    }

    #[test]
    fn an_unknown_reason_has_no_hint() {
        let failure = Failure::of_operation(&tonic_types::Status { code: 13, ..Default::default() });
        assert_eq!((failure.hint(), failure.code), (None, Code::Internal));
    }

    #[test]
    fn exit_codes_tell_refusals_from_failures() {
        let table = [
            (Code::InvalidArgument, Exit::Refused, Exit::Failed),
            (Code::NotFound, Exit::Refused, Exit::Failed),
            (Code::FailedPrecondition, Exit::Refused, Exit::Failed),
            (Code::Aborted, Exit::Refused, Exit::Failed),
            (Code::PermissionDenied, Exit::Refused, Exit::Failed),
            (Code::Internal, Exit::Failed, Exit::Failed),
            (Code::Unavailable, Exit::Unreachable, Exit::Failed),
            (Code::DataLoss, Exit::Mismatch, Exit::Mismatch),
            (Code::Cancelled, Exit::Cancelled, Exit::Cancelled),
        ];
        for (code, call, operation) in table {
            assert_eq!(CtlError::from(status(code)).exit(), call, "{code:?}");
            let error = CtlError::operation("operations/1", Failure::of_call(&status(code)));
            assert_eq!(error.exit(), operation, "{code:?}");
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let exit = |kind: io::ErrorKind| CtlError::Stdio { source: kind.into() }.exit();
        assert_eq!(exit(io::ErrorKind::BrokenPipe), Exit::Done);
        assert_eq!(exit(io::ErrorKind::StorageFull), Exit::Failed);
    }

    #[test]
    fn a_status_made_by_the_transport_is_a_lost_connection() {
        let broken = tonic::Status::from_error(Box::new(io::Error::from(io::ErrorKind::ConnectionReset)));
        assert_eq!(CtlError::from(broken).exit(), Exit::Unreachable);
    }
}
