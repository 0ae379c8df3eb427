//! The gRPC edge: handlers, conversion between wire and domain, and the one mapping of errors to status codes.
//!
//! Nothing here hashes, reads or writes a disk: that is the work of threads behind a bounded channel.

mod arrival;
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
use crate::operation::{Call, Operation};
use crate::reason::{DomainError, Reason};

/// How long a call may take that is no stream.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often progress is shown to those who follow.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Work on a thread for blocking calls that came to nothing.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("the call took longer than {} s; a disk, the state directory or a repository may hang", CALL_TIMEOUT.as_secs())]
    TimedOut,
    #[error("the inspection took longer than {} s; others may have been before it", limit.as_secs())]
    InspectionTimedOut { limit: Duration },
    #[error("too many pushes have not said yet what they want")]
    TooManyBeginning,
    #[error("the request took longer than {} s to arrive", arrival::LIMIT.as_secs())]
    Slow,
    #[error("the call ended without a result")]
    Lost,
}

impl DomainError for CallError {
    fn reason(&self) -> Reason {
        match self {
            Self::TimedOut | Self::Slow => Reason::CallTimedOut,
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

/// Makes a blocking call that begins an operation. Either its caller is told of the operation, or there is none: who is
/// answered that it took too long, or goes away before it has begun, finds nothing begun.
async fn beginning<T, E, F>(call: &Call, begin: F) -> Result<T, Status>
where
    T: Send + 'static,
    E: DomainError,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    let _waits = Waits(call);
    let span = tracing::Span::current();
    let mut work = tokio::task::spawn_blocking(move || span.in_scope(begin));
    let result = match tokio::time::timeout(CALL_TIMEOUT, &mut work).await {
        Ok(result) => result,
        Err(_elapsed) if call.give_up() => return Err(refuse(&CallError::TimedOut)),
        // It has begun, and what is left to do takes no time.
        Err(_elapsed) => work.await,
    };
    result.map_err(|_panicked| refuse(&CallError::Lost))?.map_err(|error| refuse(&error))
}

/// A call that somebody waits for, until this is dropped.
struct Waits<'a>(&'a Call);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.give_up();
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

/// Shows the progress of an operation to its watchers, until it ends. Whoever asks for it again finds it followed.
pub(crate) fn follow(operation: &Arc<Operation>) {
    if !operation.is_first_to_follow() {
        return;
    }
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::{CallError, beginning};
    use crate::operation::Call;

    #[tokio::test]
    async fn who_goes_away_before_the_begin_finds_nothing_begun() {
        let (call, (go, wait), (tell, told)) = (Call::default(), channel::<()>(), channel());
        let begin = {
            let call = call.clone();
            move || {
                wait.recv().expect("go");
                tell.send(call.begin()).expect("told");
                Ok::<_, CallError>(())
            }
        };
        let mut waiting = Box::pin(beginning(&call, begin));
        // Polled once, it is on its way.
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(waiting);
        go.send(()).expect("it waits");
        assert!(!told.recv().expect("an answer"), "its caller had gone away");
    }

    #[tokio::test]
    async fn what_has_begun_is_not_given_up() {
        let call = Call::default();
        let begun = call.clone();
        let answer = beginning(&call, move || Ok::<_, CallError>(begun.begin())).await;
        assert!(answer.expect("an answer"));
        assert!(!call.give_up());
    }
}
