//! The gRPC edge: handlers, conversion between wire and domain, and the one mapping of errors to status codes.
//!
//! Nothing here hashes, reads or writes a disk: that is the work of threads behind a bounded channel.

mod auth;
mod call;
mod capture;
pub mod compatibility;
mod convert;
mod disk;
mod host;
pub mod inspect;
pub mod inventory;
pub mod listen;
mod measure;
mod method;
mod operations;
pub mod peer;
mod provisioning;
mod push;
pub mod role;
pub mod self_call;
pub mod server;
pub mod status;
mod view;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tonic::Status;

use crate::metrics;
use crate::operation::Operation;
use crate::reason::{DomainError, Reason};

/// How long a call may take that is no stream.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often progress is shown to those who follow.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Work on a thread for blocking calls that came to nothing.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("the call took longer than {} s; a disk may hang", CALL_TIMEOUT.as_secs())]
    TimedOut,
    #[error("the inspection took longer than {} s; others may have been before it", limit.as_secs())]
    InspectionTimedOut { limit: Duration },
    #[error("too many pushes have not said yet what they want")]
    TooManyBeginning,
    #[error("the call ended without a result")]
    Lost,
}

impl DomainError for CallError {
    fn reason(&self) -> Reason {
        match self {
            Self::TimedOut => Reason::DiskIo,
            Self::InspectionTimedOut { .. } => Reason::InspectorFailed,
            Self::TooManyBeginning => Reason::CallLimit,
            Self::Lost => Reason::Internal,
        }
    }
}

/// Makes a blocking call where it blocks nobody else.
async fn blocking<T, E, F>(call: F) -> Result<T, Status>
where
    T: Send + 'static,
    E: DomainError,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    let span = tracing::Span::current();
    match tokio::time::timeout(CALL_TIMEOUT, tokio::task::spawn_blocking(move || span.in_scope(call))).await {
        Ok(Ok(result)) => result.map_err(|error| refuse(&error)),
        Ok(Err(_panicked)) => Err(refuse(&CallError::Lost)),
        Err(_elapsed) => Err(refuse(&CallError::TimedOut)),
    }
}

/// The status of an error, which is logged and counted here and nowhere else.
fn refuse<E: DomainError>(error: &E) -> Status {
    // One line: the table of candidates below it is for the caller.
    let text = error.to_string();
    tracing::warn!(reason = error.reason().name(), error = text.lines().next(), "refused a call");
    metrics::call_refused(error.reason().name());
    status::status(error)
}

/// Shows the progress of an operation to its watchers, until it ends.
pub(crate) fn follow(operation: &Arc<Operation>) {
    let operation = operation.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while operation.publish() {
            ticks.tick().await;
        }
    });
}

/// The wire types, compiled from `proto/`.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::missing_errors_doc,
    clippy::too_many_lines,
    reason = "generated; the comments are in proto/"
)]
pub mod proto {
    pub use bms::agent::v1;
    pub use google::longrunning;

    // The nesting is what generated code expects of its neighbours.
    pub mod bms {
        pub mod agent {
            pub mod v1 {
                tonic::include_proto!("bms.agent.v1");
            }
        }
    }
    pub mod google {
        pub mod longrunning {
            tonic::include_proto!("google.longrunning");
        }
    }
    /// All files, for server reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
