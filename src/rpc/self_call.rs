//! The agent calls itself, as any client does: over its own Unix socket, to its own health service.
//!
//! Whoever listens, accepts, decodes and answers has to work for it. It says that calls are answered, and nothing of disks:
//! a disk that hangs is no reason to kill what waits for it.

use std::io;
use std::path::Path;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

/// The agent does not answer itself.
#[derive(Debug, thiserror::Error)]
pub enum SelfCallError {
    /// There is no connection.
    #[error("the agent cannot reach its own socket")]
    Connect(#[source] tonic::transport::Error),
    /// The answer is an error.
    #[error("the agent refuses its own call: {code}")]
    Refused {
        /// The code of the answer.
        code: tonic::Code,
    },
    /// The answer is not that it serves.
    #[error("the agent says of itself that it does not serve")]
    NotServing,
    /// There is no answer.
    #[error("the agent does not answer itself within {} ms", limit.as_millis())]
    TimedOut {
        /// How long it had.
        limit: Duration,
    },
}

/// Asks the agent that listens on `socket` whether it serves.
///
/// # Errors
/// If it does not say so within `limit`.
pub async fn self_call(socket: &Path, limit: Duration) -> Result<(), SelfCallError> {
    let answer = tokio::time::timeout(limit, ask(socket)).await;
    answer.unwrap_or(Err(SelfCallError::TimedOut { limit }))
}

/// A connection of its own each time: one that is kept would not notice a listener that accepts nobody.
async fn ask(socket: &Path) -> Result<(), SelfCallError> {
    let socket = socket.to_owned();
    let open = service_fn(move |_| {
        let socket = socket.clone();
        async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    let endpoint = Endpoint::from_static("http://agent.local");
    let channel = endpoint.connect_with_connector(open).await.map_err(SelfCallError::Connect)?;
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    match answer.map(|answer| answer.into_inner().status()) {
        Ok(ServingStatus::Serving) => Ok(()),
        Ok(ServingStatus::Unknown | ServingStatus::NotServing | ServingStatus::ServiceUnknown) => {
            Err(SelfCallError::NotServing)
        }
        Err(status) => Err(SelfCallError::Refused { code: status.code() }),
    }
}
